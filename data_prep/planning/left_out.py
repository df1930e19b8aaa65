"""left_out.csv: every image, box, label, line and file that a plan or a merge leaves out, with reason and place."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from data_prep.errors import MergeError
from data_prep.sources.source import Counts
from wordtree.support.csv_cells import csv_cells
from wordtree.support.files import part_file

LEFT_OUT_NAME = "left_out.csv"
HEADER = ("source", "reason", "image", "place")

Row = tuple[str, str, str, str]


def planned_rows(counts: Mapping[str, Counts]) -> Iterator[Row]:
    """The rows of what planning left out of each source."""
    return ((source, *row) for source, own in counts.items() for row in own.left_out())


def write_left_out(path: Path, rows: Iterable[Row]) -> bool:
    """Write the list; without rows, delete the list of an earlier run. Returns whether there is a list.

    Raises MergeError if a file of this name has other content.
    """
    rows = iter(rows)
    first = next(rows, None)
    require_own_list(path, HEADER)
    if first is None:
        path.unlink(missing_ok=True)
        return False
    with (
        part_file(path) as part,
        part.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        table = csv.writer(file, lineterminator="\n")
        table.writerow(HEADER)
        table.writerows(map(csv_cells, chain([first], rows)))
    return True


def require_own_list(path: Path, header: Sequence[str]) -> None:
    """Raise MergeError if there is a file that does not begin with the header of our list."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        if file.readline(1000).strip() != ",".join(header):
            raise MergeError(
                f"{path}: expected a list that this program wrote, found another file; rename it."
            )
