"""From predictions and ground truth to the `Scorecard` of a detector or the `ClassificationMetrics` of a classifier."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    average_precision="DetectionOutcomes RECALLS Ranking",
    baselines="label_on_best_box label_on_whole_image",
    box_tables="DetectionTable TruthTable",
    breakdown="BreakdownRow",
    calibrate="CalibrationChoice calibration_boxes threshold_of",
    classification="ClassificationMetrics",
    evaluate=(
        "FittedImages evaluate_classifier evaluate_detector for_each_fitted_batch highest_objectness_boxes "
        "network_output predict_boxes predict_paths"
    ),
    evaluation_set="EvaluationSet ground_truth",
    matching="Pairs match overlapping_pairs",
    metric_tables="metric_tables named_points",
    other_protocols="outcomes_by_protocol",
    outcomes="Confusion ObjectOutcomes",
    predicted_paths="MatchedPaths PredictedPaths match_paths predicted_paths",
    prediction_metrics="PredictionMetrics coverage_of prediction_metrics",
    scorecard="ClassMetrics GROUP_NAMES Scorecard percentage scorecard_of",
    supervision="ClassGroup GROUP_OF nearest_boxed",
)
