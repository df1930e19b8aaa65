"""Temperature scaling with one temperature for each depth of the tree (Guo et al., ICML 2017)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import nms

from yolo9000.config import Config
from yolo9000.engines.engine import AnyDetector
from yolo9000.evaluation.evaluate import for_each_output
from yolo9000.evaluation.evaluation_set import EvaluationSet
from yolo9000.inference.scored_boxes import GroundTruth
from yolo9000.inference.top_locations import BatchOutput, top_locations
from yolo9000.models.boxes import iou_xyxy
from yolo9000.models.tree_tensors import segment_log_softmax

# Temperatures 0.25 … 4. The bounds keep P from becoming 0 or 1 everywhere if there are few boxes. The nearest to 1 come
# first, so that 1 is chosen where all are equal, as with a single root.
CANDIDATES = torch.tensor(
    sorted(torch.logspace(-2, 2, 161, base=2.0).tolist(), key=lambda t: abs(math.log(t)))
)
MIN_GROUPS = 20  # at one depth; with fewer the temperature is 1


@dataclass(frozen=True)
class ObjectLogits:
    """Logits of the sibling groups on the paths to the labelled classes, at the locations that detect the objects.

    logits, depth, segment, on_path: (Q,) as in `PathMembers`
    """

    logits: Tensor
    depth: Tensor
    segment: Tensor
    on_path: Tensor


def fit_temperatures(model: AnyDetector, images: EvaluationSet, cfg: Config) -> list[float]:
    """The temperature of each depth, from the roots, with the largest likelihood of the labelled classes."""
    parts = [
        part
        for parts in for_each_output(
            model,
            images,
            cfg.model.input_size_px,
            cfg.evaluate,
            lambda output, truths: _path_logits(output, truths, cfg),
        )
        for part in parts
    ]
    temperatures = [1.0] * (int(images.reader.tree.depth.max()) + 1)
    if not parts:
        return temperatures
    groups = np.cumsum([0, *(int(part.segment.max()) + 1 for part in parts)])
    segment = torch.cat([part.segment + int(start) for part, start in zip(parts, groups, strict=False)])
    logits, depth, on_path = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("logits", "depth", "on_path")
    )
    for level in range(len(temperatures)):
        rows = depth == level
        own = segment[rows].unique(return_inverse=True)[1] if rows.any() else segment[:0]
        if len(own) and int(own.max()) + 1 >= MIN_GROUPS:
            temperatures[level] = best_temperature(
                logits[rows], own, on_path[rows], siblings=cfg.model.siblings
            )
    return temperatures


def best_temperature(logits: Tensor, segment: Tensor, on_path: Tensor, *, siblings: str) -> float:
    """The candidate with the smallest negative log-likelihood; (Q,) rows, one `on_path` in each segment."""
    losses = []
    for temperature in CANDIDATES:
        scaled = logits / temperature
        if siblings == "sigmoid":
            losses.append(F.binary_cross_entropy_with_logits(scaled, on_path.to(scaled.dtype)))
        else:
            losses.append(-segment_log_softmax(scaled, segment, int(segment.max()) + 1)[on_path].mean())
    return float(CANDIDATES[torch.stack(losses).argmin()])


def _path_logits(batch: BatchOutput, truths: list[GroundTruth], cfg: Config) -> list[ObjectLogits]:
    """The logits of one batch, an entry for each image with detected objects."""
    parts = []
    of_batch = top_locations(
        batch,
        min_objectness=cfg.predict.min_score,
        max_locations=cfg.predict.max_locations,
        geometry=cfg.predict.geometry,
    )
    for top, truth in zip(of_batch.by_image(len(truths)), truths, strict=True):
        boxes, nodes = truth.xyxy_px[~truth.ignored], truth.node[~truth.ignored]
        xyxy_px = top.xyxy_px.double()
        top_kept = nms(xyxy_px, top.objectness.double(), cfg.predict.nms_iou)
        if not len(top_kept) or not len(boxes):
            continue
        iou = iou_xyxy(xyxy_px[top_kept], torch.from_numpy(boxes).to(xyxy_px))  # (K, M)
        best_iou, row = iou.max(dim=0)  # the detection of each object
        is_detected = best_iou >= 0.5
        if not is_detected.any():
            continue
        location = top[top_kept[row[is_detected]]].location
        path_nodes = torch.from_numpy(nodes).to(row.device)[is_detected]
        members = batch.tree_tensors.path_members(path_nodes)
        logits = batch.member_logits(location, members)
        depth = torch.from_numpy(np.array(batch.tree_tensors.tree.depth, np.int64)).to(row.device)
        parts.append(
            ObjectLogits(
                logits.float().cpu(), depth[members.node].cpu(), members.segment.cpu(), members.on_path.cpu()
            )
        )
    return parts
