"""The scorecard against hand calculation, against a slow and obvious AP50, and by its laws."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from data_prep import LabelCounts
from data_prep.dataset.label_counts import Supervision
from tests.yolo9000.made import random_tree
from wordtree.tree.tree import WordTree
from yolo9000.evaluation.average_precision import average_precision
from yolo9000.evaluation.baselines import label_on_best_box, label_on_whole_image
from yolo9000.evaluation.outcomes import Localisation, Outcomes, confusions, outcomes
from yolo9000.evaluation.outcomes import localisation as localisation_of
from yolo9000.evaluation.scorecard import score
from yolo9000.evaluation.supervision import PARTS, lift_to_boxed, nearest_boxed, split_mean
from yolo9000.inference.scored_boxes import GroundTruth, InvalidScores, ScoredBoxes

FLAT = WordTree([f"own{node}" for node in range(100)], [-1] * 100)
LEFT, MIDDLE, RIGHT = [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]


def truth(*rows: tuple[list[int], int], ignored: Sequence[int] = ()) -> GroundTruth:
    """Labelled boxes (xyxy, node); `ignored` lists the rows that are."""
    return GroundTruth(
        xyxy_px=np.array([box for box, _ in rows], float).reshape(-1, 4),
        node=np.array([node for _, node in rows], int),
        ignored=np.isin(np.arange(len(rows)), ignored),
    )


def answer(*rows: tuple[list[int], int, float]) -> ScoredBoxes:
    """Answers (xyxy, node, score)."""
    return ScoredBoxes(
        xyxy_px=np.array([box for box, _, _ in rows], float).reshape(-1, 4),
        node=np.array([node for _, node, _ in rows], int),
        score=np.array([value for _, _, value in rows], float),
    )


# ---- average precision


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        pytest.param([], 0, id="no answers"),
        pytest.param([(LEFT, 2, 0.9), (RIGHT, 2, 0.8)], 100, id="all found"),
        # Precision 1 up to recall .5, which holds 51 of the 101 recalls 0, .01 … 1.
        pytest.param([(LEFT, 2, 0.9)], 100 * 51 / 101, id="half found"),
        # The wrong answer comes first: precision 1/2 at recall .5, 2/3 at recall 1, so 2/3 everywhere.
        pytest.param(
            [(MIDDLE, 2, 0.9), (LEFT, 2, 0.8), (RIGHT, 2, 0.7)], 100 * 2 / 3, id="a wrong one first"
        ),
        pytest.param([(LEFT, 2, 0.9), (LEFT, 2, 0.8)], 100 * 51 / 101, id="found twice counts once"),
        pytest.param([(LEFT, 3, 0.9), (RIGHT, 3, 0.8)], 0, id="another name"),
        # Overlap 10/20 of the two boxes: exactly .5 is a match.
        pytest.param([([0, 0, 10, 5], 2, 0.9), (RIGHT, 2, 0.8)], 100, id="overlap of exactly one half"),
        # A wrong answer, then a right one: precision 1/2 up to recall .5.
        pytest.param([([0, 0, 10, 4], 2, 0.9), (RIGHT, 2, 0.8)], 50 * 51 / 101, id="overlap below one half"),
    ],
)
def test_ap50_by_hand(answers: list[tuple[list[int], int, float]], expected: float) -> None:
    result = average_precision([truth((LEFT, 2), (RIGHT, 2))], [answer(*answers)])
    assert result.keys() == {2}
    assert result[2].ap50 == pytest.approx(expected)


def test_ap_is_the_mean_over_ten_overlaps() -> None:
    # Overlap .72 is enough at .5, .55, .6, .65 and .7.
    result = average_precision([truth(([0, 0, 100, 100], 2))], [answer(([0, 0, 100, 72], 2, 0.9))])
    assert result[2].ap50 == pytest.approx(100)
    assert result[2].ap == pytest.approx(50)


def test_an_ignored_box_neither_counts_nor_punishes() -> None:
    images = [truth((LEFT, 2), (RIGHT, 2), ignored=[1])]
    assert average_precision(images, [answer((RIGHT, 2, 0.9), (LEFT, 2, 0.8))])[2].ap50 == pytest.approx(100)
    assert average_precision(images, [answer((LEFT, 2, 0.8))])[2].ap50 == pytest.approx(100)
    assert average_precision([truth((LEFT, 2), ignored=[0])], [answer((LEFT, 2, 0.8))]) == {}


def test_the_evaluator_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    average_precision([truth((LEFT, 2))], [answer((LEFT, 2, 0.8))])
    assert capfd.readouterr() == ("", "")


def test_only_the_best_answers_of_a_class_in_a_image_count() -> None:
    answers = [answer((MIDDLE, 2, 0.9), (MIDDLE, 2, 0.8), (LEFT, 2, 0.7))]
    assert average_precision([truth((LEFT, 2))], answers, max_detections=2)[2].ap50 == 0
    assert average_precision([truth((LEFT, 2))], answers, max_detections=3)[2].ap50 == pytest.approx(100 / 3)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return shared / (area - shared)


def slow_ap50(truths: Sequence[GroundTruth], answers: Sequence[ScoredBoxes], node: int) -> float:
    """AP50 of one node without ignored boxes, by the definition, one answer at a time."""
    ranked = sorted(
        (
            (-value, image, box)
            for image, given_ in enumerate(answers)
            for box, named, value in zip(given_.xyxy_px, given_.node, given_.score, strict=True)
            if named == node
        ),
        key=lambda row: row[:2],
    )
    free = {
        image: [box for box, labelled in zip(t.xyxy_px, t.node, strict=True) if labelled == node]
        for image, t in enumerate(truths)
    }
    objects = sum(map(len, free.values()))
    right, curve = 0, []
    for seen, (_, image, box) in enumerate(ranked, start=1):
        best = max(range(len(free[image])), key=lambda i: overlap(box, free[image][i]), default=None)
        if best is not None and overlap(box, free[image][best]) >= 0.5:
            free[image].pop(best)
            right += 1
        curve.append((right / objects, right / seen))
    recalls = np.linspace(0, 1, 101)  # as COCO counts them: the one of .7 is a little more than 7/10
    return 100 * sum(max((p for r, p in curve if r >= recall), default=0) for recall in recalls) / 101


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[GroundTruth], list[ScoredBoxes]]:
    """Up to three images with random boxes and answers of two classes; every score is different."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    truths, answers = [], []
    for _ in range(draw(st.integers(1, 3))):
        objects, found = draw(st.integers(0, 5)), draw(st.integers(0, 8))
        corner = rng.uniform(0, 60, (objects, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(8, 40, (objects, 2))], axis=1)
        near = (
            boxes[rng.integers(0, objects, found)]
            if objects
            else rng.uniform(0, 9, (found, 4)) + np.array([0, 0, 10, 10])
        )
        truths.append(truth(*((box, int(rng.integers(2, 4))) for box in boxes)))
        moved = near + rng.normal(0, 2, near.shape)
        answers.append(
            ScoredBoxes(
                xyxy_px=np.concatenate([np.minimum(moved[:, :2], moved[:, 2:]), moved[:, 2:]], axis=1),
                node=rng.integers(2, 4, found),
                score=rng.random(found),
            )
        )
    return truths, answers


