import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep import DataPrepError, ShardReader, merge
from data_prep.dataset.index_file import BACKUP_NAME, read_index
from data_prep.maintenance.check import check_shards
from data_prep.maintenance.relabel import relabel, write_relabelled
from data_prep.maintenance.relabel_settings import change_of
from data_prep.maintenance.repair import repair
from tests.data_prep.conftest import CAR, CAT, DOG, TABBY
from wordtree import WordTree
from wordtree.errors import ConfigError

ANIMALS = WordTree(["animal", CAT, DOG, TABBY], [-1, 0, 0, 1], ["animal", "cat", "dog", "tabby"])


def relabelled(folder, *overrides, keep_tree=False, out=None, **options):
    index = read_index(folder)
    made = relabel(folder, index, change_of(index, overrides, **options), keep_tree=keep_tree)
    write_relabelled(folder, made, out)
    return made


def shard_bytes(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("shard-*.h5"))}


def datasets(folder):
    with h5py.File(folder / "index.h5") as file:
        return {name: file[name][()] for name in file if name != "provenance"}


def assert_equal_but_for_provenance(one, other):
    first, second = datasets(one), datasets(other)
    assert first.keys() == second.keys()
    assert [name for name in first if not np.array_equal(first[name], second[name])] == []


# --- equal to a merge


CHANGES = [
    pytest.param(["tree.profile=darknet"], id="profile"),
    pytest.param(["label_map={world}/map.yaml"], id="label map"),
    pytest.param(["sources.coco.split={{train: 0.5, val: 0.5}}"], id="split by shares"),
    pytest.param(["sources.coco.split={{train: 0.5, val: 0.5}}", "seed=3"], id="seed"),
    pytest.param(["sources.labels.split=later", "sources.coco.exhaustive=[cat]"], id="split and vouching"),
    pytest.param(
        ["classes.drop=[dog]", "sources.labels.classes.keep=[n02123045]", "unmapped=drop"], id="classes"
    ),
    pytest.param(["ratio={{coco: 1, labels: 4}}", "sources.labels.split={{a: 0.5, train: 0.5}}"], id="ratio"),
    pytest.param(["sources.coco.repeat=3"], id="repeat"),
]


@pytest.mark.parametrize("changes", CHANGES)
def test_the_new_index_is_the_one_that_a_merge_would_write(world, tmp_path, config_of, changes):
    (world / "map.yaml").write_text("coco: {dog: n02084732, car: drop}\n")
    changes = [change.format(world=world) for change in changes]
    merge(config_of(world, "shard_mb=0.001"), tmp_path / "old")
    before = shard_bytes(tmp_path / "old")
    merge(config_of(world, "shard_mb=0.001", *changes), tmp_path / "new")
    if shard_bytes(tmp_path / "new") != before:  # a merge leaves out images that say nothing
        assert "classes.drop=[dog]" in changes
    relabelled(tmp_path / "old", *changes)
    assert shard_bytes(tmp_path / "old") == before
    if "classes.drop=[dog]" not in changes:
        assert_equal_but_for_provenance(tmp_path / "old", tmp_path / "new")
    old, new = ShardReader(tmp_path / "old"), ShardReader(tmp_path / "new")
    assert (old.tree, old.counts) == (new.tree, new.counts)
    assert old.label_counts.rows() == new.label_counts.rows()
    assert old.provenance["config"]["sources"] == new.provenance["config"]["sources"]


def test_a_given_tree_is_used_as_by_a_merge(world, tmp_path, config_of):
    tree = WordTree(["thing", CAT, DOG, CAR, TABBY], [-1, 0, 0, 0, 1])
    tree.save(tmp_path / "my.json")
    merge(config_of(world), tmp_path / "old")
    merge(config_of(world, f"tree={tmp_path / 'my.json'}"), tmp_path / "new")
    relabelled(tmp_path / "old", tree=tmp_path / "my.json")
    assert ShardReader(tmp_path / "old").tree == tree
    assert_equal_but_for_provenance(tmp_path / "old", tmp_path / "new")


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_there_and_back_again_is_the_same_index(shards, data):
    before = datasets(shards)
    share = data.draw(st.integers(1, 9)) / 10
    changes = data.draw(
        st.lists(
            st.sampled_from(
                [
                    "tree.profile=darknet",
                    f"sources.coco.split={{train: {share}, val: {1 - share:.1f}}}",
                    "sources.labels.split=later",
                    "sources.coco.exhaustive=[cat]",
                    "classes.drop=[dog, n02958343]",
                    "ratio={labels: 2, coco: 1}",
                ]
            ),
            min_size=1,
            unique=True,
        )
    )
    relabelled(shards, *changes)
    back = ["tree={}", "classes={}", "ratio=null", "sources.coco.exhaustive=null"]
    relabelled(shards, *back, "sources.coco.split=train", "sources.labels.split=train")
    after = datasets(shards)
    assert [name for name in before if not np.array_equal(before[name], after[name])] == []


