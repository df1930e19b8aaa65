"""`Sample`: one image with its labels, before it becomes part of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from data_prep import ShardReader
from wordtree.support.arrays import BoolArray, Float32Array, Int64Array
from wordtree.tree.node_sets import at_or_under
from yolo9000.data.image import decode_image
from yolo9000.data.pseudo_boxes import PseudoBoxes

WHOLE_UNIT = np.array([[0, 0, 1, 1]], np.float32)  # the whole image as a region


@dataclass(frozen=True)
class Sample:
    """One image with its labels; boxes and regions are in the unit square of the image."""

    image: Tensor  # (3, height, width) uint8
    boxes_xyxy_unit: Float32Array  # (M, 4)
    box_nodes: Int64Array  # (M,)
    label_nodes: Int64Array  # (L,)
    label_regions_xyxy_unit: Float32Array  # (L, 4): each region shows an object of its label's node
    negative_nodes: Int64Array  # (L',)
    negative_regions_xyxy_unit: Float32Array  # (L', 4): each region shows no object of its label's node
    ignored_xyxy_unit: Float32Array  # (R, 4): regions that may show objects without a box
    exhaustive: BoolArray | None  # (N,) nodes that are exhaustively annotated; None: not annotated with boxes

    @classmethod
    def unlabelled(cls, image: Tensor) -> Sample:
        """An image without labels."""
        boxes, nodes = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
        return cls(image, boxes, nodes, nodes, boxes, nodes, boxes, boxes, None)


@dataclass(frozen=True)
class Rectangle:
    """A rectangle in pixels; as the area of an image on a canvas it may reach beyond the canvas."""

    left_px: int
    top_px: int
    width_px: int
    height_px: int
    soft_edge: float = 0.0  # share of each side over which the edge fades into the image below it, at most .5

    def xyxy_unit(self, canvas_px: int) -> Float32Array:
        """The corners in the unit square of a square canvas, (4,)."""
        edges = [self.left_px, self.top_px, self.left_px + self.width_px, self.top_px + self.height_px]
        return np.array(edges, np.float32) / np.float32(canvas_px)


def read_sample(reader: ShardReader, image: int, pseudo: PseudoBoxes | None = None) -> Sample:
    """One image of the shards with its labels. An image without box annotations is one ignore region.

    An image label is left out if the image has a box of the label's node or of a descendant. A box of `pseudo` replaces
    its image label.
    """
    boxes = slice(*reader.box_offsets[image : image + 2])
    labels = slice(*reader.label_offsets[image : image + 2])
    is_object = ~reader.box_ignored[boxes]
    box_nodes = reader.box_nodes[boxes][is_object].astype(np.int64)
    crowds_xyxy_unit = reader.boxes_xyxy_unit[boxes][~is_object]
    nodes, positive = reader.label_nodes[labels].astype(np.int64), reader.label_positive[labels]
    exhaustive_nodes = nodes[reader.label_exhaustive[labels] | ~positive]
    without_box = positive & ~reader.tree.is_at_or_under(box_nodes[:, None], nodes).any(axis=0)
    rows, pseudo_xyxy_unit = (pseudo or PseudoBoxes.none()).in_rows(labels)
    rows, pseudo_xyxy_unit = rows[without_box[rows]], pseudo_xyxy_unit[without_box[rows]]
    without_box[rows] = False
    label_nodes = nodes[without_box]
    is_boxed = bool(reader.image_boxed[image])
    return Sample(
        decode_image(reader.encoded(image), name=reader.source_id(image)),
        np.concatenate([reader.boxes_xyxy_unit[boxes][is_object], pseudo_xyxy_unit]),
        np.concatenate([box_nodes, nodes[rows]]),
        label_nodes,
        np.repeat(WHOLE_UNIT, len(label_nodes), axis=0),
        nodes[~positive],
        np.repeat(WHOLE_UNIT, int((~positive).sum()), axis=0),
        crowds_xyxy_unit if is_boxed else WHOLE_UNIT,
        at_or_under(reader.tree, exhaustive_nodes) if is_boxed else None,
    )
