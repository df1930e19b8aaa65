"""The complete detector as one graph of tensors: images to boxes and classes, for export."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import nms

from yolo9000.export.roi_graph import RoiGraph
from yolo9000.export.tree_softmax import OFF_PATH, TreeSoftmaxGraph
from yolo9000.models.boxes import cxcywh_to_xyxy
from yolo9000.models.detector import Detector
from yolo9000.models.roi_head import MIN_LOCATIONS


class ExportedOutput(NamedTuple):
    """The K locations of highest objectness of each of B images, best first."""

    boxes: Tensor  # (B, K, 4) xyxy in the unit square of the network input, not clipped
    objectness: Tensor  # (B, K) in 0..1
    node: Tensor  # (B, K) int64: the deepest node on the most probable path with P(node) > `min_absolute`
    absolute: Tensor  # (B, K) P(node | object)
    root_absolute: Tensor  # (B, K) P(root | object); objectness × this is compared with `min_score`
    leaf: Tensor  # (B, K) int64: the leaf at the end of the path
    leaf_absolute: Tensor  # (B, K) P(leaf | object)
    path_conditional: Tensor  # (B, K, levels) P(node | parent) from the root to the leaf; 1 beyond the leaf


class _Best(NamedTuple):
    """P locations of each image, best first."""

    objectness: Tensor  # (B, P)
    cell: Tensor  # (B, P)
    anchor: Tensor  # (B, P)
    boxes: Tensor  # (B, P, 4)

    def ranked(self, objectness: Tensor, count: int) -> tuple[_Best, Tensor]:
        """The `count` best by another objectness (B, P), and the positions where they were, (B, count)."""
        best, order = objectness.topk(count, dim=1)
        return _Best(
            best, self.cell.gather(1, order), self.anchor.gather(1, order), _rows(self.boxes, order)
        ), order


class ExportedDetector(nn.Module):
    """Images (B, 3, H, W), RGB in 0..1, to `ExportedOutput`; H and W are multiples of the network's stride.

    An image with fewer than K grid locations has further rows of objectness 0.

    locations: K. roi_locations: the locations of highest grid objectness whose boxes an RoI head reads, at least K; the
    K best of them by the objectness of both heads are classified.
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
        roi_locations: int = MIN_LOCATIONS,
    ) -> None:
        super().__init__()
        self.detector = detector
        self.tree_softmax = TreeSoftmaxGraph(detector.tree_tensors)
        self.locations, self.min_absolute, self.by = locations, min_absolute, by
        order = self.tree_softmax.order
        self.roi = RoiGraph(detector.roi_head, order) if detector.roi_head is not None else None
        self.read = locations if self.roi is None else max(locations, roi_locations)
        head = detector.head.classes
        self.class_weight = nn.Parameter(head.weight[:, order].detach(), requires_grad=False)
        self.class_bias = nn.Parameter(head.bias[:, order].detach(), requires_grad=False)

    def forward(self, images: Tensor) -> ExportedOutput:
        features = self.detector.features(images)
        head_input = self.detector.head_input(features)
        best = self._best_of_grid(head_input, self.read)
        if self.roi is not None:
            pooled = self.roi.vectors(features, best.boxes)
            mean = self.roi.objectness(best.objectness, pooled)
            best, order = best.ranked(mean, self.locations)
            pooled = _rows(pooled, order).flatten(0, 1)
        logits = self._class_logits(_rows(head_input.flatten(2).transpose(1, 2), best.cell), best.anchor)
        if self.roi is not None:
            logits = self.roi.class_logits(logits, pooled)
        columns = (column.unflatten(0, (-1, self.locations)) for column in self._paths(logits))
        return ExportedOutput(best.boxes, best.objectness, *columns)

    def _best_of_grid(self, head_input: Tensor, count: int) -> _Best:
        """The locations of highest objectness of the grid; beyond the last one, it is repeated with objectness 0."""
        anchors = len(self.detector.head.anchors_cell)
        flat = self.detector.head.box(head_input).flatten(2).unflatten(1, (anchors, 5))
        flat = flat.permute(0, 3, 1, 2).flatten(1, 2)  # (B, HWA, 5)
        objectness, index = F.pad(flat[..., 4].sigmoid(), (0, count)).topk(count, dim=1)
        index = index.clamp_max(flat.shape[1] - 1)
        cell = index // anchors
        anchor = index - cell * anchors
        return _Best(objectness, cell, anchor, self._boxes(_rows(flat, index), cell, anchor, head_input))

    def _paths(self, logits: Tensor) -> tuple[Tensor, ...]:
        """The outputs from `node` on, (P, …), for class logits (P, N)."""
        conditional = self.tree_softmax.best_conditional(logits)
        path = self.tree_softmax.sum_over_ancestors(conditional)
        is_root = self.tree_softmax.depth == 0
        node, absolute = self._deepest(path, self._exceeds(path) | is_root)
        _, root_absolute = self._deepest(path, is_root.expand_as(path))
        leaf, leaf_absolute = self._deepest(path, self.tree_softmax.is_leaf.expand_as(path))
        return node, absolute, root_absolute, leaf, leaf_absolute, self._path(conditional, leaf)

    def _path(self, conditional: Tensor, leaf: Tensor) -> Tensor:
        """P(node | parent) of the nodes on the path to each leaf, (P, levels); 1 beyond the leaf."""
        columns: Tensor = self.tree_softmax.path_columns
        column = columns.index_select(0, leaf)  # (P, levels), −1 beyond the leaf
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
        """Logits of all nodes in the order of `tree_softmax`, (B·K, N); vectors: (B, K, C), anchor: (B, K)."""
        vectors, anchor = vectors.flatten(0, 1), anchor.flatten()
        rows = [(anchor == each).nonzero()[:, 0] for each in range(len(self.class_weight))]
        tables = [
            F.linear(vectors[row], weight, bias)
            for row, weight, bias in zip(rows, self.class_weight, self.class_bias, strict=True)
        ]
        return torch.cat(tables)[torch.cat(rows).argsort()]

    def _exceeds(self, path: Tensor) -> Tensor:
        """Where the descent goes on to a node, (P, N) bool."""
        if self.by == "product":
            path = self.tree_softmax.sum_over_ancestors(path)
        return path.exp() > self.min_absolute

    def _deepest(self, path: Tensor, candidate: Tensor) -> tuple[Tensor, Tensor]:
        """The deepest candidate on the path, (P,), and its absolute probability, (P,)."""
        on_path = candidate & (path > OFF_PATH / 2)
        column = torch.where(on_path, self.tree_softmax.depth, -1.0).argmax(dim=1)
        log_absolute = path.gather(1, column[:, None])[:, 0]
        return self.tree_softmax.order[column], log_absolute.exp()


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """Rows of a table for each image, (B, K, C); table: (B, P, C), index: (B, K)."""
    return table.gather(1, index[..., None].expand(-1, -1, table.shape[2]))


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
        rows = nms(apart, output.objectness.flatten(), self.nms_iou)
        kept = torch.zeros_like(output.objectness, dtype=torch.bool).flatten()
        # Not `index_fill` or `index_copy`: of an empty list in them, the exporter cannot tell the type, and says so.
        kept = kept.scatter(0, rows, torch.ones_like(rows, dtype=torch.bool))
        return (*output, kept.view_as(output.objectness))
