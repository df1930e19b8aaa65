"""Time and memory to read a COCO file, compared with `json.load` of the same file.

    python benchmarks/coco_reading.py [--quick] [--json FILE] [--megabytes 100] [--rounds 5]

Generates a file like COCO's (7 boxes per image, 30 corners per polygon) and one without polygons. Each is read in turn
in a new process. Prints the median CPU time, and the peak memory above the imports'. Requirement: at most 1.5 times
`json.load`.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmark_options import benchmark_parser, parse, write_json

from data_prep.config import CocoSource
from data_prep.sources import coco

QUICK = {"megabytes": 1, "rounds": 1}
READERS = ("ours", "json.load")


def main() -> None:
    arguments = parse_arguments()
    if arguments.read:
        print(json.dumps(read(*arguments.read)))
        return
    rows = []
    with TemporaryDirectory() as folder:
        for corners in (30, 0):
            file = Path(folder) / f"{corners}.json"
            boxes = write_file(file, corners, arguments.megabytes * 1_000_000)
            print(f"{arguments.megabytes} MB, {boxes} boxes, {corners} corners per polygon")
            measured: dict[str, list[tuple[float, float]]] = {reader: [] for reader in READERS}
            for _ in range(arguments.rounds):
                for reader in READERS:
                    measured[reader].append(in_own_process(reader, file))
            for reader, values in measured.items():
                seconds, peak_mb = (median(column) for column in zip(*values, strict=True))
                print(
                    f"  {reader:10} {seconds:6.2f} s   {peak_mb:6.0f} MB   {peak_mb * 1e6 / boxes:6.0f} bytes per box"
                )
                row = {"reader": reader, "corners": corners, "cpu_s": seconds, "peak_mb": peak_mb}
                rows.append(row | {"boxes": boxes})
    write_json(arguments, rows)


def read(reader: str, file: str) -> tuple[float, float]:
    """CPU seconds of one reading, and its peak memory above the imports in MB."""
    before, start = peak_memory_mb(), time.process_time()
    if reader == "ours":
        source = CocoSource(name="coco", format="coco", annotations=Path(file), images=Path(file).parent)
        coco.open_source(source)
    else:
        with Path(file).open(encoding="utf-8") as opened:
            json.load(opened)
    return time.process_time() - start, peak_memory_mb() - before


def in_own_process(reader: str, file: Path) -> tuple[float, float]:
    """Result of `read` in a new process."""
    command = [sys.executable, __file__, "--read", reader, str(file)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, peak_mb = json.loads(found.stdout)
    return seconds, peak_mb


def peak_memory_mb() -> float:
    """Peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def write_file(file: Path, corners: int, size_bytes: int) -> int:
    """Write an instances file of about this size; returns its number of boxes."""
    rng = random.Random(0)
    boxes, images = 0, 0
    with file.open("w") as out:
        out.write('{"info": {"description": "generated"}, "annotations": [')
        while out.tell() + 72 * images < size_bytes:
            for _ in range(7):
                out.write(f"{', ' if boxes else ''}{json.dumps(annotation(rng, boxes, images, corners))}")
                boxes += 1
            images += 1
        out.write('], "images": [')
        for image in range(images):  # one at a time, because a child's peak memory starts from its parent's
            size = '"height": 480, "width": 640'
            out.write(f'{", " if image else ""}{{"id": {image}, "file_name": "{image:012d}.jpg", {size}}}')
        out.write(f'], "categories": {json.dumps(categories())}}}')
    return boxes


def annotation(rng: random.Random, number: int, image: int, corners: int) -> dict[str, object]:
    """An annotation with COCO's keys."""
    width, height = round(rng.uniform(1, 300), 2), round(rng.uniform(1, 200), 2)
    polygon = [round(rng.uniform(0, 480), 2) for _ in range(2 * corners)]
    segmentation = {"segmentation": [polygon]} if corners else {}
    bbox = [round(rng.uniform(0, 340), 2), round(rng.uniform(0, 280), 2), width, height]
    keys = {"area": width * height, "iscrowd": 0, "image_id": image, "bbox": bbox}
    return segmentation | keys | {"category_id": rng.randint(1, 90), "id": number}


def categories() -> list[dict[str, object]]:
    """Ninety generated categories."""
    return [{"supercategory": "object", "id": number, "name": f"class {number}"} for number in range(1, 91)]


def parse_arguments() -> argparse.Namespace:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--read", nargs=2, metavar=("READER", "FILE"), help=argparse.SUPPRESS)
    return parse(parser, QUICK)


if __name__ == "__main__":
    main()
