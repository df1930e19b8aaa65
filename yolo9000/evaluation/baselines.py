"""Baselines that know the true image labels but do not localise; joint training has to beat them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from wordtree.support.arrays import FloatArray
from yolo9000.inference.scored_boxes import GroundTruth, ScoredBoxes


def label_on_whole_image(
    truths: Sequence[GroundTruth], sizes_px: Sequence[tuple[int, int]], nodes: Collection[int]
) -> list[ScoredBoxes]:
    """For each image, one box of the whole image with score 1 for each of `nodes` that is labelled in the image.

    sizes_px: (width, height) of each image.
    """
    return [
        _on_one_box(truth, np.array([0.0, 0.0, width, height]), 1.0, nodes)
        for truth, (width, height) in zip(truths, sizes_px, strict=True)
    ]


def label_on_best_box(
    truths: Sequence[GroundTruth],
    best_box: Mapping[int, tuple[FloatArray, float]],
    nodes: Collection[int],
) -> list[ScoredBoxes]:
    """For each image, its box of highest objectness once for each of `nodes` that is labelled in the image.

    best_box: for the position of an image its box of highest objectness (xyxy in image pixels) and that objectness,
    which becomes the score. An image without an entry gets no boxes.
    """
    return [
        _on_one_box(truth, *best_box[image], nodes)
        if image in best_box
        else _on_one_box(truth, np.zeros(4), 0.0, ())
        for image, truth in enumerate(truths)
    ]


def _on_one_box(truth: GroundTruth, xyxy_px: FloatArray, score: float, nodes: Collection[int]) -> ScoredBoxes:
    labelled = sorted({int(node) for node in truth.node[~truth.ignored]} & set(nodes))
    return ScoredBoxes(
        xyxy_px=np.tile(xyxy_px, (len(labelled), 1)),
        node=np.array(labelled, np.int64),
        score=np.full(len(labelled), score),
    )