# --- what a user may want


def test_without_a_change_of_meaning_tree_and_classes_stay(shards):
    tree, classes = read_index(shards).tree, read_index(shards).classes
    made = relabelled(shards, "sources.coco.exhaustive=[cat]", "sources.labels.split=later")
    assert (made.index.tree, made.index.classes, made.matches) == (tree, classes, ())
    reader = ShardReader(shards)
    assert reader.sources[0].exhaustive.tolist() == [tree.node(CAT)]
    assert (reader.splits, reader.split("later").tolist()) == (("train", "later"), list(range(6, 12)))


def test_what_was_decided_by_hand_before_holds(shards, tmp_path):
    (tmp_path / "map.yaml").write_text(f"coco: {{dog: {CAT}, car: drop}}\n")
    relabelled(shards, label_map=tmp_path / "map.yaml")
    relabelled(shards, "tree.profile=darknet")
    reader = ShardReader(shards)
    found = {row.name: (row.node, row.reason) for row in reader.classes if row.source == 0}
    assert found["dog"] == (reader.tree.node(CAT), "edited")
    assert found["car"] == (-1, "dropped")


def test_images_that_say_nothing_under_the_new_nodes_are_in_no_split_until_they_do(shards):
    before = datasets(shards)
    relabelled(shards, f"classes.drop=[{CAR}]")
    reader = ShardReader(shards)
    assert len(reader) == 12
    assert reader.split("train").tolist() == list(range(9))  # the last three show nothing but a car
    assert reader.counts[1]["image left out, as its classes have no node"] == 3
    relabelled(shards, "classes={}")
    assert np.array_equal(datasets(shards)["image_split"], before["image_split"])


def test_the_tree_is_kept_on_request(shards, tmp_path):
    tree = read_index(shards).tree
    (tmp_path / "map.yaml").write_text("coco: {dog: drop}\n")
    relabelled(shards, label_map=tmp_path / "map.yaml", keep_tree=True)
    assert ShardReader(shards).tree == tree
    relabelled(shards, label_map=tmp_path / "map.yaml")
    assert DOG not in ShardReader(shards).tree


def test_a_tree_that_was_given_is_remembered_even_if_its_file_is_gone(shards, tmp_path):
    ANIMALS.save(tmp_path / "animals.json")
    relabelled(shards, tree=tmp_path / "animals.json", unmapped="drop")
    (tmp_path / "animals.json").unlink()
    relabelled(shards, "classes.drop=[dog]")
    assert ShardReader(shards).tree == ANIMALS


def test_the_old_index_is_kept_beside_the_new_one(shards):
    before = (shards / "index.h5").read_bytes()
    relabelled(shards, "sources.labels.split=later")
    assert (shards / BACKUP_NAME).read_bytes() == before
    assert check_shards(shards, read_index(shards)).damages == ()


def test_a_folder_of_its_own_shares_the_shards(shards, tmp_path):
    before = (shards / "index.h5").read_bytes()
    relabelled(shards, "sources.labels.split=later", out=tmp_path / "other")
    assert (shards / "index.h5").read_bytes() == before
    assert (tmp_path / "other" / "shard-00000.h5").samefile(shards / "shard-00000.h5")
    assert ShardReader(tmp_path / "other").splits == ("train", "later")
    assert check_shards(tmp_path / "other", read_index(tmp_path / "other")).damages == ()
    with pytest.raises(DataPrepError, match="expected a new or empty folder"):
        relabelled(shards, "seed=1", out=tmp_path / "other")


def test_a_repaired_set_can_be_relabelled(shards):
    (shards / "shard-00001.h5").unlink()
    repair(check_shards(shards, read_index(shards)))
    relabelled(shards, "sources.coco.split={train: 0.5, val: 0.5}")
    reader = ShardReader(shards)
    assert len(reader) == 10
    assert len(reader.split("train")) + len(reader.split("val")) == 10
    assert all(len(reader.encoded(image)) for image in range(10))


def test_settings_that_came_after_the_merge_have_their_default(shards):
    index = read_index(shards)
    config = {name: value for name, value in index.provenance["config"].items() if name != "unreadable"}
    older = replace(index, provenance={**index.provenance, "config": config})
    assert change_of(older, ["seed=1"]).config.unreadable == "drop"


