"""Draws scenes of the emoji world: drawings on generated backgrounds, with boxes around the visible pixels.

All random numbers come from the generator that the caller gives, so equal seeds draw equal images.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from wordtree.support.arrays import BoolArray, Float32Array, Int16Array, UInt8Array

VISIBLE_ALPHA = 96  # of 255: pixels of a drawing with less opacity are not part of the object
PLACING_TRIES = 25

Colour = tuple[int, int, int]
Owners = Int16Array  # (H, W): number of the object that a pixel shows, -1 for none


class Appearance(NamedTuple):
    """Limits for the random changes to a drawing; fields of EmojiWorldConfig."""

    rotation_deg: float
    flip_share: float
    colour_jitter: float
    stretch: float
    hidden_limit: float


class VisibleObject(NamedTuple):
    """An object as visible in a finished image: its box in pixels, and the number of visible pixels."""

    number: int  # of its drawing among the drawings of the scene
    xyxy_px: tuple[int, int, int, int]
    visible_px: int


def draw_scene(
    drawings: Sequence[Image.Image],
    sizes_px: Sequence[float],
    appearance: Appearance,
    rng: Generator,
    *,
    size_px: int,
) -> tuple[Image.Image, list[VisibleObject]]:
    """An image with the drawings on a generated background, and its visible objects.

    Each drawing is placed where at most `hidden_limit` of its area and of the area of each earlier drawing is hidden.
    A drawing is left out if a few tries find no such position. Boxes are tight around the visible pixels.
    """
    canvas = draw_background(rng, size_px)
    owner = np.full((size_px, size_px), -1, dtype=np.int16)
    areas: dict[int, int] = {}
    for number, (drawing, object_px) in enumerate(zip(drawings, sizes_px, strict=True)):
        sprite = vary(drawing, object_px, appearance, rng)
        mask = np.asarray(sprite.getchannel("A")) >= VISIBLE_ALPHA
        corner = find_position(owner, mask, areas, appearance.hidden_limit, rng)
        if corner is None:
            continue
        canvas.paste(sprite, corner, sprite)
        mark_pixels(owner, mask, corner, number)
        areas[number] = int(mask.sum())
    return canvas, [visible_object(owner, number) for number in areas]


def vary(drawing: Image.Image, object_px: float, appearance: Appearance, rng: Generator) -> Image.Image:
    """The drawing with its longer side scaled to `object_px`, at random flipped, stretched, rotated and recoloured."""
    scale = object_px / max(drawing.size)
    stretch = math.exp(rng.uniform(-1, 1) * math.log1p(appearance.stretch) / 2)
    width = max(4, round(drawing.width * scale * stretch))
    height = max(4, round(drawing.height * scale / stretch))
    if rng.random() < appearance.flip_share:
        drawing = drawing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    sprite = drawing.resize((width, height), Image.Resampling.BICUBIC)
    angle = rng.uniform(-appearance.rotation_deg, appearance.rotation_deg)
    sprite = sprite.rotate(angle, Image.Resampling.BILINEAR, expand=True)
    return recolour(sprite, appearance.colour_jitter, rng)


def recolour(sprite: Image.Image, jitter: float, rng: Generator) -> Image.Image:
    """The sprite with brightness and saturation changed by up to `jitter`, and tint by up to a third of it."""
    brightness, saturation = rng.uniform(1 - jitter, 1 + jitter, size=2)
    tint = rng.uniform(1 - jitter / 3, 1 + jitter / 3, size=(3, 1))
    mixing = brightness * tint * (saturation * np.eye(3) + (1 - saturation) / 3)
    recoloured = sprite.convert("RGB").convert(
        "RGB", tuple(np.pad(mixing, ((0, 0), (0, 1))).ravel().tolist())
    )
    recoloured.putalpha(sprite.getchannel("A"))
    return recoloured


def find_position(
    owner: Owners, mask: BoolArray, areas: dict[int, int], hidden_limit: float, rng: Generator
) -> tuple[int, int] | None:
    """A top left corner (x, y) where the object and all earlier ones stay visible; None after a few tries."""
    height, width = mask.shape
    size_px = len(owner)
    left = {number: int((owner == number).sum()) for number in areas}
    for _ in range(PLACING_TRIES):
        x, y = (int(rng.integers(*corner_range(length, size_px, hidden_limit))) for length in (width, height))
        visible = mask[visible_range(y, height, size_px), visible_range(x, width, size_px)]
        if visible.sum() < (1 - hidden_limit) * mask.sum():
            continue
        covered = owner[max(y, 0) : y + height, max(x, 0) : x + width][visible]
        hidden = {number: int((covered == number).sum()) for number in areas}
        if all(left[number] - hidden[number] >= (1 - hidden_limit) * areas[number] for number in areas):
            return x, y
    return None


def corner_range(length: int, size_px: int, hidden_limit: float) -> tuple[int, int]:
    """Range of corners that leave enough of a side inside the image; its end is excluded."""
    over = int(length * hidden_limit / 2)
    return min(-over, size_px - length), max(size_px - length + over, 0) + 1


def visible_range(start: int, length: int, size_px: int) -> slice:
    """The part of an object's side, `length` long and placed at `start`, that lies inside the image."""
    return slice(max(-start, 0), min(length, size_px - start))


