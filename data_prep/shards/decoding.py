"""The one image reader: encoded bytes to 8-bit grey or RGB pixels, for merging, training, evaluation and prediction.

Files may come from strangers. So only the formats listed here are opened, none of which starts another program (Pillow
starts Ghostscript for PostScript, whatever a file is called); an image with more than MAX_PIXELS is refused after its
header was read; and whatever exception a decoder raises becomes an ImageError.
"""

import io
import re
import warnings
from dataclasses import dataclass
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageChops,
    ImageOps,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from data_prep.errors import DataPrepError
from data_prep.shards.png_and_jpeg import (
    JPEG_START,
    PNG_START,
    count_jpeg_scans,
    jpeg_with_end_marker,
    jpeg_with_filler,
    png_without_texts,
)
from wordtree.support.arrays import UInt8Array
from wordtree.support.lines import one_line

MAX_PIXELS = 178_956_970  # Pillow's limit against decompression bombs
LARGE_PIXELS = 32 << 20  # larger images are decoded one at a time, which bounds the memory of all threads
MAX_FILE_BYTES = 2**30  # of an encoded image
MAX_SCANS = 100  # of a progressive JPEG, which takes time for each scan; encoders write about ten
IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".avifs", ".gif"),
        *(".bmp", ".dib", ".tif", ".tiff", ".pbm", ".pgm", ".ppm", ".pnm", ".pfm"),
        *(".jp2", ".j2k", ".jpx", ".jpf", ".jpc", ".j2c"),
    )
)
_ONE_LARGE_IMAGE = Lock()
_ROWS_AT_ONCE = 256  # composed over white

