"""HTML reports about runs, from scorecards and training curves."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    classifier_report="render_classifier_report",
    comparison_page="write_comparison_page",
    detector_report="Baseline DetectorReport render_detector_report",
    object_images="class_images",
    evaluation_page="write_evaluation_page",
    page="InvalidReport ReportImage RunDetails read_series",
)
