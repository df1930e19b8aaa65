"""The scorecard: every metric by supervision, as JSON and as a table."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from tests.yolo9000.evaluation.made_boxes import LEFT, MIDDLE, RIGHT, detected, supervision, truth
from wordtree.tree.tree import WordTree
from yolo9000.evaluation.scorecard import scorecard_of
from yolo9000.evaluation.supervision import CLASS_GROUPS


def test_the_scorecard_has_every_metric_by_supervision(toy_tree: WordTree) -> None:
    images = [truth((LEFT, 2), (MIDDLE, 3)), truth((RIGHT, 4), (LEFT, 5)), truth()]
    detections = [detected((LEFT, 2, 0.9), (MIDDLE, 2, 0.8)), detected((RIGHT, 4, 0.9)), detected()]
    card = scorecard_of(images, detections, tree=toy_tree, supervision=supervision)
    assert card.images == 3
    assert [(row.name, row.supervision, row.boxes) for row in card.classes] == [
        ("dog", "boxes", 1),
        ("cat", "image labels", 1),
        ("car", "boxes", 1),
        ("boat", "none", 1),
    ]
    assert (card.boxed.classes, card.boxed.boxes, card.boxed.ap50) == (2, 2, pytest.approx(100))
    assert (card.label_only.ap50, card.label_only.recall50, card.label_only.accuracy) == (0, 100, 0)
    assert (card.none.recall50, card.none.accuracy) == (0, None)
    counts = [
        (card.group(group).boxes, card.group(group).detected, card.group(group).correct)
        for group in CLASS_GROUPS
    ]
    assert counts == [(4, 3, 2), (2, 2, 2), (1, 1, 0), (1, 0, 0)]
    assert [(row.name, row.predicted) for row in card.confusions] == [("cat", "dog")]
    assert len(card.outcomes) == 4
    assert (card.all.classes, card.all.ap50) == (4, pytest.approx(50))


def test_the_scorecard_is_json_and_a_table_of_the_parts_with_classes(toy_tree: WordTree) -> None:
    card = scorecard_of(
        [truth((LEFT, 2))], [detected((LEFT, 2, 0.9))], tree=toy_tree, supervision=supervision
    )
    plain = json.loads(json.dumps(card.to_dict()))
    assert (plain["boxed"]["detected"], plain["boxed"]["correct"]) == (1, 1)
    assert plain["confusions"] == []
    assert "outcomes" not in plain
    assert plain["boxed"]["ap50"] == pytest.approx(100)
    assert plain["label_only"]["ap50"] is None
    assert plain["classes"][0]["id"] == "n00000002"
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(card.table())
    text = console.export_text()
    assert "with boxes" in text
    assert "100.0" in text
    assert "image labels only" not in text


def test_a_test_set_without_boxes_has_an_empty_scorecard(toy_tree: WordTree) -> None:
    card = scorecard_of([truth()], [detected((LEFT, 2, 0.9))], tree=toy_tree, supervision=supervision)
    assert (card.all.classes, card.all.ap50, card.classes) == (0, None, ())
