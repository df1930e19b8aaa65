"""Freed memory stays in the process, so that no training step waits for new pages."""

import subprocess
import sys

import pytest

PAGES_OF_A_BLOCK = 64 * 2**20 // 4096
FAULTS_OF_THE_THIRD_BLOCK = """
import resource, sys
import numpy as np
from yolo9000.training.allocator import keep_freed_memory

if sys.argv[1] == "kept" and not keep_freed_memory():
    sys.exit("no glibc")
faults = []
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(64 * 2**20, np.uint8).fill(1)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(faults[-1])
"""


def faults_of_the_third_block(mode: str) -> int:
    command = [sys.executable, "-c", FAULTS_OF_THE_THIRD_BLOCK, mode]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "no glibc" in done.stderr:
        pytest.skip("the C library is not glibc")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is the C library of Linux")
def test_a_block_that_is_allocated_again_causes_no_page_faults():
    assert faults_of_the_third_block("kept") < PAGES_OF_A_BLOCK / 100
