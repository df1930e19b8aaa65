"""Results on stdout, while the run goes on."""

from __future__ import annotations

import csv
import json
import os
import sys

from wordtree.support.csv_cells import csv_row
from wordtree.support.lines import printable
from wordtree.tree.tree import WordTree
from yolo9000.predictions.formats import CSV_COLUMNS, csv_rows
from yolo9000.predictions.result_log import Record

STREAMED = ("text", "json", "jsonl", "csv")
_PRINTED = 8  # detections of an image, in the text for people


class PrintedResults:
    """The results on stdout as text, as one JSON list, as JSON lines, or as CSV.

    A JSON list is closed even if the run is stopped.
    is_copy: the results are also stored, so the run continues if the reader of a pipe closes it; otherwise, this raises
    BrokenPipeError.
    """

    def __init__(self, how: str, tree: WordTree, *, is_copy: bool = False) -> None:
        self._how, self._tree, self._count = how, tree, 0
        self._is_copy = is_copy
        self._reader_has_gone = False

    def add(self, record: Record) -> None:
        """Print a result."""
        if self._how == "csv":
            self._add_rows(record)
        elif self._how == "jsonl":
            self._write(json.dumps(record) + "\n")
        elif self._how == "json":
            self._write(("[\n" if self._count == 0 else ",\n") + json.dumps(record))
        elif "failure" not in record:
            self._write(text_of(record) + "\n")
        self._count += 1

    def finish(self) -> None:
        """Print the end of the list."""
        if self._how == "json":
            self._write("[]\n" if self._count == 0 else "\n]\n")
        if not self._reader_has_gone:
            sys.stdout.flush()

    def _add_rows(self, record: Record) -> None:
        out = _Lines()
        table = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
        if self._count == 0:
            table.writeheader()
        table.writerows(map(csv_row, csv_rows(record, self._tree)))
        self._write("".join(out.lines))

    def _write(self, text: str) -> None:
        if self._reader_has_gone:
            return
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            self._reader_has_gone = True
            if not self._is_copy:
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing fails when Python exits


class _Lines:
    """A file for `csv` that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, text: str) -> int:
        self.lines.append(text)
        return len(text)


def text_of(record: Record) -> str:
    """One line for a person: the image, and the classes of its best detections with their scores."""
    frame = f" frame {record['frame']}" if "frame" in record else ""
    detections = record["detections"]
    found = ", ".join(f"{one['name']} {one['score']:.2f}" for one in detections[:_PRINTED])
    more = f" and {len(detections) - _PRINTED} more" if len(detections) > _PRINTED else ""
    return printable(f"{record['image']}{frame}: {found or 'no detections'}{more}")
