"""Merged data sets read through fsspec, and by the workers of a DataLoader."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest

from data_prep import DataPrepError, ShardReader


@pytest.fixture
def remote(shards, request):
    """The merged set in fsspec's memory."""
    system, root = fsspec.filesystem("memory"), f"/{request.node.name}"
    for path in shards.glob("*.h5"):
        system.pipe_file(f"{root}/{path.name}", path.read_bytes())
    yield f"memory:/{root}"
    system.rm(root, recursive=True)


def everything(reader):
    images = range(len(reader))
    return [(reader.encoded(image).tobytes(), reader.source_id(image)) for image in images]


def test_a_remote_data_set_reads_like_a_local_one(shards, remote):
    local, reader = ShardReader(shards), ShardReader(remote)
    assert everything(reader) == everything(local)
    assert reader.tree == local.tree
    assert np.array_equal(reader.boxes_xyxy_unit, local.boxes_xyxy_unit)
    assert remote in repr(reader)


def test_a_remote_data_set_serves_threads_and_can_be_pickled(shards, remote):
    reader = pickle.loads(pickle.dumps(ShardReader(remote)))
    expected = [data for data, _ in everything(ShardReader(shards))]
    with ThreadPoolExecutor(4) as threads:
        assert [data.tobytes() for data in threads.map(reader.encoded, range(len(reader)))] == expected


def test_the_caller_may_change_images_read_from_a_remote_data_set(remote):
    reader = ShardReader(remote)
    reader.encoded(0)[:] = 0
    assert reader.encoded(0).any()


def test_a_file_address_is_read_as_its_path(shards):
    assert everything(ShardReader(shards.as_uri())) == everything(ShardReader(shards))


def problem(action):
    with pytest.raises(DataPrepError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_remote_damage_is_reported_like_local_damage(remote):
    system = fsspec.filesystem("memory")
    root = remote.removeprefix("memory:/")
    assert "found no such folder" in problem(lambda: ShardReader("memory://nowhere"))
    system.rm(f"{root}/shard-00001.h5")
    assert f"{remote}/shard-00001.h5 is missing" in problem(lambda: ShardReader(remote).encoded(2))
    system.pipe_file(f"{root}/shard-00002.h5", b"cut")
    assert "holds 3 bytes, the index says" in problem(lambda: ShardReader(remote).encoded(4))
    whole = system.cat_file(f"{root}/shard-00000.h5")
    start = int(ShardReader(remote)._picture_start[0])
    system.pipe_file(f"{root}/shard-00000.h5", whole[:start] + b"x" + whole[start + 1 :])
    message = problem(lambda: ShardReader(remote).encoded(0))
    assert f"{remote}/shard-00000.h5: image 0 (image 0 of the shard): its bytes do not fit" in message
    index = system.cat_file(f"{root}/index.h5")
    system.pipe_file(f"{root}/index.h5", index[:-1] + bytes([index[-1] ^ 1]))
    assert "the index is damaged" in problem(lambda: ShardReader(remote))


def test_an_address_that_nothing_reads_is_one_line():
    assert "carrier-pigeon://x: cannot be read from" in problem(lambda: ShardReader("carrier-pigeon://x"))


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_of_a_data_loader_read_for_themselves(shards, start):
    data = pytest.importorskip("torch.utils.data")
    reader = ShardReader(shards)
    expected = [image for image, _ in everything(reader)]  # every shard is open before the fork
    loader = data.DataLoader(
        list(range(len(reader))),
        batch_size=None,
        collate_fn=reader.encoded,
        num_workers=2,
        multiprocessing_context=start,
    )
    assert [image.tobytes() for image in loader] == expected


def test_a_path_may_be_a_string(shards):
    assert ShardReader(str(shards)).folder == Path(shards)
