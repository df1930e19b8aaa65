"""A contact sheet: the images with matching detections reduced in size, on one page; needs no torch."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from data_prep.errors import DataPrepError
from data_prep.shards.decoding import upright_rgb_pixels
from data_prep.shards.image_files import read_bytes
from wordtree.support.files import write_atomically
from wordtree.support.lines import printable
from yolo9000.predictions.store import Match

CELL_PX, CAPTION_PX, COLUMNS = 240, 34, 6
MAX_IMAGES = 60
_BACKGROUND, _TEXT, _BOX, _MISSING = (24, 26, 31), (230, 230, 230), (255, 205, 40), (60, 62, 68)


def write_contact_sheet(path: Path, matches: Sequence[Match]) -> None:
    """Write a sheet of at most MAX_IMAGES images with the boxes of their matching detections, as JPEG or PNG.

    An image that cannot be read is a grey cell with its name.
    """
    shown = matches[:MAX_IMAGES]
    columns = max(1, min(COLUMNS, len(shown)))
    rows = max(1, math.ceil(len(shown) / columns))
    sheet = Image.new("RGB", (columns * CELL_PX, rows * (CELL_PX + CAPTION_PX)), _BACKGROUND)
    for number, match in enumerate(shown):
        row, column = divmod(number, columns)
        sheet.paste(_cell(match), (column * CELL_PX, row * (CELL_PX + CAPTION_PX)))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG" if path.suffix.lower() == ".png" else "JPEG", quality=88)
    write_atomically(path, buffer.getvalue())


def _cell(match: Match) -> Image.Image:
    cell = Image.new("RGB", (CELL_PX, CELL_PX + CAPTION_PX), _BACKGROUND)
    thumbnail, scale = _thumbnail(match)
    draw = ImageDraw.Draw(thumbnail)
    found = [match.record["detections"][rank] for rank in match.ranks]
    for one in reversed(found):
        left, top, right, bottom = (value * scale for value in one["xyxy_px"])
        draw.rectangle((left, top, max(right, left + 1), max(bottom, top + 1)), outline=_BOX, width=2)
    cell.paste(thumbnail, ((CELL_PX - thumbnail.width) // 2, (CELL_PX - thumbnail.height) // 2))
    font = ImageFont.load_default(size=12)
    names = ", ".join(f"{one['name']} {one['score']:.2f}" for one in found)
    frame = f" frame {match.record['frame']}" if "frame" in match.record else ""
    for line, text in enumerate((names, Path(match.record["image"]).name + frame)):
        ImageDraw.Draw(cell).text((4, CELL_PX + 2 + 15 * line), _shortened(text), fill=_TEXT, font=font)
    return cell


def _thumbnail(match: Match) -> tuple[Image.Image, float]:
    """The image at the size of the cell, and its scale; a grey area where it cannot be read."""
    width, height = match.record["width_px"], match.record["height_px"]
    scale = min((CELL_PX - 8) / width, (CELL_PX - 8) / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    try:
        if "frame" in match.record:
            return Image.new("RGB", size, _MISSING), scale
        path = Path(match.record["image"])
        if path.is_fifo():  # reading would block
            return Image.new("RGB", size, _MISSING), scale
        image = Image.fromarray(upright_rgb_pixels(read_bytes(path)))
    except (OSError, DataPrepError):
        return Image.new("RGB", size, _MISSING), scale
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0), scale


def _shortened(text: str) -> str:
    safe = printable(text)
    return safe if len(safe) <= 38 else f"{safe[:37]}…"
