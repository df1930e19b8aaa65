"""A world of photographs: scenes pasted together from images of one object each, boxes for half of the classes.

Made of any folder in Tiny ImageNet's layout (photo_boxes.py) and written as `data-prep emoji-world` writes its own, so
that everything after it is the real pipeline: scenes whose boxes are those of the boxed classes, whole images with an
image label of the others, test scenes of the folder's validation images with all boxes, and the oracle's files.
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

from data_prep.synthetic.emoji_plan import SPLIT_KEYS, Picture, Share, Split, shuffled_turns
from data_prep.synthetic.emoji_scene import Owners, SeenObject, gradient, mark, noise, seen
from data_prep.synthetic.photo_boxes import BoxPx, Photo, Photos, load_photo, read_photos
from data_prep.synthetic.world_files import DrawnImage, WorldTexts, write_tables, write_world
from wordtree import WordTree, build_tree
from wordtree.support.arrays import BoolArray
from wordtree.support.config_files import StrictModel
from wordtree.support.files import naming
from wordtree.support.progress import track

WORLD_VERSION = 1  # of this file: another version pastes other images from equal settings
PLACING_TRIES = 50
BOXED_HALF_KEY = 100  # beside those of the splits

ATTRIBUTION = """\
The images in this folder were made by `data-prep mosaic-world` of the project YOLO9000 from photographs in a folder
of the user's own choice, whose licence applies. Changes: the photographs of scenes/ were scaled, mirrored, faded at
their edges, partly covered and placed on generated backgrounds; the results were saved as JPEG. Those of labels/ are
unchanged.
"""


class MosaicWorldConfig(StrictModel):
    """Every setting of a world of photographs."""

    seed: Annotated[int, Field(ge=0)] = 0  # of everything, which classes have boxes among it
    # Of the square scenes; 64 px photographs get 34 to 58.
    size_px: Annotated[int, Field(ge=32, le=2048)] = 96
    scenes: Annotated[int, Field(ge=1)] = 1500  # training images with boxes
    test_scenes: Annotated[int, Field(ge=1)] = 400
    labels_per_class: Annotated[int, Field(ge=0)] | None = None  # label images; None: all that there are
    unlabelled_share: Share = 0.2  # of a training scene's objects: of a label-only class, and without a box
    objects_min: Annotated[int, Field(ge=1)] = 2  # per scene
    objects_max: Annotated[int, Field(ge=1, le=50)] = 4
    scale_min: Annotated[float, Field(gt=0, le=1)] = 0.35  # a pasted image's longer side, of the scene's
    scale_max: Annotated[float, Field(gt=0, le=1)] = 0.6
    flip_share: Share = 0.5
    edge: Annotated[float, Field(ge=0, lt=0.5)] = 0.08  # of a pasted image: fades into what lies behind
    hidden_limit: Annotated[float, Field(ge=0, lt=1)] = 0.3  # of an object's box, behind later images
    blurred_share: Share = 0.6  # of the backgrounds: a blurred photograph, else a gradient or noise
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
    """One class of the world."""

    wnid: str
    name: str
    boxed: bool  # else: image labels only
    under: str  # the wnid of its nearest boxed ancestor, "" if none


class Mosaic(NamedTuple):
    """One image to make: a scene of several photographs, or a single one as it is."""

    picture: Picture
    photos: tuple[Photo, ...]


def mosaic_world(photographs: Path, out: Path, settings: MosaicWorldConfig | None = None) -> None:
    """Write the world into the folder `out`, whole or not at all; a finished one with equal settings is kept.

    photographs: a folder in Tiny ImageNet's layout. Equal settings and photographs give equal bytes (within one version
    of NumPy and Pillow). Raises WorldError.
    """
    settings = MosaicWorldConfig() if settings is None else settings
    photos = read_photos(photographs)
    classes = photo_classes(sorted(photos.train), settings.seed)
    texts = WorldTexts(describe(settings, classes, photos), "data-prep mosaic-world", ATTRIBUTION)

    def write(folder: Path) -> None:
        mosaics = plan(settings, classes, photos)
        for place in {(folder / mosaic.picture.file).parent for mosaic in mosaics}:
            place.mkdir(parents=True)
        drawn = [draw(folder, mosaic, settings) for mosaic in track(mosaics, "mosaic world")]
        write_tables(folder, drawn, classes, texts, seed=settings.seed)

    write_world(out, texts.description, write)


def describe(settings: MosaicWorldConfig, classes: Sequence[PhotoClass], photos: Photos) -> dict[str, Any]:
    """What world.json says; equal descriptions mean equal worlds."""
    names = hashlib.sha256()
    for part in photos:
        for wnid, its_photos in sorted(part.items()):
            names.update(repr((wnid, [(one.file.name, one.xyxy_px) for one in its_photos])).encode())
    return {
        "version": WORLD_VERSION,
        "settings": settings.model_dump(mode="json"),
        "photographs_sha256": names.hexdigest(),
        "classes": [one._asdict() for one in classes],
    }


# --- which classes have boxes


def photo_classes(wnids: Sequence[str], seed: int) -> tuple[PhotoClass, ...]:
    """The classes in this order, a random half of them boxed so that the others have boxed relatives."""
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
    """One of each pair of near relatives: pairs are made in the lowest subtrees first, what is left over goes up.

    So each of the others has a boxed class in the smallest subtree where it finds a partner. Of an odd number the last
    one has boxes.
    """
    left: dict[int, list[int]] = {node: [] for node in range(-1, len(tree))}  # −1: above the roots
    for node in nodes:
        left[node].append(node)
    boxed: set[int] = set()
    for node in sorted(left, key=lambda node: int(tree.depth[node]) if node >= 0 else -1, reverse=True):
        alone = [left[node][place] for place in rng.permutation(len(left[node]))]
        while len(alone) > 1:
            boxed.add(alone.pop())
            alone.pop()
        if node >= 0:
            left[int(tree.parent[node])] += alone
        else:
            boxed.update(alone)
    return boxed


# --- what each image shows


def plan(settings: MosaicWorldConfig, classes: Sequence[PhotoClass], photos: Photos) -> list[Mosaic]:
    """Every image with its photographs; each class, and each photograph of a class, gets the same number of turns.

    Unlabelled objects of training scenes are of label-only classes that lie under no boxed one: a scene's boxes are
    complete for the boxed classes and what lies under them.
    """
    boxed = [index for index, one in enumerate(classes) if one.boxed]
    label_only = [index for index, one in enumerate(classes) if not one.boxed]
    unlabelled = [index for index in label_only if not classes[index].under]
    by_class = {part: [its[one.wnid] for one in classes] for part, its in photos._asdict().items()}

    rng = rng_of(settings.seed, SPLIT_KEYS["train"])
    withheld = turns(unlabelled, by_class["train"], rng) if unlabelled else None
    objects = mixed(turns(boxed, by_class["train"], rng), withheld, settings.unlabelled_share, rng)
    train = plan_scenes("train", settings.scenes, objects, settings, rng)

    rng = rng_of(settings.seed, SPLIT_KEYS["test"])
    test = plan_scenes(
        "test", settings.test_scenes, turns(boxed + label_only, by_class["val"], rng), settings, rng
    )
    return [*train, *test, *plan_labels(settings, label_only, classes, photos)]


Turns = Iterator[tuple[int, Photo]]
"""Objects in the order in which scenes take them: the class's position, and the photograph."""


