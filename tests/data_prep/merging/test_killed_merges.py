"""Merges killed at random moments with SIGKILL: nothing is corrupt, and they end like an undisturbed merge."""

import os
import random
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep import ShardReader, make_plan
from data_prep.merging.merge import execute_plan
from data_prep.merging.progress_file import PROGRESS_NAME

SETTINGS = ("shard_mb=0.4", "duplicates=drop", "sources.labels.split={train: 0.5, val: 0.5}")
PLAIN = get_context("fork")  # a spawned process would be killed while it imports


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def larger_world(world):
    """The world with sixty more label images, large enough to take a while; some are equal, one is broken."""
    folder = world / "labelled" / "n02084071"
    folder.mkdir()
    for number in range(60):
        generator = np.random.default_rng(number % 50)
        pixels = generator.integers(0, 255, (300, 400, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "7.png").write_bytes(b"broken")
    return world


def check_unfinished(out: Path) -> None:
    """A folder with an index is complete."""
    if (out / "index.h5").exists():
        reader = ShardReader(out)
        for image in range(len(reader)):
            reader.encoded(image)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_merge_killed_at_random_points_ends_like_an_undisturbed_one(
    larger_world, tmp_path, config_of, seed
):
    plan = make_plan(config_of(larger_world, *SETTINGS))
    started = time.monotonic()
    execute_plan(plan, tmp_path / "whole")
    seconds = time.monotonic() - started
    generator, kills = random.Random(seed), 0
    for number in range(10):
        out = tmp_path / f"out{number}"
        while True:
            process = PLAIN.Process(target=execute_plan, args=(plan, out))
            process.start()
            process.join(generator.uniform(0, 0.7 * seconds))
            if process.is_alive():
                process.kill()
                kills += 1
            process.join()
            if process.exitcode == 0:
                break
            assert process.exitcode == -signal.SIGKILL
            check_unfinished(out)
        assert contents(out) == contents(tmp_path / "whole")
    assert kills >= 10


def workers_of(pid: int) -> list[int]:
    """Worker processes of a running process; its resource tracker does not count."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    except OSError:
        return []


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to find worker processes")
def test_a_merge_whose_processes_are_killed_at_random_ends_like_an_undisturbed_one(
    larger_world, tmp_path, config_of
):
    """Two workers; the parent or a worker is killed shortly after another shard or two are finished.

    Merges are started until parent and workers were killed five times each; some kills come too late.
    """
    execute_plan(make_plan(config_of(larger_world, *SETTINGS)), tmp_path / "whole")
    generator, kills, workers_seen = random.Random(0), {"parent": 0, "worker": 0}, set()
    for number in range(30):
        if min(kills.values()) >= 5:
            break
        out, is_finished = tmp_path / f"out{number}", False
        while not is_finished:
            process = started(larger_world / "merge.yaml", out)
            wanted = shards_done(out) + generator.randint(0, 2)
            while process.poll() is None and not (shards_done(out) >= wanted and workers_of(process.pid)):
                time.sleep(0.002)
            time.sleep(generator.uniform(0, 0.2))
            workers = workers_of(process.pid)
            workers_seen.update(workers)
            victim = (
                min(kills, key=lambda name: kills[name]) if process.poll() is None and workers else "none"
            )
            if victim == "parent":
                process.kill()
            elif victim == "worker":
                os.kill(generator.choice(workers), signal.SIGKILL)
            if victim in kills:
                kills[victim] += 1
            _, errors = process.communicate(timeout=60)
            if victim != "parent":  # its workers may die while they start, with a traceback
                assert "Traceback" not in errors
            is_finished = process.returncode == 0
            check_unfinished(out)
        assert contents(out) == contents(tmp_path / "whole")
    assert min(kills.values()) >= 5
    deadline = time.monotonic() + 10
    while any(map(is_alive, workers_seen)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(is_alive, workers_seen))


def started(merge_yaml: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "data_prep", "merge", str(merge_yaml), "-o", str(out), "--workers", "2"]
    for setting in SETTINGS:
        command += ["--set", setting]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def shards_done(out: Path) -> int:
    """Finished shards in the progress file; 0 where there is no such file."""
    try:
        return max(0, len((out / PROGRESS_NAME).read_text().splitlines()) - 1)
    except OSError:
        return 0


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
