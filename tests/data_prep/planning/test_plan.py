import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import data_prep.planning.plan as plan_module
from data_prep import DataPrepError, make_plan
from data_prep.classes.conflicts import find_conflicts
from data_prep.dataset.index import SourceClass
from data_prep.planning.estimate import MB_PER_SECOND, estimate
from data_prep.records import Boxes, ImageLabel, ImageRecord
from data_prep.sources import OpenSource
from data_prep.tables.plan_tables import size_text, time_text
from tests.data_prep.conftest import CAR, CAT, DOG, TABBY
from wordtree import WordTree

#   animal ── cat ── tabby      car
#          └─ dog
TREE = WordTree(["animal", "car", "cat", "dog", "tabby"], [-1, -1, 0, 0, 2])
NODE = {id_: TREE.node(id_) for id_ in TREE.ids}


def conflicts(*rows, boxed=True):
    """Kind and classes of each conflict; rows: source number, name, id of the node or None."""
    classes = [
        SourceClass(source, name, -1 if id_ is None else NODE[id_], "exact") for source, name, id_ in rows
    ]
    boxes = np.full(len(classes), int(boxed))
    return [
        (conflict.kind, conflict.classes) for conflict in find_conflicts(classes, ["a", "b"], TREE, boxes)
    ]


SAME, NAME, ABOVE = (
    "classes of one source at one node",
    "one name at different nodes",
    "boxed class above boxed classes",
)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([], [], id="no class"),
        pytest.param([(0, "cat", "cat"), (0, "car", "car"), (1, "cat", "cat")], [], id="no conflict"),
        pytest.param(
            [(0, "cat", "cat"), (0, "kitty", "cat"), (1, "puss", "cat")], [(SAME, (0, 1))], id="one node"
        ),
        pytest.param([(0, "Tom_cat", "cat"), (1, "tom cat", "dog")], [(NAME, (0, 1))], id="one name"),
        pytest.param([(0, "cat", "cat"), (1, "cat", None)], [], id="a name without a node"),
        pytest.param(
            [(0, "animal", "animal"), (0, "car", "car"), (1, "tabby", "tabby"), (1, "dog", "dog")],
            [(ABOVE, (0, 3, 2))],
            id="above",
        ),
    ],
)
def test_conflicts_in_a_label_map_are_found(rows, expected):
    assert conflicts(*rows) == expected


def test_classes_of_one_name_at_one_node_are_reported_together():
    classes = [
        SourceClass(*row, "exact")
        for row in ((0, "animal", 0), (1, "animal", 0), (0, "dog", 3), (1, "Dog", 3))
    ]
    (conflict,) = find_conflicts(classes, ["a", "b"], TREE, np.ones(4, dtype=np.int64))
    assert conflict.text == "'animal' of a, b is above 'dog' of a and 'Dog' of b"


def test_a_class_above_another_is_a_conflict_only_if_both_have_boxes():
    assert conflicts((0, "animal", "animal"), (1, "dog", "dog"), boxed=False) == []


@pytest.fixture
def opened(world, monkeypatch):
    """A function that replaces the two sources of the world."""

    def describe(**settings):
        first = OpenSource(
            "coco", **{"has_boxes": True, "classes": ("cat",), "stream": one_image, **settings}
        )
        second = OpenSource("labels", has_boxes=False, classes=("dog",), stream=one_image)
        by_name = {"coco": first, "labels": second}
        monkeypatch.setitem(make_plan.__globals__, "open_source", lambda config: by_name[config.name])

    def one_image(_):
        yield ImageRecord("a.jpg", world / "photos" / "000.jpg", 10, None, None, (ImageLabel(0),))

    return describe


def test_an_alias_of_a_class_is_tried_first(world, config_of, opened):
    opened(classes=("mouse", "cat", "car", "dog"), aliases=("n02330245", "dog.n.01", "/m/0k4j", ""))
    found = [(match.id, match.reason) for match in make_plan(config_of(world)).matches[:4]]
    assert found == [("n02330245", "wnid"), (DOG, "synset name"), (CAR, "curated"), (DOG, "curated")]


def test_a_class_is_matched_by_name_if_the_given_tree_lacks_its_alias(world, config_of, opened):
    opened(classes=("cat", "dog"), aliases=("/m/01yrx", TABBY))
    tree = WordTree(["/m/01yrx", DOG], [-1, -1], ["house cat", "dog"])
    tree.save(world / "tree.json")
    plan = make_plan(config_of(world, f"tree={world / 'tree.json'}"))
    assert [match.id for match in plan.matches] == ["/m/01yrx", DOG, DOG]
    assert [row.alias for row in plan.classes] == ["/m/01yrx", TABBY, ""]


