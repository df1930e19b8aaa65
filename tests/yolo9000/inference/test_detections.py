"""`Detections`: invalid columns, slices, queries, and JSON."""

from __future__ import annotations

import contextlib
import doctest
import io
import json
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

import yolo9000.inference.detections as detections_module
from wordtree.tree import query
from wordtree.tree.query import QueryError
from wordtree.tree.tree import WordTree
from yolo9000.inference.detections import Detections, InvalidDetections, coco_categories


def columns(tree: WordTree, **changes: Any) -> dict[str, Any]:
    """A terrier, a car and an animal."""
    return {
        "tree": tree,
        "image": "street.jpg",
        "image_size_px": (64, 48),
        "xyxy_px": [[1, 2, 30, 40], [10, 10, 60, 44], [0, 0, 5.123, 6]],
        "node": [6, 4, 0],
        "objectness": [0.9, 0.8, 0.5],
        "absolute": [0.9, 0.5, 0.6],
        "score": [0.81, 0.4, 0.3],
        "conditional": ([1.0, 0.95, 0.947368], [0.5, 1.0], [0.6]),
    } | changes


def test_arrays_have_fixed_dtypes_and_cannot_be_changed(toy_tree: WordTree) -> None:
    detections = Detections(**columns(toy_tree))
    assert detections.xyxy_px.dtype == np.float32
    assert detections.node.dtype == np.int64
    assert [path.dtype for path in detections.conditional] == [np.float32] * 3
    with pytest.raises(ValueError, match="read-only"):
        detections.score[0] = 1


def test_detections_may_be_empty(toy_tree: WordTree) -> None:
    nothing = Detections(
        **columns(
            toy_tree,
            xyxy_px=np.zeros((0, 4)),
            node=[],
            objectness=[],
            absolute=[],
            score=[],
            conditional=(),
        )
    )
    assert len(nothing) == 0
    assert nothing.to_dicts() == []
    assert list(nothing) == []
    assert repr(nothing) == "Detections(street.jpg: 0)"


@pytest.mark.parametrize(
    ("expression", "kept"),
    [
        pytest.param("animal", ["terrier", "animal"], id="nodes"),
        pytest.param("animal & !only(animal)", ["terrier"], id="without the general node"),
        pytest.param("score >= 0.3 & objectness < 0.9", ["car", "animal"], id="exact numbers"),
        pytest.param("absolute > 0.55 & area < 100", ["animal"], id="small"),
        pytest.param("depth = 0", ["animal"], id="the depth of the detected node"),
        pytest.param("boat", [], id="none"),
    ],
)
def test_an_expression_selects_detections(toy_tree: WordTree, expression: str, kept: list[str]) -> None:
    assert Detections(**columns(toy_tree)).select(expression).names == kept


