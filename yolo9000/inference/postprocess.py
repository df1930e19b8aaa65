"""From the network's output to detections: best locations → tree descent or queried nodes → NMS (paper, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.ops import nms

from wordtree import WordTree
from yolo9000.config import PredictConfig
from yolo9000.inference.detections import Detections, StopReason
from yolo9000.inference.top_locations import (
    BatchOutput,
    TopLocations,
    nms_by_node,
    runs_of_images,
    top_locations,
)
from yolo9000.inference.vocabulary import Vocabulary
from yolo9000.models.grid import Locations
from yolo9000.models.tree_tensors import Descent, counts


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
        """P(the object belongs to the set) at each of P locations, shape (P,), 0..1."""
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
    """Detections of each image, at most one for each location, as deep in the tree as `min_absolute` allows.

    Without a query, `descent: darknet` in a flat tree gives one for each class there.

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
        for rows in runs_of_images(top.location.image, images):
            best = nms(top.xyxy_px[rows].double(), top.objectness[rows].double(), cfg.nms_iou)
            is_kept[best + rows.start] = True
        return is_kept[found.row].nonzero()[:, 0]
    kept = []
    for rows in runs_of_images(top.location.image[found.row], images):
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
    columns = torch.stack([found.absolute, top.objectness, found.score], dim=1).to(top.xyxy_px.dtype)
    numbers = _array(torch.cat([top.xyxy_px, columns], dim=1))  # copied from the device at once
    xyxy_px, (absolute, objectness, score) = numbers[:, :4], numbers.T[4:]
    node, leaf = _array(torch.stack([found.node, below.node]))
    stopped = _reasons(absolute.tolist(), conditional_below, rules)
    runs = runs_of_images(top.location.image, len(names))
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
    conditional = batch.tree_tensors.log_conditional(members, logits).exp()[members.path_rows]
    lengths = counts(members.path[members.path_rows], len(node)).tolist()
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
