"""From predictions and ground truth to the `Scorecard` of a detector or the `ClassificationMetrics` of a classifier."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    baselines="label_on_best_box label_on_whole_image",
    breakdown="BreakdownRow",
    calibrate="CalibrationChoice calibration_boxes threshold_of",
    classification="ClassificationMetrics",
    compare="compare",
    compared_models="ComparedModel compared_models",
    comparison="ClassDifference Comparison GroupDifference LevelDifference",
    comparison_tables=(
        "classes_sentences comparison_tables difference_cells images_sentences most_different p_value_cell "
        "supervision_pair_name"
    ),
    disagreement="ImageDisagreement",
    evaluate="evaluate_classifier evaluate_detector highest_objectness_boxes predict_boxes predict_paths",
    evaluation_set="EvaluationSet ground_truth",
    metric_tables="metric_tables named_points",
    outcomes="Confusion ObjectOutcomes",
    predicted_paths="MatchedPaths PredictedPaths match_paths",
    prediction_metrics="PredictionMetrics prediction_metrics",
    resampling="Difference ResamplingChoice",
    scorecard="ClassMetrics Scorecard percentage scorecard_of",
    supervision="ClassGroup nearest_boxed",
)
