"""Training that is killed by SIGKILL at random moments and resumed equals an undisturbed run, bit for bit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(os, "fork"), reason="runs are forked, since importing torch takes longer than they do"
)
@pytest.mark.parametrize(
    ("command", "precision", "kills"),
    [("train", "float32", 8), ("train", "bfloat16", 2), ("pretrain", "float32", 2)],
)
def test_a_run_killed_at_random_moments_ends_bit_for_bit_like_an_undisturbed_one(
    shards: Path, tmp_path: Path, command: str, precision: str, kills: int
) -> None:
    program = [sys.executable, "-m", "tests.yolo9000.killed_runs", command, str(shards), str(tmp_path)]
    done = subprocess.run(
        [*program, precision, str(kills)],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "kills" in done.stdout
    print(done.stdout)
