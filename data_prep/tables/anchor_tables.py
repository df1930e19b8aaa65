"""Output of `data-prep anchors`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from data_prep.anchors import AnchorClusters, elbow, rounded


@dataclass(frozen=True)
class AnchorResult:
    """The chosen anchors in grid cells; sweep: the anchors for each number that was tried, or nothing.

    boxes: number of boxes; size, stride: side of the network's input and of a grid cell in px.
    """

    chosen: AnchorClusters
    sweep: Mapping[int, AnchorClusters]
    boxes: int
    size: int
    stride: int
    split: str


def anchors_json(result: AnchorResult) -> dict[str, Any]:
    """The result as plain values."""
    values: dict[str, Any] = {
        "anchors_cell": rounded(result.chosen),
        "average_iou": result.chosen.average_iou,
        "boxes": result.boxes,
        "size": result.size,
        "stride": result.stride,
        "split": result.split,
    }
    if result.sweep:
        values["sweep"] = {str(count): clusters.average_iou for count, clusters in result.sweep.items()}
        values["elbow"] = elbow(result.sweep)
    return values


def print_anchors(result: AnchorResult) -> None:
    """Print the sweep, and the anchors as a line of a configuration."""
    for count, clusters in result.sweep.items():
        note = "  <- elbow" if count == elbow(result.sweep) else ""
        print(f"{count:3} anchors: average IoU {100 * clusters.average_iou:.1f} %{note}")
    anchors = rounded(result.chosen)
    print(
        f"{len(anchors)} anchors, width and height in cells of {result.stride} px at {result.size} px, "
        f"from {result.boxes} boxes:"
    )
    print(f"anchors: {anchors}")
    print(f"average IoU {100 * result.chosen.average_iou:.1f} %")
