"""glibc's allocator for training: memory that a step frees stays in the process for the next step."""

from __future__ import annotations

import ctypes
import sys

# malloc.h
M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_THRESHOLD = -3
LARGEST_BYTES = 2**31 - 1  # mallopt takes an int


def keep_freed_memory() -> bool:
    """Keep freed memory for later tensors; returns whether the C library accepts this.

    By default, glibc returns every block above 32 MB to the system when it is freed. The next step gets new pages, and
    the system clears each of them at its first use. Without glibc (macOS, musl) nothing changes.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    options = {M_MMAP_THRESHOLD: LARGEST_BYTES, M_TRIM_THRESHOLD: LARGEST_BYTES, M_TOP_PAD: 64 * 2**20}
    accepted = [libc.mallopt(option, value) for option, value in options.items()]
    return all(accepted)
