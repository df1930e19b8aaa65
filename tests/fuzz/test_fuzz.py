"""Each reader with its seeds and some mutations of them in this process; with `slow`, a minute of them in workers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.harness import strict_warnings
from tests.fuzz.readers import HARNESSES

BRIEF_INPUTS = 10


@pytest.mark.parametrize("name", HARNESSES)
def test_a_reader_accepts_its_seeds_and_refuses_other_inputs_in_one_line(name, tmp_path):
    harness = HARNESSES[name]
    seeds = list(harness.prepare(tmp_path))
    assert seeds
    for number in range(len(seeds) + BRIEF_INPUTS):
        with strict_warnings():
            accepted = harness.check(tmp_path, harness.input(seeds, 0, number))
        assert accepted or number >= len(seeds), f"{name} refuses its seed {number}"


@pytest.mark.slow
def test_a_minute_of_inputs_ends_without_traceback_hang_or_too_much_memory(tmp_path):
    findings = tmp_path / "findings"
    command = [
        sys.executable,
        "-m",
        "tests.fuzz",
        "--minutes",
        "1",
        "--workers",
        str(os.cpu_count()),
        "--findings",
        findings,
    ]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    troubles = [path.read_text(encoding="utf-8") for path in sorted(findings.glob("*.txt"))]
    assert done.returncode == 0, (done.stdout, done.stderr, *troubles)
    assert done.stdout.count(" accepted") == len(HARNESSES)
