"""index.h5: its content, and the refusal of damaged or foreign files."""

import json
import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep import DataPrepError, ShardReader
from data_prep.dataset.index import DAMAGED_IMAGE
from data_prep.dataset.index_file import read_index, write_checksum, write_index
from data_prep.planning.selection import UNLABELLED_IMAGE
from data_prep.shards.format import ShardError
from tests.data_prep.dataset.former_index import write_index_v2


def problem(action):
    with pytest.raises(ShardError) as caught:
        action()
    assert isinstance(caught.value, DataPrepError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_without_an_index_is_reported_apart(tmp_path):
    assert "found no such folder" in problem(lambda: ShardReader(tmp_path / "nowhere"))
    assert "found no index in it" in problem(lambda: ShardReader(tmp_path))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        pytest.param(lambda path: path.write_bytes(b""), "expected an HDF5 file", id="empty"),
        pytest.param(
            lambda path: path.write_bytes(path.read_bytes()[:900]), "do not fit their checksum", id="cut"
        ),
        pytest.param(lambda path: path.write_text("tree"), "expected an HDF5 file", id="text"),
    ],
)
def test_a_damaged_index_is_reported_in_one_line(shards, damage, expected):
    damage(shards / "index.h5")
    assert expected in problem(lambda: ShardReader(shards))


def change(path, action):
    """Change a file through HDF5; an index gets a new checksum, as if it had been written so."""
    with h5py.File(path, "r+", rdcc_nbytes=0) as file:
        action(file)
    if path.name == "index.h5":
        write_checksum(path)


def change_keeping_size(path, action):
    size = path.stat().st_size
    change(path, action)
    os.truncate(path, size)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        pytest.param(lambda file: file.attrs.pop("format"), "found no format attribute", id="no format"),
        pytest.param(
            lambda file: file.attrs.modify("format", np.bytes_("other")), "found 'other'", id="foreign"
        ),
        pytest.param(
            lambda file: file.attrs.modify("version", np.int32(99)), "format version 99", id="version"
        ),
    ],
)
@pytest.mark.parametrize("name", ["index.h5", "shard-00000.h5"])
def test_a_foreign_format_or_version_is_refused(shards, name, action, expected):
    change_keeping_size(shards / name, action)
    assert expected in problem(lambda: ShardReader(shards).source_id(0))


def test_an_index_of_version_1_is_refused(shards):
    path = shards / "index.h5"
    change(path, lambda file: file.attrs.modify("version", np.int32(1)))
    path.write_bytes(path.read_bytes()[512:])  # it had no checksum
    assert "format version 1; this program reads versions 2 to 4. Merge again" in problem(
        lambda: ShardReader(shards)
    )


def test_an_index_without_its_checksum_is_damaged(shards):
    path = shards / "index.h5"
    path.write_bytes(path.read_bytes()[512:])
    assert "its checksum is missing" in problem(lambda: ShardReader(shards))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_index_of_which_one_byte_differs_is_refused(shards, data):
    path = shards / "index.h5"
    whole = path.read_bytes()
    position = data.draw(st.integers(0, len(whole) - 1))
    flipped = whole[position] ^ data.draw(st.integers(1, 255))
    path.write_bytes(whole[:position] + bytes([flipped]) + whole[position + 1 :])
    try:
        assert "index.h5" in problem(lambda: ShardReader(shards))
    finally:
        path.write_bytes(whole)


def change_metadata(path, action):
    """Change the JSON of an index; its checksum is written again."""

    def changed(file):
        metadata = json.loads(file["metadata"][:].tobytes())
        action(metadata)
        del file["metadata"]
        file["metadata"] = np.frombuffer(json.dumps(metadata).encode(), np.uint8)

    change(path, changed)


@pytest.mark.parametrize("name", ["metadata", "box_class", "picture_start"])
def test_an_index_that_lacks_a_dataset_is_damaged(shards, name):
    change(shards / "index.h5", lambda file: file.pop(name))
    assert "the index is damaged" in problem(lambda: ShardReader(shards))


@pytest.mark.parametrize(
    "key", ["tree", "sources", "classes", "splits", "shards", "plan_counts", "provenance"]
)
def test_an_index_whose_metadata_lacks_a_key_is_damaged(shards, key):
    change_metadata(shards / "index.h5", lambda metadata: metadata.pop(key))
    assert "the index is damaged" in problem(lambda: ShardReader(shards))


