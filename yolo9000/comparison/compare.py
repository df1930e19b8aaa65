"""The comparison of two models on the images of a split."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np

from data_prep import ShardReader
from wordtree import WordTree
from yolo9000.comparison.comparison import (
    MIN_IMAGES,
    ClassDifference,
    Comparison,
    GroupDifference,
    LevelDifference,
)
from yolo9000.comparison.disagreement import agreements, most_disagreed
from yolo9000.comparison.model_pair import ComparedModel, ModelDetections, detections_of_both
from yolo9000.comparison.paired_metrics import (
    ComparedClasses,
    PrecisionOfBoth,
    RatiosOfBoth,
    levels,
    prediction_ratios,
)
from yolo9000.comparison.resampling import (
    Difference,
    ResamplingChoice,
    false_discoveries_limited,
    tested_differences,
)
from yolo9000.distributed import broadcast
from yolo9000.evaluation.evaluation_set import EvaluationSet

LISTED_IMAGES = 12
DEFAULT_CHOICE = ResamplingChoice()


def compare(
    models: Sequence[ComparedModel],
    reader: ShardReader,
    choice: ResamplingChoice = DEFAULT_CHOICE,
    *,
    listed_images: int = LISTED_IMAGES,
) -> Comparison:
    """The comparison of two models on the split, and by the protocol, of the first one's settings.

    listed_images: number of images on which the models disagree most. Raises DataMismatch, ComparisonError.
    """
    images = EvaluationSet.of(reader, models[0].cfg.evaluate)
    both = detections_of_both(models, images)
    return broadcast(lambda: compared(models, images, both, choice, listed_images))


def compared(
    models: Sequence[ComparedModel],
    images: EvaluationSet,
    both: Sequence[ModelDetections],
    choice: ResamplingChoice,
    listed_images: int = LISTED_IMAGES,
) -> Comparison:
    """The comparison of the detections of two models."""
    tree, total = images.reader.tree, len(images.images)
    classes = ComparedClasses.of(models, both)
    of_predictions = prediction_ratios(both, total)
    of_levels = levels(both, _classes_of_objects(images, both), tree, total)
    precision = PrecisionOfBoth(both, classes)
    ratios = RatiosOfBoth([*of_predictions.values(), *(level.correct for level in of_levels)])
    others = np.ones(len(of_predictions) + len(of_levels), bool)
    of_groups = np.ones(2 * len(classes.groups), bool)
    differences = iter(
        tested_differences(
            lambda copies: np.concatenate([precision.at(copies), ratios.at(copies)], axis=1),
            total,
            choice,
            is_tested=np.concatenate([of_groups, *[classes.images >= MIN_IMAGES] * 2, others]),
        )
    )
    agreed = agreements(both, tree)
    return Comparison(
        a=models[0].name,
        b=models[1].name,
        split=models[0].cfg.evaluate.split,
        protocol=images.protocol,
        evaluated_images=total,
        unshared=tuple(tree.names[node] for node in both[0].outcomes.nodes[~classes.is_shared]),
        choice=choice,
        groups=_group_rows(classes, *(list(islice(differences, len(classes.groups))) for _ in range(2))),
        classes=_class_rows(
            classes, tree, choice, *(list(islice(differences, len(classes.nodes))) for _ in range(2))
        ),
        predictions={name: next(differences) for name in of_predictions},
        levels=tuple(
            LevelDifference(level.depth, level.nodes, int(level.correct.denominator[0].sum()), row)
            for level, row in zip(of_levels, differences, strict=True)
        ),
        disagreements=most_disagreed(images, both, agreed, listed_images),
        found=both,
        agreed=agreed,
        images=images.images,
    )


def _group_rows(
    classes: ComparedClasses, ap50: Sequence[Difference], ap: Sequence[Difference]
) -> tuple[GroupDifference, ...]:
    return tuple(
        GroupDifference(*pair, int(members.sum()), ap50[position], ap[position])
        for position, (pair, members) in enumerate(classes.groups.items())
    )


def _class_rows(
    classes: ComparedClasses,
    tree: WordTree,
    choice: ResamplingChoice,
    ap50: Sequence[Difference],
    ap: Sequence[Difference],
) -> tuple[ClassDifference, ...]:
    p = np.array([1.0 if row.p is None else row.p for row in ap50])
    is_tested = classes.images >= MIN_IMAGES
    differs = np.zeros(len(p), bool)
    differs[is_tested] = false_discoveries_limited(p[is_tested], choice.false_discovery_rate)
    return tuple(
        ClassDifference(
            tree.ids[node],
            tree.names[node],
            *classes.supervision[position],
            int(classes.objects[position]),
            int(classes.images[position]),
            ap50[position],
            ap[position],
            bool(differs[position]),
        )
        for position, node in enumerate(classes.nodes.tolist())
    )


def _classes_of_objects(images: EvaluationSet, both: Sequence[ModelDetections]) -> np.ndarray:
    """The class of each compared object in the shards' tree, (O,)."""
    is_shared = np.all([found.node_of >= 0 for found in both], axis=0)
    nodes = [truth.node[~truth.ignored & is_shared[truth.node]] for truth in images.annotated]
    return np.concatenate([np.zeros(0, np.int64), *nodes])