# The first bytes of each format, and the class that opens it.
_FORMATS = (
    (re.compile(rb"\xff\xd8\xff"), JpegImagePlugin.JpegImageFile),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImagePlugin.PngImageFile),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), WebPImagePlugin.WebPImageFile),
    (re.compile(rb"GIF8[79]a"), GifImagePlugin.GifImageFile),
    (re.compile(rb"BM"), BmpImagePlugin.BmpImageFile),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), TiffImagePlugin.TiffImageFile),
    (re.compile(rb"P[1-6fy]\s"), PpmImagePlugin.PpmImageFile),
    (re.compile(rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n"), Jpeg2KImagePlugin.Jpeg2KImageFile),
    (re.compile(rb"....ftypavi[fs]|....ftypm[is]f1", re.DOTALL), AvifImagePlugin.AvifImageFile),
)
FORMAT_NAMES = "JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, JPEG 2000 or AVIF"


class ImageError(DataPrepError):
    """An image that cannot be used; the message is the reason under which the writer counts it.

    detail: more about this one image, to follow its name.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.detail = detail or reason


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image in its own mode, such as CMYK or RGBA.

    data: the bytes that were decoded. mended: how they differ from the given ones; empty: not at all.
    """

    image: Image.Image
    data: bytes
    mended: str = ""


def rgb_pixels(data: bytes) -> UInt8Array:
    """RGB pixels as stored, without rotation by EXIF, shape (H, W, 3). Raises ImageError."""
    return _rgb(decode(data).image)


def upright_rgb_pixels(data: bytes) -> UInt8Array:
    """RGB pixels rotated by EXIF, as viewers show the image, shape (H, W, 3). Raises ImageError."""
    return rgb_of(decode(data).image)


def rgb_of(image: Image.Image) -> UInt8Array:
    """RGB pixels of an opened image, rotated by EXIF, shape (H, W, 3). Raises ImageError."""
    try:
        return _rgb(upright(image))
    except MemoryError as reason:
        raise _undecodable(reason) from None


def decode(data: bytes) -> DecodedImage:
    """The decoded image. Raises ImageError.

    A JPEG that lacks only its end marker and a PNG with large or damaged texts are mended first.
    """
    try:
        return DecodedImage(_loaded(data), data)
    except ImageError:
        if data.startswith(PNG_START) and (shorter := png_without_texts(data)) != data:
            return DecodedImage(_loaded(shorter), shorter, "PNG texts removed")
        if data.startswith(JPEG_START) and (complete := _jpeg_lacking_only_its_end(data)):
            return complete
        raise


def _jpeg_lacking_only_its_end(data: bytes) -> DecodedImage | None:
    """The JPEG with an end marker; None if more than the marker is missing.

    A decoder invents missing pixels from whatever follows the data, so two endings show whether any are missing.
    """
    try:
        mended = jpeg_with_end_marker(data)
        image, other = _loaded(mended), _loaded(jpeg_with_filler(data))
    except ImageError:
        return None
    if ImageChops.difference(image, other).getbbox():
        return None
    return DecodedImage(image, mended, "JPEG end marker added")


def as_grey_or_rgb(image: Image.Image) -> Image.Image:
    """The image in 8-bit grey or RGB; transparent pixels become white. Raises ImageError."""
    try:
        image.load()
        return _as_grey_or_rgb(image)
    except Exception as reason:
        raise _undecodable(reason) from None


def upright(image: Image.Image) -> Image.Image:
    """The image rotated by EXIF; the same object if it is upright."""
    if orientation(image) not in range(2, 9):
        return image
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged EXIF block
        return image


def orientation(image: Image.Image) -> object:
    """The EXIF orientation, 1 (upright) to 8; 1 also where there is none or its block is damaged.

    1 for every TIFF, since Pillow itself rotates them.
    """
    if image.format == "TIFF":
        return 1
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1


def stored_header(file: BinaryIO) -> tuple[tuple[int, int], bool]:
    """Width and height of the stored pixels, and whether EXIF turns them sideways. Raises ImageError."""
    image = _opened(file)
    return image.size, orientation(image) in range(5, 9)


def _rgb(image: Image.Image) -> UInt8Array:
    try:
        return np.array(as_grey_or_rgb(image).convert("RGB"))
    except MemoryError as reason:
        raise _undecodable(reason) from None


def _loaded(data: bytes) -> Image.Image:
    if not data:
        raise ImageError("image that cannot be decoded", "the file is empty")
    image = _opened(io.BytesIO(data))
    if "progressive" in image.info and count_jpeg_scans(data) > MAX_SCANS:
        raise ImageError("image that cannot be decoded", f"it has more than {MAX_SCANS} scans")
    try:
        if image.width * image.height > LARGE_PIXELS:
            with _ONE_LARGE_IMAGE, warnings.catch_warnings():  # threads share the filters, hence the lock
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                image.load()
        else:
            image.load()
    except Exception as reason:  # decoders raise every kind of exception on damaged data
        raise _undecodable(reason) from None
    return image


def _opened(file: BinaryIO) -> Image.Image:
    """The image with its header read and its pixels not yet decoded."""
    start = file.read(32)
    file.seek(0)
    opener = next((opener for pattern, opener in _FORMATS if pattern.match(start)), None)
    if opener is None:
        raise ImageError("image that cannot be decoded", f"found none of the formats {FORMAT_NAMES}")
    try:
        image = opener(file)
    except Exception as reason:
        raise _undecodable(reason) from None
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(
            "image with too many pixels",
            f"its {image.width} × {image.height} pixels are more than {MAX_PIXELS // 10**6} megapixels",
        )
    return image


def _undecodable(reason: Exception) -> ImageError:
    if isinstance(reason, MemoryError):
        return ImageError("image that does not fit into memory")
    return ImageError(
        "image that cannot be decoded", f"decoding fails ({one_line(reason)[:200].rstrip('.')})"
    )


def _as_grey_or_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        return Image.fromarray(_bytes_of(np.asarray(image)))
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        return _over_white(image)
    return image.convert("RGB")


def _bytes_of(values: np.ndarray[Any, Any]) -> UInt8Array:
    """Grey of 32 bits as 8 bits.

    The largest value determines the range: floats of 0..1, or values of 8, 16 or 32 bits.
    """
    values = np.nan_to_num(values, nan=0)
    largest = values.max()
    if values.dtype.kind == "f" and largest <= 1:
        values = values * 255
    elif largest > 255:
        values = values / (257 if largest <= 65535 else 257 * 65537)
    return np.clip(values, 0, 255).astype(np.uint8)


def _over_white(image: Image.Image) -> Image.Image:
    """The image composed over white, some rows at a time, so that memory holds no further copy of it."""
    composed = Image.new("RGB", image.size)
    for top in range(0, image.height, _ROWS_AT_ONCE):
        box = (0, top, image.width, min(image.height, top + _ROWS_AT_ONCE))
        rows = image.crop(box).convert("RGBA")
        composed.paste(Image.alpha_composite(Image.new("RGBA", rows.size, "white"), rows).convert("RGB"), box)
    return composed
