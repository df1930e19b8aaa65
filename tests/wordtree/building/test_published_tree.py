"""benchmarks/published_tree.py runs, and names a cause for every difference."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def test_a_folder_without_the_tree_is_refused(tmp_path: Path) -> None:
    done = run_benchmark(tmp_path)
    assert done.returncode == 1
    assert (
        done.stderr
        == f"{tmp_path}: expected 9k.tree in this folder; get it from github.com/pjreddie/darknet, data/.\n"
    )


@pytest.mark.slow
def test_every_difference_to_the_published_tree_has_a_cause(published: Path) -> None:
    pytest.importorskip("timm")
    done = run_benchmark(published)
    assert done.returncode == 0, done.stderr
    assert "profile darknet                               9410" in done.stdout
    assert "unknown cause" not in done.stdout


def run_benchmark(folder: Path) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "benchmarks/published_tree.py", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