@settings(deadline=None, max_examples=60)
@given(worlds())
def test_ap50_agrees_with_a_slow_obvious_one(world: tuple[list[GroundTruth], list[ScoredBoxes]]) -> None:
    truths, answers = world
    result = average_precision(truths, answers)
    assert set(result) == {int(node) for image in truths for node in image.node}
    for node, found in result.items():
        assert found.ap50 == pytest.approx(slow_ap50(truths, answers, node))
        assert 0 <= found.ap <= found.ap50 + 1e-9


# ---- recall and names


def localisation(
    truths: Sequence[GroundTruth], answers: Sequence[ScoredBoxes], *, tree: WordTree
) -> dict[int, Localisation]:
    return localisation_of(outcomes(truths, answers, tree=tree))


def test_an_object_is_found_under_any_name_and_called_by_its_best_answer() -> None:
    images = [truth((LEFT, 2), (MIDDLE, 2), (RIGHT, 3))]
    answers = [answer((LEFT, 3, 0.4), (LEFT, 2, 0.6), (MIDDLE, 2, 0.3), (MIDDLE, 3, 0.5))]
    found = localisation(images, answers, tree=FLAT)
    assert (found[2].objects, found[2].found, found[2].named) == (2, 2, 1)
    assert (found[3].recall, found[3].accuracy) == (0, None)
    assert (found[2].recall, found[2].accuracy) == (100, 50)


def test_a_name_of_a_kind_above_is_passed_over_for_a_name_of_its_own_level(toy_tree: WordTree) -> None:
    animal, dog, cat, terrier = 0, 2, 3, 6
    images = [truth((LEFT, terrier), (MIDDLE, terrier), (RIGHT, dog))]
    answers = [
        answer(
            (LEFT, animal, 0.9), (LEFT, dog, 0.8), (LEFT, terrier, 0.7),
            (MIDDLE, dog, 0.9), (MIDDLE, cat, 0.2),
            (RIGHT, animal, 0.9), (RIGHT, dog, 0.8), (RIGHT, terrier, 0.7),
        )
    ]  # fmt: skip
    found = localisation(images, answers, tree=toy_tree)
    assert (found[terrier].found, found[terrier].named) == (2, 1)
    assert found[dog].named == 1


