import os
import re
import signal
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

import pytest

import data_prep.merging.workers as workers_module
from data_prep import DataPrepError, MergeConfig, load_config, make_plan, merge
from data_prep.merging.merge import execute_plan
from data_prep.merging.progress_file import PROGRESS_NAME
from data_prep.shards.writer import ShardError, write_shard

MANY_SHARDS = "shard_mb=0.0005"  # one image each
DOCUMENT = Path(__file__).parents[3] / "docs" / "merging.md"


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_documented_example_merges_on_a_cluster_of_two_workers(world, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    (example,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    settings = (world / "merge.yaml").read_text()
    (world / "merge.yaml").write_text(f"{settings}\nshard_mb: 0.0005\n")
    monkeypatch.chdir(world)
    merge(load_config("merge.yaml", MergeConfig), tmp_path / "alone")
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address=None,
        silence_logs=50,
        local_directory=str(tmp_path),
    ) as cluster:
        exec(example.replace("scheduler:8786", cluster.scheduler_address), {})
    assert contents(world / "shards") == contents(tmp_path / "alone")


class Counting(Executor):
    """Runs one job at a time, and records how many waited."""

    def __init__(self):
        self.pool, self.waiting, self.most = ThreadPoolExecutor(1), 0, 0

    def submit(self, function, /, *arguments, **options):
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        future = self.pool.submit(function, *arguments, **options)
        future.add_done_callback(lambda _: setattr(self, "waiting", self.waiting - 1))
        return future


def test_an_executor_holds_few_jobs_at_once(world, tmp_path, config_of, monkeypatch):
    monkeypatch.setattr(workers_module, "IN_FLIGHT", 3)
    executor = Counting()
    with executor.pool:
        merge(config_of(world, MANY_SHARDS), tmp_path / "out", executor=executor)
    assert executor.most == 3


def test_shards_under_way_are_kept_when_another_cannot_be_written(world, tmp_path, config_of, monkeypatch):
    """Shard 0 fails while 1 is being written and 2 waits."""
    begun, failed = threading.Event(), threading.Event()

    def write(job, on_image=None):
        if job.path.name == "shard-00000.h5":
            begun.wait(10)
            failed.set()
            raise ShardError("disk full")
        begun.set()
        failed.wait(10)
        return write_shard(job, on_image)

    monkeypatch.setattr(workers_module, "write_shard", write)
    with ThreadPoolExecutor(2) as executor, pytest.raises(DataPrepError, match="disk full"):
        merge(config_of(world, MANY_SHARDS), tmp_path / "out", executor=executor)
    progress = (tmp_path / "out" / PROGRESS_NAME).read_text()
    assert "shard-00001.h5" in progress
    assert "shard-00011.h5" not in progress


def test_progress_reports_images_done_before_and_then_every_image_once(world, tmp_path, config_of):
    plan, counts = make_plan(config_of(world, MANY_SHARDS)), []
    execute_plan(plan, tmp_path / "out", progress=counts.append)
    assert counts == [0] + [1] * 12
    (tmp_path / "out" / "shard-00003.h5").unlink()
    counts.clear()
    execute_plan(plan, tmp_path / "out", progress=counts.append)
    assert counts == [11, 1]


def test_a_worker_process_ends_with_its_parent(tmp_path):
    """A thread of the worker ends the process when the parent is gone; here the parent seems gone at once."""
    ended = []

    class Gone:
        def join(self):
            return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers_module, "parent_process", Gone)
        patch.setattr(os, "_exit", ended.append)
        workers_module._wait_for_parent()
    assert ended == [1]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to look at processes")
def test_ctrl_c_never_reaches_workers_while_they_start(world, tmp_path, config_of, monkeypatch):
    """Workers import for a while before they ignore Ctrl-C themselves; it would end them with a traceback."""
    blocked, wait = [], workers_module.wait

    def look(*arguments, **options):
        if not blocked:
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            lines = [
                line for child in children for line in Path(f"/proc/{child}/status").read_text().splitlines()
            ]
            blocked.extend(int(line.split()[1], 16) for line in lines if line.startswith("SigBlk"))
        return wait(*arguments, **options)

    monkeypatch.setattr(workers_module, "wait", look)
    merge(config_of(world, MANY_SHARDS), tmp_path / "out", workers=2)
    assert len([mask for mask in blocked if mask & 1 << (signal.SIGINT - 1)]) >= 2
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_lost_future_is_reported_as_a_dead_worker(world, tmp_path, config_of):
    class Losing(Executor):
        def submit(self, function, /, *arguments, **options):
            future = Future()
            future.cancel()
            future.set_running_or_notify_cancel()
            return future

    with pytest.raises(DataPrepError, match="A worker process died"):
        merge(config_of(world, MANY_SHARDS), tmp_path / "out", executor=Losing())
