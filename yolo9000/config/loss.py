"""Settings of the loss of a detector, of assignment, and of pseudo-boxes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator

from wordtree.support.config_files import ConfigPath, StrictModel
from yolo9000.config.values import Share


class LossConfig(StrictModel):
    """Assignment and loss of a detector. Defaults are Darknet's values.

    Image labels and objects that nobody annotated differ (decisions 9 and 21).
    """

    old_names: ClassVar[Mapping[str, str]] = {
        "vouching": "unannotated_objectness",
        "unvouched_siblings": "unannotated_sibling_weight",
        "unannotated_siblings": "unannotated_sibling_weight",
        "warm_up_images": "anchor_warm_up_images",
        "match": "box_assignment",
        "assign": "label_assignment",
    }

    # --- boxes and background

    # Weight of the objectness loss at locations responsible for a box, and for an image label with label_objectness
    # paper. Darknet: object_scale=5.
    object_weight: float = Field(5.0, ge=0)
    # Weight of the objectness loss at background locations; with label_objectness darknet, also at all other locations
    # of an image with an image label. Darknet: noobject_scale=1.
    no_object_weight: float = Field(1.0, ge=0)
    # Weight of the class loss of boxes. Darknet: class_scale=1.
    class_weight: float = Field(1.0, ge=0)
    # Weight of the coordinate loss. Each box also counts 2 − width·height, so small boxes count up to twice (Darknet).
    coordinate_weight: float = Field(1.0, ge=0)
    # A box is assigned to the anchor, or to the predicted box, of the most similar shape. Darknet: bias_match=1 or 0.
    box_assignment: Literal["anchor", "prediction"] = "anchor"
    # A location without a box is not background if its predicted box overlaps a box by more than this IoU. Darknet:
    # thresh=.6.
    ignore_iou: Share = 0.6
    # Target for objectness at a box: the IoU of the predicted box, or 1. Darknet: rescore=1 or 0.
    objectness_target: Literal["iou", "one"] = "iou"
    # Squared error (paper, Darknet) or binary cross-entropy.
    objectness_loss: Literal["squared", "cross_entropy"] = "squared"
    # Number of images during which all locations without a box are also pulled towards their anchors. Darknet: 12800.
    anchor_warm_up_images: int = Field(12800, ge=0)
    # Pairs of siblings that may both apply, and are left out of each other's softmax in training (decision 22): those
    # that `wordtree lint` finds, or a file with two ids per line; None: no pairs.
    non_exclusive: Annotated[Literal["lint"] | ConfigPath | None, Field(union_mode="left_to_right")] = None

    # --- image labels

    # Weight of the class loss of image labels.
    label_weight: float = Field(1.0, ge=0)
    # Locations to which an image label is assigned (losses/label_assignment.py). The paper, as in Darknet: max_score;
    # top_k is better (decision 33).
    label_assignment: Literal["max_score", "max_objectness", "max_size", "top_k"] = "top_k"
    # Number of locations that share a label, for label_assignment top_k.
    top_k: PositiveInt = 4
    # Objectness loss of images with image labels (decision 4).
    label_objectness: Literal["paper", "darknet", "ignore"] = "paper"
    # Assumed IoU of the chosen box with the object, for label_objectness paper. Paper, section 4: .3.
    assumed_iou: Share = 0.3
    # Weight of the loss of negative image labels (decision 20). The loss vanishes as the scores of the node fall.
    negative_weight: float = Field(1.0, ge=0)

    # --- objects of classes that a source does not annotate

    # A location above this objectness is not background if it shows a class that its source does not annotate
    # exhaustively; None: it is background.
    unannotated_objectness: Share | None = 0.3
    # Weight of the loss that lowers the probability of the exhaustively annotated classes at locations far from all
    # boxes whose objectness is above unannotated_objectness (decision 28).
    exclusion_weight: float = Field(0.0, ge=0)
    # Weight, in the softmax of a box, of siblings that its source does not annotate exhaustively (decision 31).
    unannotated_sibling_weight: Share = 1.0

    @model_validator(mode="after")
    def _exclusion_has_its_threshold(self) -> LossConfig:
        if self.exclusion_weight and self.unannotated_objectness is None:
            raise ValueError(
                "exclusion_weight needs unannotated_objectness, the objectness above which a location shows an object; "
                "unannotated_objectness is null"
            )
        return self


class PseudoBoxConfig(StrictModel):
    """Boxes that training itself draws for image labels (decision 27)."""

    # Steps after which all pseudo-boxes are predicted again; empty: never.
    at_steps: tuple[PositiveInt, ...] = ()
    # Input sizes of the views of each label image, each also mirrored; empty: the model's own input size.
    sizes_px: tuple[PositiveInt, ...] = ()
    # Smallest mean IoU between the predictions of all views for which a label gets a box.
    min_agreement: Share = 0.6