def test_an_outcome_holds_the_object_and_the_answer_that_speaks_for_it() -> None:
    moved = [22, 0, 32, 10]
    images = [truth(), truth((LEFT, 2), (MIDDLE, 2), (RIGHT, 3), ignored=[0])]
    found = outcomes(images, [answer(), answer((MIDDLE, 4, 0.2), (moved, 5, 0.6))], tree=FLAT)
    assert found.picture.tolist() == [1, 1]
    assert found.node.tolist() == [2, 3]
    assert found.xyxy_px.tolist() == [MIDDLE, RIGHT]
    assert found.called.tolist() == [5, -1]
    assert found.detection_xyxy_px[0].tolist() == moved
    assert found.score[0] == 0.6
    assert np.isnan(found.score[1])
    assert np.isnan(found.detection_xyxy_px[1]).all()
    assert (found.is_detected.tolist(), found.is_correct.tolist()) == ([True, False], [False, False])


def test_confusions_are_counted_by_pair_with_their_place_in_the_tree(toy_tree: WordTree) -> None:
    vehicle, dog, cat, car, terrier = 1, 2, 3, 4, 6
    pairs = [
        (terrier, cat),
        (dog, dog),
        (terrier, cat),
        (car, cat),
        (dog, terrier),
        (car, vehicle),
        (cat, -1),
    ]
    columns = np.array(pairs)
    boxes = np.zeros((len(pairs), 4))
    found = Outcomes(np.arange(len(pairs)), columns[:, 0], boxes, columns[:, 1], boxes, np.zeros(len(pairs)))
    rows = confusions(found, toy_tree)
    assert [(row.name, row.called, row.count, row.common, row.distance) for row in rows] == [
        ("terrier", "cat", 2, "animal", 3),
        ("dog", "terrier", 1, "dog", 1),
        ("car", "vehicle", 1, "vehicle", 1),
        ("car", "cat", 1, None, None),
    ]
    assert rows[0].id == toy_tree.ids[terrier]
    assert rows[0].called_id == toy_tree.ids[cat]


def test_an_answer_speaks_only_for_the_object_that_it_overlaps_most() -> None:
    neighbours = truth(([0, 0, 10, 10], 2), ([2, 0, 12, 10], 3))
    found = localisation([neighbours], [answer(([0, 0, 10, 10], 2, 0.9))], tree=FLAT)
    assert (found[2].named, found[3].found) == (1, 0)


def test_ignored_objects_are_not_asked_for() -> None:
    assert localisation([truth((LEFT, 2), ignored=[0])], [answer((LEFT, 2, 0.9))], tree=FLAT) == {}


@settings(deadline=None)
@given(worlds())
def test_no_more_is_named_than_found_and_no_more_found_than_there_is(
    world: tuple[list[GroundTruth], list[ScoredBoxes]],
) -> None:
    for row in localisation(*world, tree=FLAT).values():
        assert 0 <= row.named <= row.found <= row.objects


# ---- the split, the card, the baselines


def supervision(node: int) -> Supervision:
    """In these tests 2 and 4 have boxes, 3 image labels, the others nothing."""
    known: dict[int, Supervision] = {2: "boxes", 4: "boxes", 3: "image labels"}
    return known.get(node, "none")


def test_the_split_averages_classes_and_leaves_out_undefined_values() -> None:
    assert split_mean({2: 10.0, 4: 30.0, 3: 50.0}, supervision) == {
        "all": 30,
        "boxed": 20,
        "label_only": 50,
        "neither": None,
    }
    assert split_mean({2: 10.0, 4: None}, supervision)["boxed"] == 10
    assert set(split_mean({}, supervision).values()) == {None}


