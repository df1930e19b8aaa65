"""What stands behind each node: boxes, image labels, or only relatives' boxes."""

import csv
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from wordtree import WordTree
from wordtree.support.arrays import Int64Array
from wordtree.support.files import write_atomically

Supervision = Literal["boxes", "image labels", "none"]
"""What training knew of a node: boxes at or below it, else image labels, else nothing."""
CSV_COLUMNS = (
    "id",
    "name",
    "boxes",
    "image_labels",
    "boxes_rolled_up",
    "image_labels_rolled_up",
    "supervision",
    "nearest_boxed_ancestor",
)


class LabelCounts:
    """Labels of the training split, by node.

    boxes         (N,) boxes labelled with just this node (ignore regions apart)
    image_labels  (N,) images said to show just this node
    boxes_rolled_up, image_labels_rolled_up: the same at the node or anywhere below it
    """

    def __init__(self, tree: WordTree, boxes: npt.ArrayLike, image_labels: npt.ArrayLike) -> None:
        self.tree = tree
        self.boxes: Int64Array = np.asarray(boxes, dtype=np.int64)
        self.image_labels: Int64Array = np.asarray(image_labels, dtype=np.int64)

    @cached_property
    def boxes_rolled_up(self) -> Int64Array:
        """(N,) boxes at or under each node."""
        return rolled_up(self.tree, self.boxes)

    @cached_property
    def image_labels_rolled_up(self) -> Int64Array:
        """(N,) image labels at or under each node."""
        return rolled_up(self.tree, self.image_labels)

    def supervision(self, node: int) -> Supervision:
        """The best that is labelled at the node or below it."""
        if self.boxes_rolled_up[node]:
            return "boxes"
        return "image labels" if self.image_labels_rolled_up[node] else "none"

    def nearest_boxed_ancestor(self, node: int) -> int | None:
        """The lowest node above this one with boxes at or under it; None where no ancestor has any."""
        return next((above for above in self.tree.ancestors(node) if self.boxes_rolled_up[above]), None)

    def rows(self) -> list[dict[str, Any]]:
        """One row for each node with any label at or under it, in tree order (a node before its children)."""
        return [self.row(node) for node in self.nodes_with_labels()]

    def nodes_with_labels(self) -> list[int]:
        """The nodes with any label at or under them, in tree order."""
        has_labels = (self.boxes_rolled_up > 0) | (self.image_labels_rolled_up > 0)
        in_order = np.argsort(self.tree.enter)
        return [int(node) for node in in_order if has_labels[node]]

    def write_csv(self, path: Path) -> None:
        """A line for every node of the tree, in tree order: what `wordtree show --figures` reads, and more."""
        text = StringIO()
        writer = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.row(int(node)) for node in np.argsort(self.tree.enter))
        write_atomically(path, text.getvalue())

    def row(self, node: int) -> dict[str, Any]:
        """What is known of a node, as plain values."""
        ancestor = self.nearest_boxed_ancestor(node)
        return {
            "id": self.tree.ids[node],
            "name": self.tree.names[node],
            "depth": int(self.tree.depth[node]),
            "boxes": int(self.boxes[node]),
            "image_labels": int(self.image_labels[node]),
            "boxes_rolled_up": int(self.boxes_rolled_up[node]),
            "image_labels_rolled_up": int(self.image_labels_rolled_up[node]),
            "supervision": self.supervision(node),
            "nearest_boxed_ancestor": None if ancestor is None else self.tree.ids[ancestor],
        }


def rolled_up(tree: WordTree, counts: Int64Array) -> Int64Array:
    """The sum of (N,) counts at each node and below it, (N,).

    A subtree is an interval of the pre-order, so a prefix sum gives every subtree at once.
    """
    in_preorder = np.zeros(len(tree) + 1, dtype=np.int64)
    in_preorder[tree.enter + 1] = counts
    total = np.cumsum(in_preorder)
    return np.asarray(total[tree.leave] - total[tree.enter], dtype=np.int64)
