"""Answers that know the true image labels but place them without skill: what joint training has to beat."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from wordtree.support.arrays import FloatArray
from yolo9000.inference.scored_boxes import GroundTruth, ScoredBoxes


def label_on_whole_image(
    truths: Sequence[GroundTruth], image_sizes_px: Sequence[tuple[int, int]], nodes: Collection[int]
) -> list[ScoredBoxes]:
    """For each image, each of `nodes` that is truly there on the box of the whole image, with score 1.

    image_sizes_px: (width, height) of each image.
    """
    return [
        _on_one_box(truth, np.array([0.0, 0.0, width, height]), 1.0, nodes)
        for truth, (width, height) in zip(truths, image_sizes_px, strict=True)
    ]


def label_on_best_box(
    truths: Sequence[GroundTruth],
    best_box: Mapping[int, tuple[FloatArray, float]],
    nodes: Collection[int],
) -> list[ScoredBoxes]:
    """For each image, each of `nodes` that is truly there on the image's most object-like box.

    best_box: by the image's index, the box of the highest objectness (xyxy in pixels) and that objectness,
    which becomes the score; an image that is not in it gets no answer.
    """
    return [
        _on_one_box(truth, *best_box[image], nodes)
        if image in best_box
        else _on_one_box(truth, np.zeros(4), 0.0, ())
        for image, truth in enumerate(truths)
    ]


def _on_one_box(truth: GroundTruth, xyxy_px: FloatArray, score: float, nodes: Collection[int]) -> ScoredBoxes:
    present = sorted({int(node) for node in truth.node[~truth.ignored]} & set(nodes))
    return ScoredBoxes(
        xyxy_px=np.tile(xyxy_px, (len(present), 1)),
        node=np.array(present, np.int64),
        score=np.full(len(present), score),
    )
