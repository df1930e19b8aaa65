"""Which split an image belongs to: told by its source, or drawn by a hash of seed and name alone.

So neither the order nor the other images matter: an image that is added moves no other one, and the same name in
two sources is drawn alike, as long as their shares are.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path

import numpy as np

from data_prep.shards.format import Arrays
from data_prep.shards.source_ids import SourceIds, read_source_ids
from wordtree.support.arrays import Int32Array


def split_names(shares: Iterable[Mapping[str, float]]) -> tuple[str, ...]:
    """The names of the splits of several sources, each once, in their order."""
    return tuple(dict.fromkeys(name for of_source in shares for name in of_source))


def draw_splits(source_ids: Iterable[bytes], shares: Mapping[str, float], seed: int) -> Int32Array:
    """(n,) for each image the number of its split among `shares`, which sum to 1."""
    key, ends = blake2b(str(seed).encode()).digest(), np.cumsum(list(shares.values()))
    hashes = (blake2b(source_id, digest_size=8, key=key).digest() for source_id in source_ids)
    numbers = np.fromiter((int.from_bytes(one, "little") for one in hashes), dtype=np.uint64)
    return np.minimum(np.searchsorted(ends, numbers / 2.0**64, side="right"), len(ends) - 1).astype(np.int32)


def image_splits(
    image_source: Int32Array,
    source_id_at: Callable[[int], bytes],
    shares: Sequence[Mapping[str, float]],
    seed: int,
) -> Int32Array:
    """(n,) for each image the row of its split in `split_names(shares)`.

    source_id_at: the name of an image in its source, UTF-8; shares: those of each source.
    """
    names = split_names(shares)
    splits = np.empty(len(image_source), dtype=np.int32)
    for source, own in enumerate(shares):
        images = np.flatnonzero(image_source == source)
        rows = np.array([names.index(name) for name in own], dtype=np.int32)
        if len(own) == 1:
            splits[images] = rows[0]
        else:
            source_ids = (source_id_at(int(image)) for image in images)
            splits[images] = rows[draw_splits(source_ids, own, seed)]
    return splits


def stored_splits(
    columns: Arrays, shards: Sequence[Path], shares: Sequence[Mapping[str, float]], seed: int
) -> Int32Array:
    """(n,) likewise for the images of an index; their names are read from the shards, where any are drawn.

    columns: image_source, image_shard and image_place, in the order of the shards.
    """
    source, ends = (
        columns["image_source"],
        np.cumsum(np.bincount(columns["image_shard"], minlength=len(shards))),
    )
    if all(len(own) == 1 for own in shares):
        return image_splits(source, lambda _: b"", shares, seed)
    pieces, first = [np.empty(0, dtype=np.int32)], 0
    for path, end in zip(shards, ends.tolist(), strict=True):
        if end > first:
            name_at = partial(_name_at, read_source_ids(path, path), columns["image_place"][first:end])
            pieces.append(image_splits(source[first:end], name_at, shares, seed))
        first = end
    return np.concatenate(pieces)


def _name_at(source_ids: SourceIds, places: Int32Array, image: int) -> bytes:
    return source_ids[places[image]]
