"""Writes a new index without the images that `check` found damaged; the shards stay as they are."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from data_prep.dataset.index import DAMAGED_IMAGE, LOST_SHARD, Index, join_columns, take_images
from data_prep.dataset.index_file import replace_index
from data_prep.maintenance.check import CheckReport, Damage
from data_prep.records import BOX_OF_LOST_IMAGE, LABEL_OF_LOST_IMAGE
from data_prep.shards.format import ShardError
from data_prep.shards.writer import ShardResult
from wordtree.support.arrays import Int64Array


def repair(report: CheckReport) -> Index:
    """Replace the index by one without damaged images, and keep the old one as index.h5.bak; returns the new index.

    Merging the same configuration into the folder again restores the images. Raises ShardError if none is left.
    """
    index = _without_damaged_images(report)
    replace_index(report.folder, index)
    return index


def _without_damaged_images(report: CheckReport) -> Index:
    index, shards = report.index, list(report.index.shards)
    stays = np.ones(len(index), dtype=bool)
    for damage in report.damages:
        if damage.part != "index":
            stays[damage.images] = False
            shards[damage.shard] = _with_losses(report, damage)
    if not stays.any():
        raise ShardError(f"{report.folder}: every image is damaged; merge again.")
    columns = _columns_of_shards(report, np.flatnonzero(stays))
    return replace(index, shards=tuple(shards), columns=columns)


def _with_losses(report: CheckReport, damage: Damage) -> ShardResult:
    """The shard's entry in the index after the damaged images were left out."""
    index, shard = report.index, report.index.shards[damage.shard]
    reason = LOST_SHARD if damage.part == "shard" else DAMAGED_IMAGE
    lost = take_images(index.columns, damage.images)
    counts = {source: Counter(count) for source, count in shard.counts.items()}
    for source in np.unique(lost["image_source"]).tolist():
        own = lost["image_source"] == source
        count = counts.setdefault(source, Counter())
        count[reason] += int(own.sum())
        count[BOX_OF_LOST_IMAGE] += int(np.diff(lost["box_offsets"])[own].sum())
        count[LABEL_OF_LOST_IMAGE] += int(np.diff(lost["label_offsets"])[own].sum())
    sorted_counts = {source: dict(sorted((+counts[source]).items())) for source in sorted(counts)}
    if damage.part == "shard":
        return replace(shard, sha256="", counts=sorted_counts)
    left_out = tuple(
        (source, name, reason)
        for source, name in zip(lost["image_source"].tolist(), damage.source_ids, strict=True)
    )
    return replace(shard, sha256=damage.sha256, counts=sorted_counts, left_out=shard.left_out + left_out)


def _columns_of_shards(report: CheckReport, images: Int64Array) -> dict[str, np.ndarray[Any, Any]]:
    """The columns of the given images, read from the shards, not from the index."""
    index = report.index
    lost = {damage.shard for damage in report.damages if damage.part == "shard"}
    read = [n for n, shard in enumerate(index.shards) if n not in lost and not shard.is_lost]
    found = join_columns(report.folder, [index.shards[number] for number in read])
    first_of_shard = np.zeros(len(index.shards), dtype=np.int64)
    first_of_shard[read] = np.cumsum([0, *(index.shards[number].images for number in read)])[:-1]
    shard, position = index.columns["image_shard"][images], index.columns["image_place"][images]
    columns = take_images(found, first_of_shard[shard] + position)
    return columns | {"image_shard": shard, "image_split": index.columns["image_split"][images]}
