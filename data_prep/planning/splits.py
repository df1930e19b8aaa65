"""The split of each image: fixed for its source, or drawn by a hash of seed and name alone.

A source with splits of its own has them in the names of its images: the first folder (val/images/a.jpg).

The draw depends neither on the order nor on other images, so a new image does not change the split of any other
image. A name in two sources with equal shares is drawn into the same split.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path

import numpy as np

from data_prep.shards.format import Arrays
from data_prep.shards.source_ids import SourceIds, read_source_ids
from data_prep.shards.writer import ShardResult
from wordtree.support.arrays import Int32Array


def split_names(shares: Iterable[Mapping[str, float]]) -> tuple[str, ...]:
    """The names of the splits of several sources, each once, in the order of the sources."""
    return tuple(dict.fromkeys(name for of_source in shares for name in of_source))


def draw_splits(source_ids: Iterable[bytes], shares: Mapping[str, float], seed: int) -> Int32Array:
    """The split of each image, as its number among `shares`, which sum to 1; (n,)."""
    key, ends = blake2b(str(seed).encode()).digest(), np.cumsum(list(shares.values()))
    hashes = (blake2b(source_id, digest_size=8, key=key).digest() for source_id in source_ids)
    numbers = np.fromiter((int.from_bytes(digest, "little") for digest in hashes), dtype=np.uint64)
    return np.minimum(np.searchsorted(ends, numbers / 2.0**64, side="right"), len(ends) - 1).astype(np.int32)


def image_splits(
    image_source: Int32Array,
    source_id_at: Callable[[int], bytes],
    shares: Sequence[Mapping[str, float]],
    seed: int,
) -> Int32Array:
    """The split of each image, as a row of `split_names(shares)`; (n,).

    source_id_at: a function that returns the name of an image in its source, in UTF-8.
    shares: the shares of the splits, for each source; shares of 0: the first folder in the name is the split.
    """
    names = split_names(shares)
    splits = np.empty(len(image_source), dtype=np.int32)
    for source, own in enumerate(shares):
        images = np.flatnonzero(image_source == source)
        rows = np.array([names.index(name) for name in own], dtype=np.int32)
        if len(own) == 1:
            splits[images] = rows[0]
        elif not any(own.values()):
            row_of = {name.encode(): names.index(name) for name in own}
            splits[images] = [row_of[source_id_at(int(image)).partition(b"/")[0]] for image in images]
        else:
            source_ids = (source_id_at(int(image)) for image in images)
            splits[images] = rows[draw_splits(source_ids, own, seed)]
    return splits


def stored_splits(
    columns: Arrays,
    folder: Path,
    shards: Sequence[ShardResult],
    shares: Sequence[Mapping[str, float]],
    seed: int,
) -> Int32Array:
    """The split of each image of an index, (n,); reads the names from the shards if splits are drawn.

    columns: image_source, image_shard and image_place, in the order of the shards.
    """
    source = columns["image_source"]
    ends = np.cumsum(np.bincount(columns["image_shard"], minlength=len(shards)))
    if all(len(own) == 1 for own in shares):
        return image_splits(source, lambda _: b"", shares, seed)
    pieces, first = [np.empty(0, dtype=np.int32)], 0
    for shard, end in zip(shards, ends.tolist(), strict=True):
        if end > first:
            path = folder / shard.name
            source_ids = read_source_ids(path, path, shard)
            name_at = partial(_name_at, source_ids, columns["image_place"][first:end])
            pieces.append(image_splits(source[first:end], name_at, shares, seed))
        first = end
    return np.concatenate(pieces)


def _name_at(source_ids: SourceIds, image_in_shard: Int32Array, image: int) -> bytes:
    return source_ids[image_in_shard[image]]
