"""`.cfg` text to a `NetworkPlan`, with Darknet's defaults (parser.c).

Unsupported layers and options are refused by name and line. Excessive sizes are refused before memory is allocated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from wordtree.support.lines import quoted
from yolo9000.darknet.options import DarknetError, Section, parse_sections, read_text, unknown_keys
from yolo9000.darknet.plan import (
    AvgPool,
    Convolution,
    Cost,
    Dropout,
    Layer,
    LayerPlan,
    MaxPool,
    NetworkPlan,
    Region,
    Reorg,
    Route,
    Shape,
    Softmax,
    SpaceToDepth,
)

MAX_LAYERS = 2000
MAX_ROUTE = 1000  # layers that one [route] joins
MAX_SIDE = 1 << 14  # of the input, pixels
MAX_FILTERS = 1 << 21
MAX_KERNEL = 1 << 10  # limit of sizes, strides and paddings
MAX_ACTIVATIONS = 1 << 29  # outputs of one layer for one image: 2 GiB
MAX_WEIGHTS = 300_000_000  # of all layers, 1.2 GB: enough for three anchors and every noun of WordNet
ACTIVATIONS = ("linear", "leaky", "relie", "relu", "logistic", "tanh", "elu", "hardtan")

_ALIASES = {"conv": "convolutional", "max": "maxpool", "avg": "avgpool", "soft": "softmax", "network": "net"}
_TRAINING_KEYS = {  # known keys that do not change the network's output
    "net": "batch subdivisions momentum decay learning_rate policy steps scales step scale gamma power burn_in "
    "max_batches angle aspect saturation exposure hue max_crop min_crop max_ratio min_ratio random adam B1 B2 eps "
    "clip center time_steps notruth inputs",
    "softmax": "noloss",
    "cost": "type scale ratio noobj thresh",
    "region": "absolute classfix log sqrt max mask_scale",
}
_LAYER_KEYS = "truth onlyforward stopbackward learning_rate"
_UNSUPPORTED_KEYS = {  # by section; some are AlexeyAB's. Value 0 is allowed
    "convolutional": "binary xnor dot dilation antialiasing deform stride_x stride_y share_index",
    "maxpool": "maxpool_depth antialiasing stride_x stride_y",
    "route": "groups group_id",
    "reorg": "flatten extra",
    "reorg3d": "reverse",
    "softmax": "spatial",
    "region": "background",
}
# The file would hold only some weights of the layer.
_PARTIAL_KEYS = "dontload dontsave numload dontloadscales"
_LATER_OUTPUTS = ("yolo", "Gaussian_yolo")
_HARMLESS_AT_ONE = ("dilation", "groups")


def read_cfg(path: Path) -> NetworkPlan:
    """The plan of a `.cfg` file; DarknetError, with file and line, if it is malformed or not supported."""
    return plan_cfg(read_text(path), str(path))


def plan_cfg(text: str, source: str, *, input_wh_px: tuple[int, int] | None = None) -> NetworkPlan:
    """The plan of a `.cfg` text; input_wh_px replaces its input width and height."""
    sections, notes = parse_sections(text, source)
    if not sections or _layer_type(sections[0]) != "net":
        raise DarknetError(f"{source}: expected a Darknet cfg with [net] as its first section.")
    net, *rest = sections
    for section in rest:
        if section.name in _LATER_OUTPUTS:
            raise section.error(
                None,
                "is an output layer of YOLOv3 or later; expected a detector that ends with [region] (YOLOv2, "
                "YOLO9000), or a classifier.",
            )
    if not rest:
        raise DarknetError(f"{source}: expected layers after [net], found none.")
    if len(rest) > MAX_LAYERS:
        raise DarknetError(f"{source}: expected at most {MAX_LAYERS} layers, found {len(rest)}.")
    shape = _input(net, input_wh_px)
    layers: list[LayerPlan] = []
    weights = 0
    for section in rest:
        layer = _layer(section, layers, shape)
        weights += layer.weight_count if isinstance(layer, Convolution) else 0
        if layer.out.elements > MAX_ACTIVATIONS:
            raise section.error(None, f"expected at most {MAX_ACTIVATIONS} outputs, found {layer.out}.")
        if weights > MAX_WEIGHTS:
            raise section.error(
                None, f"expected at most {MAX_WEIGHTS} weights up to this layer, found {weights}."
            )
        layers.append(layer)
    for section in sections:
        notes += unknown_keys(
            section, f"{_TRAINING_KEYS.get(_layer_type(section), '')} {_LAYER_KEYS}".split()
        )
    return NetworkPlan(source, text, shape, net, tuple(layers), tuple(notes))


def _layer_type(section: Section) -> str:
    return _ALIASES.get(section.name, section.name)


def _input(net: Section, wh_px: tuple[int, int] | None) -> Shape:
    width, height = (net.integer(key, 0, low=0, high=MAX_SIDE) for key in ("width", "height"))
    channels = net.integer("channels", 0, low=0, high=4096)
    if not width or not height or not channels:
        raise net.error(None, "expected width, height and channels: only networks for images are supported.")
    width, height = wh_px or (width, height)
    return Shape(channels, height, width)


def _layer(section: Section, before: Sequence[LayerPlan], network_input: Shape) -> LayerPlan:
    """The planned layer of a section, given all layers before it."""
    layer_type = _layer_type(section)
    if layer_type not in _READERS:
        known = ", ".join(f"[{name}]" for name in _READERS)
        raise section.error(None, f"is not supported; known are {known}.")
    _refuse_unsupported_keys(section, layer_type)
    last = before[-1] if before else Layer(-1, 0, network_input, Fraction(1))
    if isinstance(last, Softmax | Region | Cost) and layer_type != "cost":
        raise section.error(None, "only [cost] may follow the output layer.")
    given = Layer(len(before), section.line, last.out, last.total_stride)
    return _READERS[layer_type](section, given, before)


def _refuse_unsupported_keys(section: Section, layer_type: str) -> None:
    for key in f"{_UNSUPPORTED_KEYS.get(layer_type, '')} {_PARTIAL_KEYS}".split():
        value = section.integer(key, 0, low=-(2**31), high=2**31 - 1)
        if value != 0 and not (value == 1 and key in _HARMLESS_AT_ONE):
            raise section.error(key, f"{key}={value} is not supported.")


def _windowed(
    section: Section, given: Layer, channels: int, *, size: int, stride: int, padding: int
) -> Layer:
    """The fields of a layer whose output is that of a sliding window; padding: sum of both sides."""
    height, width = (side + padding - size for side in given.out[1:])
    if height < 0 or width < 0:
        raise section.error("size", f"size={size} is larger than its padded input of {given.out}.")
    out = Shape(channels, height // stride + 1, width // stride + 1)
    return replace(given, out=out, total_stride=given.total_stride * stride)


def _convolution(section: Section, given: Layer, _: Sequence[LayerPlan]) -> Convolution:
    size, stride = (section.integer(key, 1, low=1, high=MAX_KERNEL) for key in ("size", "stride"))
    padding = section.integer("padding", 0, low=0, high=MAX_KERNEL)
    if section.flag("pad"):
        padding = size // 2
    filters, groups = (section.integer(key, 1, low=1, high=MAX_FILTERS) for key in ("filters", "groups"))
    channels = given.out.channels
    if channels % groups or filters % groups:
        raise section.error(
            "groups", f"groups={groups} must divide its {channels} channels and {filters} filters."
        )
    activation = section.text("activation") or "logistic"
    if activation not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise section.error(
            "activation", f"activation={quoted(activation)} is not supported; known are {known}."
        )
    flipped = section.flag("flipped")
    if flipped and groups > 1:
        raise section.error("flipped", "flipped together with groups is not supported.")
    return Convolution(
        **vars(_windowed(section, given, filters, size=size, stride=stride, padding=2 * padding)),
        channels=channels,
        size=size,
        stride=stride,
        padding=padding,
        groups=groups,
        batch_normalize=section.flag("batch_normalize"),
        activation=activation,
        flipped=flipped,
    )


def _maxpool(section: Section, given: Layer, _: Sequence[LayerPlan]) -> MaxPool:
    stride = section.integer("stride", 1, low=1, high=MAX_KERNEL)
    size = section.integer("size", stride, low=1, high=MAX_KERNEL)
    padding = section.integer("padding", size - 1, low=0, high=MAX_KERNEL)
    windowed = _windowed(section, given, given.out.channels, size=size, stride=stride, padding=padding)
    last_begins = [(count - 1) * stride - padding // 2 for count in windowed.out[1:]]
    if padding // 2 >= size or any(at >= side for at, side in zip(last_begins, given.out[1:], strict=True)):
        raise section.error(
            "padding",
            f"padding={padding} puts windows of size {size} wholly outside its input of {given.out}.",
        )
    return MaxPool(**vars(windowed), size=size, stride=stride, padding=padding)


def _avgpool(_section: Section, given: Layer, _: Sequence[LayerPlan]) -> AvgPool:
    total_stride = given.total_stride * max(given.out.height, given.out.width)
    return AvgPool(**vars(replace(given, out=Shape(given.out.channels, 1, 1), total_stride=total_stride)))


def _route(section: Section, given: Layer, before: Sequence[LayerPlan]) -> Route:
    numbers = section.integers("layers", low=-MAX_LAYERS, high=MAX_LAYERS)
    if not 1 <= len(numbers) <= MAX_ROUTE:
        raise section.error("layers", f"expected 1 to {MAX_ROUTE} layers to join, found {len(numbers)}.")
    sources = tuple(number + given.index if number < 0 else number for number in numbers)
    for number, source in zip(numbers, sources, strict=True):
        if not 0 <= source < given.index:
            existing = f"are layers 0 to {given.index - 1}" if given.index else "is no layer"
            raise section.error("layers", f"layer {number} does not exist; before it there {existing}.")
    first = before[sources[0]]
    for source in sources:
        if before[source].out[1:] != first.out[1:]:
            raise section.error(
                "layers",
                f"expected outputs of equal width and height, found {first.out} of layer {sources[0]} and "
                f"{before[source].out} of layer {source}.",
            )
    out = first.out._replace(channels=sum(before[source].out.channels for source in sources))
    return Route(**vars(replace(given, out=out, total_stride=first.total_stride)), sources=sources)


def _reorg(section: Section, given: Layer, _: Sequence[LayerPlan]) -> Reorg:
    stride, reverse = section.integer("stride", 1, low=1, high=MAX_KERNEL), section.flag("reverse")
    channels, height, width = given.out
    if channels % stride**2 or (not reverse and (height % stride or width % stride)):
        raise section.error("stride", f"stride={stride} does not divide its input of {given.out}.")
    if reverse:
        out = Shape(channels // stride**2, height * stride, width * stride)
        total_stride = given.total_stride / stride
    else:
        out = Shape(channels * stride**2, height // stride, width // stride)
        total_stride = given.total_stride * stride
    return Reorg(**vars(replace(given, out=out, total_stride=total_stride)), stride=stride, reverse=reverse)


def _space_to_depth(section: Section, given: Layer, _: Sequence[LayerPlan]) -> SpaceToDepth:
    stride = section.integer("stride", 1, low=1, high=MAX_KERNEL)
    channels, height, width = given.out
    if height % stride or width % stride:
        raise section.error("stride", f"stride={stride} does not divide its input of {given.out}.")
    out = Shape(channels * stride**2, height // stride, width // stride)
    return SpaceToDepth(
        **vars(replace(given, out=out, total_stride=given.total_stride * stride)), stride=stride
    )


def _dropout(section: Section, given: Layer, _: Sequence[LayerPlan]) -> Dropout:
    probability = section.number("probability", 0.5)
    if not 0 <= probability < 1:
        raise section.error(
            "probability", f"expected a probability of at least 0 and below 1, found {probability:g}."
        )
    return Dropout(**vars(given), probability=probability)


def _softmax(section: Section, given: Layer, _: Sequence[LayerPlan]) -> Softmax:
    groups = section.integer("groups", 1, low=1, high=MAX_FILTERS)
    temperature = section.number("temperature", 1)
    if given.out.elements % groups:
        raise section.error("groups", f"groups={groups} does not divide its {given.out.elements} inputs.")
    if temperature <= 0:
        raise section.error("temperature", f"expected a temperature above 0, found {temperature:g}.")
    tree = section.text("tree")
    if tree and given.out[1:] != (1, 1):
        raise section.error(
            "tree", f"a tree needs an input of 1×1 cells, found {given.out}; put [avgpool] before it."
        )
    return Softmax(**vars(given), groups=groups, temperature=temperature, tree=tree)


def _cost(_section: Section, given: Layer, _: Sequence[LayerPlan]) -> Cost:
    return Cost(**vars(given))


def _region(section: Section, given: Layer, _: Sequence[LayerPlan]) -> Region:
    num, classes = (
        section.integer(key, default, low=1, high=MAX_FILTERS)
        for key, default in (("num", 1), ("classes", 20))
    )
    if section.integer("coords", 4, low=-(2**31), high=2**31 - 1) != 4:
        raise section.error("coords", "only coords=4 is supported.")
    if given.out.channels != num * (5 + classes):
        raise section.error(
            "num" if "num" in section.options else None,
            f"num={num} and classes={classes} need {num} × (5 + {classes}) = {num * (5 + classes)} input channels, "
            f"found {given.out.channels}.",
        )
    return Region(
        **vars(given),
        anchors=_anchors(section, num),
        classes=classes,
        softmax=section.flag("softmax"),
        tree=section.text("tree"),
        map=section.text("map"),
        bias_match=section.flag("bias_match"),
        rescore=section.flag("rescore"),
        thresh=section.number("thresh", 0.5),
        object_scale=section.number("object_scale", 1),
        noobject_scale=section.number("noobject_scale", 1),
        class_scale=section.number("class_scale", 1),
        coord_scale=section.number("coord_scale", 1),
        jitter=section.number("jitter", 0.2),
        random=section.flag("random"),
    )


def _anchors(section: Section, num: int) -> tuple[tuple[float, float], ...]:
    sizes = section.numbers("anchors") or (0.5,) * (2 * num)
    if len(sizes) != 2 * num:
        raise section.error("anchors", f"num={num} needs {2 * num} numbers in anchors, found {len(sizes)}.")
    if min(sizes) <= 0:
        raise section.error("anchors", f"expected anchor sizes above 0 cells, found {min(sizes):g}.")
    return tuple(zip(sizes[::2], sizes[1::2], strict=True))


# Each reader takes the section, the fields of the layer with the shape and stride of its input as those of its output,
# and all layers before it.
_READERS: dict[str, Callable[[Section, Layer, Sequence[LayerPlan]], LayerPlan]] = {
    "convolutional": _convolution,
    "maxpool": _maxpool,
    "avgpool": _avgpool,
    "route": _route,
    "reorg": _reorg,
    "reorg3d": _space_to_depth,
    "dropout": _dropout,
    "softmax": _softmax,
    "region": _region,
    "cost": _cost,
}
