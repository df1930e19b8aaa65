"""Draws the images that docs/your_own_data.md speaks of, for readers without data and for the test of the page.

    python tests/made_parts.py parts/

reads the kinds from parts/kinds.csv and draws parts/scenes (images with boxes, COCO's format) and parts/catalogue
(images of one part each, a folder for each kind).
"""

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw

SCENES, TEST_SCENES, BOXES_IN_A_SCENE, CATALOGUE_IMAGES = 125, 60, 4, 250
SCENE_PX, CATALOGUE_PX, TILE_PX = 160, 96, 120
BOXED_IN_A_FAMILY = 2  # of its five kinds, and of the last family none
COLOURS = ("#c03028", "#2850b8", "#208838", "#c89018", "#7838a0")
WRITTEN_BY_ANNOTATORS = {"wing nut": "wingnut"}  # a slip for the label map to find


def families(kinds_csv: Path) -> dict[str, list[str]]:
    """Family → its kinds, by id, in the order of the file."""
    found: dict[str, list[str]] = {}
    with kinds_csv.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["parent"]:
                found[row["parent"]].append(row["child"])
            else:
                found[row["child"]] = []
    return found


def drawing(family: int, kind: int) -> Image.Image:
    """One part on a transparent square: its family is its shape, its kind the colour.

    Which colours have boxes differs from family to family, so that no colour means "background".
    """
    tile = Image.new("RGBA", (TILE_PX, TILE_PX))
    pen, colour = ImageDraw.Draw(tile), COLOURS[(family + kind) % len(COLOURS)]
    dark = {"fill": colour, "outline": "#202020", "width": 3}
    if family == 0:  # a bolt: a head and a shank
        pen.rectangle((48, 40, 72, 112), **dark)
        pen.polygon([(30, 20), (60, 6), (90, 20), (90, 40), (30, 40)], **dark)
    elif family == 1:  # a nut: a hexagon with a hole
        pen.regular_polygon((60, 60, 50), 6, fill=colour, outline="#202020")
        pen.ellipse((40, 40, 80, 80), fill=(0, 0, 0, 0), outline="#202020", width=3)
    elif family == 2:  # a washer: a ring
        pen.ellipse((10, 10, 110, 110), **dark)
        pen.ellipse((34, 34, 86, 86), fill=(0, 0, 0, 0), outline="#202020", width=3)
    elif family == 3:  # a screw: a cone under a slotted head
        pen.polygon([(46, 30), (74, 30), (60, 114)], **dark)
        pen.ellipse((30, 8, 90, 40), **dark)
        pen.line((40, 24, 80, 24), fill="#202020", width=4)
    elif family == 4:  # a nail: long and thin
        pen.polygon([(55, 14), (65, 14), (62, 116), (58, 116)], **dark)
        pen.rectangle((44, 6, 76, 14), **dark)
    else:  # a hook
        pen.arc((30, 40, 90, 114), -20, 200, fill=colour, width=13)
        pen.rectangle((78, 8, 90, 78), fill=colour)
    return tile


