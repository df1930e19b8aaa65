"""The deterministic plan of a merge: images, shards, splits and nodes. Planning reads no pixels."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_prep.classes.class_selection import select_classes
from data_prep.classes.label_map import unresolved_text
from data_prep.classes.matching import ClassMatch, LabelMapError
from data_prep.classes.tree_and_nodes import class_table, given_tree, match_classes, merged_tree, source_infos
from data_prep.config import MergeConfig, Source, YoloSource
from data_prep.dataset.index import TRAIN_SPLIT, SourceClass, SourceInfo
from data_prep.errors import MergeError
from data_prep.planning.duplicates import Origins
from data_prep.planning.exif import box_frames
from data_prep.planning.selection import leave_out_unused, select_images
from data_prep.planning.splits import image_splits, split_names
from data_prep.shards.catalogue import Catalogue, CatalogueBuilder
from data_prep.shards.format import SHARD_VERSION, shard_name
from data_prep.shards.images import BoxFrame, ImageRules
from data_prep.shards.writer import ShardJob
from data_prep.sources import OpenSource, SourceError, open_source
from data_prep.sources.paths import file_size
from data_prep.sources.source import DAMAGED_ARCHIVE, FILE_MISSING, Counts, counts_in_words
from wordtree import WordTree
from wordtree.support.arrays import Int32Array, Int64Array
from wordtree.support.printing import counted

Progress = Callable[[int], None]
_REPORT_EVERY = 1000  # images


class NothingUsable(SourceError):
    """A source without an image, or without a box; counts: what was left out of it."""

    def __init__(self, message: str, source: str, counts: Counts) -> None:
        super().__init__(message)
        self.source, self.counts = source, counts


@dataclass(frozen=True)
class Plan:
    """The plan of a merge.

    split_names: each name once, in the order of the sources.
    image_split: the split of each image, as a row of split_names, (n,).
    images: the n images in the order of the shards; their classes are rows of `classes`.
    shard_ends: shard s holds the images from shard_ends[s - 1] (or 0) to shard_ends[s].
    counts: the number of images and labels left out or changed so far, by reason, for each source, with the list of
        those left out.
    frames: for each source, the frame of images that state a size, and of images that state none.
    """

    config: MergeConfig
    tree: WordTree
    sources: tuple[SourceInfo, ...]
    split_names: tuple[str, ...]
    matches: tuple[ClassMatch, ...]
    classes: tuple[SourceClass, ...]
    images: Catalogue
    image_split: Int32Array
    shard_ends: tuple[int, ...]
    counts: tuple[Counts, ...]
    frames: tuple[tuple[BoxFrame, BoxFrame], ...] = ()

    @property
    def origins(self) -> Origins:
        """Source and split of each image."""
        return Origins(self.images["image_source"], self.image_split, self.split_names)

    @cached_property
    def digest(self) -> str:
        """The sha256 (hex) of everything that decides the bytes of the shards, so not of tree, nodes and splits."""
        config = self.config
        head: list[Any] = [SHARD_VERSION, config.shard_mb, config.resize_max, config.quality]
        if config.strip_metadata:  # else as before this setting existed
            head.append("strip_metadata")
        if any("stored" in frames for frames in self.frames):
            head.append(self.frames)
        table = [(source_class.source, source_class.name) for source_class in self.classes]
        names = [source.name for source in self.sources]
        return sha256(json.dumps([head, names, table, self.source_digests]).encode()).hexdigest()

    @cached_property
    def source_digests(self) -> tuple[str, ...]:
        """The sha256 (hex) of the images and labels to store, for each source."""
        first_class, first_image = self._first_rows([row.source for row in self.classes]), self.source_offsets
        return tuple(
            self.images.slice(first_image[number], first_image[number + 1]).digest(first_class[number])
            for number in range(len(self.sources))
        )

    @cached_property
    def source_offsets(self) -> tuple[int, ...]:
        """Source s has the images from source_offsets[s] to source_offsets[s + 1]."""
        return self._first_rows(self.images["image_source"])

    def _first_rows(self, source_of_row: npt.ArrayLike) -> tuple[int, ...]:
        """The first row of each source in a column sorted by source, and the number of rows."""
        return tuple(np.searchsorted(source_of_row, range(len(self.sources) + 1)).tolist())

    @property
    def hashes(self) -> dict[str, Any]:
        """The digest of the plan, and the digests and settings that it covers, for comparison with another plan."""
        config = self.config
        return {
            "plan_sha256": self.digest,
            "packing": {
                "shard_mb": config.shard_mb,
                "resize_max": config.resize_max,
                "quality": config.quality,
                "strip_metadata": config.strip_metadata,
            },
            "sources_sha256": {
                source.name: digest for source, digest in zip(self.sources, self.source_digests, strict=True)
            },
        }

    def job(self, number: int, folder: Path) -> ShardJob:
        """The job that writes a shard into a folder; shards may be written in any order."""
        first = self.shard_ends[number - 1] if number else 0
        images = self.images.slice(first, self.shard_ends[number])
        return ShardJob(
            folder / shard_name(number),
            images,
            ImageRules(self.config.resize_max, self.config.quality, self.config.strip_metadata),
            self.frames,
        )

    def require_undamaged(self) -> None:
        """Raise MergeError if an archive is damaged and the configuration has `unreadable: stop`."""
        damaged = [reason for counts in self.counts for reason in counts if DAMAGED_ARCHIVE in reason]
        if damaged and self.config.unreadable == "stop":
            more = f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""
            raise MergeError(
                f"{damaged[0]}{more}. Replace it, or set `unreadable: drop` to merge the readable images."
            )

    def require_resolved(self) -> None:
        """Raise LabelMapError if classes have no node and the configuration has `unmapped: stop`."""
        unresolved = [match for match in self.matches if not match.is_resolved]
        if unresolved and self.config.unmapped == "stop":
            path = self.config.label_map
            how = "Write a label map with `data-prep plan MERGE.yaml --set label_map=label_map.yaml`"
            if path is not None:
                how = f"Open {path}" if path.exists() else f"Write {path} with `data-prep plan`"
            raise LabelMapError(
                f"{len(unresolved)} of {len(self.matches)} classes have no node: {unresolved_text(unresolved)}. "
                f"{how} and enter their nodes{_or_accept(unresolved)}, or drop the classes with "
                "`--set unmapped=drop`."
            )


def _or_accept(unresolved: Sequence[ClassMatch]) -> str:
    proposed = sum(match.proposal is not None for match in unresolved)
    proposals = "proposal" if proposed == 1 else f"{proposed} proposals"
    return f", accept the {proposals} with `--set proposals=accept`" if proposed else ""


def make_plan(config: MergeConfig, progress: Progress | None = None) -> Plan:
    """The plan of a merge; raises a DataPrepError if sources, tree or label map cannot be used.

    progress: receives the number of further images found, from time to time.
    """
    opened = [open_source(source) for source in config.sources]
    tree = given_tree(config.tree)
    matches = match_classes(config, opened, tree)
    every_image = _catalogue(config, opened, progress or (lambda _: None))
    matches = leave_out_unused(select_classes(matches, every_image, config), every_image)
    tree = merged_tree(config, tree, matches)
    classes = class_table(opened, matches, tree)
    counts = tuple(source.counts for source in opened)
    images = select_images(every_image, config, classes, counts)
    shares = [source.split_shares for source in config.sources]
    names = split_names(shares)
    image_split = image_splits(images["image_source"], images.source_id_bytes, shares, config.seed)
    in_train = np.isin(image_split, [number for number, name in enumerate(names) if name == TRAIN_SPLIT])
    train_images = np.bincount(images["image_source"][in_train], minlength=len(opened)).tolist()
    return Plan(
        config,
        tree,
        source_infos(config, opened, classes, tree, train_images),
        names,
        matches,
        classes,
        images,
        image_split,
        _shard_ends(images["size_bytes"], config.shard_mb * 1e6),
        counts,
        box_frames(config, images),
    )


def _catalogue(config: MergeConfig, opened: Sequence[OpenSource], progress: Progress) -> Catalogue:
    """All images of all sources; raises NothingUsable if a source has none, or none of its boxes can be used."""
    builder, first_class = CatalogueBuilder(), 0
    progress(0)
    for number, source in enumerate(opened):
        before, boxes_before = len(builder), builder.box_count
        for record in source.records():
            builder.add(number, record, first_class)
            if len(builder) % _REPORT_EVERY == 0:
                progress(_REPORT_EVERY)
        _require_usable(
            source, config.sources[number], len(builder) - before, builder.box_count - boxes_before
        )
        first_class += len(source.classes)
    return builder.finish()


def _require_usable(source: OpenSource, setting: Source, images: int, boxes: int) -> None:
    """Raise NothingUsable if a source has no image, or has boxes none of which can be used."""
    found = counts_in_words(source.counts)
    if not images:
        folder = setting.images or setting.data if isinstance(setting, YoloSource) else setting.images
        hint = _folder_hint(source, folder)
        raise NothingUsable(
            f"source {source.name!r}: expected images in {folder}, found {found or 'nothing'}.{hint}",
            source.name,
            source.counts,
        )
    if source.has_boxes and not boxes and source.counts.boxes:
        raise NothingUsable(
            f"source {source.name!r}: expected boxes, found none that can be used in {counted(images, 'image')}: "
            f"{found}.",
            source.name,
            source.counts,
        )


def _folder_hint(source: OpenSource, folder: Path | None) -> str:
    """The folder to give as `images`, if the names of missing images begin at a folder above."""
    names = [image for reason, image, _ in islice(source.counts.left_out(), 1000) if reason == FILE_MISSING]
    for above in list(folder.absolute().parents)[:3] if folder and names else ():
        if file_size(above / names[0]) is not None:
            return f" {above / names[0]} exists: set `images` to {above}."
    return ""


def _shard_ends(sizes_bytes: Int64Array, shard_bytes: float) -> tuple[int, ...]:
    """The end of each shard; the last image of a shard fills it."""
    total, ends, full = np.cumsum(sizes_bytes), [0], math.ceil(shard_bytes)
    while ends[-1] < len(total):
        before = total[ends[-1]] - sizes_bytes[ends[-1]]
        ends.append(min(int(np.searchsorted(total, before + full)) + 1, len(total)))
    return tuple(ends[1:]) or (0,)