def turns(which: list[int], photos: Sequence[Sequence[Photo]], rng: Generator) -> Turns:
    """Objects of these classes, each class and each of its photographs as often as the others."""
    decks = {index: shuffled_turns(range(len(photos[index])), rng) for index in which}
    for index in shuffled_turns(which, rng):
        yield index, photos[index][next(decks[index])]


def mixed(given: Turns, withheld: Turns | None, share: float, rng: Generator) -> Turns:
    """`given`, with a random share of `withheld`."""
    while True:
        yield next(given if withheld is None or rng.random() >= share else withheld)


def plan_scenes(
    split: Split, count: int, objects: Turns, settings: MosaicWorldConfig, rng: Generator
) -> list[Mosaic]:
    mosaics = []
    for number in range(count):
        things = [next(objects) for _ in range(rng.integers(settings.objects_min, settings.objects_max + 1))]
        classes, photos = zip(*things, strict=True)
        mosaics.append(Mosaic(Picture(split, number, f"scenes/{split}/{number:06}.jpg", classes), photos))
    return mosaics


def plan_labels(
    settings: MosaicWorldConfig, pictured: list[int], classes: Sequence[PhotoClass], photos: Photos
) -> list[Mosaic]:
    chosen = [
        (index, one)
        for index in pictured
        for one in photos.train[classes[index].wnid][: settings.labels_per_class]
    ]
    return [
        Mosaic(
            Picture("labels", number, f"labels/{classes[index].wnid}/{one.file.name}", (index,)),
            (one,),
        )
        for number, (index, one) in enumerate(chosen)
    ]


def rng_of(seed: int, *key: int) -> Generator:
    """A generator of its own for each use, so that the order of use does not matter."""
    return default_rng(SeedSequence(seed, spawn_key=key))


# --- making the images


