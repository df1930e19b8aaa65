"""A Darknet network as a plan: each layer with its settings and its output shape. Nothing is allocated."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from yolo9000.darknet.options import DarknetError, Section


class Shape(NamedTuple):
    """Shape of a layer's output for one image."""

    channels: int
    height: int
    width: int

    @property
    def elements(self) -> int:
        return self.channels * self.height * self.width

    def __str__(self) -> str:
        return f"{self.width}×{self.height}×{self.channels}"


@dataclass(frozen=True)
class Layer:
    """Fields that all layers share.

    index         position in the network, from 0
    line          line of the cfg where its section begins
    out           shape of its output
    total_stride  pixels of the network's input per output cell
    """

    index: int
    line: int
    out: Shape
    total_stride: Fraction


@dataclass(frozen=True)
class Convolution(Layer):
    """Cross-correlation with zero padding, then batch norm or bias, then the activation."""

    channels: int
    size: int
    stride: int
    padding: int
    groups: int
    batch_normalize: bool
    activation: str
    flipped: bool  # the file stores its weights transposed

    @property
    def filters(self) -> int:
        return self.out.channels

    @property
    def weight_count(self) -> int:
        """Number of float32 values that the `.weights` file stores for this layer, batch norm included."""
        weights = self.filters * (self.channels // self.groups) * self.size**2
        return weights + self.filters * (4 if self.batch_normalize else 1)


@dataclass(frozen=True)
class MaxPool(Layer):
    """`padding` is the sum of both sides; the first window starts padding // 2 before the edge."""

    size: int
    stride: int
    padding: int


@dataclass(frozen=True)
class AvgPool(Layer):
    """The mean of each channel."""


@dataclass(frozen=True)
class Route(Layer):
    """The outputs of earlier layers, joined along the channels in this order."""

    sources: tuple[int, ...]


@dataclass(frozen=True)
class Reorg(Layer):
    """Darknet's re-ordering of memory, which is not a space-to-depth; `reverse` enlarges the map."""

    stride: int
    reverse: bool


@dataclass(frozen=True)
class SpaceToDepth(Layer):
    """AlexeyAB's [reorg3d]: the channels become (row in the block, column in the block, channel)."""

    stride: int


@dataclass(frozen=True)
class Dropout(Layer):
    """Dropout in training; `probability` is the share of outputs that are set to 0."""

    probability: float


@dataclass(frozen=True)
class Softmax(Layer):
    """Softmax over `groups` equal parts of all inputs, or over the sibling groups of a tree."""

    groups: int
    temperature: float
    tree: str | None

    @property
    def classes(self) -> int:
        return self.out.elements


@dataclass(frozen=True)
class Cost(Layer):
    """Passes its input on: the training loss is not part of the network."""


@dataclass(frozen=True)
class Region(Layer):
    """The detection layer: the meaning of its input channels, and its training settings."""

    anchors: tuple[tuple[float, float], ...]  # width, height in grid cells
    classes: int
    softmax: bool
    tree: str | None
    map: str | None
    bias_match: bool
    rescore: bool
    thresh: float
    object_scale: float
    noobject_scale: float
    class_scale: float
    coord_scale: float
    jitter: float
    random: bool  # trained on inputs of several sizes


LayerPlan = Convolution | MaxPool | AvgPool | Route | Reorg | SpaceToDepth | Dropout | Softmax | Cost | Region


@dataclass(frozen=True)
class NetworkPlan:
    """A whole network at one input size.

    source  the file as error messages name it
    text    the content of the file, one character per byte
    notes   one line for each key that has no effect
    """

    source: str
    text: str
    input: Shape
    net: Section
    layers: tuple[LayerPlan, ...]
    notes: tuple[str, ...]

    @property
    def convolutions(self) -> list[Convolution]:
        return [layer for layer in self.layers if isinstance(layer, Convolution)]

    @property
    def is_classifier(self) -> bool:
        return any(isinstance(layer, Softmax) for layer in self.layers)

    @property
    def tree(self) -> str | None:
        """Tree file that the last softmax or region layer names."""
        named = [layer.tree for layer in self.layers if isinstance(layer, Softmax | Region)]
        return named[-1] if named else None


@dataclass(frozen=True)
class DetectorPlan:
    """The parts of a detector: the layers before the last convolution, that 1×1 convolution, the region layer."""

    backbone: tuple[LayerPlan, ...]
    head: Convolution
    output_layer: Region

    @classmethod
    def of(cls, plan: NetworkPlan) -> DetectorPlan:
        """The parts of a plan; DarknetError unless it takes RGB and ends in a 1×1 convolution and [region]."""
        match _without_costs(plan):
            case [_, *_, Convolution() as head, Region() as region] if _is_head(head):
                _refuse_other_channels(plan)
                if region.total_stride.denominator != 1:
                    raise DarknetError(
                        f"{plan.source}: line {region.line}: expected grid cells of whole pixels, found a grid finer "
                        "than the input."
                    )
                return cls(plan.layers[: head.index], head, region)
            case [*_, Region() as region]:
                raise DarknetError(
                    f"{plan.source}: line {region.line}: expected layers and {_HEAD} before [region]."
                )
        raise DarknetError(
            f"{plan.source}: line {plan.layers[-1].line}: expected [region] (a detector) or [softmax] (a classifier) "
            "as the last layer."
        )


@dataclass(frozen=True)
class ClassifierPlan:
    """The parts of a classifier: the layers before the last convolution, that 1×1 convolution, the softmax."""

    backbone: tuple[LayerPlan, ...]
    head: Convolution
    output_layer: Softmax

    @classmethod
    def of(cls, plan: NetworkPlan) -> ClassifierPlan:
        """The parts of a plan; DarknetError unless it takes RGB and ends as Darknet-19 does."""
        match _without_costs(plan):
            case [_, *_, Convolution() as head, AvgPool(), Softmax(groups=1, temperature=1) as softmax] if (
                _is_head(head)
            ):
                _refuse_other_channels(plan)
                return cls(plan.layers[: head.index], head, softmax)
        raise DarknetError(
            f"{plan.source}: line {plan.layers[-1].line}: expected a classifier to end with {_HEAD}, [avgpool] and a "
            f"[softmax] of one group and temperature 1; found {_described(plan)}."
        )


def output_layer_of(plan: NetworkPlan) -> Region | Softmax:
    """The layer that computes the class scores."""
    return (ClassifierPlan if plan.is_classifier else DetectorPlan).of(plan).output_layer


_HEAD = "a [convolutional] of size=1, stride=1, activation=linear, without batch_normalize and groups"


def _described(plan: NetworkPlan) -> str:
    """The last layers of a plan, with what matters of a convolution."""
    last = []
    for layer in _without_costs(plan)[-3:]:
        name, options = type(layer).__name__.lower(), ""
        if isinstance(layer, Convolution):
            name = "convolutional"
            options = f" size={layer.size} stride={layer.stride} activation={layer.activation}"
            options += " batch_normalize=1" if layer.batch_normalize else ""
        last.append(f"[{name}]{options}")
    return ", ".join(last)


def _without_costs(plan: NetworkPlan) -> list[LayerPlan]:
    return [layer for layer in plan.layers if not isinstance(layer, Cost)]


def _is_head(layer: Convolution) -> bool:
    return (
        (layer.size, layer.stride, layer.padding, layer.groups) == (1, 1, 0, 1)
        and layer.activation == "linear"
        and not layer.batch_normalize
    )


def _refuse_other_channels(plan: NetworkPlan) -> None:
    if plan.input.channels != 3:
        raise DarknetError(
            f"{plan.source}: expected a network with 3 input channels, found channels={plan.input.channels}."
        )
