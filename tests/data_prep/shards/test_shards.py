import io
import json
import os
import pickle
import re
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from operator import methodcaller
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep import DataPrepError, ShardReader, merge
from data_prep.dataset.index_file import read_index, seal
from data_prep.shards.format import SHARD_DATASETS, ShardError, content_hash
from tests.data_prep.conftest import CAT, DOG

ROOT = Path(__file__).parents[3]


def all_images(reader):
    return [reader.encoded(image).tobytes() for image in range(len(reader))]


# --- the format


def test_the_document_of_the_format_lets_a_stranger_read_with_h5py_alone(shards):
    text = (ROOT / "docs" / "shard_format.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    names = {}
    exec(example[1], names)
    reader = ShardReader(shards)
    ids = reader.tree.ids
    for image in range(len(reader)):
        picture, boxes, labels = names["read_image"](shards, image)
        assert picture == reader.encoded(image).tobytes()
        assert [box[0] for box in boxes] == [
            ids[node] for node in reader.box_nodes[rows(reader.box_offsets, image)]
        ]
        corners = np.array([box[1:] for box in boxes], dtype=np.float32).reshape(-1, 4)
        assert np.array_equal(corners, reader.boxes_xyxy_unit[rows(reader.box_offsets, image)])
        assert labels == [ids[node] for node in reader.label_nodes[rows(reader.label_offsets, image)]]


def rows(offsets, image):
    return slice(offsets[image], offsets[image + 1])


def test_the_document_names_every_dataset(shards):
    text = (ROOT / "docs" / "shard_format.md").read_text(encoding="utf-8")
    with h5py.File(shards / "index.h5") as index, h5py.File(shards / "shard-00000.h5") as shard:
        assert set(shard) == set(SHARD_DATASETS)
        missing = {name for name in (*index, *shard) if f"`{name}`" not in text}
    assert missing == set()


def test_shards_are_flat_contiguous_and_of_the_documented_types(shards):
    with h5py.File(shards / "shard-00000.h5") as file:
        for name, dtype in SHARD_DATASETS.items():
            assert (file[name].dtype, file[name].chunks, file[name].compression) == (dtype, None, None)
        assert dict(file.attrs) == {"format": b"yolo9000 shard", "version": 2}


def test_the_index_holds_the_hashes_of_file_and_content(shards):
    from hashlib import sha256

    for shard in read_index(shards).shards:
        assert sha256((shards / shard.name).read_bytes()).hexdigest() == shard.sha256
        with h5py.File(shards / shard.name) as file:
            arrays = {name: file[name][:] for name in SHARD_DATASETS}
        assert content_hash(arrays, [arrays["picture_bytes"].tobytes()]) == shard.content_sha256


# --- the reader


def test_a_reader_serves_threads(shards):
    reader = ShardReader(shards)
    expected = all_images(reader)
    order = np.random.default_rng(0).integers(0, len(reader), 400).tolist()
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda image: reader.encoded(image).tobytes(), order))
    assert found == [expected[image] for image in order]


@pytest.mark.parametrize("start", ["spawn", "fork"])
def test_a_reader_serves_a_worker_process(shards, start):
    reader = ShardReader(shards)
    expected = all_images(reader)  # opens every shard before the fork
    with ProcessPoolExecutor(1, get_context(start)) as pool:
        read = [pool.submit(methodcaller("encoded", image), reader) for image in range(len(reader))]
        assert [future.result(timeout=60).tobytes() for future in read] == expected
    assert all_images(reader) == expected


def test_a_pickled_reader_is_small_and_reads_the_same(shards):
    reader = ShardReader(shards)
    pickled = pickle.dumps(reader)
    assert len(pickled) < 1000
    assert all_images(pickle.loads(pickled)) == all_images(reader)


def test_a_reader_keeps_few_files_open(shards, monkeypatch):
    monkeypatch.setattr("data_prep.dataset.reader.MAX_OPEN_SHARDS", 2)
    reader = ShardReader(shards)
    assert all_images(reader) == all_images(ShardReader(shards))
    assert len(reader._files._open) == 2


def test_what_is_read_belongs_to_the_caller(shards):
    reader = ShardReader(shards)
    reader.encoded(0)[:] = 0
    assert reader.encoded(0).any()


@pytest.mark.parametrize("image", [-1, 12])
def test_an_image_that_is_not_there_is_an_index_error(shards, image):
    with pytest.raises(IndexError, match=f"image {image} of 12"):
        ShardReader(shards).encoded(image)


def test_provenance_tells_how_the_shards_were_made(shards):
    provenance = ShardReader(shards).provenance
    assert provenance["config"]["shard_mb"] == 0.001
    assert set(provenance["versions"]) == {"Pillow", "h5py", "HDF5", "NumPy"}


# --- damage


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
        pytest.param(lambda path: path.write_bytes(b""), "not a readable HDF5 file", id="empty"),
        pytest.param(
            lambda path: path.write_bytes(path.read_bytes()[:900]), "do not fit their checksum", id="cut"
        ),
        pytest.param(lambda path: path.write_text("tree"), "not a readable HDF5 file", id="text"),
    ],
)
def test_a_damaged_index_is_reported_in_one_line(shards, damage, expected):
    damage(shards / "index.h5")
    assert expected in problem(lambda: ShardReader(shards))


