"""Baselines: true image labels on the whole image or on the best box."""

from __future__ import annotations

import numpy as np
import pytest

from tests.yolo9000.evaluation.made_boxes import LEFT, RIGHT, supervision, truth
from wordtree.tree.tree import WordTree
from yolo9000.evaluation.average_precision import average_precision
from yolo9000.evaluation.baselines import label_on_best_box, label_on_whole_image
from yolo9000.evaluation.scorecard import scorecard_of


def test_a_label_on_the_whole_image_is_correct_only_where_an_object_fills_the_image(
    toy_tree: WordTree,
) -> None:
    images = [truth(([0, 0, 50, 40], 3), (LEFT, 2)), truth((LEFT, 3)), truth((LEFT, 3), ignored=[0])]
    detections = label_on_whole_image(images, [(50, 50)] * 3, nodes={3})
    assert [rows.node.tolist() for rows in detections] == [[3], [3], []]
    assert detections[0].xyxy_px.tolist() == [[0, 0, 50, 50]]
    card = scorecard_of(images, detections, tree=toy_tree, supervision=supervision)
    assert card.boxed.ap50 == 0
    # Two detections of one score, in the order of the images: correct, wrong; two objects.
    assert card.label_only.ap50 == pytest.approx(100 * 51 / 101)


def test_a_label_on_the_best_box_has_the_score_of_the_box() -> None:
    images = [truth((LEFT, 3), (RIGHT, 5)), truth((LEFT, 3)), truth((LEFT, 2))]
    boxes = {0: (np.array(LEFT, np.float32), 0.7), 2: (np.array(LEFT, np.float32), 0.4)}
    detections = label_on_best_box(images, boxes, nodes=[3, 5])
    assert [rows.node.tolist() for rows in detections] == [[3, 5], [], []]
    assert detections[0].score.tolist() == [0.7, 0.7]
    assert average_precision(images, detections)[3].ap50 == pytest.approx(100 * 51 / 101)
