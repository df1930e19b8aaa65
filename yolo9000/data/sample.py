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


@dataclass(frozen=True)
class Sample:
    image: Tensor  # (3, height, width) uint8
    boxes_xyxy: Float32Array  # (M, 4), unit
    box_nodes: Int64Array  # (M,)
    label_nodes: Int64Array  # (L,)
    label_regions: Float32Array  # (L, 4), unit: where the labelled thing is
    negative_nodes: Int64Array  # (L',)
    negative_regions: Float32Array  # (L', 4), unit: where no such thing is
    ignored: Float32Array  # (R, 4), unit: where nothing is known
    exhaustive: (
        BoolArray | None
    )  # (N,) of each node, whether its things all have their boxes here; None: nobody drew boxes


@dataclass(frozen=True)
class Rectangle:
    """Where an image goes on a canvas, in pixels; may reach beyond it."""

    left: int
    top: int
    width: int
    height: int
    soft: float = 0.0  # the part of each side over which its edge fades into what lies below, at most .5

    def unit(self, canvas_px: int) -> Float32Array:
        edges = [self.left, self.top, self.left + self.width, self.top + self.height]
        return np.array(edges, np.float32) / np.float32(canvas_px)


WHOLE = np.array([[0, 0, 1, 1]], np.float32)


def read_sample(reader: ShardReader, image: int, pseudo: PseudoBoxes | None = None) -> Sample:
    """Image and labels as stored; where nobody drew boxes, all that is unmatched is ignored.

    An image label whose thing has a box is left out: the box says it better; so does one of `pseudo`.
    """
    boxes = slice(*reader.box_offsets[image : image + 2])
    labels = slice(*reader.label_offsets[image : image + 2])
    real = ~reader.box_ignored[boxes]
    nodes, positive = reader.label_nodes[labels].astype(np.int64), reader.label_positive[labels]
    complete = nodes[reader.label_exhaustive[labels] | ~positive]
    box_nodes = reader.box_nodes[boxes][real].astype(np.int64)
    message = positive & ~reader.tree.is_under(box_nodes[:, None], nodes).any(axis=0)
    drawn, drawn_xyxy = (pseudo or PseudoBoxes.none()).of(labels)
    drawn, drawn_xyxy = drawn[message[drawn]], drawn_xyxy[message[drawn]]
    message[drawn] = False
    label_nodes = nodes[message]
    crowds = reader.boxes_xyxy_unit[boxes][~real]
    return Sample(
        decode_image(reader.encoded(image), name=reader.source_id(image)),
        np.concatenate([reader.boxes_xyxy_unit[boxes][real], drawn_xyxy]),
        np.concatenate([box_nodes, nodes[drawn]]),
        label_nodes,
        np.repeat(WHOLE, len(label_nodes), axis=0),
        nodes[~positive],
        np.repeat(WHOLE, int((~positive).sum()), axis=0),
        crowds if reader.image_boxed[image] else WHOLE,
        at_or_under(reader.tree, complete) if reader.image_boxed[image] else None,
    )
