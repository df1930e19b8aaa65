"""Draw the images of docs/your_own_data.md, for readers without data and for the test of the page.

    python tests/made_parts.py parts/

reads the classes from parts/classes.csv and draws parts/scenes (images with boxes, COCO's format) and parts/catalogue
(images of one part each, a folder for each class).
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
BOXED_IN_A_FAMILY = 2  # of its five classes; the last family has no boxes
COLOURS = ("#c03028", "#2850b8", "#208838", "#c89018", "#7838a0")
WRITTEN_BY_ANNOTATORS = {"wing nut": "wingnutt"}  # a misspelling that the reader corrects in the label map


def families(classes_csv: Path) -> dict[str, list[str]]:
    """The classes of each family, by id, in the order of the file."""
    groups: dict[str, list[str]] = {}
    with classes_csv.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["parent"]:
                groups[row["parent"]].append(row["child"])
            else:
                groups[row["child"]] = []
    return groups


def drawing(family: int, member: int) -> Image.Image:
    """One part on a transparent square; the family decides its shape, the class its colour.

    The boxed colours differ from family to family, so no colour means "background".
    """
    tile = Image.new("RGBA", (TILE_PX, TILE_PX))
    pen, colour = ImageDraw.Draw(tile), COLOURS[(family + member) % len(COLOURS)]
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
    """Draw parts on backgrounds, all from one seed."""

    def __init__(self, classes_csv: Path, seed: int = 0) -> None:
        self.random = Random(seed)
        groups = families(classes_csv)
        self.tiles = {
            name: drawing(family, member)
            for family, names in enumerate(groups.values())
            for member, name in enumerate(names)
        }
        self.boxed = [name for names in list(groups.values())[:-1] for name in names[:BOXED_IN_A_FAMILY]]
        self.label_only = [name for name in self.tiles if name not in self.boxed]

    def background(self, size: int) -> Image.Image:
        """A table top: one grey in coarse blotches of slightly different colours."""
        draw = self.random
        coarse = Image.new("RGB", (6, 6))
        base = draw.randint(120, 220)
        for x in range(6):
            for y in range(6):
                coarse.putpixel((x, y), tuple(base + draw.randint(-25, 25) for _ in range(3)))
        return coarse.resize((size, size), Image.Resampling.BICUBIC)

    def paste(self, image: Image.Image, name: str, area: tuple[int, int, int]) -> list[int]:
        """Draw a part somewhere in a square (left, top, side); its box as x, y, width, height in pixels."""
        left, top, side = area
        draw = self.random
        turned = self.tiles[name].rotate(draw.uniform(-40, 40), Image.Resampling.BILINEAR)
        size = round(side * draw.uniform(0.65, 1))
        part = turned.resize((size, size), Image.Resampling.BILINEAR)
        x, y = (corner + draw.randint(0, side - size) for corner in (left, top))
        image.paste(part, (x, y), part)
        x1, y1, x2, y2 = part.getchannel("A").point(lambda alpha: 255 * (alpha > 64)).getbbox()
        return [x + x1, y + y1, x2 - x1, y2 - y1]

    def scene(self, names: Sequence[str], path: Path) -> list[list[int]]:
        """Write an image of up to nine parts; the box of each."""
        image = self.background(SCENE_PX)
        side = SCENE_PX // 3
        cells = self.random.sample(range(9), len(names))
        areas = [(cell % 3 * side, cell // 3 * side, side) for cell in cells]
        boxes = [self.paste(image, name, area) for name, area in zip(names, areas, strict=True)]
        image.save(path, quality=90)
        return boxes


def write_scenes(painter: Painter, folder: Path, display_names: dict[str, str]) -> None:
    """Write training scenes with boxes and two more parts without, and test scenes with all boxes."""
    (folder / "photos").mkdir(parents=True)
    for split, number, classes in (
        ("train", SCENES, painter.boxed),
        ("test", TEST_SCENES, list(painter.tiles)),
    ):
        turns = number * BOXES_IN_A_SCENE // len(classes)
        objects = [name for name in classes for _ in range(turns)]
        painter.random.shuffle(objects)
        ids = {name: row + 1 for row, name in enumerate(classes)}
        images, boxes = [], []
        for image in range(number):
            with_box = objects[image * BOXES_IN_A_SCENE : (image + 1) * BOXES_IN_A_SCENE]
            without_box = painter.random.sample(painter.label_only, 2) if split == "train" else []
            file_name = f"{split}_{image:04}.jpg"
            drawn = painter.scene([*with_box, *without_box], folder / "photos" / file_name)
            images.append({"id": image, "file_name": file_name, "width": SCENE_PX, "height": SCENE_PX})
            for name, box in zip(with_box, drawn, strict=False):
                boxes.append({"id": len(boxes), "image_id": image, "category_id": ids[name], "bbox": box})
        written = {
            name: WRITTEN_BY_ANNOTATORS.get(display_names[name], display_names[name]) for name in classes
        }
        categories = [{"id": ids[name], "name": written[name]} for name in classes]
        document = {"images": images, "annotations": boxes, "categories": categories}
        (folder / f"{split}.json").write_text(json.dumps(document))


def write_catalogue(painter: Painter, folder: Path) -> None:
    """Write images of one part each, for the classes without boxes."""
    for name in painter.label_only:
        (folder / name).mkdir(parents=True)
        for number in range(CATALOGUE_IMAGES):
            image = painter.background(CATALOGUE_PX)
            painter.paste(image, name, (4, 4, CATALOGUE_PX - 8))
            image.save(folder / name / f"{number:04}.jpg", quality=90)


def draw_parts(folder: Path) -> None:
    """Draw all images into a folder that contains classes.csv."""
    with (folder / "classes.csv").open(newline="") as file:
        display_names = {row["child"]: row["name"] or row["child"] for row in csv.DictReader(file)}
    painter = Painter(folder / "classes.csv")
    write_scenes(painter, folder / "scenes", display_names)
    write_catalogue(painter, folder / "catalogue")


if __name__ == "__main__":
    draw_parts(Path(sys.argv[1]))
