"""From the network's output to detections: best locations → tree descent or queried nodes → NMS (paper, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.ops import batched_nms, nms

from wordtree import WordTree
from yolo9000.config import EvaluateConfig, Geometry, PredictConfig
from yolo9000.data.image import Letterbox
from yolo9000.inference.detections import Detections, StopReason
from yolo9000.inference.scored_boxes import ScoredBoxes
from yolo9000.inference.vocabulary import Vocabulary
from yolo9000.models.boxes import clip_xyxy
from yolo9000.models.grid import GridOutput, Locations, decode_boxes, member_logits
from yolo9000.models.tree_tensors import Descent, TreeTensors


@dataclass(frozen=True)
class BatchOutput:
    """The network's output for B images, and where each image lies on the network's canvas.

    letterboxes: B of them, in the order of the batch.
    """

    grid: GridOutput
    tree_tensors: TreeTensors
    letterboxes: Sequence[Letterbox]

    @cached_property
    def xyxy_unit(self) -> Tensor:
        """Decoded boxes of all images in the unit square of the network input, shape (B, A, H, W, 4)."""
        return decode_boxes(self.grid)

    @cached_property
    def objectness(self) -> Tensor:
        """Objectness at all locations in 0..1, shape (B, A, H, W)."""
        return self.grid.objectness

    def absolute(self, locations: Locations, nodes: Tensor) -> Tensor:
        """P(node | object) of each of E nodes at each of K locations, shape (K, E)."""
        return self.tree_tensors.log_absolute_of_nodes(
            lambda members: self.grid.class_logits(locations, members), nodes
        ).exp()


@dataclass(frozen=True)
class TopLocations:
    """The K locations of one image with the highest objectness, best first."""

    location: Locations
    objectness: Tensor  # (K,)
    xyxy_unit: Tensor  # (K, 4) in the unit square of the network input

    def __len__(self) -> int:
        return len(self.objectness)

    def __getitem__(self, rows: Tensor) -> TopLocations:
        return TopLocations(self.location[rows], self.objectness[rows], self.xyxy_unit[rows])


def top_locations(
    batch: BatchOutput, image: int, *, min_objectness: float, max_locations: int
) -> TopLocations:
    """At most `max_locations` locations of one image of the batch whose objectness exceeds `min_objectness`."""
    objectness = batch.objectness[image].flatten()
    best, index = objectness.topk(min(max_locations, len(objectness)))
    best, index = best[best > min_objectness], index[best > min_objectness]
    location = Locations.from_flat_index(batch.grid, image * len(objectness) + index)
    return TopLocations(location, best, location.gather(batch.xyxy_unit))


# --- one detection for each location


@dataclass(frozen=True)
class NodeSet:
    """A set of nodes whose probability is a signed sum of absolute probabilities.

    nodes   (E,) members with a parent outside the set, and nodes outside the set with a parent in it
    sign    (E,) 1 for the members, -1 for the other nodes
    """

    nodes: Tensor
    sign: Tensor

    @classmethod
    def of(cls, tree: WordTree, members: npt.ArrayLike) -> NodeSet:
        """The set with these members."""
        is_member = np.zeros(len(tree) + 1, np.int64)  # the last entry stands for the parent -1 of a root
        is_member[np.asarray(members, np.int64)] = 1
        sign = is_member[:-1] - is_member[tree.parent]
        nodes = np.flatnonzero(sign)
        return cls(torch.from_numpy(nodes), torch.from_numpy(sign[nodes]))

    def probability(self, batch: BatchOutput, locations: Locations) -> Tensor:
        """P(the object belongs to the set) at each of K locations, shape (K,), 0..1."""
        nodes = self.nodes.to(locations.image.device)
        if not len(nodes):
            return torch.zeros(len(locations), device=nodes.device)
        absolute = batch.absolute(locations, nodes)
        return (absolute * self.sign.to(absolute)).sum(1).clamp(0, 1)


@torch.no_grad()
def detect(
    batch: BatchOutput,
    names: Sequence[str],
    cfg: PredictConfig,
    query: NodeSet | None = None,
    vocabulary: Vocabulary | None = None,
) -> list[Detections]:
    """Detections of each image: at most one for each location, as deep in the tree as `min_absolute` allows.

    names: B of them, for `Detections.image`.
    query: the score becomes objectness × P(query); the class of a detection does not depend on the query.
    vocabulary: the classes that may be predicted; None: all.
    """
    rules = _Rules(cfg, query, vocabulary)
    images = enumerate(zip(names, batch.letterboxes, strict=True))
    return [_detect_in_image(batch, image, name, rules) for image, (name, _) in images]


@dataclass(frozen=True)
class _Rules:
    """The settings, the query and the vocabulary of one prediction."""

    cfg: PredictConfig
    query: NodeSet | None
    vocabulary: Vocabulary | None


def _detect_in_image(batch: BatchOutput, image: int, name: str, rules: _Rules) -> Detections:
    cfg, query = rules.cfg, rules.query
    letterbox, tree = batch.letterboxes[image], batch.tree_tensors.tree
    top = top_locations(batch, image, min_objectness=cfg.min_score, max_locations=cfg.max_locations)
    if cfg.descent == "darknet" and query is None and not tree.depth.any():
        found = _every_class(batch, top, rules)
    else:
        found = _one_for_each_location(batch, top, rules)
    location_px = boxes_to_image(top.xyxy_unit, letterbox, cfg.geometry)
    xyxy_px = location_px[found.row]
    if query is not None:
        kept = nms(xyxy_px.double(), found.score.double(), cfg.nms_iou)  # a query is one class
    elif cfg.nms == "by_objectness":
        locations = nms(location_px.double(), top.objectness.double(), cfg.nms_iou)  # decision 8
        kept = torch.isin(found.row, locations).nonzero()[:, 0]
    else:
        kept = nms_by_node(xyxy_px, found.score, found.node, cfg.nms_iou)
    kept = kept[found.compared[kept] > cfg.min_score]
    kept = kept[found.score[kept].argsort(descending=True, stable=True)][: cfg.max_detections]
    below = _best_paths_below(batch, top.location[found.row[kept]], found.node[kept])
    return Detections(
        tree=tree,
        image=name,
        image_size_px=(letterbox.image_width_px, letterbox.image_height_px),
        xyxy_px=clip_to_image(xyxy_px[kept], letterbox).cpu().numpy(),
        node=found.node[kept].cpu().numpy(),
        objectness=top.objectness[found.row[kept]].cpu().numpy(),
        absolute=found.absolute[kept].cpu().numpy(),
        score=found.score[kept].cpu().numpy(),
        conditional=tuple(found.conditional[k].cpu().numpy() for k in kept.tolist()),
        best_leaf=below.node.cpu().numpy(),
        conditional_below=tuple(path.cpu().numpy() for path in below.conditional),
        stopped=_reasons(found.absolute[kept].tolist(), below, rules),
    )


def _best_paths_below(batch: BatchOutput, locations: Locations, nodes: Tensor) -> Descent:
    """The most probable leaf below each of K nodes at its location."""
    return batch.tree_tensors.descend(
        lambda active, members: member_logits(batch.grid, locations[active], members),
        len(nodes),
        threshold=-1,
        start=nodes,
    )


def _reasons(absolute: Sequence[float], below: Descent, rules: _Rules) -> tuple[StopReason, ...]:
    """The reason why each descent stopped at its node, below which the best path is given."""
    reasons: list[StopReason] = []
    for reached, path in zip(absolute, below.conditional, strict=True):
        if not len(path):
            reasons.append("leaf")
        elif reached <= rules.cfg.min_absolute:
            reasons.append("root")
        elif rules.vocabulary is not None and reached * float(path[0]) > rules.cfg.min_absolute:
            reasons.append("class list")
        else:
            reasons.append("threshold")
    return tuple(reasons)


@dataclass(frozen=True)
class _Candidates:
    """K detections of one image before NMS.

    row       (K,) row of the top locations
    compared  (K,) the quantity that must exceed `min_score`
    """

    row: Tensor
    node: Tensor  # (K,)
    absolute: Tensor  # (K,)
    score: Tensor  # (K,)
    compared: Tensor
    conditional: Sequence[Tensor]


def _one_for_each_location(batch: BatchOutput, top: TopLocations, rules: _Rules) -> _Candidates:
    """The node at the end of the descent at each location.

    Without a query, `min_score` is compared with objectness × P(root) (decision 34): the score itself grows when a
    higher `min_absolute` makes the class more general. With a vocabulary, its topmost class stands for the root.
    """
    cfg = rules.cfg
    descent, of_top = (
        _descend(batch, top, cfg)
        if rules.vocabulary is None
        else _descend_in(rules.vocabulary, batch, top, cfg.min_absolute)
    )
    if rules.query is not None:
        score = compared = top.objectness * rules.query.probability(batch, top.location)
    elif cfg.descent == "darknet":
        score = compared = top.objectness
    else:
        score, compared = top.objectness * descent.absolute, top.objectness * of_top
    rows = torch.arange(len(top), device=score.device)
    return _Candidates(rows, descent.node, descent.absolute, score, compared, descent.conditional)


def _descend(batch: BatchOutput, top: TopLocations, cfg: PredictConfig) -> tuple[Descent, Tensor]:
    """The descent in the tree, and P(root) of each root that it began at, (K,)."""
    descent = batch.tree_tensors.descend(
        lambda active, members: member_logits(batch.grid, top.location[active], members),
        len(top),
        threshold=cfg.min_absolute,
        by="product" if cfg.descent == "darknet" else "absolute",
    )
    return descent, torch.cat([descent.absolute[:0], *(path[:1] for path in descent.conditional)])


def _descend_in(
    vocabulary: Vocabulary, batch: BatchOutput, top: TopLocations, threshold: float
) -> tuple[Descent, Tensor]:
    """The descent in the tree of the vocabulary's nodes, and P of each topmost node that it began at, (K,)."""
    nodes = torch.from_numpy(vocabulary.nodes).to(top.objectness.device)
    node, reached, of_top = vocabulary.descend(batch.absolute(top.location, nodes), threshold=threshold)
    members = batch.tree_tensors.path_members(node)
    logits = member_logits(batch.grid, top.location, members)
    conditional = batch.tree_tensors.log_conditional(members, logits).exp()[members.on_path]
    lengths = torch.bincount(members.path[members.on_path], minlength=len(node)).tolist()
    return Descent(node, reached, conditional.split(lengths)), of_top


