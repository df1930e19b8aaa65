import shutil

import pytest

from data_prep import DataPrepError, ShardReader, make_plan, merge
from data_prep.classes.label_map import read_label_map, write_label_map
from tests.data_prep.conftest import CAR, CAT, DOG, TABBY, encoded_image
from wordtree.errors import ConfigError

BUS, ZEBRA = "n02924116", "n02391049"


@pytest.fixture
def folders(world):
    """The world with four label folders: five tabbies, three cars, two buses, one zebra."""
    for wnid, images in ((TABBY, 5), (CAR, 3), (BUS, 2), (ZEBRA, 1)):
        shutil.rmtree(world / "labelled" / wnid, ignore_errors=True)
        (world / "labelled" / wnid).mkdir()
        for number in range(images):
            (world / "labelled" / wnid / f"{number}.png").write_bytes(
                encoded_image(number, (20 + images, 20), kind="PNG")
            )
    return world


def used(plan, source="labels"):
    return {match.name for match in plan.matches if match.source == source and match.is_used}


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        pytest.param("{}", {TABBY, CAR, BUS, ZEBRA}, id="no selection"),
        pytest.param("{top: 2}", {TABBY, CAR}, id="top"),
        pytest.param("{top: 9}", {TABBY, CAR, BUS, ZEBRA}, id="more than there are"),
        pytest.param("{min_images: 2}", {TABBY, CAR, BUS}, id="min_images"),
        pytest.param("{top: 3, min_images: 3}", {TABBY, CAR}, id="both"),
        pytest.param(f"{{keep: [{ZEBRA}]}}", {ZEBRA}, id="keep alone"),
        pytest.param(f"{{top: 1, keep: [{ZEBRA}]}}", {TABBY, ZEBRA}, id="top and keep"),
        pytest.param(f"{{drop: [{TABBY}]}}", {CAR, BUS, ZEBRA}, id="drop"),
        pytest.param(f"{{top: 1, drop: [{TABBY}]}}", {CAR}, id="top among those not dropped"),
    ],
)
def test_a_source_selects_among_its_own_classes(folders, config_of, selection, expected):
    plan = make_plan(config_of(folders, f"sources.labels.classes={selection}"))
    assert used(plan) == expected
    assert used(plan, "coco") == {"cat", "dog", "car"}


def test_the_selection_over_all_sources_counts_the_images_of_a_node_together(folders, config_of):
    """Images: tabby 5, car 3 of labels, bus 2, zebra 1; cat 3 and dog 1 of coco."""
    plan = make_plan(config_of(folders, "classes={top: 3}"))
    assert used(plan) == {TABBY, CAR}
    assert used(plan, "coco") == {"cat", "car"}
    assert "1 images, not among classes.top 3" in [m.left_out for m in plan.matches if m.name == "dog"]


def test_labels_of_classes_left_out_are_counted_and_their_images_not_stored(folders, tmp_path, config_of):
    merge(
        config_of(folders, "sources.labels.classes={top: 2}", "sources.coco.classes={drop: [cat]}"),
        tmp_path / "out",
    )
    reader = ShardReader(tmp_path / "out")
    assert len(reader) == 6 + 5 + 3
    assert reader.counts[0]["box of a class without a node"] == 3
    assert reader.counts[1] == {
        "image label of a class without a node": 3,
        "image left out, as its classes have no node": 3,
    }
    reasons = {row.name: (row.node, row.reason) for row in reader.classes}
    assert reasons[BUS] == (-1, "left out: 2 images, not among sources.labels.classes.top 2")
    assert reasons["cat"] == (-1, "left out: named in sources.coco.classes.drop")
    assert BUS not in reader.tree
    assert reader.tree.node(DOG) in reader.sources[0].exhaustive
    assert len(reader.sources[0].exhaustive) == 2


def test_a_file_may_list_class_names_and_ids_of_nodes(folders, config_of):
    (folders / "keep.txt").write_text(f"# the animals\n{CAT}\n\ndog  # by name\n")
    plan = make_plan(config_of(folders, f"sources.coco.classes.keep={folders / 'keep.txt'}"))
    assert used(plan, "coco") == {"cat", "dog"}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        pytest.param(
            "sources.coco.classes={keep: [catt]}",
            r"sources.coco.classes.keep: 'catt' is neither .* \(did you mean 'cat'\?\)",
            id="no such class",
        ),
        pytest.param(
            "classes={drop: /nowhere/names.txt}",
            "names.txt: expected a list of names, cannot read",
            id="no file",
        ),
        pytest.param(
            "classes={top: 0}", "classes.top: expected a number greater than 0, found 0", id="top of none"
        ),
        pytest.param(
            "classes={keep: [zebra], tpo: 1}", "unknown key 'classes.tpo' .*'top'", id="misspelt key"
        ),
    ],
)
def test_an_invalid_selection_is_reported_in_one_line(folders, config_of, override, expected):
    with pytest.raises(ConfigError, match=expected) as caught:
        make_plan(config_of(folders, override))
    assert "\n" not in str(caught.value)


def test_a_class_without_a_node_does_not_stop_the_merge_if_it_is_left_out(folders, config_of):
    (folders / "labelled" / ZEBRA).rename(folders / "labelled" / "frobnicator")
    with pytest.raises(DataPrepError, match="frobnicator"):
        make_plan(config_of(folders, "sources.labels.classes={top: 2}")).require_resolved()
    make_plan(config_of(folders, "sources.labels.classes={min_images: 2}")).require_resolved()


def test_the_label_map_states_why_a_class_was_left_out_and_a_new_plan_selects_again(folders, config_of):
    path = folders / "map.yaml"
    plan = make_plan(config_of(folders, "sources.labels.classes={top: 2}"))
    write_label_map(path, plan.matches)
    assert f'  {BUS}: {{node: {BUS}, reason: wnid, left_out: "2 images, not among' in path.read_text()
    assert read_label_map(path)["labels", BUS].node == "drop"
    assert read_label_map(path, drop_left_out=False)["labels", BUS].node == BUS
    again = make_plan(config_of(folders, "sources.labels.classes={top: 3}", f"label_map={path}"))
    assert used(again) == {TABBY, CAR, BUS}
