"""Kill and resume a run of predictions: `python -m tests.yolo9000.killed_predictions MODEL IMAGES OUT KILLS`.

This process forks the runs, so that torch is imported once.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from yolo9000 import Predictor
from yolo9000.inference.sources import find_images
from yolo9000.predictions.run import OutputChoice, predict_images

CHANGES = {"min_score": 0.01, "batch_size": 2}
FORK = get_context("fork")


def run(model: Path, images: Path, out: Path) -> None:
    """Start or resume the run."""
    torch.set_num_threads(1)
    predictor = Predictor(model, changes=CHANGES)
    predict_images(predictor, find_images([images]), OutputChoice(out, format="coco", resume=True))


def main(model: Path, images: Path, out: Path, kills: int) -> None:
    """Kill the run at random times, with SIGKILL, until it has been killed so often; then let it finish.

    A run that finishes before its kill is begun anew, without what the last run wrote at its end.
    """
    chance = random.Random(0)
    done = 0
    while done < kills:
        process = FORK.Process(target=run, args=(model, images, out))
        process.start()
        time.sleep(chance.uniform(0.02, 0.35))
        if process.is_alive():
            process.kill()
            done += 1
        process.join()
        if process.exitcode == 0:
            forget_half(out)
    process = FORK.Process(target=run, args=(model, images, out))
    process.start()
    process.join()
    assert process.exitcode == 0
    (out / ".run.lock").unlink(missing_ok=True)


def forget_half(out: Path) -> None:
    """Shorten the log of a finished run to half, torn in a line."""
    content = (out / "detections.jsonl").read_bytes()
    (out / "detections.jsonl").write_bytes(content[: len(content) // 2])
    (out / "coco.json").unlink(missing_ok=True)


def check_output(command: list[Any]) -> None:
    """Run a command; fail with its stderr."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), int(sys.argv[4]))