def mark_pixels(owner: Owners, mask: BoolArray, corner: tuple[int, int], number: int) -> None:
    """Write `number` into `owner` for each pixel that the object covers with its corner at `corner`."""
    (height, width), (x, y), size_px = mask.shape, corner, len(owner)
    visible = mask[visible_range(y, height, size_px), visible_range(x, width, size_px)]
    owner[max(y, 0) : y + height, max(x, 0) : x + width][visible] = number


def visible_object(owner: Owners, number: int) -> VisibleObject:
    """The object with its tight box around the pixels that show it."""
    visible = owner == number
    columns, rows = np.flatnonzero(visible.any(axis=0)), np.flatnonzero(visible.any(axis=1))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return VisibleObject(number, box, int(visible.sum()))


def draw_background(rng: Generator, size_px: int) -> Image.Image:
    """A square of gradient, noise, stripes, checks or blobs, with coloured shapes as clutter."""
    backgrounds: tuple[Callable[[Generator, int], Image.Image], ...] = (
        gradient,
        noise,
        stripes,
        checks,
        blobs,
    )
    image = backgrounds[rng.integers(len(backgrounds))](rng, size_px)
    scatter_shapes(image, rng, count=int(rng.integers(0, 9)))
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 2))))
    return image


def gradient(rng: Generator, size_px: int) -> Image.Image:
    start, end = palette(rng, 2).astype(np.float32)
    position = random_ramp(rng, size_px)
    share = (position - position.min()) / (np.ptp(position) + 1e-6)
    return Image.fromarray((start + share[..., None] * (end - start)).astype(np.uint8))


def noise(rng: Generator, size_px: int) -> Image.Image:
    start, end = palette(rng, 2).astype(np.float32)
    cells = int(rng.integers(3, 40))
    share = rng.random((cells, cells, 1), dtype=np.float32)
    tint = rng.normal(0, 12, (cells, cells, 3)).astype(np.float32)
    coarse = np.clip(start + share * (end - start) + tint, 0, 255).astype(np.uint8)
    return Image.fromarray(coarse).resize((size_px, size_px), Image.Resampling.BICUBIC)


def stripes(rng: Generator, size_px: int) -> Image.Image:
    colours = palette(rng, int(rng.integers(2, 5)))
    band = (random_ramp(rng, size_px) / rng.uniform(0.03, 0.25)).astype(np.int64)
    return Image.fromarray(colours[band % len(colours)])


def checks(rng: Generator, size_px: int) -> Image.Image:
    colours = palette(rng, int(rng.integers(2, 4)))
    width = rng.uniform(0.05, 0.3)
    bands = [(random_ramp(rng, size_px) / width).astype(np.int64) for _ in range(2)]
    return Image.fromarray(colours[(bands[0] + bands[1]) % len(colours)])


def blobs(rng: Generator, size_px: int) -> Image.Image:
    small_px = max(8, size_px // 4)  # blurred anyway
    image = gradient(rng, small_px)
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(5, 20))):
        x, y = rng.uniform(0, small_px, 2).tolist()
        radius = rng.uniform(0.05, 0.25) * small_px
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour(rng))
    blurred = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 2))))
    return blurred.resize((size_px, size_px), Image.Resampling.BICUBIC)


def scatter_shapes(image: Image.Image, rng: Generator, *, count: int) -> None:
    """Draw clutter over the image: half-transparent ellipses, rectangles, triangles, lines and rings."""
    pen = ImageDraw.Draw(image, "RGBA")
    for _ in range(count):
        x, y = rng.uniform(0, image.width, 2).tolist()
        width, height = (rng.uniform(0.05, 0.35, 2) * image.width).tolist()
        fill = (*colour(rng), int(rng.integers(120, 256)))
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        match rng.integers(5):
            case 0:
                pen.ellipse(box, fill=fill)
            case 1:
                pen.rectangle(box, fill=fill)
            case 2:
                pen.polygon(
                    [(x + dx, y + dy) for dx, dy in rng.uniform(-width, width, (3, 2)).tolist()], fill
                )
            case 3:
                pen.line(box, fill=fill, width=int(rng.integers(1, 6)))
            case _:
                pen.ellipse(box, outline=fill, width=int(rng.integers(2, 6)))


def random_ramp(rng: Generator, size_px: int) -> Float32Array:
    """Position of each pixel along a random direction, in image widths from 0 up, shape (H, W)."""
    angle = rng.uniform(0, 2 * math.pi)
    axis = np.arange(size_px) / size_px
    position: Float32Array = np.add.outer(axis * math.sin(angle), axis * math.cos(angle)).astype(np.float32)
    position -= position.min()
    return position


def palette(rng: Generator, count: int) -> UInt8Array:
    return rng.integers(0, 256, (count, 3), dtype=np.uint8)


def colour(rng: Generator) -> Colour:
    red, green, blue = rng.integers(0, 256, 3).tolist()
    return red, green, blue
