"""Label counts: boxes and image labels of each node of the tree."""

import csv
from functools import cached_property
from io import StringIO
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from wordtree import WordTree
from wordtree.support.arrays import Int64Array
from wordtree.support.csv_cells import csv_row

Supervision = Literal["boxes", "image labels", "none"]
"""The best labels at or under a node: boxes, else image labels, else none."""
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
    """Numbers of labels of the training split for each of the N nodes of a tree.

    boxes         (N,) boxes of exactly this node, without ignore regions
    image_labels  (N,) positive image labels of exactly this node
    boxes_rolled_up, image_labels_rolled_up: (N,) labels at or under the node
    """

    def __init__(self, tree: WordTree, boxes: npt.ArrayLike, image_labels: npt.ArrayLike) -> None:
        self.tree = tree
        self.boxes: Int64Array = np.asarray(boxes, dtype=np.int64)
        self.image_labels: Int64Array = np.asarray(image_labels, dtype=np.int64)

    @cached_property
    def boxes_rolled_up(self) -> Int64Array:
        """Boxes at or under each node, shape (N,)."""
        return rolled_up(self.tree, self.boxes)

    @cached_property
    def image_labels_rolled_up(self) -> Int64Array:
        """Image labels at or under each node, shape (N,)."""
        return rolled_up(self.tree, self.image_labels)

    def supervision(self, node: int) -> Supervision:
        """The best labels at or under the node."""
        if self.boxes_rolled_up[node]:
            return "boxes"
        return "image labels" if self.image_labels_rolled_up[node] else "none"

    def nearest_boxed_ancestor(self, node: int) -> int | None:
        """The lowest ancestor with boxes at or under it; None if there is none."""
        return next((above for above in self.tree.ancestors(node) if self.boxes_rolled_up[above]), None)

    def rows(self) -> list[dict[str, Any]]:
        """A row for each node with labels at or under it, in pre-order."""
        return [self.row(node) for node in self.nodes_with_labels()]

    def nodes_with_labels(self) -> list[int]:
        """Nodes with labels at or under them, in pre-order."""
        has_labels = (self.boxes_rolled_up > 0) | (self.image_labels_rolled_up > 0)
        in_order = np.argsort(self.tree.enter)
        return [int(node) for node in in_order if has_labels[node]]

    def csv_text(self) -> str:
        """A table with a line for each node, in pre-order; `wordtree show --numbers` reads it."""
        text = StringIO()
        writer = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(csv_row(self.row(int(node))) for node in np.argsort(self.tree.enter))
        return text.getvalue()

    def row(self, node: int) -> dict[str, Any]:
        """Label counts of a node as plain values."""
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
    """Sums of counts (N,) over each node and the nodes under it, shape (N,)."""
    # A subtree is an interval of the pre-order, so a prefix sum gives all sums at once.
    in_preorder = np.zeros(len(tree) + 1, dtype=np.int64)
    in_preorder[tree.enter + 1] = counts
    total = np.cumsum(in_preorder)
    return np.asarray(total[tree.leave] - total[tree.enter], dtype=np.int64)