def test_the_card_splits_every_measure_by_what_training_knew(toy_tree: WordTree) -> None:
    images = [truth((LEFT, 2), (MIDDLE, 3)), truth((RIGHT, 4), (LEFT, 5)), truth()]
    answers = [answer((LEFT, 2, 0.9), (MIDDLE, 2, 0.8)), answer((RIGHT, 4, 0.9)), answer()]
    card = score(images, answers, tree=toy_tree, supervision=supervision)
    assert card.images == 3
    assert [(row.name, row.supervision, row.boxes) for row in card.classes] == [
        ("dog", "boxes", 1),
        ("cat", "image labels", 1),
        ("car", "boxes", 1),
        ("boat", "none", 1),
    ]
    assert (card.boxed.classes, card.boxed.boxes, card.boxed.ap50) == (2, 2, pytest.approx(100))
    assert (card.label_only.ap50, card.label_only.recall50, card.label_only.accuracy) == (0, 100, 0)
    assert (card.neither.recall50, card.neither.accuracy) == (0, None)
    counts = [(card.part(part).boxes, card.part(part).found, card.part(part).named) for part in PARTS]
    assert counts == [(4, 3, 2), (2, 2, 2), (1, 1, 0), (1, 0, 0)]
    assert [(row.name, row.called) for row in card.confusions] == [("cat", "dog")]
    assert len(card.outcomes) == 4
    assert (card.all.classes, card.all.ap50) == (4, pytest.approx(50))


def test_objects_are_reported_apart_by_size_place_and_company(toy_tree: WordTree) -> None:
    """Images of 100 × 50 px. In the first a dog, cut by the edge, and a cat over part of it; in the second four boats
    far apart, of 5 to 20 px, of which the two small ones are not found."""
    edge, over = [0, 10, 40, 30], [30, 10, 50, 30]
    boats = [([20 * k + 4, 20, 20 * k + 4 + side, 24], 5) for k, side in enumerate((5, 6, 12, 15))]
    images = [truth((edge, 2), (over, 3)), truth(*boats)]
    answers = [answer((edge, 2, 0.9), (over, 2, 0.8)), answer(*((box, 5, 0.9) for box, _ in boats[2:]))]
    card = score(images, answers, tree=toy_tree, supervision=supervision, sizes_px=[(100, 50)] * 2)
    message = {(one.name, one.part): (one.objects, one.found, one.named) for one in card.breakdown}
    assert message == {
        ("5–8 % of the side", "neither"): (2, 0, 0),
        ("8–14 % of the side", "neither"): (1, 1, 1),
        ("14–19 % of the side", "neither"): (1, 1, 1),
        ("19–40 % of the side", "boxed"): (1, 1, 1),
        ("19–40 % of the side", "label_only"): (1, 1, 0),
        ("at the image’s edge", "boxed"): (1, 1, 1),
        ("overlapped by 20 % or more", "boxed"): (1, 1, 1),
        ("overlapped by 20 % or more", "label_only"): (1, 1, 0),
        ("neither of these two", "neither"): (4, 2, 2),
    }  # fmt: skip
    assert score(images, answers, tree=toy_tree, supervision=supervision).breakdown == ()
    empty = score([truth()], [answer()], tree=toy_tree, supervision=supervision, sizes_px=[(9, 9)])
    assert empty.breakdown == ()


