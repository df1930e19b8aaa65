"""The annotated images of a run: their file names, and drawing them."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from itertools import count
from pathlib import Path, PurePath

from PIL import Image

from wordtree.support.arrays import UInt8Array
from wordtree.support.files import write_atomically
from wordtree.support.outputs import folder_and_stem, is_inside
from yolo9000.inference.detections import Detections
from yolo9000.inference.draw import MIN_DRAWN_PX, draw_detections
from yolo9000.inference.sources import FoundImages, ImageItem
from yolo9000.predictions.thumbnails import FOLDER

JPEG_QUALITY = 90


class AnnotatedFiles:
    """A file in the output folder for each image, all different: NAME.jpg, NAME-2.jpg, …

    Neither an input image, a file in `kept` (paths relative to the folder) nor a path outside the folder is ever
    chosen. The names depend on the order of the images only, so that a resumed run chooses the same ones.
    """

    def __init__(self, out: Path, found: FoundImages, kept: Iterable[str]) -> None:
        self._out, self._root = out, Path(os.path.realpath(out))
        self._taken = {os.path.realpath(out / name) for name in kept} | _inputs_inside(out, found)

    def path_of(self, item: ImageItem) -> Path:
        """The file for the next image."""
        frame = "" if item.frame is None else f"-{item.frame:06d}"
        folder, stem = folder_and_stem(item.relative, default="image")
        if not is_inside(self._out / folder, self._root):
            folder = PurePath()
        for number in count(1):
            path = self._out / folder / f"{stem}{frame}{f'-{number}' if number > 1 else ''}.jpg"
            real = os.path.realpath(path)
            if real not in self._taken and Path(real).is_relative_to(self._root):
                self._taken.add(real)
                return path
        raise AssertionError


def write_annotated(path: Path, pixels: UInt8Array, detections: Detections) -> None:
    """Write the image with its detections as JPEG, atomically."""
    drawn = draw_detections(Image.fromarray(pixels), detections, min_side_px=MIN_DRAWN_PX)
    buffer = io.BytesIO()
    drawn.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())


def existing_images(out: Path) -> list[str]:
    """The files in a folder, and below, that an annotated image could overwrite: paths relative to the folder."""
    found = out.rglob("*.jpg") if out.is_dir() else ()
    return sorted(str(path.relative_to(out)) for path in found if path.parts[-2] != FOLDER)


def _inputs_inside(out: Path, found: FoundImages) -> set[str]:
    """The real paths of the input images, if any of them lies in the output folder or below."""
    folders = {os.path.dirname(name) for name, _ in found.entries}  # noqa: PTH120 - 100,000 names
    root = os.path.realpath(out)
    if not any(os.path.commonpath([root, os.path.realpath(folder)]) == root for folder in folders):
        return set()
    return {os.path.realpath(name) for name, _ in found.entries}
