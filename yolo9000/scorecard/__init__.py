"""The scorecard: one file for each measure; `score` makes them all.

AP by COCO's evaluator, recall whatever the name, accuracy of the names of what is found: each averaged over
all classes and split by what training knew of them; and the yardsticks to hold beside them.
"""

from yolo9000.scorecard.card import ClassScore, PartScore, Scorecard, score
from yolo9000.scorecard.inputs import GroundTruth, InvalidScores, ScoredBoxes
from yolo9000.scorecard.lifted import lift_to_boxed, nearest_boxed
from yolo9000.scorecard.split import Evidence
from yolo9000.scorecard.yardsticks import label_on_best_box, label_on_whole_image

__all__ = [
    "ClassScore",
    "Evidence",
    "GroundTruth",
    "InvalidScores",
    "PartScore",
    "Scorecard",
    "ScoredBoxes",
    "label_on_best_box",
    "label_on_whole_image",
    "lift_to_boxed",
    "nearest_boxed",
    "score",
]