@given(st.integers(0, 10**6), st.integers(1, 4))
def test_sizes_part_the_objects_and_so_do_place_and_company(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    tree = random_tree(12, seed=seed)
    boxes = [rng.uniform(0, 30, (int(rng.integers(0, 5)), 4)) for _ in range(count)]
    boxes = [np.concatenate([b[:, :2], b[:, :2] + 1 + b[:, 2:]], axis=1) for b in boxes]
    images = [truth(*((b.tolist(), int(rng.integers(12))) for b in these)) for these in boxes]
    answers = [answer(*((b.tolist(), int(rng.integers(12)), 0.5) for b in these[::2])) for these in boxes]
    card = score(
        images,
        answers,
        tree=tree,
        supervision=lambda k: ("boxes", "image labels")[k % 2],
        sizes_px=[(64, 64)] * count,
    )
    sizes = [one for one in card.breakdown if one.name.endswith("side")]
    for field in ("objects", "found", "named"):
        total = {"objects": "boxes"}.get(field, field)
        assert sum(getattr(one, field) for one in sizes) == getattr(card.all, total)
    covered = sum(
        any(i != j and shared_area(b, other) >= 0.2 * shared_area(b, b) for j, other in enumerate(these))
        for these in boxes
        for i, b in enumerate(these)
    )
    assert covered == sum(one.objects for one in card.breakdown if one.name.startswith("overlapped"))


def shared_area(a: np.ndarray, b: np.ndarray) -> float:
    width, height = (min(a[k + 2], b[k + 2]) - max(a[k], b[k]) for k in (0, 1))
    return float(max(0, width) * max(0, height))


def test_the_card_is_json_and_a_table_of_the_parts_that_have_classes(toy_tree: WordTree) -> None:
    card = score([truth((LEFT, 2))], [answer((LEFT, 2, 0.9))], tree=toy_tree, supervision=supervision)
    plain = json.loads(json.dumps(card.to_dict()))
    assert (plain["boxed"]["found"], plain["boxed"]["named"]) == (1, 1)
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


def test_a_test_set_without_boxes_has_an_empty_card(toy_tree: WordTree) -> None:
    card = score([truth()], [answer((LEFT, 2, 0.9))], tree=toy_tree, supervision=supervision)
    assert (card.all.classes, card.all.ap50, card.classes) == (0, None, ())


def test_the_whole_image_yardstick_scores_only_objects_that_fill_the_image(toy_tree: WordTree) -> None:
    images = [truth(([0, 0, 50, 40], 3), (LEFT, 2)), truth((LEFT, 3)), truth((LEFT, 3), ignored=[0])]
    answers = label_on_whole_image(images, [(50, 50)] * 3, nodes={3})
    assert [rows.node.tolist() for rows in answers] == [[3], [3], []]
    assert answers[0].xyxy_px.tolist() == [[0, 0, 50, 50]]
    card = score(images, answers, tree=toy_tree, supervision=supervision)
    assert card.boxed.ap50 == 0
    # Two answers of one score, in the order of the images: right, wrong; two objects.
    assert card.label_only.ap50 == pytest.approx(100 * 51 / 101)


def test_the_best_box_yardstick_puts_the_true_label_there() -> None:
    images = [truth((LEFT, 3), (RIGHT, 5)), truth((LEFT, 3)), truth((LEFT, 2))]
    boxes = {0: (np.array(LEFT, np.float32), 0.7), 2: (np.array(LEFT, np.float32), 0.4)}
    answers = label_on_best_box(images, boxes, nodes=[3, 5])
    assert [rows.node.tolist() for rows in answers] == [[3, 5], [], []]
    assert answers[0].score.tolist() == [0.7, 0.7]
    assert average_precision(images, answers)[3].ap50 == pytest.approx(100 * 51 / 101)


# ---- mistakes


# --- classes lifted to what had boxes

# Of the toy tree (animal: dog: terrier, cat · vehicle: car, boat).
ONLY_TERRIERS_BOXED = ([0, 0, 0, 0, 0, 0, 5], [0, 0, 0, 3, 3, 0, 0])
ONLY_DOGS_BOXED = ([0, 0, 5, 0, 0, 0, 0], [0, 0, 0, 3, 0, 0, 3])


@pytest.mark.parametrize(
    ("labels", "node", "lifted"),
    [
        pytest.param(ONLY_TERRIERS_BOXED, 6, 6, id="own boxes"),
        pytest.param(ONLY_TERRIERS_BOXED, 2, 2, id="boxes below"),
        pytest.param(ONLY_TERRIERS_BOXED, 3, 0, id="boxes of a relative: their common ancestor"),
        pytest.param(ONLY_TERRIERS_BOXED, 4, 4, id="no box in its branch: itself"),
        pytest.param(ONLY_DOGS_BOXED, 6, 2, id="boxes of the kind above"),
    ],
)
def test_a_class_is_lifted_to_the_lowest_node_at_or_above_with_boxes_at_or_below(
    toy_tree: WordTree, labels: tuple[list[int], list[int]], node: int, lifted: int
) -> None:
    assert nearest_boxed(node, LabelCounts(toy_tree, *labels)) == lifted


def test_lifting_renames_boxes_and_changes_nothing_else(toy_tree: WordTree) -> None:
    before = truth((LEFT, 6), (MIDDLE, 3), (RIGHT, 4), ignored=[1])
    after = lift_to_boxed(before, LabelCounts(toy_tree, *ONLY_TERRIERS_BOXED))
    assert after.node.tolist() == [6, 0, 4]
    assert after.xyxy_px.tolist() == before.xyxy_px.tolist()
    assert after.ignored.tolist() == [False, True, False]


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(
        InvalidScores, match=r"GroundTruth: expected 1 rows in every column, found \(2,\) in node"
    ):
        GroundTruth(xyxy_px=np.zeros((1, 4)), node=np.zeros(2, int), ignored=np.zeros(1, bool))
    with pytest.raises(InvalidScores, match=r"ScoredBoxes: expected finite boxes of shape \(rows, 4\)"):
        ScoredBoxes(xyxy_px=np.zeros(4), node=np.zeros(1, int), score=np.zeros(1))
    with pytest.raises(InvalidScores, match=r"ScoredBoxes: expected left, top, right, bottom"):
        answer(([10, 0, 0, 10], 2, 0.5))
    with pytest.raises(InvalidScores, match="finite scores"):
        answer((LEFT, 2, float("nan")))
    with pytest.raises(InvalidScores, match="each of 2 images, in their order, found them for 1"):
        average_precision([truth(), truth()], [answer()])