def draw(folder: Path, mosaic: Mosaic, settings: MosaicWorldConfig) -> DrawnImage:
    """Write the image; its objects as they can be seen in it."""
    picture = mosaic.picture
    if picture.split == "labels":
        (one,) = mosaic.photos
        wh_px = load_photo(one).size
        with naming(folder / picture.file):
            (folder / picture.file).write_bytes(one.file.read_bytes())
        left, top, right, bottom = one.xyxy_px
        return DrawnImage(picture, wh_px, (SeenObject(0, one.xyxy_px, (right - left) * (bottom - top)),))
    rng = rng_of(settings.seed, SPLIT_KEYS[picture.split], picture.number)
    image, objects = draw_mosaic(mosaic.photos, settings, rng)
    with naming(folder / picture.file):
        image.save(folder / picture.file, quality=settings.jpeg_quality)
    return DrawnImage(picture, image.size, tuple(objects))


def draw_mosaic(
    photos: Sequence[Photo], settings: MosaicWorldConfig, rng: Generator
) -> tuple[Image.Image, list[SeenObject]]:
    """A scene with the photographs on a fresh background, and their objects as far as later ones leave them visible.

    Each lies wholly inside; one that finds no place where all objects stay visible enough is left out. A box is that of
    the photograph, moved along and cut down to what is visible.
    """
    size_px = settings.size_px
    images = [load_photo(one) for one in photos]
    canvas = draw_background(images[0], settings, rng)
    owner = np.full((size_px, size_px), -1, dtype=np.int16)
    areas: dict[int, int] = {}
    for which, (image, one) in enumerate(zip(images, photos, strict=True)):
        tile, box = varied(image, one.xyxy_px, settings, rng)
        place = find_place(owner, tile.size, areas, settings.hidden_limit, rng)
        if place is None:
            continue
        canvas.paste(tile, place, fading_edge(tile.size, settings.edge))
        mark(owner, np.ones(tile.size[::-1], dtype=bool), place, -1)
        mark(owner, inside(box, tile.size), place, which)
        areas[which] = int((owner == which).sum())
    return canvas, [seen(owner, which) for which in areas]


def draw_background(photo: Image.Image, settings: MosaicWorldConfig, rng: Generator) -> Image.Image:
    """A square of blurred photograph, of a gradient or of noise."""
    size_px = settings.size_px
    if rng.random() < settings.blurred_share:
        return photo.resize((size_px, size_px)).filter(ImageFilter.GaussianBlur(size_px / 12))
    return gradient(rng, size_px) if rng.random() < 0.5 else noise(rng, size_px)


def varied(
    picture: Image.Image, xyxy_px: BoxPx, settings: MosaicWorldConfig, rng: Generator
) -> tuple[Image.Image, BoxPx]:
    """The image at a random scale, perhaps mirrored, and its object's box there, at least one pixel large."""
    side = math.exp(rng.uniform(math.log(settings.scale_min), math.log(settings.scale_max)))
    scale = side * settings.size_px / max(picture.size)
    width, height = (max(4, round(length * scale)) for length in picture.size)
    left, top, right, bottom = xyxy_px
    if rng.random() < settings.flip_share:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        left, right = picture.width - right, picture.width - left
    x_scale, y_scale = width / picture.width, height / picture.height
    x, y = min(round(left * x_scale), width - 1), min(round(top * y_scale), height - 1)
    box = (x, y, max(round(right * x_scale), x + 1), max(round(bottom * y_scale), y + 1))
    return picture.resize((width, height), Image.Resampling.BICUBIC), box


def find_place(
    owner: Owners, wh_px: tuple[int, int], areas: dict[int, int], hidden_limit: float, rng: Generator
) -> tuple[int, int] | None:
    """A top left corner (x, y) where enough of all objects before stays visible, or None after a few tries."""
    size_px, (width, height) = len(owner), wh_px
    for _ in range(PLACING_TRIES):
        x, y = (int(rng.integers(size_px - length + 1)) for length in wh_px)
        covered = owner[y : y + height, x : x + width]
        if all(
            (owner == which).sum() - (covered == which).sum() >= (1 - hidden_limit) * area
            for which, area in areas.items()
        ):
            return x, y
    return None


def inside(xyxy_px: BoxPx, wh_px: tuple[int, int]) -> BoolArray:
    left, top, right, bottom = xyxy_px
    mask = np.zeros(wh_px[::-1], dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def fading_edge(wh_px: tuple[int, int], edge: float) -> Image.Image:
    """How much of a pasted image each pixel shows: all inside, less and less towards its edges."""
    fade_px = max(1, round(edge * min(wh_px)))
    width, height = wh_px
    mask = Image.new("L", wh_px, 0)
    mask.paste(255, (fade_px // 2, fade_px // 2, width - fade_px // 2, height - fade_px // 2))
    return mask.filter(ImageFilter.GaussianBlur(fade_px / 2)) if edge else Image.new("L", wh_px, 255)