def test_a_seed_that_chose_the_images_stays(world, tmp_path, config_of):
    merge(config_of(world, "sources.coco.max_images=3"), tmp_path / "out")
    with pytest.raises(ConfigError, match="seed decides the content of the shards"):
        relabelled(tmp_path / "out", "seed=1")


# --- what is refused


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        pytest.param(["resize_max=100"], "resize_max decides the content of the shards", id="packing"),
        pytest.param(["sources.coco.max_images=2"], "sources.coco.max_images decides", id="pictures"),
        pytest.param(["sources.coco.images=x"], "sources.coco.images decides", id="folder"),
        pytest.param(["sources.coko.split=x"], "no entry 'coko'", id="no such source"),
        pytest.param(["sources.coco.exhaustive=[catt]"], "exhaustive: 'catt'", id="exhaustive"),
        pytest.param(["treee=x"], "unknown key 'treee'", id="no such setting"),
        pytest.param(["tree=/nowhere/my.tree"], "cannot read the tree .No such file", id="no tree"),
        pytest.param(["sources.coco.split={train: 0.5}"], "sum", id="shares"),
    ],
)
def test_what_cannot_be_changed_is_reported_in_one_line(shards, overrides, expected):
    before = (shards / "index.h5").read_bytes()
    with pytest.raises((ConfigError, DataPrepError), match=expected) as caught:
        relabelled(shards, *overrides)
    assert "\n" not in str(caught.value)
    assert (shards / "index.h5").read_bytes() == before


def test_classes_without_a_node_stop_or_are_dropped(shards, tmp_path):
    ANIMALS.save(tmp_path / "animals.json")
    with pytest.raises(DataPrepError, match=r"2 of 5 classes have no node: .*'car'.*--map MAP.yaml"):
        relabelled(shards, tree=tmp_path / "animals.json")
    relabelled(shards, tree=tmp_path / "animals.json", unmapped="drop")
    reader = ShardReader(shards)
    assert reader.tree == ANIMALS
    assert reader.label_counts.boxes.tolist() == [0, 2, 1, 0]
    assert reader.split("train").tolist() == list(range(9))


# --- the command


def test_the_command_writes_a_label_map_for_review_and_then_applies_it(shards, tmp_path, command):
    ANIMALS.save(tmp_path / "animals.json")
    before = (shards / "index.h5").read_bytes()
    arguments = ["relabel", shards, "--tree", tmp_path / "animals.json", "--map", tmp_path / "map.yaml"]
    code, text, _ = command(*arguments)
    assert code == 0
    assert "review it, edit it, and run this command again" in text
    assert (shards / "index.h5").read_bytes() == before
    label_map = yaml.safe_load((tmp_path / "map.yaml").read_text())
    label_map["coco"]["car"] = label_map["labels"][CAR] = "drop"
    (tmp_path / "map.yaml").write_text(yaml.safe_dump(label_map))
    code, text, _ = command(*arguments)
    assert code == 0
    assert "models trained with the old tree do not fit" in text
    assert "the old index is index.h5.bak" in text
    assert ShardReader(shards).tree == ANIMALS
    assert yaml.safe_load((shards / "label_map.yaml").read_text())["coco"]["car"]["node"] == "drop"


def test_the_command_sets_exhaustive_annotation_and_splits(shards, command):
    split = ["--split", "labels=later", "--split", "coco=train:0.5, val:0.5"]
    code, text, err = command("relabel", shards, "--exhaustive", "coco=cat, dog", *split, "--json")
    assert (code, err) == (0, "")
    result = json.loads(text)
    for source in result["sources"]:
        assert source["splits"].keys() <= {"train", "val", "later"}
    assert set(result["sources"][0]["exhaustive"]) == {CAT, DOG}
    assert result["written"] is True
    former_spelling = "--vouches"
    code, text, _ = command("relabel", shards, former_spelling, "coco=", "--split", "coco=train")
    assert code == 0
    assert ShardReader(shards).sources[0].exhaustive.tolist() == []
    code, _, err = command("relabel", shards, "--exhaustive", "cat")
    assert code == 2
    assert "expected SOURCE=" in err


def test_damaged_shards_are_reported(shards, command):
    (shards / "shard-00001.h5").write_bytes(b"")
    code, _, err = command("relabel", shards, "--split", "coco=train:0.5,val:0.5")
    assert code == 2
    assert "shard-00001.h5: expected an HDF5 file" in err
