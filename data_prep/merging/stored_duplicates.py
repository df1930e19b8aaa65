"""Equal images in finished shards: a merge stops, keeps them, or leaves the surplus ones out of its index.

The shards have the checksum and size of each image, so a resumed merge finds equal images without reading all of
them.
"""

import csv
import io
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from data_prep.errors import MergeError
from data_prep.planning.duplicates import (
    IN_SEVERAL_SPLITS,
    WITHIN_ONE_SOURCE,
    EqualImages,
    Origins,
    digest_of,
    equal_images,
    may_be_equal,
)
from data_prep.planning.left_out import require_own_list
from data_prep.shards.format import Arrays, ShardError
from data_prep.shards.source_ids import read_source_ids
from data_prep.shards.writer import ShardResult
from wordtree.support.arrays import Int64Array
from wordtree.support.csv_cells import csv_cells
from wordtree.support.files import write_atomically

DUPLICATES_NAME = "duplicates.csv"
DUPLICATES_HEADER = ("group", "kind", "split", "source", "source_id", "in_index")
KEPT, LEFT_OUT = "image equal to another one (kept)", "image equal to another one (left out of the index)"
_SHOWN_GROUPS = 3  # in a message; the list has all


@dataclass(frozen=True)
class StoredImages:
    """All images of the finished shards in a folder: columns as in an index, names of the sources."""

    columns: Arrays
    folder: Path
    shards: Sequence[ShardResult]
    origins: Origins
    sources: Sequence[str]


@dataclass(frozen=True)
class KeptImages:
    """The images that the index lists, and per source how many images equal another one."""

    images: Int64Array
    counts: tuple[Counter[str], ...]


def resolve_duplicates(stored: StoredImages, rule: Literal["stop", "keep", "drop"]) -> KeptImages:
    """Find equal images, write their list into the folder, and apply the rule.

    Raises MergeError if the rule is "stop" and equal images are in several splits or sources.
    """
    groups = find_stored_duplicates(stored)
    surplus = np.array(
        sorted(image for group in groups for image in group.images if image != group.kept), dtype=np.int64
    )
    left_out = surplus if rule == "drop" else surplus[:0]
    _write_list(stored.folder / DUPLICATES_NAME, groups, stored, set(left_out.tolist()))
    between = [group for group in groups if group.kind != WITHIN_ONE_SOURCE]
    if between and rule == "stop":
        raise MergeError(_stop_text(between, stored))
    counts = [Counter[str]() for _ in stored.sources]
    for source in stored.origins.source[surplus].tolist():
        counts[source][LEFT_OUT if rule == "drop" else KEPT] += 1
    return KeptImages(np.setdiff1d(np.arange(len(stored.origins.source)), left_out), tuple(counts))


def find_stored_duplicates(stored: StoredImages) -> tuple[EqualImages, ...]:
    """Groups of equal images; only images whose size and checksum occur twice are read."""
    candidates = may_be_equal(stored.columns["picture_crc32"], stored.columns["picture_size"])
    digests = [digest_of(data) for data in _images(stored, candidates)]
    return equal_images(candidates, np.array(digests, dtype=np.uint64).reshape(-1, 2), stored.origins)


def _images(stored: StoredImages, images: Int64Array) -> Iterator[bytes]:
    """The bytes of each image, compared with their checksum; the numbers of the images ascend."""
    columns, shards = stored.columns, stored.columns["image_shard"][images]
    for shard in np.unique(shards).tolist():
        path = stored.folder / stored.shards[shard].name
        with path.open("rb", buffering=0) as file:
            for image in images[shards == shard].tolist():
                size = int(columns["picture_size"][image])
                data = os.pread(file.fileno(), size, int(columns["picture_start"][image]))
                if len(data) != size or zlib.crc32(data) != columns["picture_crc32"][image]:
                    raise ShardError(f"{path}: one of its images is damaged; delete it and merge again.")
                yield data


def _write_list(path: Path, groups: Sequence[EqualImages], stored: StoredImages, left_out: set[int]) -> None:
    """Write a row for each image; without equal images, delete the list of an earlier merge."""
    require_own_list(path, DUPLICATES_HEADER)
    if not groups:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(DUPLICATES_HEADER)
    names = _names(stored, [image for group in groups for image in group.images])
    for number, group in enumerate(groups, start=1):
        for image in group.images:
            is_listed = "no" if image in left_out else "yes"
            rows.writerow(csv_cells((number, group.kind, *names[image], is_listed)))
    write_atomically(path, text.getvalue())


def _stop_text(groups: Sequence[EqualImages], stored: StoredImages) -> str:
    shown = groups[:_SHOWN_GROUPS]
    names = _names(stored, [image for group in shown for image in group.images])
    texts = []
    for group in shown:
        rows = (names[image] for image in group.images)
        texts.append(" = ".join(f"{source} {source_id} ({split})" for split, source, source_id in rows))
    more = f"; and {len(groups) - _SHOWN_GROUPS} more" if len(groups) > _SHOWN_GROUPS else ""
    leaks = sum(group.kind == IN_SEVERAL_SPLITS for group in groups)
    return (
        f"Found equal images in several splits ({leaks}) or several sources ({len(groups) - leaks}): "
        f"{'; '.join(texts)}{more}. {stored.folder / DUPLICATES_NAME} lists all. The finished shards stay: set "
        "`duplicates: drop` (keeps one of each, in a test split if there is one) or `duplicates: keep`, and run the "
        "command again."
    )


def _names(stored: StoredImages, images: Sequence[int]) -> dict[int, tuple[str, str, str]]:
    """Split, source and source id of each image."""
    origins, columns = stored.origins, stored.columns
    found = {}
    by_shard: dict[int, list[int]] = {}
    for image in images:
        by_shard.setdefault(int(columns["image_shard"][image]), []).append(image)
    for shard, own in sorted(by_shard.items()):
        path = stored.folder / stored.shards[shard].name
        source_ids = read_source_ids(path, path, stored.shards[shard])
        for image in own:
            split, source = origins.split_names[origins.split[image]], stored.sources[origins.source[image]]
            found[image] = (split, source, source_ids.text(int(columns["image_place"][image])))
    return found
