"""From the network's output to answers: candidate places → descent or asked nodes → NMS (paper, section 4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.ops import batched_nms, nms

from wordtree import WordTree
from yolo9000.config import EvaluateConfig, Geometry, PredictConfig
from yolo9000.data.image import Letterbox
from yolo9000.inference.detections import Detections
from yolo9000.inference.scored_boxes import ScoredBoxes
from yolo9000.models.boxes import clip_xyxy
from yolo9000.models.grid import GridOutput, Locations, ask_logits, decode_boxes, flat_location
from yolo9000.models.tree_tensors import TreeTensors


@dataclass(frozen=True)
class Candidates:
    """The most objective places of one image, K of them, best first."""

    location: Locations
    objectness: Tensor  # (K,)
    xyxy_unit: Tensor  # (K, 4) of the network input

    def __getitem__(self, rows: Tensor) -> Candidates:
        return Candidates(self.location[rows], self.objectness[rows], self.xyxy_unit[rows])


@dataclass(frozen=True)
class NodeSet:
    """Any nodes of a tree, as the sum of absolute probabilities that says how likely a thing is one of them.

    nodes: (E,) those in the set whose parents are not, and those outside whose parents are in; sign: (E,) 1 and -1.
    """

    nodes: Tensor
    sign: Tensor

    @classmethod
    def of(cls, tree: WordTree, members: npt.ArrayLike) -> NodeSet:
        """The set of these nodes."""
        inside = np.zeros(len(tree) + 1, np.int64)  # the last stands for parent -1
        inside[np.asarray(members, np.int64)] = 1
        sign = inside[:-1] - inside[tree.parent]
        nodes = np.flatnonzero(sign)
        return cls(torch.from_numpy(nodes), torch.from_numpy(sign[nodes]))

    def probability(self, output: GridOutput, tree_tensors: TreeTensors, location: Locations) -> Tensor:
        """P(the thing is one of the set) at each of K places, (K,)."""
        nodes = self.nodes.to(location.image.device)
        if not len(nodes):
            return torch.zeros(len(location), device=nodes.device)
        absolute = tree_tensors.log_absolute_of(
            lambda members: output.class_logits(location, members), nodes
        ).exp()
        return (absolute * self.sign.to(absolute)).sum(1).clamp(0, 1)


def candidates(output: GridOutput, image: int, *, min_objectness: float, max_locations: int) -> Candidates:
    """The places of image number `image` whose objectness exceeds the threshold."""
    objectness = output.objectness[image].flatten()
    best, index = objectness.topk(min(max_locations, len(objectness)))
    best, index = best[best > min_objectness], index[best > min_objectness]
    location = flat_location(output, image * len(objectness) + index)
    return Candidates(location, best, location.values_of(decode_boxes(output)))


@torch.no_grad()
def answers(
    output: GridOutput,
    tree_tensors: TreeTensors,
    letterboxes: list[Letterbox],
    names: list[str],
    cfg: PredictConfig,
    asked: NodeSet | None = None,
) -> list[Detections]:
    """One answer for each place whose score exceeds `min_score`, as deep as `min_absolute` allows, after NMS.

    asked: the score is objectness × P(asked), whatever the answer's own name (design, section 9).
    """
    found = []
    for image, (box, name) in enumerate(zip(letterboxes, names, strict=True)):
        seen = candidates(output, image, min_objectness=cfg.min_score, max_locations=cfg.max_locations)
        descent = tree_tensors.descend(
            lambda active, members, location=seen.location: ask_logits(output, location[active], members),  # type: ignore[misc]
            len(seen.location),
            threshold=cfg.min_absolute,
            by="product" if cfg.level == "darknet" else "absolute",
        )
        compared_px = brought_back(seen.xyxy_unit, box, cfg.geometry)
        if asked is not None:
            score = seen.objectness * asked.probability(output, tree_tensors, seen.location)
        else:
            score = seen.objectness if cfg.level == "darknet" else seen.objectness * descent.absolute
        if asked is not None:
            kept = nms(compared_px.double(), score.double(), cfg.nms_iou)  # all answer the same question
        elif cfg.nms == "by_objectness":
            kept = nms(compared_px.double(), seen.objectness.double(), cfg.nms_iou)  # decision 8
        else:
            kept = nms_by_node(compared_px, score, descent.node, cfg.nms_iou)
        kept = kept[score[kept] > cfg.min_score]
        kept = kept[score[kept].argsort(descending=True, stable=True)][: cfg.max_detections]
        found.append(
            Detections(
                tree=tree_tensors.tree,
                image=name,
                image_size_px=(box.image_width_px, box.image_height_px),
                xyxy_px=clip_to_image(compared_px[kept], box).cpu().numpy(),
                node=descent.node[kept].cpu().numpy(),
                objectness=seen.objectness[kept].cpu().numpy(),
                absolute=descent.absolute[kept].cpu().numpy(),
                score=score[kept].cpu().numpy(),
                conditional=tuple(descent.conditional[k].cpu().numpy() for k in kept.tolist()),
            )
        )
    return found


@dataclass(frozen=True)
class NodeScores:
    """K answers of one image, best first; one box may answer for several nodes."""

    xyxy_px: Tensor  # (K, 4) as they were compared: with geometry `exact` cut to the image
    node: Tensor  # (K,)
    score: Tensor  # (K,)


@torch.no_grad()
def scores_of_nodes(
    output: GridOutput,
    tree_tensors: TreeTensors,
    letterboxes: list[Letterbox],
    nodes: Tensor,
    cfg: EvaluateConfig,
) -> list[ScoredBoxes]:
    """Every place scored for every asked node, objectness × P(node), after NMS: the paper's protocol for DET.

    nodes: (E,) int64. A place may answer for several nodes.
    """
    found = []
    for image, box in enumerate(letterboxes):
        scores = node_scores(output, tree_tensors, image, box, nodes, cfg)
        found.append(
            ScoredBoxes(
                xyxy_px=clip_to_image(scores.xyxy_px, box).cpu().numpy(),
                node=scores.node.cpu().numpy().astype(np.int64),
                score=scores.score.cpu().numpy(),
            )
        )
    return found


def node_scores(
    output: GridOutput,
    tree_tensors: TreeTensors,
    image: int,
    box: Letterbox,
    nodes: Tensor,
    cfg: EvaluateConfig,
) -> NodeScores:
    """The same for image number `image`, its boxes as they were compared."""
    seen = candidates(output, image, min_objectness=cfg.min_objectness, max_locations=cfg.max_locations)
    place_px = brought_back(seen.xyxy_unit, box, cfg.geometry)
    if cfg.nms == "by_objectness":
        kept = nms(place_px.double(), seen.objectness.double(), cfg.nms_iou)
        seen, place_px = seen[kept], place_px[kept]
    absolute = tree_tensors.log_absolute_of(
        lambda members: output.class_logits(seen.location, members), nodes
    ).exp()
    score = (seen.objectness[:, None] * absolute).flatten()
    score, index = score.topk(min(10 * cfg.max_detections, len(score)))
    score, index = score[score > cfg.min_objectness], index[score > cfg.min_objectness]
    xyxy_px, node = place_px[index // len(nodes)], nodes[index % len(nodes)]
    if cfg.nms == "by_node":
        kept = nms_by_node(xyxy_px, score, node, cfg.nms_iou)
        score, xyxy_px, node = score[kept], xyxy_px[kept], node[kept]
    return NodeScores(xyxy_px[: cfg.max_detections], node[: cfg.max_detections], score[: cfg.max_detections])


def most_objective_box(output: GridOutput, image: int, letterbox: Letterbox) -> tuple[np.ndarray, float]:
    """The box of the single best place of an image, (4,) in its pixels, and its objectness: for a baseline."""
    best = candidates(output, image, min_objectness=-1, max_locations=1)
    return boxes_in_image(best.xyxy_unit, letterbox)[0].cpu().numpy(), float(best.objectness[0])


def nms_by_node(xyxy_px: Tensor, score: Tensor, node: Tensor, iou: float) -> Tensor:
    """The rows that overlap no better row of their own node by more than `iou`, best first."""
    if not len(xyxy_px):
        return node
    # torchvision moves each node's boxes away by node × the largest coordinate: float32 has no digits left for that,
    # and boxes that begin below 0 would not leave the former node's.
    return batched_nms((xyxy_px - xyxy_px.amin()).double(), score.double(), node, iou)  # type: ignore[no-any-return]


def boxes_in_image(xyxy_unit: Tensor, letterbox: Letterbox) -> Tensor:
    """Boxes of the network's unit square in pixels of the image, cut to it."""
    return brought_back(xyxy_unit, letterbox, "exact")


def brought_back(xyxy_unit: Tensor, letterbox: Letterbox, geometry: Geometry) -> Tensor:
    """Boxes of the network's unit square in pixels of the image; cut to it, but not by darknet (decision 13)."""
    network = xyxy_unit.new_tensor([letterbox.network_width_px, letterbox.network_height_px] * 2)
    if geometry == "darknet":
        return letterbox.to_image_by_darknet(xyxy_unit * network)
    return clip_to_image(letterbox.to_image(xyxy_unit * network), letterbox)


def clip_to_image(xyxy_px: Tensor, letterbox: Letterbox) -> Tensor:
    return clip_xyxy(xyxy_px, width=letterbox.image_width_px, height=letterbox.image_height_px)
