"""A data set that a detector learns in minutes: emoji scenes with boxes for some classes, label images for the others.

It is written as COCO JSON and ImageNet folders, so that all further steps are those for real data:

    scenes/train/*.jpg   scenes/instances_train.json   boxes of the boxed classes only
    scenes/test/*.jpg    scenes/instances_test.json    boxes of all classes
    labels/WNID/*.jpg                                  one object each, its class is the folder
    oracle/instances_{train,labels}.json               boxes of all classes, for an upper bound
    merge.yaml  merge_oracle.yaml                      ready for `data-prep merge`
    labels.txt  world.json  ATTRIBUTION.txt
"""

import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_prep.merging.workers import begin_worker
from data_prep.shards.decoding import ImageError, decode
from data_prep.shards.image_files import read_bytes
from data_prep.synthetic.emoji_plan import EmojiWorldConfig, PlannedImage, image_rng, plan
from data_prep.synthetic.emoji_scene import Appearance, draw_scene
from data_prep.synthetic.emoji_table import EmojiClass, drawing_files, world_classes
from data_prep.synthetic.world_files import (
    DrawnImage,
    WorldError,
    WorldTexts,
    write_tables,
    write_world,
)
from wordtree.support.files import path_in_errors, system_message
from wordtree.support.progress import ProgressBar

WORLD_VERSION = 1  # of the drawing code; it grows when equal settings draw other images
IMAGES_PER_TASK = 50


ATTRIBUTION = """\
The images in this folder were made by `data-prep emoji-world` of the project YOLO9000.
{drawings}

Changes: the drawings were scaled, stretched, mirrored, rotated, recoloured, partly covered and cut, and
placed on generated backgrounds together with generated shapes; the results were saved as JPEG.
Whoever shares these images passes on this notice.
"""
TWEMOJI = """\
They contain graphics of Twemoji, https://github.com/jdecked/twemoji,
Copyright 2019 Twitter, Inc and other contributors,
licensed under CC BY 4.0, https://creativecommons.org/licenses/by/4.0/."""
OTHER_DRAWINGS = """\
They contain drawings from a folder of the user's own choice, whose licence applies."""


def write_emoji_world(
    out: Path, settings: EmojiWorldConfig | None = None, *, workers: int | None = None
) -> None:
    """Write the world into the folder `out` atomically; a finished world with equal settings is kept.

    Equal settings give equal bytes (within one version of NumPy and Pillow) for any number of workers; by default
    there is one worker per processor. Raises WorldError, MissingDrawings.
    """
    settings = EmojiWorldConfig() if settings is None else settings
    classes = world_classes()
    files = drawing_files(classes, settings.drawings)
    origin = TWEMOJI if settings.drawings is None else OTHER_DRAWINGS
    texts = WorldTexts(
        describe(settings, classes, files), "data-prep emoji-world", ATTRIBUTION.format(drawings=origin)
    )

    def write(folder: Path) -> None:
        images = plan(settings, classes)
        for subfolder in {(folder / image.file).parent for image in images}:
            subfolder.mkdir(parents=True)
        drawn = draw_all(folder, images, files, settings, workers or os.cpu_count() or 1)
        write_tables(folder, drawn, classes, texts, seed=settings.seed)

    write_world(out, texts.description, write)


def describe(
    settings: EmojiWorldConfig, classes: Sequence[EmojiClass], files: Sequence[Sequence[Path]]
) -> dict[str, Any]:
    """The content of world.json; equal descriptions mean equal worlds."""
    drawings = hashlib.sha256()
    for file in (file for class_files in files for file in class_files):
        drawings.update(hashlib.sha256(file.read_bytes()).digest())
    return {
        "version": WORLD_VERSION,
        "settings": settings.model_dump(mode="json", exclude={"drawings"}),
        "drawings_sha256": drawings.hexdigest(),
        "classes": [
            {
                "wnid": emoji_class.wnid,
                "name": emoji_class.name,
                "emoji": list(emoji_class.emoji),
                "boxed": emoji_class.boxed,
                "under": emoji_class.under,
            }
            for emoji_class in classes
        ],
    }


