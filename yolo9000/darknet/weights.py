"""`.weights` files, read and written byte for byte (parser.c: load_weights, save_weights).

A file has a header (three int32 and the number of images seen) and float32 values for each convolution in the order
of the cfg: biases; with batch norm also scales, means and variances; weights. Everything is little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wordtree.support.arrays import Float32Array
from wordtree.support.files import write_atomically
from yolo9000.darknet.options import DarknetError
from yolo9000.darknet.plan import Convolution, LayerPlan, NetworkPlan

LayerWeights = dict[str, Float32Array]
"""One convolution: biases, scales, means, variances (filters,), weights (filters, channels / groups, size, size)."""


@dataclass(frozen=True)
class Header:
    """Format version, and number of images seen in training."""

    major: int = 0
    minor: int = 2
    revision: int = 0
    seen: int = 0

    @property
    def is_wide(self) -> bool:
        """Whether the file stores `seen` in 64 bits."""
        return 10 * self.major + self.minor >= 2 and self.major < 1000 and self.minor < 1000

    @property
    def size(self) -> int:
        """Length of the header in bytes."""
        return 20 if self.is_wide else 16

    def to_bytes(self) -> bytes:
        version = struct.pack("<iii", self.major, self.minor, self.revision)
        if self.is_wide:
            return version + struct.pack("<Q", min(self.seen, 2**64 - 1))
        return version + struct.pack("<I", min(self.seen, 2**32 - 1))


@dataclass(frozen=True)
class Weights:
    """The content of a `.weights` file: the weights of each convolution, by layer index."""

    header: Header
    layers: Mapping[int, LayerWeights]


def read_header(path: Path) -> Header:
    """The header of a `.weights` file; DarknetError if it is missing or too short."""
    if not path.is_file():
        raise DarknetError(f"{path}: no such file.")
    with path.open("rb") as file:
        start = file.read(20)
    if len(start) < 16:
        raise DarknetError(
            f"{path}: expected a Darknet weights file with a header of 16 or 20 bytes, found {len(start)} bytes."
        )
    header = Header(*struct.unpack_from("<iii", start))
    if header.is_wide and len(start) < 20:
        raise DarknetError(f"{path}: expected a header of 20 bytes, found a file of {len(start)} bytes.")
    (seen,) = struct.unpack_from("<Q" if header.is_wide else "<I", start, 12)
    return Header(header.major, header.minor, header.revision, seen)


def read_weights(path: Path, plan: NetworkPlan, *, layers: int | None = None) -> Weights:
    """Weights of a network, as views of the file.

    layers: number of layers to read, from the first; the file may be longer (darknet19_448.conv.23 has 23). None: all.
    Raises DarknetError, with layer and byte counts, if the file is shorter or longer than the network.
    """
    return read_layers(path, plan.layers[:layers], plan.source, whole=layers is None)


def read_layers(path: Path, layers: Sequence[LayerPlan], source: str, *, whole: bool) -> Weights:
    """Weights of the given layers.

    source: the network as error messages name it. whole: whether the file must end with these layers.
    """
    header = read_header(path)
    convolutions = [layer for layer in layers if isinstance(layer, Convolution)]
    _check_length(path, convolutions, source, header, whole=whole)
    count = sum(layer.weight_count for layer in convolutions)
    if not count:
        return Weights(header, {})
    body = np.memmap(path, dtype="<f4", mode="r", offset=header.size, shape=(count,))
    found, at = {}, 0
    for layer in convolutions:
        found[layer.index] = _arrays(layer, body[at : at + layer.weight_count])
        at += layer.weight_count
    return Weights(header, found)


def write_weights(path: Path, plan: NetworkPlan, weights: Weights) -> None:
    """Write the file atomically."""
    pieces: list[bytes | memoryview] = [weights.header.to_bytes()]
    for layer in plan.convolutions:
        pieces += _file_order(layer, weights.layers[layer.index])
    write_atomically(path, b"".join(pieces))


def _check_length(
    path: Path, convolutions: Sequence[Convolution], source: str, header: Header, *, whole: bool
) -> None:
    found, at = path.stat().st_size, header.size
    for layer in convolutions:
        end = at + 4 * layer.weight_count
        if found < end:
            raise DarknetError(_too_short(path, source, layer, at, end, found))
        at = end
    if found > at and whole:
        last = f"the end of layer {convolutions[-1].index}" if convolutions else "no convolution"
        raise DarknetError(
            f"{path}: expected {at} bytes for {source} ({last}), found {found}. The file belongs to another network."
        )


def _too_short(path: Path, source: str, layer: Convolution, at: int, end: int, found: int) -> str:
    name = f"layer {layer.index} ([convolutional], {source} line {layer.line})"
    if found > at:
        return (
            f"{path}: the file ends inside {name}: expected bytes {at} to {end}, found {found} bytes. "
            "It is truncated or belongs to another network."
        )
    return (
        f"{path}: the file ends before {name}: expected bytes {at} to {end}, found {found} bytes. "
        f"If it is a backbone file, read only its layers (--layers {layer.index})."
    )


def _array_names(layer: Convolution) -> Iterator[str]:
    yield "biases"
    if layer.batch_normalize:
        yield from ("scales", "means", "variances")


def _arrays(layer: Convolution, values: Float32Array) -> LayerWeights:
    """Split the values of one layer into its arrays."""
    arrays = {
        name: values[k * layer.filters :][: layer.filters] for k, name in enumerate(_array_names(layer))
    }
    shape = (layer.filters, layer.channels // layer.groups, layer.size, layer.size)
    weights = values[len(arrays) * layer.filters :]
    if layer.flipped:
        weights = weights.reshape(-1, layer.filters).T
    return {**arrays, "weights": weights.reshape(shape)}


def _file_order(layer: Convolution, arrays: LayerWeights) -> list[memoryview]:
    """The arrays of one layer in the order and layout of the file."""
    weights = arrays["weights"].reshape(layer.filters, -1)
    ordered = [*(arrays[name] for name in _array_names(layer)), weights.T if layer.flipped else weights]
    return [np.ascontiguousarray(array, dtype="<f4").data for array in ordered]
