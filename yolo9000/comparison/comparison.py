"""`Comparison`: the differences between two models on the same images, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from data_prep.dataset.label_counts import Supervision
from wordtree.support.arrays import BoolArray, Int64Array
from yolo9000.comparison.disagreement import ImageDisagreement
from yolo9000.comparison.model_pair import ModelDetections
from yolo9000.comparison.resampling import Difference, ResamplingChoice

MIN_IMAGES = 10  # with objects of a class; fewer are too few for resampling


@dataclass(frozen=True)
class GroupDifference:
    """Mean average precision over the classes of one group; supervision None: of all classes."""

    supervision_a: Supervision | None
    supervision_b: Supervision | None
    classes: int
    ap50: Difference
    ap: Difference


@dataclass(frozen=True)
class LevelDifference:
    """Share of objects that are detected and correct down to one depth (roots: 0).

    The objects are those of classes at this depth or below. Correct down to a depth: the most probable path of the
    detection contains the node of this depth at or above the object's class. nodes: number of these nodes.
    """

    depth: int
    nodes: int
    objects: int
    correct: Difference


@dataclass(frozen=True)
class ClassDifference:
    """The average precision of one class.

    images    number of images with its objects; with fewer than `MIN_IMAGES` there is no interval
    differs   whether the difference in AP50 remains when the number of classes is taken into account
    """

    id: str
    name: str
    supervision_a: Supervision
    supervision_b: Supervision
    objects: int
    images: int
    ap50: Difference
    ap: Difference
    differs: bool


@dataclass(frozen=True)
class Comparison:
    """The comparison of two models A and B on the same images, for the classes that both know.

    unshared         classes with boxes in the split that are not in both trees
    tested           number of classes with an interval; a share `1 − confidence` of these excludes 0 by chance
    predictions      metrics of the detections of `predict`, each model at its own thresholds, by name
    found, images, agreed   what the page draws; not part of `to_dict`
    """

    a: str
    b: str
    split: str
    protocol: str
    evaluated_images: int
    unshared: tuple[str, ...]
    choice: ResamplingChoice
    groups: tuple[GroupDifference, ...]
    predictions: dict[str, Difference]
    levels: tuple[LevelDifference, ...]
    classes: tuple[ClassDifference, ...]
    disagreements: tuple[ImageDisagreement, ...]
    found: Sequence[ModelDetections] = field(default=(), compare=False, repr=False)
    agreed: Sequence[BoolArray] = field(default=(), compare=False, repr=False)
    images: Int64Array = field(default_factory=lambda: np.zeros(0, np.int64), compare=False, repr=False)

    @property
    def has_ap(self) -> bool:
        """Whether the protocol has more IoU thresholds than 0.5."""
        return self.protocol in ("coco", "lvis", "lvis_fixed")

    @property
    def tested(self) -> int:
        """Number of classes with an interval."""
        return sum(row.ap50.low is not None for row in self.classes)

    @property
    def better(self) -> tuple[int, int]:
        """Number of classes that differ and are better in A, and in B."""
        changes = [row.ap50.difference or 0 for row in self.classes if row.differs]
        return sum(change < 0 for change in changes), sum(change > 0 for change in changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        plain = asdict(replace(self, found=(), agreed=(), images=np.zeros(0, np.int64)))
        for name in ("found", "agreed", "images"):
            del plain[name]
        better_a, better_b = self.better
        return plain | {"tested": self.tested, "better_a": better_a, "better_b": better_b}