def draw_all(
    folder: Path,
    images: Sequence[PlannedImage],
    files: tuple[tuple[Path, ...], ...],
    settings: EmojiWorldConfig,
    workers: int,
) -> list[DrawnImage]:
    """Draw all images into the folder; returns them in the order of `images`."""
    tasks = [images[start : start + IMAGES_PER_TASK] for start in range(0, len(images), IMAGES_PER_TASK)]
    with ProgressBar("emoji world", len(images)) as bar:
        results: list[list[DrawnImage]] = [[] for _ in tasks]
        for number, result in finished_tasks(folder, tasks, files, settings, workers):
            results[number] = result
            bar.advance(len(result))
    return [drawn for result in results for drawn in result]


def finished_tasks(
    folder: Path,
    tasks: Sequence[Sequence[PlannedImage]],
    files: tuple[tuple[Path, ...], ...],
    settings: EmojiWorldConfig,
    workers: int,
) -> Iterator[tuple[int, list[DrawnImage]]]:
    """Number and result of each task, in the order in which they finish."""
    if workers == 1 or len(tasks) < 10:  # starting processes takes longer than drawing 500 images
        for number, task in enumerate(tasks):
            yield number, draw_images(folder, task, files, settings)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=begin_worker)
    try:
        waiting: dict[Future[list[DrawnImage]], int] = {
            pool.submit(draw_images, folder, task, files, settings): number
            for number, task in enumerate(tasks)
        }
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def draw_images(
    folder: Path,
    images: Iterable[PlannedImage],
    files: tuple[tuple[Path, ...], ...],
    settings: EmojiWorldConfig,
) -> list[DrawnImage]:
    sprites = load_drawings(files)
    return [draw_image(folder, image, sprites, settings) for image in images]


@lru_cache(maxsize=1)
def load_drawings(files: tuple[tuple[Path, ...], ...]) -> tuple[tuple[Image.Image, ...], ...]:
    """The drawings of each class, cropped to their opaque pixels."""
    return tuple(tuple(load_drawing(file) for file in class_files) for class_files in files)


def load_drawing(file: Path) -> Image.Image:
    """The drawing, cropped to its opaque pixels; raises WorldError if it cannot be read or is empty."""
    try:
        drawing: Image.Image = decode(read_bytes(file)).image.convert("RGBA")
    except ImageError as reason:
        raise WorldError(f"{file}: cannot be read as an image ({reason.detail}).") from None
    except OSError as reason:
        raise WorldError(f"{file}: cannot be read as an image ({system_message(reason)}).") from None
    box = drawing.getchannel("A").getbbox()
    if box is None:
        raise WorldError(f"{file}: expected a drawing on a transparent background, found only background.")
    return drawing.crop(box)


def draw_image(
    folder: Path,
    planned: PlannedImage,
    sprites: tuple[tuple[Image.Image, ...], ...],
    settings: EmojiWorldConfig,
) -> DrawnImage:
    """Draw and write one image; returns it with its visible objects."""
    rng = image_rng(settings, planned.split, planned.number)
    chosen = [
        sprites[class_index][rng.integers(len(sprites[class_index]))] for class_index in planned.classes
    ]
    low, high = (
        (settings.label_scale_min, settings.label_scale_max)
        if planned.split == "labels"
        else (settings.scale_min, settings.scale_max)
    )
    scales = np.exp(rng.uniform(math.log(low), math.log(high), len(chosen)))
    image, objects = draw_scene(
        chosen, (scales * settings.size_px).tolist(), appearance(settings), rng, size_px=settings.size_px
    )
    with path_in_errors(folder / planned.file):
        image.save(folder / planned.file, quality=settings.jpeg_quality)
    return DrawnImage(planned, image.size, tuple(objects))


def appearance(settings: EmojiWorldConfig) -> Appearance:
    return Appearance(
        rotation_deg=settings.rotation_deg,
        flip_share=settings.flip_share,
        colour_jitter=settings.colour_jitter,
        stretch=settings.stretch,
        hidden_limit=settings.hidden_limit,
    )