def _every_class(batch: BatchOutput, top: TopLocations, rules: _Rules) -> _Candidates:
    """Each class of a flat tree at each location with a score above `min_score`, as Darknet has it without a tree."""
    allowed = np.arange(len(batch.tree_tensors)) if rules.vocabulary is None else rules.vocabulary.nodes
    nodes = torch.from_numpy(allowed).to(top.objectness.device)
    absolute = batch.absolute(top.location, nodes)
    score = top.objectness[:, None] * absolute
    row, column = torch.nonzero(score > rules.cfg.min_score, as_tuple=True)
    absolute, score = absolute[row, column], score[row, column]
    return _Candidates(row, nodes[column], absolute, score, score, absolute.split(1))


# --- all given nodes at each location


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
    scored = []
    for image, letterbox in enumerate(batch.letterboxes):
        scores = score_nodes_in_image(batch, image, nodes, cfg)
        scored.append(
            ScoredBoxes(
                xyxy_px=clip_to_image(scores.xyxy_px, letterbox).cpu().numpy(),
                node=scores.node.cpu().numpy().astype(np.int64),
                score=scores.score.cpu().numpy(),
            )
        )
    return scored


def score_nodes_in_image(batch: BatchOutput, image: int, nodes: Tensor, cfg: EvaluateConfig) -> NodeScores:
    """Scores of `nodes` (E,) in one image of the batch, after NMS."""
    top = top_locations(batch, image, min_objectness=cfg.min_objectness, max_locations=cfg.max_locations)
    location_px = boxes_to_image(top.xyxy_unit, batch.letterboxes[image], cfg.geometry)
    if cfg.nms == "by_objectness":
        kept = nms(location_px.double(), top.objectness.double(), cfg.nms_iou)
        top, location_px = top[kept], location_px[kept]
    score = (top.objectness[:, None] * batch.absolute(top.location, nodes)).flatten()
    score, index = score.topk(min(10 * cfg.max_detections, len(score)))
    score, index = score[score > cfg.min_objectness], index[score > cfg.min_objectness]
    xyxy_px, node = location_px[index // len(nodes)], nodes[index % len(nodes)]
    if cfg.nms == "by_node":
        kept = nms_by_node(xyxy_px, score, node, cfg.nms_iou)
        score, xyxy_px, node = score[kept], xyxy_px[kept], node[kept]
    return NodeScores(xyxy_px[: cfg.max_detections], node[: cfg.max_detections], score[: cfg.max_detections])


def highest_objectness_box(batch: BatchOutput, image: int) -> tuple[np.ndarray, float]:
    """The box of highest objectness of one image as xyxy in image pixels, shape (4,), and its objectness."""
    best = top_locations(batch, image, min_objectness=-1, max_locations=1)
    xyxy_px = boxes_to_image(best.xyxy_unit, batch.letterboxes[image])[0]
    return xyxy_px.cpu().numpy(), float(best.objectness[0])


# --- boxes


def nms_by_node(xyxy_px: Tensor, score: Tensor, node: Tensor, max_iou: float) -> Tensor:
    """Rows, best first, whose IoU with each better row of the same node is at most `max_iou`."""
    if not len(xyxy_px):
        return node
    # torchvision separates the nodes by an offset of node × the largest coordinate. float32 has too few digits for
    # these offsets, and boxes with negative coordinates would reach into the range of the previous node.
    shifted = (xyxy_px - xyxy_px.amin()).double()
    return batched_nms(shifted, score.double(), node, max_iou)  # type: ignore[no-any-return]


def boxes_to_image(xyxy_unit: Tensor, letterbox: Letterbox, geometry: Geometry = "exact") -> Tensor:
    """Boxes in image pixels, from the unit square of the network input; both (K, 4).

    Boxes are clipped to the image unless the geometry is `darknet` (decision 13).
    """
    network = xyxy_unit.new_tensor([letterbox.network_width_px, letterbox.network_height_px] * 2)
    if geometry == "darknet":
        return letterbox.to_image_by_darknet(xyxy_unit * network)
    return clip_to_image(letterbox.to_image(xyxy_unit * network), letterbox)


def clip_to_image(xyxy_px: Tensor, letterbox: Letterbox) -> Tensor:
    """Boxes clipped to the image of the letterbox, in image pixels, shape (K, 4)."""
    return clip_xyxy(xyxy_px, width=letterbox.image_width_px, height=letterbox.image_height_px)
