"""Images and labels through a ShardReader; damaged shards."""

import io
import os
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from operator import methodcaller

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep import DataPrepError, ShardReader, merge
from data_prep.dataset.index_file import read_index
from data_prep.shards.format import ShardError
from tests.data_prep.conftest import CAT, DOG


def all_images(reader):
    return [reader.encoded(image).tobytes() for image in range(len(reader))]


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
    assert len(reader._files._handles.open) == 2


def test_the_caller_may_change_what_is_read(shards):
    reader = ShardReader(shards)
    reader.encoded(0)[:] = 0
    assert reader.encoded(0).any()


@pytest.mark.parametrize("image", [-1, 12])
def test_an_image_that_is_not_there_is_an_index_error(shards, image):
    with pytest.raises(IndexError, match=f"image {image} of 12"):
        ShardReader(shards).encoded(image)


def test_provenance_has_the_configuration_and_versions(shards):
    provenance = ShardReader(shards).provenance
    assert provenance["config"]["shard_mb"] == 0.001
    assert set(provenance["versions"]) == {"Pillow", "h5py", "HDF5", "NumPy"}


def test_supervision_is_the_best_at_or_below_a_node(shards):
    reader = ShardReader(shards)
    label_counts, tree = reader.label_counts, reader.tree
    assert label_counts.boxes[tree.node(CAT)] == 2
    assert label_counts.boxes_rolled_up.max() == 3
    assert label_counts.supervision(tree.node(DOG)) == "boxes"
    assert {row["id"] for row in label_counts.rows()} >= {CAT, DOG}


def problem(action):
    with pytest.raises(ShardError) as caught:
        action()
    assert isinstance(caught.value, DataPrepError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("size", [0, 4, 900])
def test_a_shard_of_another_size_is_reported_in_one_line(shards, size):
    path = shards / "shard-00000.h5"
    path.write_bytes(path.read_bytes()[:size])
    reader = ShardReader(shards)
    for method in ("encoded", "source_id"):
        message = problem(partial(methodcaller(method, 0), reader))
        assert f"shard-00000.h5: holds {size} bytes, the index says" in message


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_image_of_which_one_byte_differs_is_refused(shards, data):
    reader = ShardReader(shards)
    image = data.draw(st.integers(0, len(reader) - 1))
    size, start = int(reader._picture_size[image]), int(reader._picture_start[image])
    position = start + data.draw(st.integers(0, size - 1))
    path = shards / read_index(shards).shards[reader._image_shard[image]].name
    with path.open("r+b") as file:
        file.seek(position)
        before = file.read(1)[0]
        file.seek(position)
        file.write(bytes([before ^ data.draw(st.integers(1, 255))]))
        file.flush()
        assert f": image {image} (image" in problem(lambda: reader.encoded(image))
        assert len(ShardReader(shards, verify=False).encoded(image)) == size
        file.seek(position)
        file.write(bytes([before]))
    assert len(reader.encoded(image)) == size


def test_a_missing_shard_is_named(shards):
    (shards / "shard-00001.h5").unlink()
    reader = ShardReader(shards)
    assert "shard-00001.h5 is missing" in problem(lambda: all_images(reader))


def test_a_shard_of_another_merge_is_refused(shards, world, tmp_path, config_of):
    merge(config_of(world), tmp_path / "large")
    (shards / "shard-00000.h5").write_bytes((tmp_path / "large" / "shard-00000.h5").read_bytes())
    assert "belongs to another merge" in problem(lambda: ShardReader(shards).encoded(0))


def test_a_shard_that_lacks_its_names_is_damaged(shards):
    path = shards / "shard-00000.h5"
    size = path.stat().st_size
    with h5py.File(path, "r+", rdcc_nbytes=0) as file:
        file.pop("source_id_offsets")
    os.truncate(path, size)
    assert "its names or labels have changed" in problem(lambda: ShardReader(shards).source_id(0))


def test_a_shard_whose_end_is_missing_is_damaged(shards):
    reader = ShardReader(shards)
    images = len(all_images(reader)[0])
    path = shards / "shard-00000.h5"
    fresh = ShardReader(shards)
    fresh.source_id(0)  # opened while whole
    with path.open("r+b") as file:
        file.truncate(io.SEEK_SET + images // 2)
    assert "image 0 (image 0 of the shard): the file ends before it" in problem(lambda: fresh.encoded(0))