@pytest.mark.parametrize("name", ["box_class", "label_class", "image_source", "box_offsets", "image_shard"])
def test_an_index_whose_columns_point_outside_is_damaged(shards, name):
    def spoil(file):
        file[name][0] = 10_000

    change(shards / "index.h5", spoil)
    assert "the index is damaged" in problem(lambda: ShardReader(shards))


def test_an_index_whose_class_has_a_node_outside_the_tree_is_damaged(shards):
    change_metadata(shards / "index.h5", lambda metadata: metadata["classes"][0].update(node=10_000))
    assert "the index is damaged" in problem(lambda: ShardReader(shards))


def test_an_index_with_a_changed_tree_is_damaged(shards):
    change_metadata(shards / "index.h5", lambda metadata: metadata["tree"]["nodes"][0].update(id="other"))
    assert "the index is damaged" in problem(lambda: ShardReader(shards))


def test_the_index_holds_the_checksums_of_each_file_and_of_its_frame(shards):
    for shard in read_index(shards).shards:
        content = (shards / shard.name).read_bytes()
        assert sha256(content).hexdigest() == shard.sha256
        frame = content[: shard.bytes_start] + content[shard.bytes_end :]
        assert sha256(frame).hexdigest() == shard.frame_sha256


def test_an_index_is_read_as_it_was_written(shards, tmp_path):
    before = read_index(shards)
    write_index(tmp_path, before)
    assert_equal(read_index(tmp_path), before)
    assert (tmp_path / "index.h5").read_bytes() == (shards / "index.h5").read_bytes()


# --- the former version


def assert_equal(found, expected):
    assert found.tree == expected.tree
    assert found.columns.keys() == expected.columns.keys()
    for name, column in expected.columns.items():
        assert np.array_equal(found.columns[name], column)
        assert found.columns[name].dtype == column.dtype
    for row, other in zip(found.sources, expected.sources, strict=True):
        assert row.exhaustive.tolist() == other.exhaustive.tolist()
        assert {**vars(row), "exhaustive": None} == {**vars(other), "exhaustive": None}
    for name in ("split_names", "classes", "shards", "plan_counts", "provenance"):
        assert getattr(found, name) == getattr(expected, name)


def test_an_index_of_version_2_is_read(shards, tmp_path):
    index = read_index(shards)
    lost = replace(index.shards[0], sha256="", counts={1: {"a": 2}}, left_out=((1, "x/ü.jpg", "why"),))
    index = replace(index, shards=(lost, *index.shards[1:]), plan_counts=({"b": 3}, {}))
    write_index_v2(tmp_path, index)
    assert_equal(read_index(tmp_path), index)


def test_reasons_in_an_index_of_version_2_get_their_present_names(shards, tmp_path):
    index = read_index(shards)
    reasons = {"picture left out, as its classes have no node": 3, "class without a picture": 1}
    left_out = ((0, "a.jpg", "picture damaged in its shard"),)
    former = replace(index.shards[0], counts={0: {"picture damaged in its shard": 1}}, left_out=left_out)
    write_index_v2(tmp_path, replace(index, shards=(former, *index.shards[1:]), plan_counts=(reasons, {})))
    found = read_index(tmp_path)
    assert found.plan_counts[0] == {UNLABELLED_IMAGE: 3, "class without an image": 1}
    assert found.shards[0].counts == {0: {DAMAGED_IMAGE: 1}}
    assert found.shards[0].left_out == ((0, "a.jpg", DAMAGED_IMAGE),)


def test_an_index_of_version_2_is_replaced_by_the_present_version(shards, command):
    index = read_index(shards)
    write_index_v2(shards, index)
    assert command("relabel", shards, "--set", "seed=5")[0] == 0
    with h5py.File(shards / "index.h5") as file:
        assert file.attrs["version"] == 4
    assert read_index(shards).classes == index.classes


def test_an_index_of_another_program_version_is_read():
    folder = os.environ.get("YOLO9000_COMPAT")
    if not folder:
        pytest.skip("YOLO9000_COMPAT names no folder with files of the former version")
    index = read_index(Path(folder) / "shards")
    assert (len(index), len(index.classes), len(index.sources), len(index.tree)) == (204, 248, 3, 191)
    assert [len(source.exhaustive) for source in index.sources] == [62, 0, 124]
    (shard,) = index.shards
    assert (shard.name, shard.images, shard.size_bytes) == ("shard-00000.h5", 204, 1435714)
