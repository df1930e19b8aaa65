"""Where the numbers of the original program lie: the folder `DARKNET_GOLDEN`, if it is set."""

from __future__ import annotations

import os
from pathlib import Path

GOLDEN = Path(os.environ.get("DARKNET_GOLDEN") or "/nonexistent")
ABSENT = "DARKNET_GOLDEN is not set: Darknet's numbers are not at hand"


def golden_files(folder: str, pattern: str) -> list[Path]:
    """The files of a folder of the golden set by name; none where the set is not at hand."""
    return sorted((GOLDEN / folder).glob(pattern))
