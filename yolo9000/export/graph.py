"""The complete detector as one graph of tensors: images to boxes and classes, for export."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import nms

from yolo9000.export.tree_softmax import OFF_PATH, TreeSoftmax
from yolo9000.models.boxes import cxcywh_to_xyxy
from yolo9000.models.detector import Detector


class ExportedOutput(NamedTuple):
    """The K locations of highest objectness of each of B images, best first."""

    boxes: Tensor  # (B, K, 4) xyxy in the unit square of the network input, not clipped
    objectness: Tensor  # (B, K) in 0..1
    node: Tensor  # (B, K) int64: the deepest node on the most probable path with P(node) > `min_absolute`
    absolute: Tensor  # (B, K) P(node | object)
    root_absolute: Tensor  # (B, K) P(root | object); objectness × this is compared with `min_score`
    leaf: Tensor  # (B, K) int64: the leaf at the end of the path
    leaf_absolute: Tensor  # (B, K) P(leaf | object)
    path_conditional: Tensor  # (B, K, D) P(node | parent) from the root to the leaf; 1 beyond the leaf


class ExportedDetector(nn.Module):
    """Images (B, 3, H, W), RGB in 0..1, to `ExportedOutput`; H and W are multiples of the network's stride.

    locations: K, at most the number of grid locations of the smallest image.
    min_absolute: threshold of the descent in the tree.
    by: `product` is Darknet's rule (`TreeTensors.descend`).
    """

    def __init__(
        self,
        detector: Detector,
        *,
        locations: int,
        min_absolute: float,
        by: Literal["absolute", "product"] = "absolute",
    ) -> None:
        super().__init__()
        self.detector = detector
        self.tree_softmax = TreeSoftmax(detector.tree_tensors)
        self.locations, self.min_absolute, self.by = locations, min_absolute, by
        head = detector.head.classes
        self.class_weight = nn.Parameter(
            head.weight[:, self.tree_softmax.order].detach(), requires_grad=False
        )
        self.class_bias = nn.Parameter(head.bias[:, self.tree_softmax.order].detach(), requires_grad=False)

    def forward(self, images: Tensor) -> ExportedOutput:
        features = self.detector.head_input(self.detector.features(images))
        box_logits = self.detector.head.box(features)
        anchors = len(self.detector.head.anchors_cell)
        flat = (
            box_logits.flatten(2).unflatten(1, (anchors, 5)).permute(0, 3, 1, 2).flatten(1, 2)
        )  # (B, HWA, 5)
        objectness, index = flat[..., 4].sigmoid().topk(self.locations, dim=1)
        cell = index // anchors
        anchor = index - cell * anchors
        boxes = self._boxes(flat.gather(1, index[..., None].expand(-1, -1, 5)), cell, anchor, features)
        vectors = features.flatten(2).transpose(1, 2)
        vectors = vectors.gather(1, cell[..., None].expand(-1, -1, vectors.shape[2])).flatten(0, 1)
        conditional = self.tree_softmax.best_conditional(self._class_logits(vectors, anchor.flatten()))
        path = self.tree_softmax.sum_over_ancestors(conditional)
        is_root = self.tree_softmax.depth == 0
        node, absolute = self._deepest(path, self._exceeds(path) | is_root)
        _, root_absolute = self._deepest(path, is_root.expand_as(path))
        leaf, leaf_absolute = self._deepest(path, self.tree_softmax.is_leaf.expand_as(path))
        columns = (node, absolute, root_absolute, leaf, leaf_absolute, self._path(conditional, leaf))
        return ExportedOutput(boxes, objectness, *(c.unflatten(0, (-1, self.locations)) for c in columns))

    def _path(self, conditional: Tensor, leaf: Tensor) -> Tensor:
        """P(node | parent) of the nodes on the path to each leaf, (R, D); 1 beyond the leaf."""
        columns: Tensor = self.tree_softmax.path_columns
        column = columns.index_select(0, leaf)  # (R, D), −1 beyond the leaf
        return torch.where(column < 0, 0.0, conditional.gather(1, column.clamp_min(0))).exp()

    def _boxes(self, logits: Tensor, cell: Tensor, anchor: Tensor, features: Tensor) -> Tensor:
        """Boxes as xyxy in the unit square, (B, K, 4); logits: (B, K, 5). The rule of `decode_boxes`."""
        rows, columns = features.shape[2:]
        row = cell // columns
        corner = torch.stack([cell - row * columns, row], dim=-1).to(logits.dtype)
        centre = logits[..., :2].sigmoid() + corner
        size = logits[..., 2:4].exp() * self.detector.head.anchors_cell[anchor]
        grid_wh = torch.stack([torch.full_like(row, columns), torch.full_like(row, rows)], dim=-1)
        return cxcywh_to_xyxy(torch.cat([centre / grid_wh, size / grid_wh], dim=-1))

    def _class_logits(self, vectors: Tensor, anchor: Tensor) -> Tensor:
        """Logits of all nodes in the order of `tree_softmax`, (R, N); vectors: (R, C) at the anchors `anchor` (R,)."""
        rows = [(anchor == each).nonzero()[:, 0] for each in range(len(self.class_weight))]
        tables = [
            F.linear(vectors[row], weight, bias)
            for row, weight, bias in zip(rows, self.class_weight, self.class_bias, strict=True)
        ]
        return torch.cat(tables)[torch.cat(rows).argsort()]

    def _exceeds(self, path: Tensor) -> Tensor:
        """Where the descent goes on to a node, (R, N) bool."""
        if self.by == "product":
            path = self.tree_softmax.sum_over_ancestors(path)
        return path.exp() > self.min_absolute

    def _deepest(self, path: Tensor, candidate: Tensor) -> tuple[Tensor, Tensor]:
        """The deepest candidate on the path, (R,), and its absolute probability, (R,)."""
        on_path = candidate & (path > OFF_PATH / 2)
        column = torch.where(on_path, self.tree_softmax.depth, -1.0).argmax(dim=1)
        log_absolute = path.gather(1, column[:, None])[:, 0]
        return self.tree_softmax.order[column], log_absolute.exp()


class WithSuppression(nn.Module):
    """`ExportedDetector` with the further output `kept`, (B, K) bool: suppression by objectness across classes.

    Boxes are clipped to the network input, not to the image, whose position on the canvas the graph does not know.
    """

    def __init__(self, detector: ExportedDetector, *, nms_iou: float) -> None:
        super().__init__()
        self.detector, self.nms_iou = detector, nms_iou

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        output = self.detector(images)
        image = torch.arange(output.boxes.shape[0], device=images.device)[:, None, None]
        # The shift keeps boxes of different images apart.
        apart = (output.boxes.clamp(0, 1) + 2 * image).flatten(0, 1)
        kept = torch.zeros_like(output.objectness, dtype=torch.bool).flatten()
        kept = kept.index_fill(0, nms(apart, output.objectness.flatten(), self.nms_iou), True)
        return (*output, kept.view_as(output.objectness))
