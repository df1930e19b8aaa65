"""`.weights` files, read and written byte for byte (parser.c: load_weights, save_weights).

A file is a header (three int32, and how many images were seen) and the float32 numbers of each convolution in the order
of the cfg: biases; with batch norm scales, means and variances; weights. Everything is little-endian.
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

Numbers = dict[str, Float32Array]
"""Of one convolution: biases, scales, means, variances (filters,), weights (filters, channels / groups, size, size)."""


@dataclass(frozen=True)
class Header:
    """Version of the format, and images seen in training."""

    major: int = 0
    minor: int = 2
    revision: int = 0
    seen: int = 0

    @property
    def is_wide(self) -> bool:
        """Whether `seen` has 64 bits in the file."""
        return 10 * self.major + self.minor >= 2 and self.major < 1000 and self.minor < 1000

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return 20 if self.is_wide else 16

    def to_bytes(self) -> bytes:
        version = struct.pack("<iii", self.major, self.minor, self.revision)
        if self.is_wide:
            return version + struct.pack("<Q", min(self.seen, 2**64 - 1))
        return version + struct.pack("<I", min(self.seen, 2**32 - 1))


@dataclass(frozen=True)
class Weights:
    """The content of a `.weights` file: the numbers of each convolution by its layer's index."""

    header: Header
    layers: Mapping[int, Numbers]


def read_header(path: Path) -> Header:
    """The header of a `.weights` file; DarknetError if it is none."""
    if not path.is_file():
        raise DarknetError(f"{path}: no such file.")
    with path.open("rb") as file:
        start = file.read(20)
    if len(start) < 16:
        raise DarknetError(
            f"{path}: expected a Darknet weights file, found {len(start)} bytes; its header has 16 or 20."
        )
    header = Header(*struct.unpack_from("<iii", start))
    if header.is_wide and len(start) < 20:
        raise DarknetError(f"{path}: expected a header of 20 bytes, found a file of {len(start)}.")
    (seen,) = struct.unpack_from("<Q" if header.is_wide else "<I", start, 12)
    return Header(header.major, header.minor, header.revision, seen)


def read_weights(path: Path, plan: NetworkPlan, *, layers: int | None = None) -> Weights:
    """The numbers that a file holds for a network, as views of the file.

    layers: only those of the first so many layers; the file may go on after them, or end (darknet19_448.conv.23).
    DarknetError, with the layer and byte counts, for a file that is shorter or longer than the network.
    """
    return read_layers(path, plan.layers[:layers], plan.place, whole=layers is None)


def read_layers(path: Path, layers: Sequence[LayerPlan], place: str, *, whole: bool) -> Weights:
    """The same for any layers; whole: the file ends with them. place: what errors call their network."""
    header = read_header(path)
    asked = [layer for layer in layers if isinstance(layer, Convolution)]
    _check_length(path, asked, place, header, whole=whole)
    count = sum(layer.numbers for layer in asked)
    if not count:
        return Weights(header, {})
    body = np.memmap(path, dtype="<f4", mode="r", offset=header.size, shape=(count,))
    found, at = {}, 0
    for layer in asked:
        found[layer.index] = _parts(layer, body[at : at + layer.numbers])
        at += layer.numbers
    return Weights(header, found)


def write_weights(path: Path, plan: NetworkPlan, weights: Weights) -> None:
    """Write the whole file or nothing."""
    pieces: list[bytes | memoryview] = [weights.header.to_bytes()]
    for layer in plan.convolutions:
        pieces += _laid_out(layer, weights.layers[layer.index])
    write_atomically(path, b"".join(pieces))


def _check_length(
    path: Path, asked: Sequence[Convolution], place: str, header: Header, *, whole: bool
) -> None:
    found, at = path.stat().st_size, header.size
    for layer in asked:
        end = at + 4 * layer.numbers
        if found < end:
            raise DarknetError(_too_short(path, place, layer, at, end, found))
        at = end
    if found > at and whole:
        last = f"layer {asked[-1].index} ends there" if asked else "it has no convolution"
        raise DarknetError(
            f"{path}: longer than {place} asks for: expected {at} bytes ({last}), found {found}. "
            "It belongs to another network."
        )


def _too_short(path: Path, place: str, layer: Convolution, at: int, end: int, found: int) -> str:
    name = f"layer {layer.index} ([convolutional], {place} line {layer.line})"
    if found > at:
        return (
            f"{path}: ends inside {name}: that layer needs bytes {at} to {end}, the file has {found}. "
            "It is cut short or belongs to another network."
        )
    return (
        f"{path}: ends before {name}: that layer needs bytes {at} to {end}, the file has {found}. "
        f"If it is a backbone file, ask for its layers only (--layers {layer.index})."
    )


def _part_names(layer: Convolution) -> Iterator[str]:
    yield "biases"
    if layer.batch_normalize:
        yield from ("scales", "means", "variances")


def _parts(layer: Convolution, numbers: Float32Array) -> Numbers:
    """The parts of a layer's stretch of the file."""
    parts = {name: numbers[k * layer.filters :][: layer.filters] for k, name in enumerate(_part_names(layer))}
    shape = (layer.filters, layer.channels // layer.groups, layer.size, layer.size)
    weights = numbers[len(parts) * layer.filters :]
    if layer.flipped:
        weights = weights.reshape(-1, layer.filters).T
    return {**parts, "weights": weights.reshape(shape)}


def _laid_out(layer: Convolution, numbers: Numbers) -> list[memoryview]:
    """The parts in the order and form of the file."""
    weights = numbers["weights"].reshape(layer.filters, -1)
    ordered = [*(numbers[name] for name in _part_names(layer)), weights.T if layer.flipped else weights]
    return [np.ascontiguousarray(part, dtype="<f4").data for part in ordered]
