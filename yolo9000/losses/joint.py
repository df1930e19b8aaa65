"""The joint loss: box terms and image-label terms over the same batch (paper, section 4; darknet region_layer.c).

Squared errors carry the factor ½, so that their gradient is (output − target), Darknet's delta.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolo9000.config import LossConfig
from yolo9000.data.batch import BoxColumns, ImageLabelColumns, Targets
from yolo9000.losses.box_assignment import (
    BoxAssignment,
    assign_boxes,
    best_iou,
    ignored_cells,
    last_occurrences,
)
from yolo9000.losses.label_assignment import (
    LabelAssignment,
    PathLogits,
    assign_labels,
    location_of_max_score,
    locations_in_regions,
    log_absolute,
    negative_errors,
    path_logits,
)
from yolo9000.losses.roi import roi_class_errors, roi_objectness_errors, roi_samples
from yolo9000.losses.unannotated import (
    exclusion_errors,
    object_locations,
    unannotated_siblings,
    with_ancestors,
)
from yolo9000.models.boxes import aligned_iou
from yolo9000.models.grid import GridOutput, Locations, decode_boxes, member_logits
from yolo9000.models.tree_tensors import TreeTensors

WARM_UP_WEIGHT = 0.01  # darknet: scale of the pull towards the anchors
MAX_UNANNOTATED_LOCATIONS = 64  # per image
MAX_EXCLUSION_LOCATIONS = 32  # per image
FAR_IOU = 0.05  # a predicted box with at most this IoU with every box of its image shows another object


@dataclass(frozen=True)
class LossTerms:
    """The named terms of one step, weighted and divided by the number of images (scalars)."""

    coordinates: Tensor
    objectness: Tensor  # locations that a box is assigned to
    no_object: Tensor  # background
    box_class: Tensor
    label_class: Tensor  # image labels
    label_objectness: Tensor
    negative_label: Tensor  # negative image labels
    exclusion: Tensor  # objects without a box, which are of no exhaustively annotated class (decision 28)
    roi_objectness: Tensor  # of the RoI head (decision 39)
    roi_class: Tensor
    anchor_warm_up: Tensor  # darknet: pull towards the anchors over the first images

    @property
    def total(self) -> Tensor:
        return torch.stack([getattr(self, f.name) for f in fields(self)]).sum()

    def by_name(self) -> dict[str, Tensor]:
        """`total` and every term; converting one to a number waits for the device."""
        return {"total": self.total, **{f.name: getattr(self, f.name) for f in fields(self)}}


@dataclass(frozen=True)
class LocationsWithoutBox:
    """Grid locations that no box is assigned to, outside ignore regions; masks are (B, A, H, W) bool."""

    mask: Tensor
    background: Tensor  # of `mask`: trained towards objectness 0
    possibly_unannotated: Tensor  # of `mask`: may show an object without a box; not trained
    best_iou: Tensor  # (B, A, H, W) float: highest IoU of each predicted box with a box of its image


@dataclass(frozen=True)
class Assignment:
    """The grid locations that each label of a batch is assigned to."""

    predicted_xyxy_unit: Tensor  # (B, A, H, W, 4) the decoded boxes, detached
    boxes: BoxAssignment
    labels: LabelAssignment
    negative_labels: Locations  # (L',) where each of L' negative labels lowers P(node)
    without_box: LocationsWithoutBox


class JointLoss(nn.Module):
    """Output and targets to named terms, summed over locations and labels and divided by the number of images.

    exhaustive: (S, N) bool, the nodes for which each source is exhaustively annotated; None: all.
    """

    exhaustive: Tensor | None
    exhaustive_or_above: Tensor | None  # (S, N) bool: these nodes and their ancestors

    def __init__(
        self, cfg: LossConfig, tree_tensors: TreeTensors, *, exhaustive: Tensor | None = None
    ) -> None:
        super().__init__()
        self.cfg = cfg
        self.tree_tensors = tree_tensors
        or_above = None if exhaustive is None else with_ancestors(tree_tensors.tree, exhaustive)
        self.register_buffer("exhaustive", exhaustive, persistent=False)
        self.register_buffer("exhaustive_or_above", or_above, persistent=False)

    def forward(
        self, output: GridOutput, targets: Targets, *, images_seen: int, batch_size: int | None = None
    ) -> LossTerms:
        """The terms of a batch, or of a part of it.

        images_seen: images that the run has seen, including this batch.
        batch_size: images in the whole batch; None: those in `output`.
        """
        cfg, assigned = self.cfg, self.assign(output, targets)
        boxes, without_box = assigned.boxes, assigned.without_box
        box_paths, label_paths, negative_paths = path_logits(
            output,
            self.tree_tensors,
            (boxes.location_of_box, targets.boxes.node),
            (assigned.labels.location, targets.image_labels.node[assigned.labels.label]),
            (assigned.negative_labels, targets.negative_labels.node),
        )
        is_warm_up = images_seen < cfg.anchor_warm_up_images
        warm_up = _anchor_errors(output, without_box) if is_warm_up else _zero(output)
        negative = negative_errors(output, self.tree_tensors, negative_paths)
        terms = {
            "coordinates": cfg.coordinate_weight * _coordinate_errors(output, boxes).sum(),
            "objectness": cfg.object_weight * self._objectness(output, assigned, targets.boxes),
            "no_object": cfg.no_object_weight * self._no_object(output, without_box.background),
            "exclusion": cfg.exclusion_weight * self._exclusion(output, targets, without_box),
            "anchor_warm_up": WARM_UP_WEIGHT * warm_up,
            "box_class": cfg.class_weight * self._box_class(output, box_paths, targets.source),
            "label_class": cfg.label_weight * self._label_class(output, label_paths, assigned.labels),
            "label_objectness": self._label_objectness(output, assigned, targets.image_labels),
            "negative_label": cfg.negative_weight * negative.sum(),
            **self._roi_terms(output, assigned, targets),
        }
        divisor = len(output.box_logits) if batch_size is None else batch_size
        return LossTerms(**{name: term / divisor for name, term in terms.items()})

    def _roi_terms(self, output: GridOutput, assigned: Assignment, targets: Targets) -> dict[str, Tensor]:
        """The terms of the RoI head, if the detector has one."""
        if output.roi is None:
            return {"roi_objectness": _zero(output), "roi_class": _zero(output)}
        samples = roi_samples(assigned.predicted_xyxy_unit, output.objectness.detach(), targets.boxes)
        errors = roi_class_errors(output.roi, self.tree_tensors, targets, assigned.labels)
        return {
            "roi_objectness": roi_objectness_errors(output.roi, samples),
            "roi_class": self.cfg.class_weight * errors,
        }

    @torch.no_grad()
    def assign(self, output: GridOutput, targets: Targets) -> Assignment:
        """Assign boxes, image labels and background to grid locations."""
        predicted_xyxy_unit = decode_boxes(output)
        boxes = assign_boxes(output, targets.boxes, rule=self.cfg.box_assignment)
        labels = assign_labels(
            output,
            targets.image_labels,
            self.tree_tensors,
            rule=self.cfg.label_assignment,
            top_k=self.cfg.top_k,
            taken=boxes.location,
        )
        negative_labels = location_of_max_score(output, targets.negative_labels, self.tree_tensors)
        iou = best_iou(predicted_xyxy_unit, targets.boxes)
        without_box = self._locations_without_box(output, targets, boxes.location, labels.location, iou)
        return Assignment(predicted_xyxy_unit, boxes, labels, negative_labels, without_box)

    def _locations_without_box(
        self,
        output: GridOutput,
        targets: Targets,
        box_locations: Locations,
        label_locations: Locations,
        iou: Tensor,
    ) -> LocationsWithoutBox:
        """The locations without a box, and which of them are background.

        iou: (B, A, H, W) highest IoU of each predicted box with a box of its image.
        """
        every = ~box_locations.mask(output) & ~ignored_cells(output, targets.ignore)[:, None]
        candidates = every & (iou <= self.cfg.ignore_iou) & ~label_locations.mask(output)
        possibly_unannotated = self._possibly_unannotated(output, candidates, targets.exhaustive)
        return LocationsWithoutBox(every, candidates & ~possibly_unannotated, possibly_unannotated, iou)

    def _possibly_unannotated(
        self, output: GridOutput, candidates: Tensor, exhaustive: Tensor | None
    ) -> Tensor:
        """Mask of the candidates that show an object of a node for which their image is not exhaustively annotated.

        Such an object may lack a box (decision 21).
        """
        mask = torch.zeros_like(candidates).flatten(1)
        if self.cfg.unannotated_objectness is not None and exhaustive is not None:
            objects = object_locations(
                output,
                candidates,
                min_objectness=self.cfg.unannotated_objectness,
                max_locations=MAX_UNANNOTATED_LOCATIONS,
            )
            descent = self.tree_tensors.descend(
                lambda active, members: member_logits(output, objects.location[active], members),
                len(objects.location),
                threshold=0.5,
            )
            may_lack_box = ~exhaustive[objects.image, descent.node]
            mask[objects.image, objects.index] = may_lack_box
        return mask.view_as(candidates)

    def _objectness(self, output: GridOutput, assigned: Assignment, boxes: BoxColumns) -> Tensor:
        """Sum of the objectness errors at locations that a box is assigned to. The target is the box's IoU, or 1."""
        location, index = assigned.boxes.location, assigned.boxes.index
        if self.cfg.objectness_target == "one":
            target = torch.ones_like(assigned.boxes.area_unit)
        else:
            target = aligned_iou(location.gather(assigned.predicted_xyxy_unit), boxes.xyxy_unit[index])
        return self._objectness_errors(location.gather(output.objectness_logits), target).sum()

    def _no_object(self, output: GridOutput, mask: Tensor) -> Tensor:
        """Sum of the objectness errors at the locations of a mask, against the target 0."""
        logits = output.objectness_logits
        return (self._objectness_errors(logits, torch.zeros_like(logits)) * mask).sum()

    def _objectness_errors(self, logits: Tensor, target: Tensor) -> Tensor:
        """Error of each objectness logit, by the rule `loss.objectness_loss`."""
        if self.cfg.objectness_loss == "cross_entropy":
            return F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return (logits.sigmoid() - target).square() / 2

    def _exclusion(self, output: GridOutput, targets: Targets, without_box: LocationsWithoutBox) -> Tensor:
        """Sum of `exclusion_errors` of objects far from all boxes (decision 28)."""
        cfg, exhaustive = self.cfg, targets.exhaustive
        if not cfg.exclusion_weight or cfg.unannotated_objectness is None or exhaustive is None:
            return _zero(output)
        far = without_box.mask & (without_box.best_iou <= FAR_IOU)
        far &= exhaustive.any(dim=1)[:, None, None, None]
        objects = object_locations(
            output,
            far,
            min_objectness=cfg.unannotated_objectness,
            max_locations=MAX_EXCLUSION_LOCATIONS,
        )
        if not len(objects.image):
            return _zero(output)
        return exclusion_errors(output, self.tree_tensors, objects, exhaustive).sum()

    def _box_class(self, output: GridOutput, paths: PathLogits, source: Tensor) -> Tensor:
        """Sum of the cross-entropies in every sibling group on the path of each box's node.

        A sibling that the box's source does not annotate may count less (decision 31). Of several boxes at one location
        the last decides in the groups that their paths share (darknet overwrites deltas group by group).
        source: (B,) of each image.
        """
        members, weight = paths.members, self._sibling_weights(paths, source)
        if self.tree_tensors.siblings == "sigmoid":
            return self._sigmoid_errors(output, paths, weight)
        logits = paths.logits + weight.log()  # weight 0: −inf, not part of the softmax
        rows = members.path_rows
        log_conditional = self.tree_tensors.log_conditional(members, logits).index_select(0, rows)
        path, node = members.path[rows], members.node[rows]
        group = self.tree_tensors.group[node]
        key = paths.location.flat_index(output)[path] * len(self.tree_tensors.group_start) + group
        return -log_conditional[last_occurrences(key)].sum()

    def _sibling_weights(self, paths: PathLogits, source: Tensor) -> Tensor:
        """Weight of each of Q members in the softmax or sigmoid of its box, (Q,); source: (B,) of each image."""
        weight = torch.ones_like(paths.logits)
        if (
            self.cfg.unannotated_sibling_weight == 1
            or self.exhaustive is None
            or self.exhaustive_or_above is None
        ):
            return weight
        unannotated = unannotated_siblings(
            paths.members,
            paths.node,
            source[paths.location.image],
            exhaustive=self.exhaustive,
            exhaustive_or_above=self.exhaustive_or_above,
        )
        return weight.masked_fill(unannotated, self.cfg.unannotated_sibling_weight)

    def _label_class(self, output: GridOutput, paths: PathLogits, labels: LabelAssignment) -> Tensor:
        """Sum of the cross-entropies of each image label at its locations, weighted by their shares of the label."""
        if self.tree_tensors.siblings == "sigmoid":
            weight = labels.weight.to(paths.logits.dtype)[paths.members.path]
            return self._sigmoid_errors(output, paths, weight)
        return -(labels.weight * log_absolute(self.tree_tensors, paths)).sum()

    def _sigmoid_errors(self, output: GridOutput, paths: PathLogits, weight: Tensor) -> Tensor:
        """Sum of the binary cross-entropies of all nodes in the groups on the paths (decision 10); weight: (Q,).

        Several labels at one location become one target, in which the nodes on all their paths are 1.
        """
        members, logits = paths.members, paths.logits
        key = paths.location.flat_index(output)[members.path] * len(self.tree_tensors) + members.node
        unique, group = key.unique(return_inverse=True)
        target = logits.new_zeros(len(unique))
        target = target.scatter_reduce(0, group, members.on_path.to(logits.dtype), "amax")
        row = last_occurrences(key)
        return F.binary_cross_entropy_with_logits(
            logits[row], target[group[row]], weight[row], reduction="sum"
        )

    def _label_objectness(
        self, output: GridOutput, assigned: Assignment, labels: ImageLabelColumns
    ) -> Tensor:
        """The objectness loss of image labels, weighted (decision 4)."""
        if self.cfg.label_objectness == "paper":
            return self.cfg.object_weight * self._errors_below_assumed_iou(output, assigned.labels)
        if self.cfg.label_objectness == "darknet":
            unassigned = _unassigned(output, labels, assigned.labels.location, assigned.boxes.location)
            return self.cfg.no_object_weight * self._no_object(output, unassigned)
        return _zero(output)

    def _errors_below_assumed_iou(self, output: GridOutput, assigned: LabelAssignment) -> Tensor:
        """Sum of the objectness errors of the assigned locations with an objectness below `loss.assumed_iou`."""
        logits = assigned.location.gather(output.objectness_logits)
        error = self._objectness_errors(logits, torch.full_like(logits, self.cfg.assumed_iou))
        return (assigned.weight * error * (logits.sigmoid() < self.cfg.assumed_iou)).sum()


