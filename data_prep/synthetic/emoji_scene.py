"""Images of the generated world: drawings on generated backgrounds, with the box of what can be seen.

Everything random comes from the generator that the caller gives, so that equal seeds draw equal images.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from wordtree.support.arrays import BoolArray, Float32Array, Int16Array, UInt8Array

VISIBLE_ALPHA = 96  # of 255: a pixel of a drawing that covers less than this is not part of the object
PLACING_TRIES = 25

Colour = tuple[int, int, int]
Owners = Int16Array  # (H, W): which object each pixel shows, -1 for none


class Appearance(NamedTuple):
    """How far a drawing may be changed; the fields of EmojiWorldConfig with the same names."""

    rotation_deg: float
    flip_share: float
    colour_jitter: float
    stretch: float
    hidden_limit: float


class SeenObject(NamedTuple):
    """An object as it can be seen in a finished image: box edges in pixels, pixels left visible."""

    which: int  # the position of its drawing in the call
    xyxy_px: tuple[int, int, int, int]
    visible_px: int


def draw_scene(
    drawings: Sequence[Image.Image],
    sizes_px: Sequence[float],
    appearance: Appearance,
    rng: Generator,
    *,
    size_px: int,
) -> tuple[Image.Image, list[SeenObject]]:
    """An image with the drawings on a fresh background, and the objects as they can be seen.

    Each drawing is placed where neither it nor one before it has more than `hidden_limit` of its area hidden;
    one that finds no such place in a few tries is left out. Boxes are tight around the visible pixels.
    """
    canvas = draw_background(rng, size_px)
    owner = np.full((size_px, size_px), -1, dtype=np.int16)
    areas: dict[int, int] = {}
    for which, (drawing, object_px) in enumerate(zip(drawings, sizes_px, strict=True)):
        sprite = vary(drawing, object_px, appearance, rng)
        mask = np.asarray(sprite.getchannel("A")) >= VISIBLE_ALPHA
        place = find_place(owner, mask, areas, appearance.hidden_limit, rng)
        if place is None:
            continue
        canvas.paste(sprite, place, sprite)
        mark(owner, mask, place, which)
        areas[which] = int(mask.sum())
    return canvas, [seen(owner, which) for which in areas]


def vary(drawing: Image.Image, object_px: float, appearance: Appearance, rng: Generator) -> Image.Image:
    """The drawing with its longer side scaled to `object_px`; flipped, stretched, rotated and recoloured."""
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
    """The sprite with brightness, saturation and tint changed by up to `jitter` (tint by a third of it)."""
    brightness, saturation = rng.uniform(1 - jitter, 1 + jitter, size=2)
    tint = rng.uniform(1 - jitter / 3, 1 + jitter / 3, size=(3, 1))
    mixing = brightness * tint * (saturation * np.eye(3) + (1 - saturation) / 3)
    recoloured = sprite.convert("RGB").convert(
        "RGB", tuple(np.pad(mixing, ((0, 0), (0, 1))).ravel().tolist())
    )
    recoloured.putalpha(sprite.getchannel("A"))
    return recoloured


def find_place(
    owner: Owners, mask: BoolArray, areas: dict[int, int], hidden_limit: float, rng: Generator
) -> tuple[int, int] | None:
    """A top left corner (x, y) where the object and all before it stay visible, or None after a few tries."""
    height, width = mask.shape
    size_px = len(owner)
    left = {which: int((owner == which).sum()) for which in areas}
    for _ in range(PLACING_TRIES):
        x, y = (int(rng.integers(*corner_range(length, size_px, hidden_limit))) for length in (width, height))
        inside = mask[cut(y, height, size_px), cut(x, width, size_px)]
        if inside.sum() < (1 - hidden_limit) * mask.sum():
            continue
        covered = owner[max(y, 0) : y + height, max(x, 0) : x + width][inside]
        hidden = {which: int((covered == which).sum()) for which in areas}
        if all(left[which] - hidden[which] >= (1 - hidden_limit) * areas[which] for which in areas):
            return x, y
    return None


def corner_range(length: int, size_px: int, hidden_limit: float) -> tuple[int, int]:
    """The first and one past the last corner that leave enough of a side inside the image."""
    over = int(length * hidden_limit / 2)
    return min(-over, size_px - length), max(size_px - length + over, 0) + 1


def cut(start: int, length: int, size_px: int) -> slice:
    """The part of an object's side of this length, placed at `start`, that lies inside the image."""
    return slice(max(-start, 0), min(length, size_px - start))


def mark(owner: Owners, mask: BoolArray, place: tuple[int, int], which: int) -> None:
    """Write `which` into `owner` wherever the object, placed with its corner there, covers a pixel."""
    (height, width), (x, y), size_px = mask.shape, place, len(owner)
    inside = mask[cut(y, height, size_px), cut(x, width, size_px)]
    owner[max(y, 0) : y + height, max(x, 0) : x + width][inside] = which


def seen(owner: Owners, which: int) -> SeenObject:
    visible = owner == which
    columns, rows = np.flatnonzero(visible.any(axis=0)), np.flatnonzero(visible.any(axis=1))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return SeenObject(which, box, int(visible.sum()))


def draw_background(rng: Generator, size_px: int) -> Image.Image:
    """A square of gradient, noise, stripes, checks or blobs, with coloured shapes as clutter."""
    kinds: tuple[Callable[[Generator, int], Image.Image], ...] = (gradient, noise, stripes, checks, blobs)
    image = kinds[rng.integers(len(kinds))](rng, size_px)
    scatter_shapes(image, rng, count=int(rng.integers(0, 9)))
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 2))))
    return image


def gradient(rng: Generator, size_px: int) -> Image.Image:
    start, end = palette(rng, 2).astype(np.float32)
    position = along(rng, size_px)
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
    band = (along(rng, size_px) / rng.uniform(0.03, 0.25)).astype(np.int64)
    return Image.fromarray(colours[band % len(colours)])


def checks(rng: Generator, size_px: int) -> Image.Image:
    colours = palette(rng, int(rng.integers(2, 4)))
    width = rng.uniform(0.05, 0.3)
    bands = [(along(rng, size_px) / width).astype(np.int64) for _ in range(2)]
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


def scatter_shapes(picture: Image.Image, rng: Generator, *, count: int) -> None:
    """Draw clutter over the image: half-transparent ellipses, rectangles, triangles, lines and rings."""
    pen = ImageDraw.Draw(picture, "RGBA")
    for _ in range(count):
        x, y = rng.uniform(0, picture.width, 2).tolist()
        width, height = (rng.uniform(0.05, 0.35, 2) * picture.width).tolist()
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


def along(rng: Generator, size_px: int) -> Float32Array:
    """How far each pixel lies in a random direction, in image widths, from 0 up; (H, W)."""
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
