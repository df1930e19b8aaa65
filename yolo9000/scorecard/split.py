"""Any measure of single classes, averaged apart over what stands behind the classes in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from data_prep.ledger import Evidence as Evidence

Part = Literal["all", "boxed", "label_only", "neither"]
PARTS: tuple[Part, ...] = ("all", "boxed", "label_only", "neither")
PART_OF: dict[Evidence, Part] = {"boxes": "boxed", "image labels": "label_only", "neither": "neither"}


def split_mean(
    values: Mapping[int, float | None], evidence: Callable[[int], Evidence]
) -> dict[Part, float | None]:
    """The mean over all classes and over those of each part; None where no class of the part has a value.

    values: a measure of each class (node) that is present in the test set; None where it is not defined.
    """
    groups: dict[Part, list[float]] = {part: [] for part in PARTS}
    for node, value in values.items():
        if value is not None:
            groups["all"].append(value)
            groups[PART_OF[evidence(node)]].append(value)
    return {part: sum(group) / len(group) if group else None for part, group in groups.items()}
