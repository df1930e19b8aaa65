"""The joint loss: box terms and image-label terms over the same batch (paper, section 4; darknet region_layer.c).

Squared errors carry the factor ½, so that their gradient is (output − target), which is what darknet calls delta.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolo9000.config import LossConfig
from yolo9000.data.batch import BoxColumns, ImageLabelColumns, Targets
from yolo9000.losses.box_assignment import (
    MatchedBoxes,
    best_overlap,
    ignored_cells,
    last_of_each,
    match_boxes,
)
from yolo9000.losses.label_assignment import (
    LabelAssignment,
    PathLogits,
    ask_paths,
    assign_labels,
    location_of_max_score,
    locations_in_regions,
    log_absolute,
    negative_errors,
)
from yolo9000.losses.unannotated import candidate_locations, exclusion_errors, or_above, unannotated_siblings
from yolo9000.models.boxes import aligned_iou
from yolo9000.models.grid import GridOutput, Locations, ask_logits, decode_boxes
from yolo9000.models.tree_tensors import TreeTensors

WARM_UP_WEIGHT = 0.01  # darknet: the scale of the pull towards the anchors
UNANNOTATED_LOCATIONS = 64  # at most, for each image
EXCLUSION_LOCATIONS = 32  # likewise
FAR_IOU = 0.05  # a predicted box that overlaps no box by more sees something else


@dataclass(frozen=True)
class Background:
    """What becomes of the places that answer for no box, each (B, A, H, W) bool."""

    unmatched: Tensor  # those outside of ignored regions
    told: Tensor  # of these, those that are told "no object"
    perhaps_unannotated: Tensor  # those that would be, but see a thing that nobody vouches for
    best_overlap: Tensor  # float: each predicted box's largest IoU with a box of its image
    exhaustive: Tensor | None  # (B, N) bool: what each image vouches for; None: everything, or nobody asks


class JointLoss(nn.Module):
    """Output and targets to named terms, summed over places and labels and divided by the number of images.

    vouched: (S, N) bool, the nodes whose things each data source annotates with boxes wherever they occur; None: all.
    """

    exhaustive: Tensor | None
    possible: Tensor | None  # (S, N) bool: what each source vouches for, or something below

    def __init__(
        self, cfg: LossConfig, tree_tensors: TreeTensors, *, exhaustive: Tensor | None = None
    ) -> None:
        super().__init__()
        self.cfg = cfg
        self.tree_tensors = tree_tensors
        self.register_buffer("exhaustive", exhaustive, persistent=False)
        possible = None if exhaustive is None else or_above(tree_tensors.tree, exhaustive)
        self.register_buffer("possible", possible, persistent=False)

    def forward(
        self, output: GridOutput, targets: Targets, *, images_seen: int, pictures: int | None = None
    ) -> LossTerms:
        """The terms of a batch, or of a part of one.

        images_seen: all images of the run up to and including the batch; images: those of the batch, None: these.
        """
        cfg, labels, negative = self.cfg, targets.image_labels, targets.negative_labels
        matched = match_boxes(output, targets.boxes, match=cfg.match)
        chosen = self.locations_of_labels(output, labels, matched)
        denied = location_of_max_score(output, negative, self.tree_tensors)
        of_boxes, of_labels, of_denied = ask_paths(
            output,
            self.tree_tensors,
            (matched.location_of_box, targets.boxes.node),
            (chosen.location, labels.node[chosen.label]),
            (denied, negative.node),
        )
        terms = {
            **self._box_terms(output, targets, matched, chosen, images_seen),
            "box_class": cfg.class_weight * self._box_class_errors(output, of_boxes, targets.source),
            "label_class": cfg.label_weight * self._label_class_errors(output, of_labels, chosen.weight),
            "label_objectness": self._label_objectness(output, targets, matched, chosen),
            "negative_label": cfg.negative_weight
            * negative_errors(output, self.tree_tensors, of_denied).sum(),
        }
        divisor = len(output.box_logits) if pictures is None else pictures
        return LossTerms(**{name: term / divisor for name, term in terms.items()})

    def locations_of_labels(
        self, output: GridOutput, labels: ImageLabelColumns, matched: MatchedBoxes
    ) -> LabelAssignment:
        """Where the image labels go, by the rules of the configuration."""
        assign, top_k = self.cfg.assign, self.cfg.top_k
        return assign_labels(
            output, labels, self.tree_tensors, assign=assign, top_k=top_k, taken=matched.location
        )

    def _box_terms(
        self,
        output: GridOutput,
        targets: Targets,
        matched: MatchedBoxes,
        chosen: LabelAssignment,
        images_seen: int,
    ) -> dict[str, Tensor]:
        """What the boxes say about boxes; what they say about classes is a question of its own."""
        cfg, boxes = self.cfg, targets.boxes
        background = self.background(output, targets, matched, chosen)
        objectness_logits = matched.location.values_of(output.objectness_logits)
        target = self._objectness_target(decode_boxes(output).detach(), matched, boxes)
        warms_up = images_seen < cfg.warm_up_images
        warm_up = _pull_to_anchors(output, background.unmatched) if warms_up else _zero(output)
        return {
            "coordinates": cfg.coordinate_weight * _coordinate_errors(output, matched).sum(),
            "objectness": cfg.object_weight * self._objectness_errors(objectness_logits, target).sum(),
            "no_object": cfg.no_object_weight * self._background_errors(output, background.told),
            "exclusion": self._exclusion(output, background),
            "anchor_warm_up": WARM_UP_WEIGHT * warm_up,
        }

    @torch.no_grad()
    def background(
        self, output: GridOutput, targets: Targets, matched: MatchedBoxes, chosen: LabelAssignment
    ) -> Background:
        """Which of the places that own none of the matched boxes, and got no image label, are told "no object"."""
        unmatched = torch.ones_like(output.objectness_logits, dtype=torch.bool)
        unmatched[
            matched.location.image, matched.location.anchor, matched.location.row, matched.location.column
        ] = False
        unmatched &= ~ignored_cells(output, targets.ignore)[:, None]
        overlap = best_overlap(decode_boxes(output), targets.boxes)
        message, perhaps = unmatched & (overlap <= self.cfg.ignore_iou), torch.zeros_like(unmatched)
        message[
            chosen.location.image, chosen.location.anchor, chosen.location.row, chosen.location.column
        ] = False
        exhaustive = None if self.cfg.unannotated_objectness is None else targets.exhaustive
        if exhaustive is not None:
            perhaps = self._perhaps_unannotated(output, message, exhaustive)
        return Background(unmatched, message & ~perhaps, perhaps, overlap, exhaustive)

    def _box_class_errors(self, output: GridOutput, asked: PathLogits, source: Tensor) -> Tensor:
        """Cross-entropy in every sibling group on each label's path, where siblings that its source does not vouch for
        may count less (decision 31); of two boxes at a place the last has the word in the groups that both paths
        share (darknet overwrites deltas group by group)."""
        members, weight = asked.members, self._sibling_weights(asked, source)
        if self.tree_tensors.siblings == "sigmoid":
            return self._independent_errors(output, asked, weight)
        logits = asked.logits + weight.log()  # 0: −inf, out of the softmax
        log_conditional = self.tree_tensors.log_conditional(members, logits)[members.on_path]
        owner, node = members.owner[members.on_path], members.node[members.on_path]
        group = self.tree_tensors.group[node]
        key = asked.location.flat_index(output)[owner] * len(self.tree_tensors.group_start) + group
        return -log_conditional[last_of_each(key)].sum()

    def _sibling_weights(self, asked: PathLogits, source: Tensor) -> Tensor:
        """What each member counts in its box's softmax, or by itself, (Q,); source: (B,) of each image."""
        weight = torch.ones_like(asked.logits)
        if self.cfg.unannotated_siblings == 1 or self.exhaustive is None or self.possible is None:
            return weight
        of_box = source[asked.location.image]
        less = unannotated_siblings(
            asked.members, asked.node, of_box, exhaustive=self.exhaustive, possible=self.possible
        )
        return weight.masked_fill(less, self.cfg.unannotated_siblings)

    def _label_class_errors(self, output: GridOutput, asked: PathLogits, weight: Tensor) -> Tensor:
        if self.tree_tensors.siblings == "sigmoid":
            return self._independent_errors(output, asked, weight.to(asked.logits.dtype)[asked.members.owner])
        return -(weight * log_absolute(self.tree_tensors, asked)).sum()

    def _independent_errors(self, output: GridOutput, asked: PathLogits, weight: Tensor) -> Tensor:
        """Binary cross-entropy of every node in the groups on the labels' paths, where several labels of one place
        add up (decision 10). weight: (Q,) of each member."""
        members, logits = asked.members, asked.logits
        key = asked.location.flat_index(output)[members.owner] * len(self.tree_tensors) + members.node
        unique, which = key.unique(return_inverse=True)
        wanted = logits.new_zeros(len(unique)).scatter_reduce(
            0, which, members.on_path.to(logits.dtype), "amax"
        )
        row = last_of_each(key)
        return F.binary_cross_entropy_with_logits(
            logits[row], wanted[which[row]], weight[row], reduction="sum"
        )

    def _label_objectness(
        self, output: GridOutput, targets: Targets, matched: MatchedBoxes, chosen: LabelAssignment
    ) -> Tensor:
        """decision 4: what an image label says about objectness."""
        if self.cfg.label_objectness == "paper":
            return self.cfg.object_weight * self._pulled_to_the_assumed_overlap(output, chosen)
        if self.cfg.label_objectness == "darknet":
            others = _other_locations(output, targets.image_labels, chosen.location, matched.location)
            return self.cfg.no_object_weight * self._background_errors(output, others)
        return _zero(output)

    def _pulled_to_the_assumed_overlap(self, output: GridOutput, chosen: LabelAssignment) -> Tensor:
        """The errors of the chosen places that are less objective than the overlap they are assumed to have."""
        logits = chosen.location.values_of(output.objectness_logits)
        error = self._objectness_errors(logits, torch.full_like(logits, self.cfg.assumed_iou))
        return (chosen.weight * error * (logits.sigmoid() < self.cfg.assumed_iou)).sum()

    def _objectness_target(self, decoded_xyxy: Tensor, matched: MatchedBoxes, boxes: BoxColumns) -> Tensor:
        if self.cfg.objectness_target == "one":
            return torch.ones_like(matched.area_unit)
        return aligned_iou(matched.location.values_of(decoded_xyxy), boxes.xyxy_unit[matched.index])

    def _objectness_errors(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.cfg.objectness_loss == "cross_entropy":
            return F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return (logits.sigmoid() - target).square() / 2

    def _background_errors(self, output: GridOutput, where: Tensor) -> Tensor:
        logits = output.objectness_logits
        return (self._objectness_errors(logits, torch.zeros_like(logits)) * where).sum()

    def _perhaps_unannotated(self, output: GridOutput, free: Tensor, exhaustive: Tensor) -> Tensor:
        """Places that see a thing which their image does not vouch for, (B, A, H, W) bool.

        Such a thing may be there without a box, so "no object" would be a lie (design: vouching).
        """
        assert self.cfg.unannotated_objectness is not None
        seen = candidate_locations(
            output, free, min_objectness=self.cfg.unannotated_objectness, at_most=UNANNOTATED_LOCATIONS
        )
        descent = self.tree_tensors.descend(
            lambda active, members: ask_logits(output, seen.location[active], members),
            len(seen.location),
            threshold=0.5,
        )
        unknown = ~exhaustive[seen.image, descent.node]
        perhaps = torch.zeros_like(free).flatten(1)
        perhaps[seen.image[unknown], seen.index[unknown]] = True
        return perhaps.view_as(free)

    def _exclusion(self, output: GridOutput, background: Background) -> Tensor:
        """decision 28: what stands far from all boxes is none of the things that have boxes."""
        if (
            not self.cfg.exclusion_weight
            or background.exhaustive is None
            or self.cfg.unannotated_objectness is None
        ):
            return _zero(output)
        far = background.unmatched & (background.best_overlap <= FAR_IOU)
        far &= background.exhaustive.any(dim=1)[:, None, None, None]
        seen = candidate_locations(
            output, far, min_objectness=self.cfg.unannotated_objectness, at_most=EXCLUSION_LOCATIONS
        )
        if not len(seen.image):
            return _zero(output)
        errors = exclusion_errors(output, self.tree_tensors, seen, background.exhaustive)
        return self.cfg.exclusion_weight * errors.sum()


def _coordinate_errors(output: GridOutput, matched: MatchedBoxes) -> Tensor:
    """Squared errors of offset and log size, (M',); darknet: small boxes count up to twice as much."""
    offset = matched.location.values_of(output.offset_logits).sigmoid() - matched.offset
    log_size = matched.location.values_of(output.size_logits) - matched.log_size
    return (2 - matched.area_unit) * (offset.square() + log_size.square()).sum(1) / 2


def _pull_to_anchors(output: GridOutput, where: Tensor) -> Tensor:
    """How far the predicted boxes at `where` (B, A, H, W) are from their anchors in the middle of their cells."""
    offset = (output.offset_logits.sigmoid() - 0.5).square().sum(-1)
    size = output.size_logits.square().sum(-1)
    return ((offset + size) * where).sum() / 2


def _other_locations(output: GridOutput, labels: ImageLabelColumns, *answering: Locations) -> Tensor:
    """The places in the labels' regions that answer neither for one of them nor for a box, (B, A, H, W) bool."""
    others = torch.zeros_like(output.objectness_logits, dtype=torch.bool)
    count = others.flatten(1).long().index_add(0, labels.image, locations_in_regions(output, labels).long())
    others = (count > 0).view_as(others)
    for location in answering:
        others[location.image, location.anchor, location.row, location.column] = False
    return others


def _zero(output: GridOutput) -> Tensor:
    return output.box_logits.sum() * 0


@dataclass(frozen=True)
class LossTerms:
    """The named terms of one step, each already weighted and divided by the number of images (scalars)."""

    coordinates: Tensor
    objectness: Tensor  # places that answer for a box
    no_object: Tensor  # places that answer for nothing
    box_class: Tensor
    label_class: Tensor  # image labels
    label_objectness: Tensor
    negative_label: Tensor  # image labels that say what is not there
    exclusion: Tensor  # things without a box, which are none of what their image vouches for
    anchor_warm_up: Tensor  # darknet's pull towards the anchors over the first images

    @property
    def total(self) -> Tensor:
        return torch.stack([getattr(self, f.name) for f in fields(self)]).sum()

    def by_name(self) -> dict[str, Tensor]:
        """Every term, and their `total`; reading a number out of it waits for the device."""
        return {"total": self.total, **{f.name: getattr(self, f.name) for f in fields(self)}}

    def detached(self) -> dict[str, Tensor]:
        """The same, cut from the graph."""
        return {name: term.detach() for name, term in self.by_name().items()}
