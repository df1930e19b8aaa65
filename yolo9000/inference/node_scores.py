"""A score for each of the given nodes at each location, as average precision needs it; no descent in the tree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms

from yolo9000.config import EvaluateConfig
from yolo9000.inference.scored_boxes import ScoredBoxes
from yolo9000.inference.top_locations import (
    BatchOutput,
    TopLocations,
    clip_to_image,
    nms_by_node,
    top_locations,
)


@dataclass(frozen=True)
class NodeScores:
    """K scores of one image, best first. One location may have scores for several nodes."""

    xyxy_px: Tensor  # (K, 4) as NMS compared them: clipped to the image unless the geometry is `darknet`
    node: Tensor  # (K,)
    score: Tensor  # (K,)


@torch.no_grad()
def score_nodes(batch: BatchOutput, nodes: Tensor, cfg: EvaluateConfig) -> list[ScoredBoxes]:
    """Boxes of each image with a score for each node: the paper's protocol for ImageNet DET.

    Every location is scored for each of `nodes` (E,) by objectness × P(node); NMS follows.
    """
    return [
        ScoredBoxes(
            xyxy_px=clip_to_image(scores.xyxy_px, letterbox).cpu().numpy(),
            node=scores.node.cpu().numpy().astype(np.int64),
            score=scores.score.cpu().numpy(),
        )
        for scores, letterbox in zip(node_scores(batch, nodes, cfg), batch.letterboxes, strict=True)
    ]


def node_scores(batch: BatchOutput, nodes: Tensor, cfg: EvaluateConfig) -> list[NodeScores]:
    """Scores of `nodes` (E,) in each image of the batch, after NMS."""
    top = top_locations(
        batch,
        min_objectness=cfg.min_objectness,
        max_locations=cfg.max_locations,
        geometry=cfg.geometry,
    )
    images = top.by_image(len(batch.letterboxes))
    return [_scores_in_image(batch, of_image, nodes, cfg) for of_image in images]


def _scores_in_image(batch: BatchOutput, top: TopLocations, nodes: Tensor, cfg: EvaluateConfig) -> NodeScores:
    if cfg.nms == "by_objectness":
        top = top[nms(top.xyxy_px.double(), top.objectness.double(), cfg.nms_iou)]
    score = (top.objectness[:, None] * batch.absolute(top.location, nodes)).flatten()
    score, index = score.topk(min(10 * cfg.detections_per_image, len(score)))
    score, index = score[score > cfg.min_objectness], index[score > cfg.min_objectness]
    xyxy_px, node = top.xyxy_px[index // len(nodes)], nodes[index % len(nodes)]
    if cfg.nms == "by_node":
        kept = nms_by_node(xyxy_px, score, node, cfg.nms_iou)
        score, xyxy_px, node = score[kept], xyxy_px[kept], node[kept]
    most = cfg.detections_per_image
    return NodeScores(xyxy_px[:most], node[:most], score[:most])


def boxes_of_highest_objectness(batch: BatchOutput) -> list[tuple[np.ndarray, float]]:
    """The box of highest objectness of each image as xyxy in image pixels, shape (4,), and its objectness."""
    best = top_locations(batch, min_objectness=-1, max_locations=1)
    return list(zip(best.xyxy_px.cpu().numpy(), best.objectness.tolist(), strict=True))
