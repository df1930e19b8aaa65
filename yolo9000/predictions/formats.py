"""The formats of results, written from detections.jsonl record by record, in constant memory; docs/predicting.md."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePath
from typing import IO, Any, TypeAlias

from wordtree.support.csv_cells import csv_row
from wordtree.support.files import LeftoverParts, part_file, path_in_errors, write_atomically
from wordtree.support.outputs import file_name_of, folder_and_stem, is_inside
from wordtree.tree.tree import WordTree
from yolo9000.inference.detections import ROW_COLUMNS, Detections, coco_categories
from yolo9000.predictions.megadetector import megadetector_images, megadetector_tables
from yolo9000.predictions.result_log import Record, result_records

Write: TypeAlias = Callable[[Path, list[Path], WordTree], None]  # the log, the output files, the tree
CSV_COLUMNS = (*ROW_COLUMNS, "failure")


@dataclass(frozen=True)
class Format:
    """A format: the names of its files, with `{part}` in them, and the function that writes them."""

    files: tuple[str, ...]
    write: Write


def write_format(name: str, log: Path, outputs: list[Path], tree: WordTree) -> list[Path]:
    """Write the results in a format; returns the files, or the log itself for `jsonl`. Raises ResultsError, OSError."""
    FORMATS[name].write(log, outputs, tree)
    return outputs or [log]


def _write_jsonl(log: Path, outputs: list[Path], tree: WordTree) -> None:
    """Nothing to write: the log is in this format."""


def _write_json(log: Path, outputs: list[Path], tree: WordTree) -> None:
    """A list of the records."""
    with replaced(outputs[0]) as file:
        write_list(file, result_records(log))
        file.write("\n")


def _write_csv(log: Path, outputs: list[Path], tree: WordTree) -> None:
    with replaced(outputs[0]) as file:
        table = csv.DictWriter(file, CSV_COLUMNS, lineterminator="\n")
        table.writeheader()
        for record in result_records(log):
            table.writerows(map(csv_row, csv_rows(record, tree)))


def csv_rows(record: Record, tree: WordTree) -> list[dict[str, Any]]:
    """A row for each detection; for an image without any, one row with its name, and with its failure."""
    rows = [] if "failure" in record else Detections.from_dict(record, tree).to_rows()
    empty = {name: record.get(name) for name in ("image", "frame", "time_s", "failure")}
    return rows or [empty]


def _write_coco(log: Path, outputs: list[Path], tree: WordTree) -> None:
    """The data set file (images, categories, annotations with scores), and the list of results."""
    ids = _image_ids(log)
    dataset, results = outputs
    with replaced(dataset) as file:
        file.write('{"images": ')
        write_list(file, (_coco_image(record, ids(number)) for number, record in _readable(log)))
        file.write(f',\n"categories": {json.dumps(coco_categories(tree))},\n"annotations": ')
        write_list(file, _coco_annotations(log, ids, tree))
        file.write("}\n")
    with replaced(results) as file:
        write_list(file, _coco_results(log, ids, tree))
        file.write("\n")


def _coco_image(record: Record, image_id: int) -> Record:
    size = {"width": record.get("width_px", 1), "height": record.get("height_px", 1)}
    video = {name: value for name, value in record.items() if name in ("frame", "time_s")}
    return {"id": image_id, "file_name": record["image"], **video, **size}


def _coco_results(log: Path, ids: Callable[[int], int], tree: WordTree) -> Iterator[Record]:
    for number, record in _readable(log):
        yield from Detections.from_dict(record, tree).to_coco(ids(number))


def _coco_annotations(log: Path, ids: Callable[[int], int], tree: WordTree) -> Iterator[Record]:
    for number, row in enumerate(_coco_results(log, ids, tree), start=1):
        area = round(row["bbox"][2] * row["bbox"][3], 2)
        yield {"id": number, **row, "area": area, "iscrowd": 0}


def _image_ids(log: Path) -> Callable[[int], int]:
    """A function from the number of a readable image to its id: the number in its name, as in COCO, else 1, 2, …"""
    stems = [PurePath(record["image"]).stem for _, record in _readable(log) if "frame" not in record]
    images = sum(1 for _ in _readable(log))
    are_numbers = all(stem.isascii() and stem.isdigit() and len(stem) <= 15 for stem in stems)
    numbers = [int(stem) for stem in stems] if are_numbers else []
    if len(numbers) == images == len(set(numbers)):
        return numbers.__getitem__
    return lambda number: number + 1


def _write_yolo(log: Path, outputs: list[Path], tree: WordTree) -> None:
    """A folder with a label file for each image, and data.yaml with the names of the classes."""
    labels, names = outputs
    root = _common_folder(record["image"] for _, record in _readable(log))
    taken: set[PurePath] = set()
    labels.mkdir(exist_ok=True)
    left = LeftoverParts(labels)
    for _, record in _readable(log):
        path = labels / _label_file(record, root, taken)
        if not is_inside(path.parent, labels):  # through a link in the folder
            path = labels / _label_file({**record, "image": path.name}, "", taken)
        path.parent.mkdir(parents=True, exist_ok=True)
        left.remove(path)
        with replaced(path) as file:
            file.write(Detections.from_dict(record, tree).to_yolo())
    lines = [f"  {node}: {json.dumps(name)}\n" for node, name in enumerate(tree.names)]
    write_atomically(names, "".join(["names:\n", *lines]))


def _label_file(record: Record, root: str, taken: set[PurePath]) -> PurePath:
    """The label file of an image: its path below the common folder of all images, with the suffix .txt."""
    name = os.path.relpath(record["image"], root) if root else file_name_of(record["image"], default="image")
    folder, stem = folder_and_stem(name, default="image")
    frame = f"-{record['frame']:06d}" if "frame" in record else ""
    for number in count(1):
        path = folder / f"{stem}{frame}{f'-{number}' if number > 1 else ''}.txt"
        if path not in taken:
            taken.add(path)
            return path
    raise AssertionError


def _common_folder(names: Iterable[str]) -> str:
    """The folder that all images lie in; empty where some are on the web."""
    folders = {os.path.dirname(name) for name in names}  # noqa: PTH120 - 100,000 names
    if any("://" in folder for folder in folders) or len({os.path.isabs(folder) for folder in folders}) > 1:  # noqa: PTH117
        return ""
    return os.path.commonpath(folders) or "." if folders else ""


def _write_megadetector(log: Path, outputs: list[Path], tree: WordTree) -> None:
    with replaced(outputs[0]) as file:
        head = json.dumps(megadetector_tables(tree), indent=1)
        file.write(f'{head[:-2]},\n "images": ')
        write_list(file, megadetector_images(result_records(log), tree))
        file.write("\n}\n")


FORMATS = {
    "jsonl": Format((), _write_jsonl),
    "json": Format(("detections{part}.json",), _write_json),
    "coco": Format(("coco{part}.json", "coco_results{part}.json"), _write_coco),
    "csv": Format(("detections{part}.csv",), _write_csv),
    "yolo": Format(("labels{part}", "data{part}.yaml"), _write_yolo),
    "megadetector": Format(("megadetector{part}.json",), _write_megadetector),
}


def write_list(file: IO[str], entries: Iterable[Any]) -> None:
    """Write the entries as a JSON list, one on each line."""
    file.write("[")
    for number, entry in enumerate(entries):
        file.write(",\n" if number else "\n")
        json.dump(entry, file)
    file.write("\n]")


def _readable(log: Path) -> Iterator[tuple[int, Record]]:
    """The records of images that were read, numbered from 0."""
    return enumerate(record for record in result_records(log) if "failure" not in record)


@contextmanager
def replaced(path: Path) -> Iterator[IO[str]]:
    """A text file that replaces `path` once it is complete; characters that are not UTF-8 are escaped."""
    with (
        part_file(path) as part,
        path_in_errors(path),
        part.open("x", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        yield file