@pytest.mark.parametrize("size", [0, 4, 900])
def test_a_shard_of_another_size_is_reported_in_one_line(shards, size):
    path = shards / "shard-00000.h5"
    path.write_bytes(path.read_bytes()[:size])
    reader = ShardReader(shards)
    for method in ("encoded", "source_id"):
        message = problem(partial(methodcaller(method, 0), reader))
        assert f"shard-00000.h5: holds {size} bytes, the index says" in message


def change(path, action):
    """Change a file through HDF5; an index is sealed again, as if it had been written so."""
    with h5py.File(path, "r+", rdcc_nbytes=0) as file:
        action(file)
    if path.name == "index.h5":
        seal(path)


def change_keeping_size(path, action):
    size = path.stat().st_size
    change(path, action)
    os.truncate(path, size)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        pytest.param(lambda file: file.attrs.pop("format"), "found no format mark", id="no mark"),
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
    assert "format version 1; this program reads version 2. Merge again" in problem(
        lambda: ShardReader(shards)
    )


def test_an_index_without_its_checksum_is_damaged(shards):
    path = shards / "index.h5"
    path.write_bytes(path.read_bytes()[512:])
    assert "its checksum is missing" in problem(lambda: ShardReader(shards))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_index_of_which_one_byte_differs_is_refused(shards, data):
    path = shards / "index.h5"
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    flipped = whole[place] ^ data.draw(st.integers(1, 255))
    path.write_bytes(whole[:place] + bytes([flipped]) + whole[place + 1 :])
    try:
        assert "index.h5" in problem(lambda: ShardReader(shards))
    finally:
        path.write_bytes(whole)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_image_of_which_one_byte_differs_is_refused(shards, data):
    reader = ShardReader(shards)
    image = data.draw(st.integers(0, len(reader) - 1))
    size, start = int(reader._picture_size[image]), int(reader._picture_start[image])
    place = start + data.draw(st.integers(0, size - 1))
    path = shards / read_index(shards).shards[reader._image_shard[image]].name
    with path.open("r+b") as file:
        file.seek(place)
        before = file.read(1)[0]
        file.seek(place)
        file.write(bytes([before ^ data.draw(st.integers(1, 255))]))
        file.flush()
        assert f": image {image} (image" in problem(lambda: reader.encoded(image))
        assert len(ShardReader(shards, verify=False).encoded(image)) == size
        file.seek(place)
        file.write(bytes([before]))
    assert len(reader.encoded(image)) == size


@pytest.mark.parametrize(
    "name", ["tree", "box_class", "class_node", "shard_name", "provenance", "count_number"]
)
def test_an_index_that_lacks_a_dataset_is_damaged(shards, name):
    change(shards / "index.h5", lambda file: file.pop(name))
    assert "the index is damaged" in problem(lambda: ShardReader(shards))


@pytest.mark.parametrize("name", ["box_class", "label_class", "image_source", "class_node", "box_offsets"])
def test_an_index_whose_columns_point_outside_is_damaged(shards, name):
    def spoil(file):
        file[name][0] = 10_000

    change(shards / "index.h5", spoil)
    assert "the index is damaged" in problem(lambda: ShardReader(shards))


def test_an_index_with_a_changed_tree_is_damaged(shards):
    def spoil(file):
        content = json.loads(file["tree"][()])
        content["nodes"][0]["id"] = "other"
        file["tree"][()] = json.dumps(content)

    change(shards / "index.h5", spoil)
    assert "the index is damaged" in problem(lambda: ShardReader(shards))


def test_a_missing_shard_is_named(shards):
    (shards / "shard-00001.h5").unlink()
    reader = ShardReader(shards)
    assert "shard-00001.h5 is missing" in problem(lambda: all_images(reader))


def test_a_shard_of_another_merge_is_refused(shards, world, tmp_path, config_of):
    merge(config_of(world), tmp_path / "large")
    (shards / "shard-00000.h5").write_bytes((tmp_path / "large" / "shard-00000.h5").read_bytes())
    assert "belongs to another merge" in problem(lambda: ShardReader(shards).encoded(0))


def test_a_shard_that_lacks_its_names_is_damaged(shards):
    change_keeping_size(shards / "shard-00000.h5", lambda file: file.pop("source_id_offsets"))
    assert "the shard is damaged" in problem(lambda: ShardReader(shards).source_id(0))


def test_a_shard_whose_end_is_missing_is_damaged(shards):
    reader = ShardReader(shards)
    images = len(all_images(reader)[0])
    path = shards / "shard-00000.h5"
    fresh = ShardReader(shards)
    fresh.source_id(0)  # opened while whole
    with path.open("r+b") as file:
        file.truncate(io.SEEK_SET + images // 2)
    assert "image 0 (image 0 of the shard): the file ends before it" in problem(lambda: fresh.encoded(0))


# --- the ledger


def test_evidence_is_the_best_at_or_below_a_node(shards):
    reader = ShardReader(shards)
    label_counts, tree = reader.label_counts, reader.tree
    assert label_counts.boxes[tree.node(CAT)] == 2
    assert label_counts.boxes_rolled_up.max() == 3
    assert label_counts.supervision(tree.node(DOG)) == "boxes"
    assert {row["id"] for row in label_counts.rows()} >= {CAT, DOG}
