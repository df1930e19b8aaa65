"""Types of single settings, with their meaning."""

from __future__ import annotations

from typing import Annotated, Literal, TypeGuard

from pydantic import BeforeValidator, Field

from wordtree.support.lines import shortened

Share = Annotated[float, Field(ge=0, le=1)]
# Which boxes suppress each other: all boxes of an image, or those of the same node (decision 8).
NmsRule = Literal["by_objectness", "by_node"]
# How images are resized, and how boxes are mapped back and compared (decision 13).
Geometry = Literal["exact", "darknet"]
# Whose rules of average precision apply.
Protocol = Literal["coco", "lvis", "lvis_fixed", "openimages", "ilsvrc"]
PACKAGED_BACKBONE = "timm/tf_efficientnet_lite0"
RUN_NAME = r"^\w[\w.-]*$"  # the run's folder is runs/NAME
# The epsilon of batch norm: 1e-5 inside the square root (PyTorch, Darknet on GPUs), or 1e-6 outside it (Darknet on
# CPUs, decision 19).
BatchNormRule = Literal["standard", "darknet_cpu"]
# auto: bfloat16 if the device supports it, otherwise float32.
Precision = Literal["float32", "bfloat16", "auto"]
# Statistics that batch norm uses in training (models/batch_norm.py): of the images of this process, of all processes
# (synchronised), or the running statistics (frozen).
BatchStatistics = Literal["per_process", "frozen", "synchronised"]


MAX_SIDE_PX = 16384  # of an input: one image takes 3 GiB then


def _side_or_sides(value: object) -> int | tuple[int, int]:
    if _is_side(value):
        return value
    sides = tuple(value) if isinstance(value, list | tuple) else ()
    if len(sides) == 2 and all(map(_is_side, sides)):
        return sides
    raise ValueError(
        f"expected a side in pixels, at most {MAX_SIDE_PX}, or [width, height], found {shortened(repr(value))}"
    )


def _is_side(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 < value <= MAX_SIDE_PX


InputSize = Annotated[int | tuple[int, int], BeforeValidator(_side_or_sides)]
