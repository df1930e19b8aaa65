"""Pixels of encoded images as arrays; needs no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data_prep.shards.decoding import ImageError, rgb_pixels, upright_rgb_pixels
from data_prep.shards.image_files import read_bytes
from wordtree.support.arrays import UInt8Array
from wordtree.support.files import system_message
from yolo9000.errors import Yolo9000Error


class UnreadableImage(Yolo9000Error):
    """An image file is missing, or its bytes are not an image."""


def stored_pixels(encoded: bytes, *, name: str) -> UInt8Array:
    """RGB pixels of an encoded image, (H, W, 3), without its EXIF orientation. Raises UnreadableImage."""
    with _errors_naming(name):
        return rgb_pixels(encoded)


def upright_pixels(encoded: bytes, *, name: str) -> UInt8Array:
    """RGB pixels of an encoded image, (H, W, 3), with its EXIF orientation applied, as viewers show the image.

    The formats, the limits of size and the pixels are those of `data-prep merge`. Raises UnreadableImage, whose
    message begins with `name`.
    """
    with _errors_naming(name):
        return upright_rgb_pixels(encoded)


def read_pixels(path: Path | str) -> UInt8Array:
    """RGB pixels of an image file as by `upright_pixels`. Raises UnreadableImage."""
    with _errors_naming(path):
        return upright_rgb_pixels(read_bytes(Path(path)))


def read_stored_pixels(path: Path | str) -> UInt8Array:
    """RGB pixels of an image file as by `stored_pixels`. Raises UnreadableImage."""
    with _errors_naming(path):
        return rgb_pixels(read_bytes(Path(path)))


@contextmanager
def _errors_naming(name: Path | str) -> Iterator[None]:
    """Turns errors of the image reader into UnreadableImage with the name of the image."""
    try:
        yield
    except OSError as error:
        raise UnreadableImage(f"{name}: cannot be read as an image: {system_message(error)}.") from None
    except ImageError as reason:
        raise UnreadableImage(f"{name}: expected an image, but {reason.detail}.") from None
