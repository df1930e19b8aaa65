"""Which images of the sources are stored, and why the others are not."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from data_prep.config import MergeConfig
from data_prep.shards.catalogue import Catalogue
from wordtree.support.arrays import BoolArray, Int32Array

SILENT = "image left out, as its classes have no node"
HOMELESS = {"box": "box of a class without a node", "label": "image label of a class without a node"}


def stored_images(
    images: Catalogue, config: MergeConfig, has_node: BoolArray, counts: Sequence[Counter[str]]
) -> Catalogue:
    """The images that say something, at most `max_images` of each source; the others are counted.

    has_node: (C,) for each row of the table of classes. counts: those of each source, which grow.
    """
    tells = has_labels(images, has_node)
    _count_by_source(images["image_source"][~tells], SILENT, counts)
    stays = _sampled(images["image_source"], tells, config, counts)
    for kind, reason in HOMELESS.items():
        is_homeless = ~has_node[images[f"{kind}_class"]]
        of_image = images.image_of(kind)[is_homeless]
        is_counted = stays[of_image] | ~tells[of_image]
        sources = images["image_source"][of_image[is_counted]]
        _count_by_source(sources, reason, counts)
    return images if stays.all() else images.take(np.flatnonzero(stays))


def has_labels(images: Catalogue, has_node: BoolArray) -> BoolArray:
    """(n,) whether somebody drew boxes on the image (if only to find none) or a label of it has a node."""
    with_node = images.image_of("label")[has_node[images["label_class"]]]
    return images.is_boxed | (np.bincount(with_node, minlength=len(images)) > 0)


def _sampled(
    source: Int32Array, tells: BoolArray, config: MergeConfig, counts: Sequence[Counter[str]]
) -> BoolArray:
    """(n,) the images that tell something, less what exceeds `max_images`: drawn by the seed."""
    stays = tells.copy()
    for number, setting in enumerate(config.sources):
        own = np.flatnonzero(tells & (source == number))
        if setting.max_images is not None and setting.max_images < len(own):
            counts[number]["image beyond max_images"] += len(own) - setting.max_images
            drawn = random.Random(f"{config.seed} {setting.name}").sample(range(len(own)), setting.max_images)
            stays[own] = False
            stays[own[drawn]] = True
    return stays


def _count_by_source(sources: npt.NDArray[Any], reason: str, counts: Sequence[Counter[str]]) -> None:
    for source, number in enumerate(np.bincount(sources, minlength=len(counts)).tolist()):
        counts[source][reason] += number