def _coordinate_errors(output: GridOutput, boxes: BoxAssignment) -> Tensor:
    """Squared errors of offset and log size, (M',). Small boxes count up to twice (darknet)."""
    offset = boxes.location.gather(output.offset_logits).sigmoid() - boxes.offset
    log_size = boxes.location.gather(output.size_logits) - boxes.log_size
    return (2 - boxes.area_unit) * (offset.square() + log_size.square()).sum(1) / 2


def _anchor_errors(output: GridOutput, without_box: LocationsWithoutBox) -> Tensor:
    """Sum of squared distances of predicted boxes, if no box is assigned, from the anchors in their cells' centres."""
    offset = (output.offset_logits.sigmoid() - 0.5).square().sum(-1)
    size = output.size_logits.square().sum(-1)
    return ((offset + size) * without_box.mask).sum() / 2


def _unassigned(output: GridOutput, labels: ImageLabelColumns, *assigned: Locations) -> Tensor:
    """Locations in the labels' regions that neither a label nor a box is assigned to, (B, A, H, W) bool."""
    count = torch.zeros_like(output.objectness_logits, dtype=torch.int64).flatten(1)
    count = count.index_add(0, labels.image, locations_in_regions(output, labels).long())
    unassigned = (count > 0).view_as(output.objectness_logits)
    for location in assigned:
        unassigned &= ~location.mask(output)
    return unassigned


def _zero(output: GridOutput) -> Tensor:
    return output.box_logits.sum() * 0