def test_a_federated_source_has_no_exhaustive_nodes_unless_configured(world, config_of, opened):
    opened(is_federated=True)
    assert make_plan(config_of(world)).sources[0].exhaustive.size == 0
    assert make_plan(config_of(world, "sources.coco.exhaustive=[cat]")).sources[0].exhaustive.size == 1
    opened(is_federated=False)
    assert make_plan(config_of(world)).sources[0].exhaustive.size == 1


def test_images_without_box_annotation_are_stored_only_with_a_label_that_has_a_node(world, config_of, opened):
    def stream(_):
        path = world / "photos" / "000.jpg"
        yield ImageRecord("annotated", path, 10, None, Boxes())
        yield ImageRecord("not annotated", path, 10, None, None)
        yield ImageRecord("label without node", path, 10, None, None, (ImageLabel(1),))
        yield ImageRecord("labelled", path, 10, None, None, (ImageLabel(1), ImageLabel(0, is_positive=False)))

    opened(classes=("zebra", "frobnicator"), stream=stream)
    plan = make_plan(config_of(world, "unmapped=drop"))
    assert [record.source_id for record in plan.images][:2] == ["annotated", "labelled"]
    assert plan.counts[0] == {
        "image label of a class without a node": 2,
        "image left out, as its classes have no node": 2,
    }


def test_a_plan_prints_conflicts_ratio_and_estimate(world, command):
    shutil.copytree(world / "labelled" / CAR, world / "labelled" / "zebra")
    (world / "labelled" / "zebra" / "0.jpg").rename(world / "labelled" / "zebra" / "9.jpg")
    code, text, _ = command(
        "plan",
        world / "merge.yaml",
        *("--set", "ratio={coco: 1, labels: 4}"),
        *("--set", "sources.labels.classes={min_images: 3, drop: [zebra]}"),
        *("--set", "sources.coco.split={train: 0.999999, val: 0.000001}"),
        *("--set", f"label_map={world / 'map.yaml'}"),
    )
    assert code == 0
    assert "left out by the selection of classes, named in sources.labels.classes.drop: 1" in text
    assert "labels: image left out, as its classes have no node: 3" in text
    assert "An epoch shows 30 images, coco : labels = 1 : 4." in text
    assert "Estimate: about 0.0 MB, 1 s with one worker (images unchanged; " in text
    (world / "labelled" / CAR).rename(world / "labelled" / "zebra.n.01")
    _, text, _ = command("plan", world / "merge.yaml", "--set", "sources.coco.classes.drop=[car]")
    assert (
        "to review: classes of one source at one node: labels 'zebra', labels 'zebra.n.01' are one: n02391049"
        in text
    )
    values = json.loads(command("plan", world / "merge.yaml", "--json")[1])
    assert [row["kind"] for row in values["conflicts"]] == [SAME]
    assert values["sources"][0]["splits"] == {"train": 6}


def test_the_estimate_states_its_assumptions(world, config_of):
    plan = make_plan(config_of(world))
    stored = sum(path.stat().st_size for path in world.rglob("*.jpg"))
    expected = estimate(plan)
    assert stored < expected.size_bytes < stored + 12 * 200
    assert expected.seconds == pytest.approx(stored / MB_PER_SECOND / 1e6)
    shrunk = estimate(make_plan(config_of(world, "resize_max=20")))
    assert shrunk.size_bytes < expected.size_bytes
    assert shrunk.basis.startswith(
        "larger images resized to 20 px, the 6 images without a stated size unchanged"
    )


@given(st.lists(st.integers(0, 50), max_size=40), st.floats(0.5, 100))
def test_a_shard_ends_with_the_image_that_fills_it(sizes, shard_bytes):
    expected, filled = [], 0
    for number, size in enumerate(sizes, start=1):
        filled += size
        if filled >= shard_bytes:
            expected.append(number)
            filled = 0
    if not expected or expected[-1] < len(sizes):
        expected.append(len(sizes))
    assert plan_module._shard_ends(np.array(sizes, dtype=np.int64), shard_bytes) == tuple(expected)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.0 MB"), (9.4e6, "9.4 MB"), (71.1e6, "71 MB"), (1.25e9, "1.2 GB"), (1.3e12, "1.3 TB")],
)
def test_sizes_are_printed_with_two_digits_and_a_unit(value, text):
    assert size_text(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "1 s"), (40, "40 s"), (720, "12 min"), (12_600, "3.5 h")])
def test_times_are_printed_with_a_unit(value, text):
    assert time_text(value) == text


