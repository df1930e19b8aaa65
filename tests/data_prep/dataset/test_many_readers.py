"""One reader used by many at once: DataLoader workers, forked children, threads, Dask; each gets the right bytes."""

import hashlib
import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

import data_prep.dataset.reader as reader_module
from data_prep import ShardReader, merge
from tests.data_prep.conftest import make_world
from tests.data_prep.merging.test_merge import MANY_SHARDS


@pytest.fixture(scope="module")
def many_shards(tmp_path_factory):
    """A folder with a shard for each image."""
    from data_prep import MergeConfig, load_config

    folder = tmp_path_factory.mktemp("many")
    world = make_world(folder / "world")
    merge(load_config(world / "merge.yaml", MergeConfig, [MANY_SHARDS]), folder / "shards")
    assert len(list((folder / "shards").glob("shard-*.h5"))) > 5
    return folder / "shards"


def digest(reader, image):
    return hashlib.sha256(reader.encoded(image).tobytes()).hexdigest() + reader.source_id(image)


class Digests:
    """A data set for a DataLoader: the digest of each image, and the process that read it."""

    def __init__(self, reader):
        self.reader = reader

    def __len__(self):
        return len(self.reader)

    def __getitem__(self, image):
        return digest(self.reader, image), os.getpid()


@pytest.mark.parametrize("start", [None, "fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_the_workers_of_a_dataloader_read_the_right_bytes(many_shards, start):
    from torch.utils.data import DataLoader

    reader = ShardReader(many_shards)
    expected = [digest(reader, image) for image in range(len(reader))]  # opens every shard before the fork
    loader = DataLoader(
        Digests(reader), batch_size=2, num_workers=2 if start else 0, multiprocessing_context=start,
        persistent_workers=bool(start),
    )  # fmt: skip
    for _ in range(2):
        found, processes = zip(*((list(names), ids.tolist()) for names, ids in loader), strict=True)
        assert [name for names in found for name in names] == expected
        is_here = {process == os.getpid() for batch in processes for process in batch}
        assert is_here == {start is None}


def read_at_once(reader, expected, failures):
    """Read every image in threads, many times; report wrong digests."""
    order = [image for image in range(len(expected)) for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        for image, found in zip(order, threads.map(lambda image: digest(reader, image), order), strict=True):
            if found != expected[image]:
                failures.put((os.getpid(), image))
    failures.put(None)


@pytest.mark.parametrize("limit", [1, 256], ids=["one open shard", "all shards open"])
def test_parent_and_forked_children_read_at_the_same_time(many_shards, monkeypatch, limit):
    monkeypatch.setattr(reader_module, "MAX_OPEN_SHARDS", limit)
    context = multiprocessing.get_context("fork")
    reader = ShardReader(many_shards)
    expected = [digest(reader, image) for image in range(len(reader))]
    failures = context.Queue()
    children = [context.Process(target=read_at_once, args=(reader, expected, failures)) for _ in range(3)]
    for child in children:
        child.start()
    read_at_once(reader, expected, failures)
    assert [failures.get(timeout=60) for _ in range(len(children) + 1)] == [None] * (len(children) + 1)
    for child in children:
        child.join(60)
        assert child.exitcode == 0


def test_a_child_that_is_forked_while_a_thread_opens_a_shard_does_not_wait_for_it(many_shards):
    context = multiprocessing.get_context("fork")
    reader = ShardReader(many_shards)
    expected = [digest(reader, image) for image in range(len(reader))]
    failures = context.Queue()
    with reader._files._handles.lock:  # as if a thread of the parent opened a shard
        child = context.Process(target=read_at_once, args=(reader, expected, failures))
        child.start()
        assert failures.get(timeout=60) is None
        child.join(60)
    assert child.exitcode == 0


def test_a_child_does_not_use_the_descriptors_of_its_parent(many_shards):
    """The parent's descriptors may be closed and given to other files before the child reads."""
    context = multiprocessing.get_context("fork")
    reader = ShardReader(many_shards)
    expected = [digest(reader, image) for image in range(len(reader))]
    descriptors = [shard.file._descriptor for shard in reader._files._handles.open.values()]
    failures = context.Queue()

    def closes_and_reads():
        for descriptor in descriptors:
            os.dup2(os.open(os.devnull, os.O_RDONLY), descriptor)
        read_at_once(reader, expected, failures)

    child = context.Process(target=closes_and_reads)
    child.start()
    assert failures.get(timeout=60) is None
    child.join(60)
    assert child.exitcode == 0


def test_dask_workers_read_the_right_bytes(many_shards):
    distributed = pytest.importorskip(
        "distributed", reason="dask is not installed: pip install 'yolo9000[cluster]'"
    )
    reader = ShardReader(many_shards)
    expected = [digest(reader, image) for image in range(len(reader))]
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, processes=False, dashboard_address=None, protocol="inproc"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        futures = client.map(digest, [reader] * len(expected), range(len(expected)), pure=False)
        assert client.gather(futures) == expected
