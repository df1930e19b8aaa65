"""A slow twin of Darknet's networks in test mode, in plain NumPy and float64, as loops over windows.

Written from Darknet's documented behaviour, without code of the packages. `tests/golden/make_darknet_nets.py` makes the
committed networks with this twin; `tests/yolo9000/models/test_darknet_network.py` compares it with Darknet's own
numbers if they are available. Arrays are (channel, row, column).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[Any]
Options = dict[str, str]

ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "linear": lambda x: x,
    "leaky": lambda x: np.where(x > 0, x, 0.1 * x),
    "relie": lambda x: np.where(x > 0, x, 0.01 * x),
    "relu": lambda x: np.where(x > 0, x, 0),
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "elu": lambda x: np.where(x >= 0, x, np.exp(x) - 1),
    "hardtan": lambda x: np.clip(x, -1, 1),
}


def read_cfg(text: str) -> list[tuple[str, Options]]:
    """The sections, each with its options."""
    sections: list[tuple[str, Options]] = []
    for line in text.splitlines():
        line = line.replace(" ", "").replace("\t", "")
        if line.startswith("["):
            sections.append((line, {}))
        elif line and line[0] not in "#;":
            key, value = line.split("=")
            sections[-1][1].setdefault(key, value)
    return sections


class Numbers:
    """The float32 numbers of a `.weights` file, read in order."""

    def __init__(self, content: bytes) -> None:
        major, minor, _ = struct.unpack_from("<iii", content)
        is_wide = major * 10 + minor >= 2
        self.seen = struct.unpack_from("<Q" if is_wide else "<I", content, 12)[0]
        self.values = np.frombuffer(content, "<f4", offset=20 if is_wide else 16).astype(np.float64)

    def take(self, *shape: int) -> Floats:
        count = int(np.prod(shape))
        values, self.values = self.values[:count], self.values[count:]
        assert len(values) == count
        return values.reshape(shape)


def all_outputs(cfg: str, weights: bytes, image: Floats, parents: list[int] | None = None) -> list[Floats]:
    """The output of each layer for one image; parents: of the tree of a softmax or region layer."""
    numbers, outputs = Numbers(weights), list[Floats]()
    x = image.astype(np.float64)
    for index, (name, options) in enumerate(read_cfg(cfg)[1:]):
        if name == "[convolutional]":
            x = convolution(x, options, numbers)
        elif name == "[maxpool]":
            x = maxpool(x, options)
        elif name == "[route]":
            sources = [int(number) for number in options["layers"].split(",")]
            x = np.concatenate([outputs[index + k if k < 0 else k] for k in sources])
        elif name == "[reorg]":
            x = reorg(x, int(options.get("stride", 1)), reverse=options.get("reverse", "0") != "0")
        elif name == "[reorg3d]":
            x = space_to_depth(x, int(options["stride"]))
        elif name == "[avgpool]":
            x = x.mean(axis=(1, 2), keepdims=True)
        elif name == "[softmax]":
            x = softmax_layer(x, options, parents)
        elif name == "[region]":
            x = region(x, options, parents)
        else:
            assert name in ("[dropout]", "[cost]")
        outputs.append(x)
    assert not len(numbers.values)
    return outputs


def convolution(x: Floats, options: Options, numbers: Numbers) -> Floats:
    size, stride, filters, groups = (
        int(options.get(key, 1)) for key in ("size", "stride", "filters", "groups")
    )
    padding = size // 2 if options.get("pad", "0") != "0" else int(options.get("padding", 0))
    biases, normalised = numbers.take(filters), options.get("batch_normalize", "0") != "0"
    scales, means, variances = (numbers.take(filters) for _ in range(3)) if normalised else (1, 0, 1)
    channels, height, width = x.shape[0] // groups, *x.shape[1:]
    if options.get("flipped", "0") != "0":
        kernels = numbers.take(channels * size * size, filters).T.reshape(filters, channels, size, size)
    else:
        kernels = numbers.take(filters, channels, size, size)
    padded = np.zeros((x.shape[0], height + 2 * padding, width + 2 * padding))
    padded[:, padding : padding + height, padding : padding + width] = x
    rows, columns = ((side + 2 * padding - size) // stride + 1 for side in (height, width))
    out = np.empty((filters, rows, columns))
    for k in range(filters):
        first = k // (filters // groups) * channels
        for j in range(rows):
            for i in range(columns):
                window = padded[first : first + channels, j * stride :, i * stride :][:, :size, :size]
                out[k, j, i] = (window * kernels[k]).sum()
    if normalised:
        deviation = np.sqrt(variances) + 1e-6  # Darknet on a CPU
        out = (out - means[:, None, None]) / deviation[:, None, None] * scales[:, None, None]
    return ACTIVATIONS[options.get("activation", "logistic")](out + biases[:, None, None])


def maxpool(x: Floats, options: Options) -> Floats:
    stride = int(options.get("stride", 1))
    size = int(options.get("size", stride))
    padding = int(options.get("padding", size - 1))
    channels, height, width = x.shape
    rows, columns = ((side + padding - size) // stride + 1 for side in (height, width))
    out = np.full((channels, rows, columns), -np.inf)
    for j in range(rows):
        for i in range(columns):
            for y in range(j * stride - padding // 2, j * stride - padding // 2 + size):
                for z in range(i * stride - padding // 2, i * stride - padding // 2 + size):
                    if 0 <= y < height and 0 <= z < width:
                        out[:, j, i] = np.maximum(out[:, j, i], x[:, y, z])
    return out


def reorg(x: Floats, s: int, *, reverse: bool) -> Floats:
    """Reads the memory as an image of fewer and larger channels; the result is one of more and smaller channels."""
    channels, height, width = x.shape
    if reverse:
        deep = np.empty((channels // s**2, height * s, width * s)).reshape(-1)
        wide = deep.reshape(channels // s**2, height * s, width * s)
        source = x.reshape(-1).reshape(channels, height, width)
        for k in range(channels):
            offset, k2 = divmod(k, channels // s**2)
            for j in range(height):
                for i in range(width):
                    wide[k2, j * s + offset // s, i * s + offset % s] = source[k, j, i]
        return wide
    wide = x.reshape(channels // s**2, height * s, width * s)
    deep = np.empty((channels, height, width))
    for k in range(channels):
        offset, k2 = divmod(k, channels // s**2)
        for j in range(height):
            for i in range(width):
                deep[k, j, i] = wide[k2, j * s + offset // s, i * s + offset % s]
    return deep.reshape(channels * s**2, height // s, width // s)


def space_to_depth(x: Floats, s: int) -> Floats:
    return np.concatenate([x[:, y::s, z::s] for y in range(s) for z in range(s)])


def softmax(logits: Floats) -> Floats:
    """Softmax over the first dimension."""
    powers = np.exp(logits - logits.max(axis=0))
    return powers / powers.sum(axis=0)


def by_group(logits: Floats, parents: list[int]) -> Floats:
    """A softmax over each run of nodes with one parent."""
    starts = [node for node, parent in enumerate(parents) if not node or parent != parents[node - 1]]
    pairs = zip(starts, [*starts[1:], len(parents)], strict=True)
    return np.concatenate([softmax(logits[start:end]) for start, end in pairs])


def softmax_layer(x: Floats, options: Options, parents: list[int] | None) -> Floats:
    logits = x.reshape(-1) / float(options.get("temperature", 1))
    if "tree" in options:
        assert parents is not None
        return by_group(logits, parents).reshape(x.shape)
    parts = np.split(logits, int(options.get("groups", 1)))
    return np.concatenate([softmax(part) for part in parts]).reshape(x.shape)


def region(x: Floats, options: Options, parents: list[int] | None) -> Floats:
    anchors = np.split(x, int(options["num"]))
    return np.concatenate([_anchor_output(entries, options, parents) for entries in anchors])


def _anchor_output(entries: Floats, options: Options, parents: list[int] | None) -> Floats:
    logistic, logits = ACTIVATIONS["logistic"], entries[5:]
    if "tree" in options:
        assert parents is not None
        classes = by_group(logits, parents)
    else:
        classes = softmax(logits) if options.get("softmax", "0") != "0" else logistic(logits)
    return np.concatenate([logistic(entries[:2]), entries[2:4], logistic(entries[4:5]), classes])
