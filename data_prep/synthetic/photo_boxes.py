"""Reads photographs of one object each, with its box, from a folder in Tiny ImageNet's layout.

train/WNID/images/*.JPEG   train/WNID/WNID_boxes.txt       NAME x0 y0 x1 y1, the last pixels included
val/images/*.JPEG          val/val_annotations.txt         NAME WNID x0 y0 x1 y1
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from data_prep.shards.decoding import ImageError, rgb_pixels
from data_prep.shards.image_files import read_bytes
from data_prep.synthetic.world_files import WorldError
from wordtree.support.files import system_message
from wordtree.support.lines import quoted

BoxPx = tuple[int, int, int, int]


class Photo(NamedTuple):
    """An image and the box of its object in pixels, right and bottom excluded."""

    file: Path
    xyxy_px: BoxPx


class Photos(NamedTuple):
    """The images of each class, by wnid; both splits have the same classes."""

    train: dict[str, list[Photo]]
    val: dict[str, list[Photo]]


def read_photos(folder: Path) -> Photos:
    """All images with a box; raises WorldError if the folder has another layout."""
    train = {
        table.parent.name: [
            parse_photo(table.parent / "images" / name, box, where)
            for where, (name, *box) in lines_of(table, columns=5)
        ]
        for table in sorted(folder.glob("train/*/*_boxes.txt"))
    }
    val: dict[str, list[Photo]] = {wnid: [] for wnid in train}
    annotations = folder / "val" / "val_annotations.txt"
    if not train or not annotations.is_file():
        raise WorldError(
            f"{folder}: expected the layout of Tiny ImageNet, train/WNID/WNID_boxes.txt and "
            f"val/val_annotations.txt, found {len(train)} classes in train and "
            f"{'a' if annotations.is_file() else 'no'} file val/val_annotations.txt."
        )
    for where, (name, wnid, *box) in lines_of(annotations, columns=6):
        if wnid not in val:
            raise WorldError(
                f"{where}: class {wnid} has no boxes in train. Remove the line, or add the class."
            )
        val[wnid].append(parse_photo(annotations.parent / "images" / name, box, where))
    lacking = [wnid for part in (train, val) for wnid, photos in part.items() if not photos]
    if lacking:
        raise WorldError(f"{folder}: class {lacking[0]} has no image in train, or none in val.")
    return Photos(train, val)


def lines_of(table: Path, *, columns: int) -> Iterator[tuple[str, list[str]]]:
    """The cells of each line that is not empty, with FILE:LINE for messages."""
    try:
        lines = table.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise WorldError(f"{table}: expected text in UTF-8, found other bytes.") from None
    for number, line in enumerate(lines, start=1):
        cells = line.split()
        if not cells:
            continue
        if len(cells) != columns:
            raise WorldError(f"{table}:{number}: expected {columns} columns, found {len(cells)}.")
        yield f"{table}:{number}", cells


def parse_photo(file: Path, box: list[str], where: str) -> Photo:
    """The photograph with the box in the last four cells of a line; where: FILE:LINE, for messages."""
    try:
        left, top, right, bottom = map(int, box)
    except ValueError:
        raise WorldError(
            f"{where}: expected x0 y0 x1 y1 in whole pixels, found {quoted(' '.join(box))}."
        ) from None
    if right < left or bottom < top or left < 0 or top < 0:
        raise WorldError(f"{where}: expected a box with an area, found {left},{top} to {right},{bottom}.")
    return Photo(file, (left, top, right + 1, bottom + 1))


def load_photo(photo: Photo) -> Image.Image:
    """The image in RGB; raises WorldError if it cannot be read or is smaller than its box."""
    try:
        colour = Image.fromarray(rgb_pixels(read_bytes(photo.file)))
    except ImageError as reason:
        raise WorldError(f"{photo.file}: cannot be read as an image ({reason.detail}).") from None
    except OSError as reason:
        raise WorldError(f"{photo.file}: cannot be read as an image ({system_message(reason)}).") from None
    if photo.xyxy_px[2] > colour.width or photo.xyxy_px[3] > colour.height:
        raise WorldError(
            f"{photo.file}: {colour.width}×{colour.height} px, smaller than its box {photo.xyxy_px}."
        )
    return colour