def test_an_expression_is_parsed_once_for_all_images(
    toy_tree: WordTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []

    def parse(text: str, *args: Any, **kwargs: Any) -> Any:
        parsed.append(text)
        return query.parse(text, *args, **kwargs)

    monkeypatch.setattr(detections_module, "parse", parse)
    for image in ("a.jpg", "b.jpg"):
        assert len(Detections(**columns(toy_tree, image=image)).select("animal | boat & score > 0.07")) == 2
    assert parsed == ["animal | boat & score > 0.07"]


def test_an_unknown_field_is_reported_with_its_column(toy_tree: WordTree) -> None:
    with pytest.raises(QueryError, match=r"no field 'scor'.*'score'\? \(column 10"):
        Detections(**columns(toy_tree)).select("animal & scor > 1")


def test_indexing_takes_the_chosen_rows_of_every_column(toy_tree: WordTree) -> None:
    detections = Detections(**columns(toy_tree))
    animals = detections[toy_tree.is_at_or_under(detections.node, 0)]
    assert animals.names == ["terrier", "animal"]
    assert [len(path) for path in animals.conditional] == [3, 1]
    assert animals.score.tolist() == pytest.approx([0.81, 0.3])
    assert detections[1:].names == ["car", "animal"]
    assert detections[-1].names == ["animal"]
    assert [one.names for one in detections] == [["terrier"], ["car"], ["animal"]]
    assert len(detections[np.zeros(3, bool)]) == 0
    with pytest.raises(IndexError):
        detections[3]


def test_json_has_every_number_under_its_name(toy_tree: WordTree) -> None:
    detections = Detections(**columns(toy_tree))
    image = json.loads(json.dumps(detections.to_dict()))
    assert (image["image"], image["width_px"], image["height_px"]) == ("street.jpg", 64, 48)
    assert image["detections"] == detections.to_dicts()
    assert image["detections"][0] == {
        "xyxy_px": [1.0, 2.0, 30.0, 40.0],
        "id": "n00000006",
        "name": "terrier",
        "path": ["animal", "dog", "terrier"],
        "conditional": [1.0, 0.95, 0.947368],
        "objectness": 0.9,
        "absolute": 0.9,
        "score": 0.81,
    }
    assert image["detections"][2]["xyxy_px"] == [0.0, 0.0, 5.12, 6.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"xyxy_px": [[1, 2, 3]]}, r"boxes of shape \(K, 4\), found \(1, 3\)", id="not boxes"),
        pytest.param(
            {"score": [0.8, 0.4]}, r"3 rows, one for each box, found score \(2,\)", id="one row too few"
        ),
        pytest.param({"conditional": ()}, r"found conditional \(0,\)", id="no paths"),
        pytest.param({"node": [6, 7, 0]}, r"nodes 0\.\.6, found 7 in row 1", id="a node of another tree"),
        pytest.param(
            {"node": [6, 4, 3]},
            "2 conditional probabilities down to n00000003, found 1 in row 2",
            id="a short path",
        ),
        pytest.param({"xyxy_px": [[np.nan] * 4] * 3}, "finite boxes", id="NaN box"),
        pytest.param({"xyxy_px": [[30, 2, 1, 40]] * 3}, "right < left", id="right of a box below left"),
        pytest.param({"objectness": [0.9, 1.2, 0.5]}, r"in 0\.\.1, found 1\.2", id="a probability above 1"),
        pytest.param({"absolute": [0.9, np.nan, 0.5]}, r"in 0\.\.1, found nan", id="NaN probability"),
        pytest.param({"score": [0.4, 0.8, 0.3]}, "best score first", id="not sorted"),
    ],
)
def test_columns_that_do_not_fit_are_refused(
    toy_tree: WordTree, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidDetections, match=rf"^Detections of street\.jpg: expected .*{message}"):
        Detections(**columns(toy_tree, **changes))


# --- conversions


def known(tree: WordTree, **changes: Any) -> Detections:
    """A terrier and a car with everything that the tree says below them, and an animal that is most likely a cat."""
    below = {
        "best_leaf": [6, 4, 3],
        "conditional_below": ([], [], [0.5]),
        "stopped": ("leaf", "leaf", "threshold"),
    }
    return Detections(**columns(tree, **(below | changes)))


def test_the_examples_in_the_docstrings_are_right(toy_tree: WordTree) -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip("supervision", reason="supervision is not installed")
    names = {"tree": toy_tree, "found": known(toy_tree)[:2], "Detections": Detections}
    result = doctest.testmod(detections_module, extraglobs=names)
    assert result.attempted >= 15
    assert result.failed == 0


@pytest.mark.parametrize("video", [{}, {"frame": 12, "time_s": 0.4}], ids=["image", "frame"])
def test_json_and_dicts_become_the_same_detections_again(toy_tree: WordTree, video: dict[str, Any]) -> None:
    for found in (known(toy_tree, **video), Detections(**columns(toy_tree, **video)), known(toy_tree)[:0]):
        for again in (
            Detections.from_dict(found.to_dict(), toy_tree),
            Detections.from_json(found.to_json(), toy_tree),
        ):
            assert again.to_dict() == found.to_dict()
            assert (again.frame, again.time_s) == (found.frame, found.time_s)
            assert again.stopped == found.stopped or not len(found)


