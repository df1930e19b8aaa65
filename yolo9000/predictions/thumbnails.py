"""Thumbnails of the images of a run, for its report page."""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from pathlib import Path

from PIL import Image

from wordtree.support.arrays import UInt8Array
from wordtree.support.files import write_atomically
from yolo9000.predictions.result_log import Key

FOLDER = "report_files"
SIDE_PX = 400
MAX_IMAGES = 10_000  # of a report, which shows a random sample of more images


def thumbnail_name(key: Key) -> str:
    """The file name of the thumbnail of an image."""
    name, frame = key
    text = os.fsencode(name) + b"\0" + str(frame).encode()
    return hashlib.sha256(text).hexdigest()[:20] + ".jpg"


def is_sampled(key: Key, total: int | None) -> bool:
    """Whether an image is among about MAX_IMAGES of the total, which are chosen by a checksum of their names."""
    if total is None or total <= MAX_IMAGES:
        return True
    return zlib.crc32(thumbnail_name(key).encode()) < MAX_IMAGES / total * 2**32


def write_thumbnail(path: Path, pixels: UInt8Array) -> None:
    """Write the thumbnail of an image."""
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())
