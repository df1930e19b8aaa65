"""Selects the images to store, and counts the others by reason."""

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from data_prep.classes.matching import ClassMatch
from data_prep.config import MergeConfig
from data_prep.dataset.index import SourceClass
from data_prep.shards.catalogue import Catalogue
from data_prep.sources.source import Counts
from wordtree.support.arrays import BoolArray, Int32Array

UNUSED_CLASS = "no box or image label uses the class"
UNLABELLED_IMAGE = "image left out, as its classes have no node"
LABEL_WITHOUT_NODE = {
    "box": "box of a class without a node",
    "label": "image label of a class without a node",
}


def leave_out_unused(matches: Sequence[ClassMatch], images: Catalogue) -> tuple[ClassMatch, ...]:
    """The matches; classes without a node and without a label are left out, so that they do not stop a merge."""
    is_used = np.zeros(len(matches), dtype=bool)
    is_used[images["box_class"]] = True
    is_used[images["label_class"]] = True
    return tuple(
        match if match.is_resolved or used else replace(match, left_out=UNUSED_CLASS)
        for match, used in zip(matches, is_used.tolist(), strict=True)
    )


def select_images(
    images: Catalogue, config: MergeConfig, classes: Sequence[SourceClass], counts: Sequence[Counts]
) -> Catalogue:
    """The labelled images, at most `max_images` of each source.

    classes: the table of all classes. counts: the counts of the sources, to which the images and labels left out are
    added.
    """
    has_node = np.array([row.node >= 0 for row in classes], dtype=np.bool_)
    is_labelled = has_labels(images, has_node)
    for image in np.flatnonzero(~is_labelled).tolist():
        counts[images["image_source"][image]].leave_out(UNLABELLED_IMAGE, images.source_id(image))
    is_selected = _sample(images["image_source"], is_labelled, config, counts)
    for kind, reason in LABEL_WITHOUT_NODE.items():
        lacks_node = ~has_node[images[f"{kind}_class"]]
        image_of = images.image_of(kind)[lacks_node]
        is_counted = is_selected[image_of] | ~is_labelled[image_of]
        numbers = np.bincount(images[f"{kind}_class"][lacks_node][is_counted], minlength=len(classes))
        for row in np.flatnonzero(numbers).tolist():
            name, number = classes[row].name, int(numbers[row])
            counts[classes[row].source].leave_out(reason, name, f"class {name!r}: {number}", number)
    return images if is_selected.all() else images.take(np.flatnonzero(is_selected))


def has_labels(images: Catalogue, has_node: BoolArray) -> BoolArray:
    """Whether each image has been annotated with boxes or has an image label whose class has a node; (n,)."""
    with_node = images.image_of("label")[has_node[images["label_class"]]]
    return images.is_boxed | (np.bincount(with_node, minlength=len(images)) > 0)


def _sample(
    source: Int32Array, is_labelled: BoolArray, config: MergeConfig, counts: Sequence[Counts]
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
