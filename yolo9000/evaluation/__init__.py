"""From predictions and ground truth to the `Scorecard` of a detector or the `ClassificationScore` of a classifier."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    baselines="label_on_best_box label_on_whole_image",
    breakdown="BreakdownRow",
    calibrate="CalibrationChoice calibration_boxes threshold_of",
    classification="ClassificationScore",
    evaluate="evaluate_classifier evaluate_detector highest_objectness_boxes predict_boxes predict_paths",
    evaluation_set="EvaluationSet ground_truth",
    outcomes="Confusion ObjectOutcomes",
    predicted_paths="JudgedPaths PredictedPaths judged",
    prediction_score="PredictionScore prediction_score",
    score_tables="named_points score_tables",
    scorecard="ClassScore Scorecard percentage scorecard_of",
    supervision="ClassGroup nearest_boxed",
)
