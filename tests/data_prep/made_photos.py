"""A folder in the layout of Tiny ImageNet; each image shows a rectangle in the colour of its class on grey."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {  # three pairs of closely related classes
    "n02085620": (255, 0, 0),  # Chihuahua
    "n02094433": (0, 255, 0),  # Yorkshire terrier
    "n02123045": (0, 0, 255),  # tabby
    "n02123394": (255, 255, 0),  # Persian cat
    "n07747607": (255, 0, 255),  # orange
    "n07749582": (0, 255, 255),  # lemon
}
PAIRS = (("n02085620", "n02094433"), ("n02123045", "n02123394"), ("n07747607", "n07749582"))
WH_PX = (40, 32)


def made_photos(folder: Path, *, train: int = 3, val: int = 2) -> Path:
    rng = np.random.default_rng(0)
    (folder / "val" / "images").mkdir(parents=True)
    annotations = []
    for wnid in COLOURS:
        images = folder / "train" / wnid / "images"
        images.mkdir(parents=True)
        boxes = [
            [f"{wnid}_{number}.JPEG", *draw(images / f"{wnid}_{number}.JPEG", wnid, rng)]
            for number in range(train)
        ]
        write_table(folder / "train" / wnid / f"{wnid}_boxes.txt", boxes)
        for number in range(val):
            name = f"val_{wnid}_{number}.JPEG"
            annotations.append([name, wnid, *draw(folder / "val" / "images" / name, wnid, rng)])
    write_table(folder / "val" / "val_annotations.txt", annotations)
    return folder


def draw(file: Path, wnid: str, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Write an image; returns the first and last pixels of its rectangle."""
    width, height = WH_PX
    left, top = int(rng.integers(0, 12)), int(rng.integers(0, 10))
    right, bottom = int(rng.integers(left + 12, width)), int(rng.integers(top + 12, height))
    image = Image.new("RGB", WH_PX, (128, 128, 128))
    image.paste(COLOURS[wnid], (left, top, right + 1, bottom + 1))
    image.save(file, quality=100, subsampling=0)
    return left, top, right, bottom


def write_table(path: Path, rows: list[list[object]]) -> None:
    path.write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
