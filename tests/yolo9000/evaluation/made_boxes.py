"""Ground truth and detections for the tests of scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from data_prep.dataset.label_counts import Supervision
from wordtree.tree.tree import WordTree
from yolo9000.inference.scored_boxes import GroundTruth, ScoredBoxes

FLAT = WordTree([f"own{node}" for node in range(100)], [-1] * 100)
LEFT, MIDDLE, RIGHT = [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]


def truth(*rows: tuple[list[int], int], ignored: Sequence[int] = ()) -> GroundTruth:
    """Labelled boxes (xyxy, node); `ignored` lists the rows that are."""
    return GroundTruth(
        xyxy_px=np.array([box for box, _ in rows], float).reshape(-1, 4),
        node=np.array([node for _, node in rows], int),
        ignored=np.isin(np.arange(len(rows)), ignored),
    )


def detected(*rows: tuple[list[int], int, float]) -> ScoredBoxes:
    """Detections (xyxy, node, score)."""
    return ScoredBoxes(
        xyxy_px=np.array([box for box, _, _ in rows], float).reshape(-1, 4),
        node=np.array([node for _, node, _ in rows], int),
        score=np.array([value for _, _, value in rows], float),
    )


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[GroundTruth], list[ScoredBoxes]]:
    """Up to three images with random boxes and detections of two classes; all scores differ."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    truths, detections = [], []
    for _ in range(draw(st.integers(1, 3))):
        objects, count = draw(st.integers(0, 5)), draw(st.integers(0, 8))
        corner = rng.uniform(0, 60, (objects, 2))
        corners = np.concatenate([corner, corner + rng.uniform(8, 40, (objects, 2))], axis=1)
        near = (
            corners[rng.integers(0, objects, count)]
            if objects
            else rng.uniform(0, 9, (count, 4)) + np.array([0, 0, 10, 10])
        )
        truths.append(truth(*((box, int(rng.integers(2, 4))) for box in corners)))
        moved = near + rng.normal(0, 2, near.shape)
        detections.append(
            ScoredBoxes(
                xyxy_px=np.concatenate([np.minimum(moved[:, :2], moved[:, 2:]), moved[:, 2:]], axis=1),
                node=rng.integers(2, 4, count),
                score=rng.random(count),
            )
        )
    return truths, detections


def crowded_world(
    seed: int, *, images: int, nodes: int, boxes: int = 8, copies: int = 3
) -> tuple[list[GroundTruth], list[ScoredBoxes]]:
    """Images with boxes of `nodes` classes, one in ten a crowd, and detections near them and elsewhere.

    Scores have one decimal, so many are equal. One detection in five has another class than its box.
    """
    rng = np.random.default_rng(seed)
    truths, detections = [], []
    for _ in range(images):
        count = int(rng.integers(0, boxes + 1))
        corner = rng.uniform(0, 200, (count, 2))
        labelled = np.concatenate([corner, corner + rng.uniform(8, 90, (count, 2))], axis=1)
        node = rng.integers(0, nodes, count)
        truths.append(GroundTruth(labelled, node, rng.random(count) < 0.1))
        near = np.repeat(labelled, copies, axis=0)
        near = near + rng.normal(0, 0.1, near.shape) * np.tile(near[:, 2:] - near[:, :2], 2)
        found = np.concatenate([near, np.concatenate([corner, corner + 30], axis=1)])
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        own = np.concatenate([np.repeat(node, copies), rng.integers(0, nodes, count)])
        other = rng.integers(0, nodes, len(own))
        detections.append(
            ScoredBoxes(
                found, np.where(rng.random(len(own)) < 0.2, other, own), rng.random(len(own)).round(1)
            )
        )
    return truths, detections


def supervision(node: int) -> Supervision:
    """Nodes 2 and 4 have boxes, 3 image labels, the others nothing."""
    known: dict[int, Supervision] = {2: "boxes", 4: "boxes", 3: "image labels"}
    return known.get(node, "none")
