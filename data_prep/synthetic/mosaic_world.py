"""A data set of photographs: scenes pasted from images of one object each, with boxes for half of the classes.

The photographs are a folder in Tiny ImageNet's layout (photo_boxes.py). The files are those of `data-prep emoji-world`:
scenes with boxes of the boxed classes, whole images with an image label of the other classes, test scenes of the
validation images with boxes of all classes, and boxes of all classes in the training images (an upper bound).
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
from numpy.random import Generator, SeedSequence, default_rng
from PIL import Image, ImageFilter
from pydantic import Field, model_validator

from data_prep.synthetic.emoji_plan import SPLIT_KEYS, PlannedImage, Share, Split, shuffled_rounds
from data_prep.synthetic.emoji_scene import (
    Owners,
    VisibleObject,
    gradient,
    mark_pixels,
    noise,
    visible_object,
)
from data_prep.synthetic.photo_boxes import BoxPx, Photo, Photos, load_photo, read_photos
from data_prep.synthetic.world_files import DrawnImage, WorldTexts, write_tables, write_world
from wordtree import WordTree, build_tree
from wordtree.support.arrays import BoolArray
from wordtree.support.config_files import StrictModel
from wordtree.support.files import path_in_errors
from wordtree.support.progress import track

WORLD_VERSION = 1  # of this file; it grows when equal settings make other images
PLACING_TRIES = 50
BOXED_HALF_KEY = 100  # of a random generator; SPLIT_KEYS has the others

ATTRIBUTION = """\
The images in this folder were made by `data-prep mosaic-world` of the project YOLO9000 from photographs in a folder
of the user's own choice, whose licence applies. Changes: the photographs of scenes/ were scaled, mirrored, faded at
their edges, partly covered and placed on generated backgrounds; the results were saved as JPEG. Those of labels/ are
unchanged.
"""


class MosaicWorldConfig(StrictModel):
    """Settings of the world of photographs."""

    seed: Annotated[int, Field(ge=0)] = 0  # of scenes, and of the choice of boxed classes
    # Of the square scenes; photographs of 64 px become 34 to 58 px large.
    size_px: Annotated[int, Field(ge=32, le=2048)] = 96
    scenes: Annotated[int, Field(ge=1)] = 1500  # training images with boxes
    test_scenes: Annotated[int, Field(ge=1)] = 400
    labels_per_class: Annotated[int, Field(ge=0)] | None = None  # label images; None: all
    unannotated_share: Share = 0.2  # share of a training scene's objects without a box, of label-only classes
    objects_min: Annotated[int, Field(ge=1)] = 2  # per scene
    objects_max: Annotated[int, Field(ge=1, le=50)] = 4
    # Longer side of a pasted image, as a share of the scene's side.
    scale_min: Annotated[float, Field(gt=0, le=1)] = 0.35
    scale_max: Annotated[float, Field(gt=0, le=1)] = 0.6
    flip_share: Share = 0.5
    edge: Annotated[float, Field(ge=0, lt=0.5)] = 0.08  # share of a pasted image that fades out
    hidden_limit: Annotated[float, Field(ge=0, lt=1)] = 0.3  # share of a box that later images may hide
    blurred_share: Share = 0.6  # backgrounds that are a blurred photograph; others are a gradient or noise
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 90

    @model_validator(mode="after")
    def _ranges_are_not_empty(self) -> Self:
        for name in ("objects", "scale"):
            low, high = getattr(self, f"{name}_min"), getattr(self, f"{name}_max")
            if low > high:
                raise ValueError(
                    f"{name}_min is {low} and {name}_max is {high}: the first must not be larger"
                )
        return self


class PhotoClass(NamedTuple):
    """One class: a WordNet synset, with boxes or with image labels only."""

    wnid: str
    name: str
    boxed: bool  # False: image labels only
    under: str  # the wnid of its nearest boxed ancestor, "" if none


class Mosaic(NamedTuple):
    """One image to make: a scene of several photographs, or a single photograph, unchanged."""

    planned: PlannedImage
    photos: tuple[Photo, ...]


def write_mosaic_world(photographs: Path, out: Path, settings: MosaicWorldConfig | None = None) -> None:
    """Write the world into the folder `out` atomically; a finished world with equal settings is kept.

    photographs: a folder in Tiny ImageNet's layout. Equal settings and photographs give equal bytes (within one version
    of NumPy and Pillow). Raises WorldError.
    """
    settings = MosaicWorldConfig() if settings is None else settings
    photos = read_photos(photographs)
    classes = photo_classes(sorted(photos.train), settings.seed)
    texts = WorldTexts(describe(settings, classes, photos), "data-prep mosaic-world", ATTRIBUTION)

    def write(folder: Path) -> None:
        mosaics = plan(settings, classes, photos)
        for subfolder in {(folder / mosaic.planned.file).parent for mosaic in mosaics}:
            subfolder.mkdir(parents=True)
        drawn = [draw(folder, mosaic, settings) for mosaic in track(mosaics, "mosaic world")]
        write_tables(folder, drawn, classes, texts, seed=settings.seed)

    write_world(out, texts.description, write)


def describe(settings: MosaicWorldConfig, classes: Sequence[PhotoClass], photos: Photos) -> dict[str, Any]:
    """The content of world.json; equal descriptions mean equal worlds."""
    names = hashlib.sha256()
    for part in photos:
        for wnid, class_photos in sorted(part.items()):
            names.update(repr((wnid, [(photo.file.name, photo.xyxy_px) for photo in class_photos])).encode())
    return {
        "version": WORLD_VERSION,
        "settings": settings.model_dump(mode="json"),
        "photographs_sha256": names.hexdigest(),
        "classes": [photo_class._asdict() for photo_class in classes],
    }


# --- the choice of boxed classes


def photo_classes(wnids: Sequence[str], seed: int) -> tuple[PhotoClass, ...]:
    """The classes in this order; a random half is boxed, chosen so that the other classes have boxed relatives."""
    tree = build_tree(wnids)
    boxed = boxed_half(tree, [tree.node(wnid) for wnid in wnids], rng_of(seed, BOXED_HALF_KEY))
    return tuple(
        PhotoClass(
            wnid=wnid,
            name=tree.names[node],
            boxed=node in boxed,
            under=next((tree.ids[above] for above in tree.ancestors(node) if above in boxed), ""),
        )
        for wnid, node in ((wnid, tree.node(wnid)) for wnid in wnids)
    )


def boxed_half(tree: WordTree, nodes: Sequence[int], rng: Generator) -> set[int]:
    """One node of each pair of near relatives.

    Pairs are formed in the lowest subtrees first; a node without a partner is passed to the parent's subtree. So each
    other node has a boxed node in the smallest subtree with a partner. Of an odd number, the last one is boxed.
    """
    unpaired: dict[int, list[int]] = {node: [] for node in range(-1, len(tree))}  # −1: above the roots
    for node in nodes:
        unpaired[node].append(node)
    boxed: set[int] = set()
    for node in sorted(unpaired, key=lambda node: int(tree.depth[node]) if node >= 0 else -1, reverse=True):
        alone = [unpaired[node][index] for index in rng.permutation(len(unpaired[node]))]
        while len(alone) > 1:
            boxed.add(alone.pop())
            alone.pop()
        if node >= 0:
            unpaired[int(tree.parent[node])] += alone
        else:
            boxed.update(alone)
    return boxed


# --- the objects of each image


def plan(settings: MosaicWorldConfig, classes: Sequence[PhotoClass], photos: Photos) -> list[Mosaic]:
    """All images with their photographs; each class, and each photograph of a class, occurs equally often.

    Objects without a box in training scenes are of label-only classes that are under no boxed class. So the scenes are
    exhaustively annotated for the boxed classes and the classes under them.
    """
    boxed = [index for index, photo_class in enumerate(classes) if photo_class.boxed]
    label_only = [index for index, photo_class in enumerate(classes) if not photo_class.boxed]
    unlabelled = [index for index in label_only if not classes[index].under]
    by_class = {
        part: [of_wnid[photo_class.wnid] for photo_class in classes]
        for part, of_wnid in photos._asdict().items()
    }

    rng = rng_of(settings.seed, SPLIT_KEYS["train"])
    withheld = object_stream(unlabelled, by_class["train"], rng) if unlabelled else None
    objects = mix(object_stream(boxed, by_class["train"], rng), withheld, settings.unannotated_share, rng)
    train = plan_scenes("train", settings.scenes, objects, settings, rng)

    rng = rng_of(settings.seed, SPLIT_KEYS["test"])
    test = plan_scenes(
        "test", settings.test_scenes, object_stream(boxed + label_only, by_class["val"], rng), settings, rng
    )
    return [*train, *test, *plan_labels(settings, label_only, classes, photos)]


ObjectStream = Iterator[tuple[int, Photo]]
"""Objects in the order in which scenes use them: number of the class, and photograph."""


def object_stream(
    class_indices: list[int], photos: Sequence[Sequence[Photo]], rng: Generator
) -> ObjectStream:
    """Objects of the given classes; each class, and each photograph of a class, occurs equally often."""
    streams = {index: shuffled_rounds(range(len(photos[index])), rng) for index in class_indices}
    for index in shuffled_rounds(class_indices, rng):
        yield index, photos[index][next(streams[index])]


def mix(given: ObjectStream, withheld: ObjectStream | None, share: float, rng: Generator) -> ObjectStream:
    """`given`, with a random share of `withheld`."""
    while True:
        yield next(given if withheld is None or rng.random() >= share else withheld)


def plan_scenes(
    split: Split, scenes: int, objects: ObjectStream, settings: MosaicWorldConfig, rng: Generator
) -> list[Mosaic]:
    """The scenes of a split, each with the next few objects of the stream."""
    mosaics = []
    for number in range(scenes):
        count = rng.integers(settings.objects_min, settings.objects_max + 1)
        classes, photos = zip(*(next(objects) for _ in range(count)), strict=True)
        mosaics.append(
            Mosaic(PlannedImage(split, number, f"scenes/{split}/{number:06}.jpg", classes), photos)
        )
    return mosaics


def plan_labels(
    settings: MosaicWorldConfig, label_only: list[int], classes: Sequence[PhotoClass], photos: Photos
) -> list[Mosaic]:
    """The label images: training photographs of the label-only classes, unchanged."""
    chosen = [
        (index, photo)
        for index in label_only
        for photo in photos.train[classes[index].wnid][: settings.labels_per_class]
    ]
    return [
        Mosaic(
            PlannedImage("labels", number, f"labels/{classes[index].wnid}/{photo.file.name}", (index,)),
            (photo,),
        )
        for number, (index, photo) in enumerate(chosen)
    ]


def rng_of(seed: int, *key: int) -> Generator:
    """The generator of one use, so that the order of uses does not matter."""
    return default_rng(SeedSequence(seed, spawn_key=key))


# --- making the images


def draw(folder: Path, mosaic: Mosaic, settings: MosaicWorldConfig) -> DrawnImage:
    """Write the image; returns it with its visible objects."""
    planned = mosaic.planned
    if planned.split == "labels":
        (photo,) = mosaic.photos
        wh_px = load_photo(photo).size
        with path_in_errors(folder / planned.file):
            (folder / planned.file).write_bytes(photo.file.read_bytes())
        left, top, right, bottom = photo.xyxy_px
        return DrawnImage(planned, wh_px, (VisibleObject(0, photo.xyxy_px, (right - left) * (bottom - top)),))
    rng = rng_of(settings.seed, SPLIT_KEYS[planned.split], planned.number)
    image, objects = draw_mosaic(mosaic.photos, settings, rng)
    with path_in_errors(folder / planned.file):
        image.save(folder / planned.file, quality=settings.jpeg_quality)
    return DrawnImage(planned, image.size, tuple(objects))


def draw_mosaic(
    photos: Sequence[Photo], settings: MosaicWorldConfig, rng: Generator
) -> tuple[Image.Image, list[VisibleObject]]:
    """A scene with the photographs on a new background, and its visible objects.

    Each photograph lies inside the scene. A photograph for which no corner leaves all objects visible enough is left
    out. The box of an object is the box in the photograph, scaled, moved and clipped to its visible part.
    """
    size_px = settings.size_px
    images = [load_photo(photo) for photo in photos]
    canvas = draw_background(images[0], settings, rng)
    owner = np.full((size_px, size_px), -1, dtype=np.int16)
    areas: dict[int, int] = {}
    for number, (image, photo) in enumerate(zip(images, photos, strict=True)):
        tile, box = vary(image, photo.xyxy_px, settings, rng)
        corner = find_position(owner, tile.size, areas, settings.hidden_limit, rng)
        if corner is None:
            continue
        canvas.paste(tile, corner, fading_edge(tile.size, settings.edge))
        mark_pixels(owner, np.ones(tile.size[::-1], dtype=bool), corner, -1)
        mark_pixels(owner, box_mask(box, tile.size), corner, number)
        areas[number] = int((owner == number).sum())
    return canvas, [visible_object(owner, number) for number in areas]


def draw_background(photo: Image.Image, settings: MosaicWorldConfig, rng: Generator) -> Image.Image:
    """A square with a blurred photograph, a gradient or noise."""
    size_px = settings.size_px
    if rng.random() < settings.blurred_share:
        return photo.resize((size_px, size_px)).filter(ImageFilter.GaussianBlur(size_px / 12))
    return gradient(rng, size_px) if rng.random() < 0.5 else noise(rng, size_px)


def vary(
    image: Image.Image, xyxy_px: BoxPx, settings: MosaicWorldConfig, rng: Generator
) -> tuple[Image.Image, BoxPx]:
    """The image at a random scale, perhaps mirrored, and the box of its object, at least one pixel large."""
    side = math.exp(rng.uniform(math.log(settings.scale_min), math.log(settings.scale_max)))
    scale = side * settings.size_px / max(image.size)
    width, height = (max(4, round(length * scale)) for length in image.size)
    left, top, right, bottom = xyxy_px
    if rng.random() < settings.flip_share:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        left, right = image.width - right, image.width - left
    x_scale, y_scale = width / image.width, height / image.height
    x, y = min(round(left * x_scale), width - 1), min(round(top * y_scale), height - 1)
    box = (x, y, max(round(right * x_scale), x + 1), max(round(bottom * y_scale), y + 1))
    return image.resize((width, height), Image.Resampling.BICUBIC), box


def find_position(
    owner: Owners, wh_px: tuple[int, int], areas: dict[int, int], hidden_limit: float, rng: Generator
) -> tuple[int, int] | None:
    """A top left corner (x, y) where enough of all earlier objects stays visible; None after a few tries."""
    size_px, (width, height) = len(owner), wh_px
    for _ in range(PLACING_TRIES):
        x, y = (int(rng.integers(size_px - length + 1)) for length in wh_px)
        covered = owner[y : y + height, x : x + width]
        if all(
            (owner == number).sum() - (covered == number).sum() >= (1 - hidden_limit) * area
            for number, area in areas.items()
        ):
            return x, y
    return None


def box_mask(xyxy_px: BoxPx, wh_px: tuple[int, int]) -> BoolArray:
    """True for each pixel inside the box, shape (H, W)."""
    left, top, right, bottom = xyxy_px
    mask = np.zeros(wh_px[::-1], dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def fading_edge(wh_px: tuple[int, int], edge: float) -> Image.Image:
    """Opacity of a pasted image: 255 inside, falling towards its edges."""
    fade_px = max(1, round(edge * min(wh_px)))
    width, height = wh_px
    mask = Image.new("L", wh_px, 0)
    mask.paste(255, (fade_px // 2, fade_px // 2, width - fade_px // 2, height - fade_px // 2))
    return mask.filter(ImageFilter.GaussianBlur(fade_px / 2)) if edge else Image.new("L", wh_px, 255)
