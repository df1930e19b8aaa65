"""From the network's output to detections: best locations → tree descent or queried nodes → NMS (paper, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.ops import batched_nms, nms

from wordtree import WordTree
from yolo9000.config import EvaluateConfig, Geometry, PredictConfig
from yolo9000.data.letterbox import Letterbox
from yolo9000.inference.detections import Detections, StopReason
from yolo9000.inference.scored_boxes import ScoredBoxes
from yolo9000.inference.vocabulary import Vocabulary
from yolo9000.models.boxes import clip_xyxy
from yolo9000.models.grid import GridOutput, Locations, decode_boxes, member_logits
from yolo9000.models.roi_head import MIN_LOCATIONS, OBJECTNESS_WEIGHT, mean_class_logits, mean_objectness
from yolo9000.models.tree_tensors import Descent, PathMembers, TreeTensors


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
    def grid_objectness(self) -> Tensor:
        """Objectness at all locations in 0..1 without the RoI head, shape (B, A, H, W)."""
        return self.grid.objectness

    def objectness(self, locations: Locations) -> Tensor:
        """Objectness at each of K locations in 0..1, shape (K,); with an RoI head a mean of both (decision 39)."""
        of_grid = locations.gather(self.grid_objectness)
        if self.grid.roi is None:
            return of_grid
        return mean_objectness(of_grid, self.grid.roi.objectness(locations))

    def member_logits(self, locations: Locations, members: PathMembers) -> Tensor:
        """Logits of path members, (Q,); path k belongs to location k. With an RoI head a mean of both."""
        of_grid = member_logits(self.grid, locations, members)
        if self.grid.roi is None:
            return of_grid
        return mean_class_logits(of_grid, self.grid.roi.member_logits(locations, members))

    def absolute(self, locations: Locations, nodes: Tensor) -> Tensor:
        """P(node | object) of each of E nodes at each of K locations, shape (K, E)."""
        return self.tree_tensors.log_absolute_of_nodes(
            lambda members: self._class_logits(locations, members), nodes
        ).exp()

    def _class_logits(self, locations: Locations, nodes: Tensor) -> Tensor:
        """Logits of `nodes` (U,) at each location, (K, U)."""
        of_grid = self.grid.class_logits(locations, nodes)
        if self.grid.roi is None:
            return of_grid
        return mean_class_logits(of_grid, self.grid.roi.class_logits(locations, nodes))


@dataclass(frozen=True)
class TopLocations:
    """P locations: of each image of the batch in turn those of highest objectness, best first."""

    location: Locations
    objectness: Tensor  # (P,)
    xyxy_px: Tensor  # (P, 4) in pixels of the image; clipped to it unless the geometry is `darknet`

    def __len__(self) -> int:
        return len(self.objectness)

    def __getitem__(self, rows: Tensor | slice) -> TopLocations:
        return TopLocations(self.location[rows], self.objectness[rows], self.xyxy_px[rows])

    def by_image(self, images: int) -> list[TopLocations]:
        """The locations of each of B images."""
        return [self[rows] for rows in _runs(self.location.image, images)]


def top_locations(
    batch: BatchOutput, *, min_objectness: float, max_locations: int, geometry: Geometry = "exact"
) -> TopLocations:
    """At most `max_locations` locations of each image whose objectness exceeds `min_objectness`."""
    of_grid = batch.grid_objectness.flatten(1)  # (B, AHW)
    count = max_locations if batch.grid.roi is None else max(max_locations, MIN_LOCATIONS)
    best, index = of_grid.topk(min(count, of_grid.shape[1]), dim=1)
    first = torch.arange(len(index), device=index.device)[:, None] * of_grid.shape[1]
    if batch.grid.roi is not None:
        # Of the RoI head even 1 would not lift the others above min_objectness.
        least = max(min_objectness, 0) ** (1 / (1 - OBJECTNESS_WEIGHT))
        image, rank = (best > least).nonzero(as_tuple=True)
        objectness = batch.objectness(Locations.from_flat_index(batch.grid, (first + index)[image, rank]))
        best = torch.full_like(best, -1).index_put((image, rank), objectness.to(best))
        best, order = best.topk(min(max_locations, best.shape[1]), dim=1)
        index = index.gather(1, order)
    image, rank = (best > min_objectness).nonzero(as_tuple=True)
    location = Locations.from_flat_index(batch.grid, (first + index)[image, rank])
    xyxy_unit = location.gather(batch.xyxy_unit)
    parts = zip(_runs(image, len(batch.letterboxes)), batch.letterboxes, strict=True)
    xyxy_px = torch.cat([boxes_to_image(xyxy_unit[rows], letterbox, geometry) for rows, letterbox in parts])
    return TopLocations(location, best[image, rank], xyxy_px)


def _runs(image: Tensor, images: int) -> list[slice]:
    """The rows of each of B images; image: (P,) the image of each row, ascending."""
    ends = torch.bincount(image, minlength=images).cumsum(0).tolist()
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


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
    top = top_locations(
        batch, min_objectness=cfg.min_score, max_locations=cfg.max_locations, geometry=cfg.geometry
    )
    if cfg.descent == "darknet" and query is None and not batch.tree_tensors.tree.depth.any():
        found = _every_class(batch, top, rules)
    else:
        found = _one_for_each_location(batch, top, rules)
    kept = _not_suppressed(top, found, rules, images=len(names))
    kept = _best_of_each_image(kept, top, found, cfg)
    return _detections(batch, top[found.row[kept]], found[kept], names, rules)


@dataclass(frozen=True)
class _Rules:
    """The settings, the query and the vocabulary of one prediction."""

    cfg: PredictConfig
    query: NodeSet | None
    vocabulary: Vocabulary | None


def _not_suppressed(top: TopLocations, found: _Candidates, rules: _Rules, *, images: int) -> Tensor:
    """The rows of the candidates that suppression within their image keeps, image by image."""
    cfg = rules.cfg
    if rules.query is None and cfg.nms == "by_objectness":  # decision 8
        is_kept = torch.zeros(len(top), dtype=torch.bool, device=found.row.device)
        for rows in _runs(top.location.image, images):
            best = nms(top.xyxy_px[rows].double(), top.objectness[rows].double(), cfg.nms_iou)
            is_kept[best + rows.start] = True
        return is_kept[found.row].nonzero()[:, 0]
    kept = []
    for rows in _runs(top.location.image[found.row], images):
        xyxy_px, score = top.xyxy_px[found.row[rows]], found.score[rows]
        if rules.query is not None:  # a query is one class
            best = nms(xyxy_px.double(), score.double(), cfg.nms_iou)
        else:
            best = nms_by_node(xyxy_px, score, found.node[rows], cfg.nms_iou)
        kept.append(best + rows.start)
    return torch.cat(kept)


def _best_of_each_image(kept: Tensor, top: TopLocations, found: _Candidates, cfg: PredictConfig) -> Tensor:
    """The rows in `kept` above `min_score`, at most `max_detections` of each image, image by image, best first."""
    kept = kept[found.compared[kept] > cfg.min_score]
    kept = kept[found.score[kept].argsort(descending=True, stable=True)]
    image = top.location.image[found.row[kept]]
    order = image.argsort(stable=True)
    kept, image = kept[order], image[order]
    rank = torch.arange(len(kept), device=kept.device) - torch.searchsorted(image, image)
    return kept[rank < cfg.max_detections]


def _detections(
    batch: BatchOutput, top: TopLocations, found: _Candidates, names: Sequence[str], rules: _Rules
) -> list[Detections]:
    """The detections of each image; top, found: a row for each detection, image by image, best first."""
    below = _best_paths_below(batch, top.location, found.node)
    conditional, conditional_below = _arrays(found.conditional), _arrays(below.conditional)
    absolute = _array(found.absolute)
    stopped = _reasons(absolute.tolist(), conditional_below, rules)
    xyxy_px, objectness = _array(top.xyxy_px), _array(top.objectness)
    node, score, leaf = _array(found.node), _array(found.score), _array(below.node)
    runs = _runs(top.location.image, len(names))
    return [
        Detections(
            tree=batch.tree_tensors.tree,
            image=name,
            image_size_px=(box.image_width_px, box.image_height_px),
            xyxy_px=xyxy_px[rows].clip(0, [box.image_width_px, box.image_height_px] * 2),
            node=node[rows],
            objectness=objectness[rows],
            absolute=absolute[rows],
            score=score[rows],
            conditional=tuple(conditional[rows]),
            best_leaf=leaf[rows],
            conditional_below=tuple(conditional_below[rows]),
            stopped=tuple(stopped[rows]),
        )
        for name, box, rows in zip(names, batch.letterboxes, runs, strict=True)
    ]


def _array(column: Tensor) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = column.cpu().numpy()
    return array


def _arrays(rows: Sequence[Tensor]) -> list[npt.NDArray[Any]]:
    """Each row as an array, copied from the device at once."""
    if not rows:
        return []
    ends = np.cumsum([len(row) for row in rows])
    return np.split(_array(torch.cat(list(rows))), ends[:-1])


def _best_paths_below(batch: BatchOutput, locations: Locations, nodes: Tensor) -> Descent:
    """The most probable leaf below each of K nodes at its location."""
    return batch.tree_tensors.descend(
        lambda active, members: batch.member_logits(locations[active], members),
        len(nodes),
        threshold=-1,
        start=nodes,
    )


def _reasons(
    absolute: Sequence[float], paths_below: Sequence[npt.NDArray[Any]], rules: _Rules
) -> list[StopReason]:
    """The reason why each descent stopped at its node, below which the best path is given."""
    reasons: list[StopReason] = []
    for reached, path in zip(absolute, paths_below, strict=True):
        if not len(path):
            reasons.append("leaf")
        elif reached <= rules.cfg.min_absolute:
            reasons.append("root")
        elif rules.vocabulary is not None and reached * float(path[0]) > rules.cfg.min_absolute:
            reasons.append("class list")
        else:
            reasons.append("threshold")
    return reasons


@dataclass(frozen=True)
class _Candidates:
    """K detections of all images before NMS, image by image.

    row       (K,) row of the top locations
    compared  (K,) the quantity that must exceed `min_score`
    """

    row: Tensor
    node: Tensor  # (K,)
    absolute: Tensor  # (K,)
    score: Tensor  # (K,)
    compared: Tensor
    conditional: Sequence[Tensor]

    def __getitem__(self, rows: Tensor) -> _Candidates:
        return _Candidates(
            row=self.row[rows],
            node=self.node[rows],
            absolute=self.absolute[rows],
            score=self.score[rows],
            compared=self.compared[rows],
            conditional=[self.conditional[row] for row in rows.tolist()],
        )


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
        lambda active, members: batch.member_logits(top.location[active], members),
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
    logits = batch.member_logits(top.location, members)
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
    score, index = score.topk(min(10 * cfg.max_detections, len(score)))
    score, index = score[score > cfg.min_objectness], index[score > cfg.min_objectness]
    xyxy_px, node = top.xyxy_px[index // len(nodes)], nodes[index % len(nodes)]
    if cfg.nms == "by_node":
        kept = nms_by_node(xyxy_px, score, node, cfg.nms_iou)
        score, xyxy_px, node = score[kept], xyxy_px[kept], node[kept]
    return NodeScores(xyxy_px[: cfg.max_detections], node[: cfg.max_detections], score[: cfg.max_detections])


def boxes_of_highest_objectness(batch: BatchOutput) -> list[tuple[np.ndarray, float]]:
    """The box of highest objectness of each image as xyxy in image pixels, shape (4,), and its objectness."""
    best = top_locations(batch, min_objectness=-1, max_locations=1)
    return list(zip(_array(best.xyxy_px), best.objectness.tolist(), strict=True))


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
