"""Kill and resume runs repeatedly: `python -m tests.yolo9000.killed_runs train|pretrain SHARDS OUT PRECISION KILLS`.

This process forks the runs, so that torch is imported once. It is not the test's own process, because a process that
has used autograd cannot fork.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from tests.yolo9000.made import made_config, metrics_of
from tests.yolo9000.training.runs import assert_equal_checkpoints, made_classifier_config
from yolo9000.training.pretrain import pretrain
from yolo9000.training.train import train

CHANGES: dict[str, Any] = {
    "schedule__max_steps": 9, "schedule__sizes_px": [32, 64], "schedule__size_every": 2, "evaluate__every": 3,
    "log__checkpoint_every": 2, "optimizer__ema": 0.9,
}  # fmt: skip
FORK = get_context("fork")
FILES = {"best.pt", "last.pt", "config.yaml", "metrics.csv", "report.html"}


def run(command: str, shards: Path, folder: Path, precision: str) -> None:
    """Start or resume the run and finish it; files are written slowly, so that some kills interrupt the writing."""
    torch.set_num_threads(1)
    sync = os.fsync

    def slow(handle: int) -> None:
        time.sleep(0.01)
        sync(handle)

    os.fsync = slow
    resume = (folder / "last.pt").exists()
    if command == "train":
        train(made_config(shards, precision=precision, **CHANGES), folder, resume=resume)
    else:
        folder.parent.mkdir(exist_ok=True)
        cfg = made_classifier_config(shards, folder.parent, precision=precision, **CHANGES)
        pretrain(cfg, folder, resume=resume)


def killed_until_finished(
    arguments: tuple[Any, ...], folder: Path, chance: random.Random, seconds: float
) -> list[str]:
    """Kill and resume until the run finishes; for each kill, whether it interrupted `writing` or was `elsewhere`."""
    kills: list[str] = []
    while True:
        process = FORK.Process(target=run, args=arguments)
        process.start()
        process.join(chance.uniform(0, seconds))
        if chance.random() < 0.5:  # wait for the next file that is being written
            while process.is_alive() and not any(folder.glob("*.part")):
                time.sleep(0.0005)
        if process.is_alive():
            process.kill()
            process.join()
            if process.exitcode == -signal.SIGKILL:
                kills.append("writing" if any(folder.glob("*.part")) else "elsewhere")
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
        if process.exitcode == 0:
            return kills


def main(command: str, shards: Path, out: Path, precision: str, wanted: int) -> None:
    """Kill runs until `wanted` kills interrupted writing, and as many did not; all must end like an undisturbed run."""
    expected = out / "undisturbed" / "run"
    began = time.monotonic()
    undisturbed = FORK.Process(target=run, args=(command, shards, expected, precision))
    undisturbed.start()
    undisturbed.join()
    assert undisturbed.exitcode == 0
    seconds, chance, kills = time.monotonic() - began, random.Random(0), list[str]()
    for number in count():
        folder = out / str(number) / "run"
        kills += killed_until_finished((command, shards, folder, precision), folder, chance, seconds)
        assert {path.name for path in folder.iterdir()} == FILES
        for name in ("last.pt", "best.pt"):
            assert_equal_checkpoints(folder / name, expected / name)
        assert metrics_of(folder) == metrics_of(expected)
        if min(kills.count("writing"), kills.count("elsewhere")) >= wanted:
            break
        assert number < 50, f"too few kills in {number} runs: {kills}"
    print(
        f"{len(kills)} kills, {kills.count('writing')} of them while a file was written, in {number + 1} runs"
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
