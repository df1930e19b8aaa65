"""Preparing an image for storage. The reader of training and prediction decodes every image, to check it.

8-bit grey or RGB images in JPEG or PNG, which all decoders read alike, are stored unchanged. All others (palettes,
transparency, CMYK, 16 bit, other formats, PNGs with a wrong checksum, images to be rotated or resized) are re-encoded
as JPEG.
"""

import io
import math
import warnings
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from data_prep.shards.decoding import (
    DecodedImage,
    ImageError,
    as_grey_or_rgb,
    decode,
    orientation,
    upright,
)
from data_prep.shards.png_and_jpeg import is_clean_png, without_metadata

# Which pixels the boxes of an image refer to: the stored ones, or those of the image rotated by EXIF.
BoxFrame = Literal["stored", "upright"]
NOT_ROTATED = "EXIF rotation not applied, as the annotations refer to the stored pixels"
METADATA_REMOVED = "metadata removed"
MAX_JPEG_SIDE = 65_500  # px of a side: libjpeg's limit
_ASPECT_TOLERANCE = 0.02  # a resized image still fits its boxes; a cropped one does not


@dataclass(frozen=True)
class ImageRules:
    """Settings of the merge for each image.

    resize_max: px of the longer side, None for no limit. quality: of images that are encoded as JPEG.
    strip_metadata: leave out all that the pixels do not depend on.
    """

    resize_max: int | None
    quality: int
    strip_metadata: bool = False


@dataclass(frozen=True)
class PreparedImage:
    """The bytes to store, the size of the decoded image in px, and the reasons for which it was changed."""

    data: bytes
    width: int
    height: int
    changes: tuple[str, ...] = ()


def prepare_image(
    data: bytes, size_px: tuple[int, int] | None, rules: ImageRules, frame: BoxFrame = "upright"
) -> PreparedImage:
    """The image in the form to store. Raises ImageError.

    size_px: the size in the annotations, if stated. frame: the image to which the boxes refer, unless it
    follows from the stated size.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about irregular but readable files
        decoded = decode(data)
        changes = [decoded.mended] if decoded.mended else []
        if not _can_stay(decoded):
            changes.append(f"re-encoded ({_description(decoded)})")
        image = decoded.image
        notes: list[str] = []
        if orientation(image) in range(2, 9):
            image = _in_frame(image, size_px, frame)
            changed = image is not decoded.image
            (changes if changed else notes).append("rotated by EXIF" if changed else NOT_ROTATED)
        _check_aspect(image, size_px)
        resized = _resized(image, rules.resize_max)
        if resized is not image:
            changes.append(f"resized to {rules.resize_max} px")
        is_new = bool(changes) and changes != [decoded.mended]
        stored = _jpeg(as_grey_or_rgb(resized), rules.quality) if is_new else decoded.data
        if rules.strip_metadata and (stripped := without_metadata(stored)) != stored:
            stored = stripped
            notes += [] if is_new else [METADATA_REMOVED]
    return PreparedImage(stored, resized.width, resized.height, (*changes, *notes))


def _can_stay(decoded: DecodedImage) -> bool:
    image, data = decoded.image, decoded.data
    if image.mode not in ("L", "RGB"):
        return False
    if image.format == "JPEG":  # perhaps followed by more images, which decoders ignore
        return True
    if image.format != "PNG" or getattr(image, "is_animated", False) or "transparency" in image.info:
        return False
    bit_depth, colour_type = data[24], data[25]  # of the IHDR chunk, which is always the first
    return bit_depth == 8 and colour_type in (0, 2) and is_clean_png(data)


def _description(decoded: DecodedImage) -> str:
    image, data = decoded.image, decoded.data
    bits = " 16 bit" if image.format == "PNG" and data[24] == 16 else ""
    damaged = ", wrong checksum" if image.format == "PNG" and not is_clean_png(data) else ""
    return f"{image.format} {image.mode}{bits}{damaged}"


def box_frame(stored_px: tuple[int, int], size_px: tuple[int, int]) -> BoxFrame | None:
    """The frame whose aspect ratio the stated size has, of an image that EXIF turns sideways; None if both have it."""
    stated, stored = (math.log(width / height) for width, height in (size_px, stored_px))
    if abs(stated - stored) == abs(stated + stored):
        return None
    return "stored" if abs(stated - stored) < abs(stated + stored) else "upright"


def _in_frame(image: Image.Image, size_px: tuple[int, int] | None, frame: BoxFrame) -> Image.Image:
    """The image in the frame of its boxes: as stored, or rotated by EXIF."""
    if size_px is not None and orientation(image) in range(5, 9):
        frame = box_frame(image.size, size_px) or frame
    return image if frame == "stored" else upright(image)


def _check_aspect(image: Image.Image, size_px: tuple[int, int] | None) -> None:
    if size_px is None:
        return
    stated = size_px[0] / size_px[1]
    if abs(image.width / image.height - stated) > _ASPECT_TOLERANCE * stated:
        raise ImageError("image with another aspect ratio than in its annotations")


def _resized(image: Image.Image, resize_max: int | None) -> Image.Image:
    longer = max(image.size)
    if resize_max is None or longer <= resize_max:
        return image
    scale = resize_max / longer
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return as_grey_or_rgb(image).resize(size, Image.Resampling.LANCZOS)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    if max(image.size) > MAX_JPEG_SIDE:
        raise ImageError(f"image to re-encode with a side longer than JPEG's {MAX_JPEG_SIDE} px")
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=0 if quality >= 90 else 2, exif=b"")
    return file.getvalue()
