"""Selects the images to store, and counts the others by reason."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from data_prep.config import MergeConfig
from data_prep.shards.catalogue import Catalogue
from wordtree.support.arrays import BoolArray, Int32Array

UNLABELLED_IMAGE = "image left out, as its classes have no node"
LABEL_WITHOUT_NODE = {
    "box": "box of a class without a node",
    "label": "image label of a class without a node",
}


def select_images(
    images: Catalogue, config: MergeConfig, has_node: BoolArray, counts: Sequence[Counter[str]]
) -> Catalogue:
    """The labelled images, at most `max_images` of each source.

    has_node: whether each class has a node, (C,). counts: the counters of the sources, to which the images and
    labels left out are added.
    """
    is_labelled = has_labels(images, has_node)
    _count_by_source(images["image_source"][~is_labelled], UNLABELLED_IMAGE, counts)
    is_selected = _sample(images["image_source"], is_labelled, config, counts)
    for kind, reason in LABEL_WITHOUT_NODE.items():
        lacks_node = ~has_node[images[f"{kind}_class"]]
        image = images.image_of(kind)[lacks_node]
        is_counted = is_selected[image] | ~is_labelled[image]
        _count_by_source(images["image_source"][image[is_counted]], reason, counts)
    return images if is_selected.all() else images.take(np.flatnonzero(is_selected))


def has_labels(images: Catalogue, has_node: BoolArray) -> BoolArray:
    """Whether each image has been annotated with boxes or has an image label whose class has a node; (n,)."""
    with_node = images.image_of("label")[has_node[images["label_class"]]]
    return images.is_boxed | (np.bincount(with_node, minlength=len(images)) > 0)


def _sample(
    source: Int32Array, is_labelled: BoolArray, config: MergeConfig, counts: Sequence[Counter[str]]
) -> BoolArray:
    """Whether each image is selected, (n,): of more than `max_images` of a source, the seed draws a sample."""
    is_selected = is_labelled.copy()
    for number, setting in enumerate(config.sources):
        own = np.flatnonzero(is_labelled & (source == number))
        if setting.max_images is not None and setting.max_images < len(own):
            counts[number]["image beyond max_images"] += len(own) - setting.max_images
            drawn = random.Random(f"{config.seed} {setting.name}").sample(range(len(own)), setting.max_images)
            is_selected[own] = False
            is_selected[own[drawn]] = True
    return is_selected


def _count_by_source(sources: npt.NDArray[Any], reason: str, counts: Sequence[Counter[str]]) -> None:
    for source, number in enumerate(np.bincount(sources, minlength=len(counts)).tolist()):
        counts[source][reason] += number
