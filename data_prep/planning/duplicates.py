"""Images with equal bytes: leaks between splits, copies in several sources, repeats within one source.

Only images of equal size (in shards: of equal size and checksum) are read and hashed; no others can be equal.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

import numpy as np

from data_prep.dataset.index import TRAIN_SPLIT
from data_prep.shards.catalogue import Catalogue
from data_prep.shards.decoding import ImageError
from data_prep.shards.image_files import read_image_file
from wordtree.support.arrays import Int32Array, Int64Array, IntegerArray, UInt64Array

Digests = UInt64Array  # (n, 2): 128 bits for each image
Progress = Callable[[int], None]

DuplicateKind = Literal["in several splits", "in several sources", "within one source"]
IN_SEVERAL_SPLITS: DuplicateKind = "in several splits"
IN_SEVERAL_SOURCES: DuplicateKind = "in several sources"
WITHIN_ONE_SOURCE: DuplicateKind = "within one source"
KINDS = (IN_SEVERAL_SPLITS, IN_SEVERAL_SOURCES, WITHIN_ONE_SOURCE)
_CHUNK = 256  # images that a thread hashes between two reports of progress


@dataclass(frozen=True)
class Origins:
    """Source and split of each image, as rows of the tables of names; (n,) each."""

    source: Int32Array
    split: Int32Array
    split_names: tuple[str, ...]


@dataclass(frozen=True)
class EqualImages:
    """Two or more images with equal bytes, by ascending number.

    kept: the image to keep if the others are dropped: one outside the training split, as no test image may be
        trained on, or else the first.
    """

    images: tuple[int, ...]
    kind: DuplicateKind
    kept: int


@dataclass(frozen=True)
class PlannedDuplicates:
    """The result of `plan --hash`; unreadable: the number of images that could not be read."""

    groups: tuple[EqualImages, ...]
    unreadable: int


def may_be_equal(*keys: IntegerArray) -> Int64Array:
    """The rows that agree with another row in all keys, ascending."""
    order = np.lexsort(keys)
    same = np.ones(max(len(order) - 1, 0), dtype=np.bool_)
    for key in keys:
        same &= np.diff(key[order]) == 0
    is_repeated = np.concatenate([[False], same]) | np.concatenate([same, [False]])
    return np.sort(order[is_repeated[: len(order)]])


def equal_images(images: Int64Array, digests: Digests, origins: Origins) -> tuple[EqualImages, ...]:
    """The groups of equal images, ordered by their first images; digests: the hash of each of the images."""
    order = np.lexsort((images, digests[:, 1], digests[:, 0]))
    starts = np.flatnonzero((np.diff(digests[order], axis=0) != 0).any(axis=1)) + 1
    groups = (group.tolist() for group in np.split(images[order], starts) if len(group) > 1)
    return tuple(_equal_group(group, origins) for group in sorted(groups))


def find_planned_duplicates(
    images: Catalogue, origins: Origins, *, threads: int = 1, progress: Progress | None = None
) -> PlannedDuplicates:
    """The groups of equal images in a plan; progress receives the number of further images done."""
    candidates = may_be_equal(images["size_bytes"])
    digests = np.zeros((len(candidates), 2), dtype=np.uint64)
    is_read = np.zeros(len(candidates), dtype=np.bool_)

    def hash_from(start: int) -> int:
        end = min(start + _CHUNK, len(candidates))
        for row in range(start, end):
            try:
                digests[row] = digest_of(read_image_file(images.file(int(candidates[row]))))
                is_read[row] = True
            except ImageError:  # the merge will count it
                continue
        return end - start

    if progress is not None:
        progress(len(images) - len(candidates))
    with ThreadPoolExecutor(threads) as pool:
        for hashed in pool.map(hash_from, range(0, len(candidates), _CHUNK)):
            if progress is not None:
                progress(hashed)
    groups = equal_images(candidates[is_read], digests[is_read], origins)
    return PlannedDuplicates(groups, int((~is_read).sum()))


def _equal_group(group: list[int], origins: Origins) -> EqualImages:
    splits, sources = origins.split[group].tolist(), origins.source[group].tolist()
    kind = (
        IN_SEVERAL_SPLITS
        if len(set(splits)) > 1
        else IN_SEVERAL_SOURCES
        if len(set(sources)) > 1
        else WITHIN_ONE_SOURCE
    )
    not_in_training = [
        image for image, split in zip(group, splits, strict=True) if origins.split_names[split] != TRAIN_SPLIT
    ]
    return EqualImages(tuple(group), kind, not_in_training[0] if not_in_training else group[0])


def digest_of(data: bytes) -> UInt64Array:
    """A hash of 128 bits, (2,)."""
    return np.frombuffer(blake2b(data, digest_size=16).digest(), dtype=np.uint64)
