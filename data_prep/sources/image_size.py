"""The size of an image whose annotations state none, in the frame to which its boxes refer."""

import warnings
from pathlib import Path

from data_prep.config import Exif
from data_prep.shards.decoding import ImageError, stored_header


def header_size_px(path: Path, exif: Exif) -> tuple[int, int] | None:
    """Width and height from the header: of the stored pixels if `exif` is "stored", else of the upright image.

    None if the header cannot be read.
    """
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # Pillow warns about irregular but readable files
            (width, height), is_sideways = stored_header(file)
    except (ImageError, OSError):
        return None
    return (height, width) if is_sideways and exif != "stored" else (width, height)