def test_of_many_conflicts_only_the_first_are_printed(world, command):
    for number in range(10):
        shutil.copytree(world / "labelled" / TABBY, world / "labelled" / f"x{number}" / CAT)
        (world / "labelled" / f"x{number}" / CAT).rename(world / "labelled" / f"{CAT}-{number}")
        shutil.rmtree(world / "labelled" / f"x{number}")
    (world / "map.yaml").write_text(
        "labels:\n" + "".join(f"  {CAT}-{n}: {{node: {DOG}}}\n" for n in range(10))
    )
    _, text, _ = command("plan", world / "merge.yaml", "--set", f"label_map={world / 'map.yaml'}")
    assert "10 edited" in text
    assert text.count("labels 'n02121808-0', ") == 1


def test_a_missing_source_is_reported_in_one_line(world, config_of):
    shutil.rmtree(world / "labelled")
    with pytest.raises(DataPrepError, match="found nothing"):
        make_plan(config_of(world))


def test_a_plan_warns_about_a_ratio_without_training_images_and_about_a_missing_training_split(
    world, command
):
    settings = ("--set", "ratio={coco: 1, labels: 4}", "--set", "sources.labels.split=val")
    _, text, _ = command("plan", world / "merge.yaml", *settings)
    assert "The ratio of labels has no effect: none of its images is in split 'train'." in text
    assert "No image is in split" not in text
    _, text, _ = command("plan", world / "merge.yaml", *settings, "--set", "sources.coco.split=val")
    assert "No image is in split 'train', which training reads." in text


def test_a_plan_reports_classes_outside_the_root_of_a_built_tree(world, command):
    (world / "labelled" / CAR).rename(world / "labelled" / "traffic light")
    code, text, _ = command("plan", world / "merge.yaml")
    assert code == 0
    assert (
        "to review: separate root: 'traffic light' of labels is n06874185 (traffic light), "
        "which WordNet has outside physical_entity.n.01"
    ) in text
    assert text.count("separate root") == 1


def test_a_plan_without_any_matched_class_reports_why_and_still_writes_the_label_map(world, command):
    shutil.rmtree(world / "labelled" / CAR)
    (world / "labelled" / TABBY).rename(world / "labelled" / "crane")
    settings = ("--set", "sources.coco.classes.drop=[cat, dog, car]")
    code, _, text = command("plan", world / "merge.yaml", *settings)
    assert code == 2
    assert text == (
        "data-prep: None of 4 classes has a node to build a tree from: 3 are left out by the selection of classes; "
        "labels: 'crane' is ambiguous (5 senses). Accept what is proposed with `--set proposals=accept`.\n"
    )
    map_ = world / "map.yaml"
    code, _, text = command("plan", world / "merge.yaml", *settings, "--set", f"label_map={map_}")
    assert code == 2
    assert text.endswith(f"Label map written to {map_}: enter the nodes of the classes there.\n")
    map_.write_text(map_.read_text().replace("crane: {node: null", "crane: {node: crane.n.04"))
    code, text, _ = command("plan", world / "merge.yaml", *settings, "--set", f"label_map={map_}")
    assert (code, "1 edited" in text) == (0, True)


def test_a_plan_names_the_label_map_and_the_classes_that_it_lacks(world, command):
    map_ = ("--set", f"label_map={world / 'map.yaml'}")
    assert "add `--set label_map=label_map.yaml`" in command("plan", world / "merge.yaml")[1]
    assert f"Label map written to {world / 'map.yaml'}" in command("plan", world / "merge.yaml", *map_)[1]
    assert f"Label map read from {world / 'map.yaml'}." in command("plan", world / "merge.yaml", *map_)[1]
    (world / "labelled" / CAR).rename(world / "labelled" / "mouse")
    (world / "labelled" / "okapi").mkdir()
    shutil.copy(next((world / "labelled" / "mouse").iterdir()), world / "labelled" / "okapi" / "o.jpg")
    (world / "map.yaml").write_text(f"labels: {{{TABBY}: {TABBY}}}")
    _, text, _ = command("plan", world / "merge.yaml", *map_)
    assert (
        "which lacks coco 'cat', coco 'dog', coco 'car', labels 'mouse' and 1 more; these classes are matched by name."
        in text
    )
    assert (
        "1 class without a node, which stops the merge:\n  labels 'mouse' is ambiguous, 4 senses: n03793489 "
        in text
    )
    (row,) = [
        row
        for row in json.loads(command("plan", world / "merge.yaml", *map_, "--json")[1])["label_map"]
        if row["class"] == "mouse"
    ]
    assert row["candidates"][1] == {
        "id": "n02330245",
        "text": "mouse (rodent)",
        "because": "an animal",
    }
    assert row["proposal"] == {"id": "n03793489", "because": "as in COCO", "is_parent": False}