class Painter:
    """Draws parts on backgrounds, all by one seed."""

    def __init__(self, kinds_csv: Path, seed: int = 0) -> None:
        self.random = Random(seed)
        groups = families(kinds_csv)
        self.tiles = {
            kind: drawing(family, number)
            for family, kinds in enumerate(groups.values())
            for number, kind in enumerate(kinds)
        }
        self.boxed = [kind for kinds in list(groups.values())[:-1] for kind in kinds[:BOXED_IN_A_FAMILY]]
        self.others = [kind for kind in self.tiles if kind not in self.boxed]

    def background(self, size: int) -> Image.Image:
        """A table top: two colours in coarse blotches."""
        draw = self.random
        coarse = Image.new("RGB", (6, 6))
        base = draw.randint(120, 220)
        for x in range(6):
            for y in range(6):
                coarse.putpixel((x, y), tuple(base + draw.randint(-25, 25) for _ in range(3)))
        return coarse.resize((size, size), Image.Resampling.BICUBIC)

    def paste(self, picture: Image.Image, kind: str, area: tuple[int, int, int]) -> list[int]:
        """Draw a part somewhere in a square (left, top, side); its box as x, y, width, height in pixels."""
        left, top, side = area
        draw = self.random
        turned = self.tiles[kind].rotate(draw.uniform(-40, 40), Image.Resampling.BILINEAR)
        size = round(side * draw.uniform(0.65, 1))
        part = turned.resize((size, size), Image.Resampling.BILINEAR)
        x, y = (place + draw.randint(0, side - size) for place in (left, top))
        picture.paste(part, (x, y), part)
        x1, y1, x2, y2 = part.getchannel("A").point(lambda alpha: 255 * (alpha > 64)).getbbox()
        return [x + x1, y + y1, x2 - x1, y2 - y1]

    def scene(self, kinds: Sequence[str], path: Path) -> list[list[int]]:
        """An image of up to nine parts; the box of each."""
        image = self.background(SCENE_PX)
        side = SCENE_PX // 3
        cells = self.random.sample(range(9), len(kinds))
        areas = [(cell % 3 * side, cell // 3 * side, side) for cell in cells]
        boxes = [self.paste(image, kind, area) for kind, area in zip(kinds, areas, strict=True)]
        image.save(path, quality=90)
        return boxes


def write_scenes(painter: Painter, folder: Path, names: dict[str, str]) -> None:
    """Training scenes with the boxes of some kinds and two parts more without; test scenes with all boxes."""
    (folder / "photos").mkdir(parents=True)
    for split, number, kinds in (
        ("train", SCENES, painter.boxed),
        ("test", TEST_SCENES, list(painter.tiles)),
    ):
        turns = number * BOXES_IN_A_SCENE // len(kinds)
        wanted = [kind for kind in kinds for _ in range(turns)]
        painter.random.shuffle(wanted)
        ids = {kind: place + 1 for place, kind in enumerate(kinds)}
        images, boxes = [], []
        for image in range(number):
            shown = wanted[image * BOXES_IN_A_SCENE : (image + 1) * BOXES_IN_A_SCENE]
            unboxed = painter.random.sample(painter.others, 2) if split == "train" else []
            name = f"{split}_{image:04}.jpg"
            found = painter.scene([*shown, *unboxed], folder / "photos" / name)
            images.append({"id": image, "file_name": name, "width": SCENE_PX, "height": SCENE_PX})
            for kind, box in zip(shown, found, strict=False):
                boxes.append({"id": len(boxes), "image_id": image, "category_id": ids[kind], "bbox": box})
        written = {kind: WRITTEN_BY_ANNOTATORS.get(names[kind], names[kind]) for kind in kinds}
        categories = [{"id": ids[kind], "name": written[kind]} for kind in kinds]
        document = {"images": images, "annotations": boxes, "categories": categories}
        (folder / f"{split}.json").write_text(json.dumps(document))


def write_catalogue(painter: Painter, folder: Path) -> None:
    """Images of one part each, for the kinds that have no boxes."""
    for kind in painter.others:
        (folder / kind).mkdir(parents=True)
        for number in range(CATALOGUE_IMAGES):
            image = painter.background(CATALOGUE_PX)
            painter.paste(image, kind, (4, 4, CATALOGUE_PX - 8))
            image.save(folder / kind / f"{number:04}.jpg", quality=90)


def draw_parts(folder: Path) -> None:
    """Draw everything below a folder that holds kinds.csv."""
    with (folder / "kinds.csv").open(newline="") as file:
        names = {row["child"]: row["name"] or row["child"] for row in csv.DictReader(file)}
    painter = Painter(folder / "kinds.csv")
    write_scenes(painter, folder / "scenes", names)
    write_catalogue(painter, folder / "catalogue")


if __name__ == "__main__":
    draw_parts(Path(sys.argv[1]))