@pytest.mark.parametrize(
    "broken",
    [
        {"detections": [{}]},
        {"image": "a.jpg"},
        [],
        None,
        {"image": "street.jpg", "width_px": 1, "height_px": 1, "detections": [{"id": "n00000099"}]},
    ],
)
def test_a_dict_of_another_shape_is_refused_in_one_line(toy_tree: WordTree, broken: Any) -> None:
    with pytest.raises(InvalidDetections, match="expected a dict as `to_dict` gives it") as caught:
        Detections.from_dict(broken, toy_tree)
    assert len(str(caught.value).splitlines()) == 1


def test_coco_rows_load_in_pycocotools(toy_tree: WordTree) -> None:
    coco = COCO()
    coco.dataset = {
        "images": [{"id": 7, "width": 64, "height": 48}],
        "annotations": [],
        "categories": coco_categories(toy_tree),
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        loaded = coco.loadRes(known(toy_tree).to_coco(7))
    assert [(row["category_id"] - 1, row["score"]) for row in loaded.dataset["annotations"]] == [
        (6, 0.81),
        (4, 0.4),
        (0, 0.3),
    ]
    assert loaded.dataset["annotations"][0]["bbox"] == [1, 2, 29, 38]


def test_yolo_lines_give_the_boxes_back(toy_tree: WordTree) -> None:
    found = known(toy_tree)
    rows = np.array([line.split() for line in found.to_yolo().splitlines()], float)
    centre, size = rows[:, 1:3] * [64, 48], rows[:, 3:5] * [64, 48]
    np.testing.assert_allclose(np.hstack([centre - size / 2, centre + size / 2]), found.xyxy_px, atol=1e-3)
    assert rows[:, 0].astype(int).tolist() == found.node.tolist()


def test_supervision_and_pandas_have_every_row(toy_tree: WordTree) -> None:
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    pytest.importorskip("pandas", reason="pandas is not installed")
    found = known(toy_tree)
    theirs = found.to_supervision()
    assert isinstance(theirs, supervision.Detections)
    np.testing.assert_array_equal(theirs.xyxy, found.xyxy_px)
    assert len(theirs[theirs.confidence > 0.35]) == 2
    assert len(found[:0].to_supervision()) == 0
    table = found.to_pandas()
    assert table.columns[0] == "image"
    assert table["best_leaf"].tolist() == ["terrier", "car", "cat"]
    assert table["best_leaf_absolute"].tolist() == pytest.approx([0.9, 0.5, 0.3])
    assert found[:0].to_pandas().empty


def test_parts_of_one_image_become_one_and_others_are_refused(toy_tree: WordTree) -> None:
    found = known(toy_tree)
    assert Detections.concatenate([found[2], found[0], found[1]]).to_dict() == found.to_dict()
    with pytest.raises(InvalidDetections, match=r"expected detections in street\.jpg"):
        Detections.concatenate([found, known(toy_tree, image="other.jpg")])
    with pytest.raises(InvalidDetections, match="at least one part"):
        Detections.concatenate([])


def test_a_best_leaf_elsewhere_in_the_tree_is_refused(toy_tree: WordTree) -> None:
    with pytest.raises(InvalidDetections, match="best leaf at or below its node"):
        known(toy_tree, best_leaf=[5, 4, 3])


@pytest.mark.parametrize("text", ["[" * 20_000, '{"a":' * 20_000, "7", "{", "[]", "null"])
def test_a_text_that_is_no_json_of_detections_is_refused_in_one_line(text: str, toy_tree: WordTree) -> None:
    with pytest.raises(InvalidDetections) as caught:
        Detections.from_json(text, toy_tree)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("number", [1e300, 10**400, float("nan"), "x", None, [1]])
@pytest.mark.parametrize("entry", ["score", "objectness", "absolute", "xyxy_px", "conditional"])
def test_numbers_beyond_the_range_of_the_columns_are_refused(
    number: object, entry: str, toy_tree: WordTree
) -> None:
    row = {"xyxy_px": [1, 2, 3, 4], "id": toy_tree.ids[0], "conditional": [1.0]}
    row |= {"objectness": 0.5, "absolute": 0.5, "score": 0.25}
    row[entry] = [number, *row[entry][1:]] if isinstance(row[entry], list) else number
    content = {"image": "a.jpg", "width_px": 9, "height_px": 9, "detections": [row]}
    with pytest.raises(InvalidDetections):
        Detections.from_dict(content, toy_tree)
