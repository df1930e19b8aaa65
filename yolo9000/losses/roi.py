"""Loss of the RoI head: the IoU of boxes with objects, and the classes of boxes and image labels (decision 39)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from yolo9000.data.batch import BoxColumns, Targets
from yolo9000.losses.label_assignment import LabelAssignment
from yolo9000.models.boxes import aligned_iou, scale_xyxy
from yolo9000.models.roi_head import RoiOutput, pooled
from yolo9000.models.tree_tensors import TreeTensors

PREDICTED, JITTERED = 25, 24  # boxes of each image that are compared with its objects
BEST = 200  # the predicted boxes are taken at even steps from this many locations of highest objectness
JITTER = 0.4  # largest standard deviation of an edge of a jittered box, as a share of its width or height
MIN_IOU = 0.1  # a box that overlaps no annotated object may show one that nobody annotated
LABEL_SCALE = 0.8  # an image label is learnt from the middle of its region


@dataclass(frozen=True)
class RoiSamples:
    """P boxes, each of which overlaps an object of its image."""

    image: Tensor  # (P,)
    xyxy_unit: Tensor  # (P, 4)
    iou: Tensor  # (P,) the highest with an object


@torch.no_grad()
def roi_samples(predicted_xyxy_unit: Tensor, objectness: Tensor, boxes: BoxColumns) -> RoiSamples:
    """Predicted boxes and jittered ground-truth boxes of the images that have boxes; the same for the same arguments.

    predicted_xyxy_unit: (B, A, H, W, 4); objectness: (B, A, H, W). In the shapes below, I is the number of images that
    have boxes, and `samples` the number of samples of an image.
    """
    images, row, count = boxes.image.unique(return_inverse=True, return_counts=True)
    if not len(images):
        empty = objectness.new_zeros(0)
        return RoiSamples(images, empty.view(0, 4), empty)
    found = objectness.flatten(1)[images]
    best = found.topk(min(BEST, found.shape[1]), dim=1).indices  # (I, BEST)
    best = best[:, :: max(1, best.shape[1] // PREDICTED)][:, :PREDICTED]
    predicted = predicted_xyxy_unit.flatten(1, 3)[images[:, None], best]  # (I, PREDICTED, 4)
    order = row.argsort(stable=True)  # boxes image by image
    nth = torch.arange(JITTERED, device=row.device) % count[:, None]  # (I, JITTERED)
    truth = boxes.xyxy_unit[order[(count.cumsum(0) - count)[:, None] + nth]].to(predicted)
    samples = torch.cat([predicted, _jittered(truth)], dim=1).clamp(0, 1)  # (I, samples, 4)
    iou = aligned_iou(samples[row], boxes.xyxy_unit[:, None])  # (M, samples)
    iou = iou.new_zeros(samples.shape[:2]).scatter_reduce(0, row[:, None].expand_as(iou), iou, "amax")
    image, sample = (iou >= MIN_IOU).nonzero(as_tuple=True)
    return RoiSamples(images[image], samples[image, sample], iou[image, sample])


def _jittered(xyxy_unit: Tensor) -> Tensor:
    """Boxes (I, samples, 4) with each edge moved, the first not at all and the last the most.

    The s-th box of each image is always moved by the same shares of its sides.
    """
    normal = torch.randn(xyxy_unit.shape[1:], generator=torch.Generator().manual_seed(0))
    shares = (torch.linspace(0, JITTER, len(normal))[:, None] * normal).to(xyxy_unit)
    return xyxy_unit + shares * (xyxy_unit[..., 2:] - xyxy_unit[..., :2]).repeat(1, 1, 2)


def roi_objectness_errors(roi: RoiOutput, samples: RoiSamples) -> Tensor:
    """Sum of the cross-entropies between predicted and true IoU of all samples, divided by the samples of an image."""
    logits = roi.head.objectness_logits(pooled(roi.features, samples.image, samples.xyxy_unit))
    errors = F.binary_cross_entropy_with_logits(logits, samples.iou.to(logits), reduction="sum")
    return errors / (PREDICTED + JITTERED)


def roi_class_errors(
    roi: RoiOutput, tree_tensors: TreeTensors, targets: Targets, assigned: LabelAssignment
) -> Tensor:
    """Sum of the cross-entropies of all boxes and image labels in the sibling groups on the paths of their nodes.

    Half of an image label's weight is for the middle of its region, half for the predicted boxes that it is assigned
    to. If tight boxes were of boxed classes only, a tight box would be taken for one of these.
    """
    boxes, labels = targets.boxes, targets.image_labels
    image = torch.cat([boxes.image, labels.image])
    regions = torch.cat([boxes.xyxy_unit, scale_xyxy(labels.region_xyxy_unit, LABEL_SCALE)])
    vectors = torch.cat([pooled(roi.features, image, regions), roi.vectors(assigned.location)])
    node = torch.cat([boxes.node, labels.node, labels.node[assigned.label]])
    half = torch.full_like(labels.node, 0.5, dtype=vectors.dtype)
    weight = torch.cat([torch.ones_like(boxes.node, dtype=half.dtype), half, assigned.weight.to(half) / 2])
    members = tree_tensors.path_members(node)
    logits = roi.head.member_logits(vectors, members)
    if tree_tensors.siblings == "sigmoid":
        errors = F.binary_cross_entropy_with_logits(logits, members.on_path.to(logits), reduction="none")
        return (weight[members.path] * errors).sum()
    return -(weight * tree_tensors.log_absolute(members, logits, len(node))).sum()
