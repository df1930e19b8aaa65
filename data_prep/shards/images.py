"""Which images are stored as they are, and what the others become. Pillow decodes every one, to check it.

Stored as they are: 8-bit grey or RGB JPEG and PNG, which every decoder reads alike. All else (palettes,
transparency, CMYK, 16 bit, other formats, images to be turned or shrunk) is encoded anew as JPEG.
"""

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from data_prep.errors import DataPrepError

MAX_PIXELS = 178_956_970  # Pillow's own limit against decompression bombs
LONGEST_JPEG = 65_500  # px of a side: libjpeg's limit
# What may be opened. Pillow knows more, some by programs that it starts (EPS), which no stranger's file may ask for.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")
_ASPECT_TOLERANCE = 0.02  # an image resized by its owner still fits its boxes; a cropped one does not
# What Pillow's decoders raise on damaged data; OSError includes truncated and unidentified images.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError, KeyError)


class ImageError(DataPrepError):
    """An image that cannot be used; its text is the reason under which the writer counts it."""


@dataclass(frozen=True)
class ImageRules:
    """How images are encoded anew; resize_max in px of the longer side, None = no limit."""

    resize_max: int | None
    quality: int


@dataclass(frozen=True)
class StoredImage:
    """The bytes to store, the size in px that they decode to, and what was done to them, by reason."""

    data: bytes
    width: int
    height: int
    changes: tuple[str, ...] = ()


def prepare_image(data: bytes, size_px: tuple[int, int] | None, rules: ImageRules) -> StoredImage:
    """The image as it is stored; size_px is what the annotations state. Raises PictureError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd but readable files
        image = _decoded(data)
        changes = [] if _is_stored_as_it_is(image, data) else [f"encoded anew ({_kind(image, data)})"]
        turned = _turned(image, size_px)
        if turned is not image:
            changes.append("turned by EXIF")
        _check_size(turned, size_px)
        shrunk = _shrunk(turned, rules.resize_max)
        if shrunk is not turned:
            changes.append(f"shrunk to {rules.resize_max} px")
        stored = _jpeg(_as_grey_or_rgb(shrunk), rules.quality) if changes else data
    return StoredImage(stored, shrunk.width, shrunk.height, tuple(changes))


def upright_size_px(path: Path) -> tuple[int, int] | None:
    """Width and height of an image as it is seen, from its header alone; None where that cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_FORMATS) as image:
                lies_on_its_side = _orientation(image) in range(5, 9)
                return (image.height, image.width) if lies_on_its_side else image.size
    except (Image.DecompressionBombError, *_UNREADABLE):
        return None


def _decoded(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise ImageError("image of too many pixels")
        image.load()
    except Image.DecompressionBombError:
        raise ImageError("image of too many pixels") from None
    except _UNREADABLE:
        raise ImageError("image that cannot be decoded") from None
    return image


def _is_stored_as_it_is(image: Image.Image, data: bytes) -> bool:
    if image.mode not in ("L", "RGB"):
        return False
    if image.format in ("JPEG", "MPO"):  # MPO: a JPEG with more images behind it, which decoders pass over
        return True
    is_plain_png = image.format == "PNG" and not getattr(image, "is_animated", False)
    bit_depth, colour_type = data[24], data[25]  # of the IHDR chunk, which always comes first
    return is_plain_png and bit_depth == 8 and colour_type in (0, 2) and "transparency" not in image.info


def _kind(image: Image.Image, data: bytes) -> str:
    bits = " 16 bit" if image.format == "PNG" and data[24] == 16 else ""
    return f"{image.format} {image.mode}{bits}"


def _turned(image: Image.Image, size_px: tuple[int, int] | None) -> Image.Image:
    """The image upright, unless its annotations were made on the stored pixels, as COCO's were."""
    if size_px == image.size:
        return image
    try:
        return ImageOps.exif_transpose(image) if _orientation(image) in range(2, 9) else image
    except _UNREADABLE:  # a damaged EXIF block says nothing
        return image


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except _UNREADABLE:
        return 1


def _check_size(image: Image.Image, size_px: tuple[int, int] | None) -> None:
    if size_px is None:
        return
    stated = size_px[0] / size_px[1]
    if abs(image.width / image.height - stated) > _ASPECT_TOLERANCE * stated:
        raise ImageError("image of another shape than its annotations state")


def _shrunk(image: Image.Image, resize_max: int | None) -> Image.Image:
    longer = max(image.size)
    if resize_max is None or longer <= resize_max:
        return image
    scale = resize_max / longer
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return _as_grey_or_rgb(image).resize(size, Image.Resampling.LANCZOS)


def _as_grey_or_rgb(image: Image.Image) -> Image.Image:
    """8-bit grey or RGB; what is transparent becomes white."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        return Image.fromarray(np.clip(values / (257 if values.max() > 255 else 1), 0, 255).astype(np.uint8))
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        drawing = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), drawing).convert("RGB")
    return image.convert("RGB")


def _jpeg(image: Image.Image, quality: int) -> bytes:
    if max(image.size) > LONGEST_JPEG:
        raise ImageError(f"image to be encoded anew that is longer than JPEG's {LONGEST_JPEG} px")
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=0 if quality >= 90 else 2, exif=b"")
    return file.getvalue()
