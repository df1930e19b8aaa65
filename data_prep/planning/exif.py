"""The frame of the boxes of each source: the stored pixels, or the image rotated by EXIF.

The frame of an image can be inferred from its stated size if EXIF turns it by 90° and it is not square. The majority of
such images decides for all images of the source that state a size. Without such images, the frame is the upright image,
which nearly all annotation tools show.
"""

from collections import Counter
from pathlib import Path

import numpy as np

from data_prep.config import Exif, MergeConfig
from data_prep.shards.catalogue import Catalogue
from data_prep.shards.decoding import ImageError, stored_header
from data_prep.shards.images import BoxFrame, box_frame

_MOST_HEADERS = 4096  # of a source, evenly spaced
_HEAD_BYTES = 4096  # in which a JPEG has its EXIF block, if any


def box_frames(config: MergeConfig, images: Catalogue) -> tuple[tuple[BoxFrame, BoxFrame], ...]:
    """For each source, the frame of images that state a size, and of images that state none."""
    return tuple(_frames(source.exif, number, images) for number, source in enumerate(config.sources))


def _frames(exif: Exif, source: int, images: Catalogue) -> tuple[BoxFrame, BoxFrame]:
    if exif != "auto":
        return exif, exif
    is_sized = (images["image_source"] == source) & (images["stated_width"] > 0) & (images["offset"] < 0)
    sized = np.flatnonzero(is_sized)
    chosen = sized[np.linspace(0, len(sized) - 1, min(len(sized), _MOST_HEADERS)).astype(np.int64)]
    votes = Counter(_vote(images, int(image)) for image in chosen)
    return "stored" if votes["stored"] > votes["upright"] else "upright", "upright"


def _vote(images: Catalogue, image: int) -> BoxFrame | None:
    """The frame that follows from the stated size of an image; None unless EXIF turns the image sideways."""
    size_px, path = images.size_px(image), images.file(image).path
    if size_px is None or not _may_have_exif(path):
        return None
    try:
        with path.open("rb") as file:
            stored_px, is_sideways = stored_header(file)
    except (ImageError, OSError):  # the merge will count it
        return None
    return box_frame(stored_px, size_px) if is_sideways else None


def _may_have_exif(path: Path) -> bool:
    """Whether a JPEG has an EXIF block; a quick look at its first bytes."""
    try:
        with path.open("rb", buffering=0) as file:
            return b"Exif\0\0" in file.read(_HEAD_BYTES)
    except OSError:
        return False
