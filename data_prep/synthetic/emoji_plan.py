"""The settings of the emoji world, and the plan of its images: the objects of each before any is drawn."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple, Self

from numpy.random import Generator, SeedSequence, default_rng
from pydantic import Field, model_validator

from data_prep.synthetic.emoji_table import EmojiClass
from wordtree.support.config_files import StrictModel

Split = Literal["train", "test", "labels"]
SPLIT_KEYS: dict[Split, int] = {"train": 0, "test": 1, "labels": 2}
Share = Annotated[float, Field(ge=0, le=1)]


class EmojiWorldConfig(StrictModel):
    """Settings of the emoji world."""

    old_names: ClassVar[Mapping[str, str]] = {
        "pictures": "drawings",
        "unlabelled_share": "unannotated_share",
    }

    seed: Annotated[int, Field(ge=0)] = 0
    size_px: Annotated[int, Field(ge=32, le=2048)] = 160  # of the square images
    scenes: Annotated[int, Field(ge=1)] = 1500  # training images with boxes
    test_scenes: Annotated[int, Field(ge=1)] = 300
    labels_per_class: Annotated[int, Field(ge=0)] = 72  # label images; 62 classes have 4464
    label_classes: Literal["label-only", "all"] = "label-only"  # "all": boxed classes have label images too
    unannotated_share: Share = 0.2  # share of a training scene's objects without a box, of label-only classes
    objects_min: Annotated[int, Field(ge=1)] = 1  # per scene
    objects_max: Annotated[int, Field(ge=1, le=50)] = 5
    # Longer side of an object, as a share of the image's side.
    scale_min: Annotated[float, Field(gt=0, le=1)] = 0.18
    scale_max: Annotated[float, Field(gt=0, le=1)] = 0.5
    label_scale_min: Annotated[float, Field(gt=0, le=1)] = 0.3  # as scale_min, in a label image
    label_scale_max: Annotated[float, Field(gt=0, le=1)] = 0.9
    rotation_deg: Annotated[float, Field(ge=0, le=180)] = 15.0  # at most, in both directions
    flip_share: Share = 0.5
    stretch: Share = 0.15  # largest change of the aspect ratio
    # Largest change of brightness and saturation; tint changes by up to a third of it.
    colour_jitter: Annotated[float, Field(ge=0, lt=1)] = 0.2
    # Share of an object's area that others may hide or that may lie outside.
    hidden_limit: Annotated[float, Field(ge=0, lt=1)] = 0.35
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 90
    drawings: Path | None = None  # a folder of PNG files named by code point; None: Twemoji

    @model_validator(mode="after")
    def _ranges_are_not_empty(self) -> Self:
        for name in ("objects", "scale", "label_scale"):
            low, high = getattr(self, f"{name}_min"), getattr(self, f"{name}_max")
            if low > high:
                raise ValueError(
                    f"{name}_min is {low} and {name}_max is {high}: the first must not be larger"
                )
        return self


class PlannedImage(NamedTuple):
    """One image to draw, with everything that differs between images."""

    split: Split
    number: int  # within the split
    file: str  # relative to the world's folder
    classes: tuple[int, ...]  # positions in `world_classes()`


def plan(settings: EmojiWorldConfig, classes: Sequence[EmojiClass]) -> list[PlannedImage]:
    """All images with the classes of their objects; each class occurs equally often.

    Objects without a box in training scenes are of label-only classes that are under no boxed class. So the scenes are
    exhaustively annotated for the boxed classes and the classes under them.
    """
    boxed = [index for index, emoji_class in enumerate(classes) if emoji_class.boxed]
    label_only = [index for index, emoji_class in enumerate(classes) if not emoji_class.boxed]
    unlabelled = [index for index in label_only if not classes[index].under]
    train = plan_train(settings, boxed, unlabelled)
    test = plan_test(settings, boxed + label_only)
    with_images = label_only if settings.label_classes == "label-only" else sorted(boxed + label_only)
    return [*train, *test, *plan_labels(settings, with_images, classes)]


def plan_train(settings: EmojiWorldConfig, boxed: list[int], unlabelled: list[int]) -> Iterator[PlannedImage]:
    """The training scenes; a random share of their objects is of the unlabelled classes."""
    rng = default_rng(SeedSequence(settings.seed, spawn_key=(SPLIT_KEYS["train"],)))
    streams = {True: shuffled_rounds(boxed, rng), False: shuffled_rounds(unlabelled, rng)}
    for index in range(settings.scenes):
        given = rng.random(object_count(settings, rng)) >= settings.unannotated_share
        image_classes = tuple(next(streams[has_box]) for has_box in given.tolist())
        yield PlannedImage("train", index, f"scenes/train/{index:06}.jpg", image_classes)


def plan_test(settings: EmojiWorldConfig, all_classes: list[int]) -> Iterator[PlannedImage]:
    """The test scenes, with objects of all classes."""
    rng = default_rng(SeedSequence(settings.seed, spawn_key=(SPLIT_KEYS["test"],)))
    stream = shuffled_rounds(all_classes, rng)
    for index in range(settings.test_scenes):
        image_classes = tuple(next(stream) for _ in range(object_count(settings, rng)))
        yield PlannedImage("test", index, f"scenes/test/{index:06}.jpg", image_classes)


def plan_labels(
    settings: EmojiWorldConfig, with_images: list[int], classes: Sequence[EmojiClass]
) -> Iterator[PlannedImage]:
    """The label images, each with one object."""
    for position, class_index in enumerate(with_images):
        wnid = classes[class_index].wnid
        for number in range(settings.labels_per_class):
            index = position * settings.labels_per_class + number
            yield PlannedImage("labels", index, f"labels/{wnid}/{wnid}_{number:04}.jpg", (class_index,))


def object_count(settings: EmojiWorldConfig, rng: Generator) -> int:
    return int(rng.integers(settings.objects_min, settings.objects_max + 1))


def shuffled_rounds(items: Sequence[int], rng: Generator) -> Iterator[int]:
    """The items in random order, then in another random order, and so on: each round contains all items."""
    while True:
        yield from (items[index] for index in rng.permutation(len(items)))


def image_rng(settings: EmojiWorldConfig, split: Split, index: int) -> Generator:
    """The generator of one image, so that the order of drawing does not matter."""
    return default_rng(SeedSequence(settings.seed, spawn_key=(SPLIT_KEYS[split], index)))
