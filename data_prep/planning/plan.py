"""The deterministic plan of a merge: which images go where, under which nodes. Reads no pixels."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_prep.classes.class_selection import select_classes
from data_prep.classes.label_map import ClassMatch, LabelMapError, unresolved_text
from data_prep.classes.tree_and_nodes import build_tree, class_table, given_tree, match_classes, source_infos
from data_prep.config import BuiltTree, MergeConfig
from data_prep.dataset.index import TRAIN_SPLIT, SourceClass, SourceInfo
from data_prep.errors import MergeError
from data_prep.planning.duplicates import Origins
from data_prep.planning.selection import stored_images
from data_prep.planning.splits import image_splits, split_names
from data_prep.shards.catalogue import Catalogue, CatalogueBuilder
from data_prep.shards.format import SHARD_VERSION, shard_name
from data_prep.shards.images import ImageRules
from data_prep.shards.writer import ShardJob
from data_prep.sources import OpenSource, SourceError, open_source
from data_prep.sources.contents import DAMAGED_ARCHIVE, counts_in_words
from wordtree import WordTree
from wordtree.support.arrays import Int32Array, Int64Array

__all__ = ["MergeError", "Plan", "make_plan"]

Progress = Callable[[int], None]
_TOLD_EVERY = 1000  # images


@dataclass(frozen=True)
class Plan:
    """What a merge will do.

    split_names: each name once, in the order of the sources; image_split (n,): row of it for each image.
    images: the n images in the order in which they are stored; their classes are rows of `classes`.
    shard_ends: the images of shard s are those from shard_ends[s - 1] (or 0) to shard_ends[s].
    counts: for each source what was left out or changed so far, by reason.
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
    counts: tuple[dict[str, int], ...]

    @property
    def origins(self) -> Origins:
        """Source and split of each image."""
        return Origins(self.images["image_source"], self.image_split, self.split_names)

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) of all that decides the bytes of the shards: neither tree nor nodes nor splits."""
        config = self.config
        head = [SHARD_VERSION, config.shard_mb, config.resize_max, config.quality]
        table = [(source_class.source, source_class.name) for source_class in self.classes]
        names = [source.name for source in self.sources]
        return sha256(json.dumps([head, names, table, self.source_digests]).encode()).hexdigest()

    @cached_property
    def source_digests(self) -> tuple[str, ...]:
        """For each source a sha256 (hex) of its images and labels as they will be stored."""
        of_classes, of_images = self._first_rows([row.source for row in self.classes]), self.source_ends
        return tuple(
            self.images.slice(of_images[number], of_images[number + 1]).digest(of_classes[number])
            for number in range(len(self.sources))
        )

    @cached_property
    def source_ends(self) -> tuple[int, ...]:
        """The images of source s are those from source_ends[s] to source_ends[s + 1]."""
        return self._first_rows(self.images["image_source"])

    def _first_rows(self, source_of_row: npt.ArrayLike) -> tuple[int, ...]:
        """For each source the first of its rows, in a column where they stand together; and the end."""
        return tuple(np.searchsorted(source_of_row, range(len(self.sources) + 1)).tolist())

    @property
    def marks(self) -> dict[str, Any]:
        """What tells the plan from others: the digest of all, and of what parts it was made."""
        config = self.config
        return {
            "plan_sha256": self.digest,
            "packing": {
                "shard_mb": config.shard_mb,
                "resize_max": config.resize_max,
                "quality": config.quality,
            },
            "sources_sha256": {
                source.name: digest for source, digest in zip(self.sources, self.source_digests, strict=True)
            },
        }

    def job(self, number: int, folder: Path) -> ShardJob:
        """The writing of a shard into a folder; shards may be written in any order."""
        first = self.shard_ends[number - 1] if number else 0
        images = self.images.slice(first, self.shard_ends[number])
        return ShardJob(
            folder / shard_name(number), images, ImageRules(self.config.resize_max, self.config.quality)
        )

    def require_whole(self) -> None:
        """Raise MergeError where an archive is damaged and the configuration says to stop on what cannot be read."""
        damaged = [reason for counts in self.counts for reason in counts if DAMAGED_ARCHIVE in reason]
        if damaged and self.config.unreadable == "stop":
            more = f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""
            raise MergeError(
                f"{damaged[0]}{more}. Replace it, or set `unreadable: skip` to merge what can be read."
            )

    def require_resolved(self) -> None:
        """Raise LabelMapError where classes have no node and the configuration does not say to drop them."""
        unresolved = [match for match in self.matches if not match.is_resolved]
        if unresolved and self.config.unmapped == "stop":
            path = self.config.label_map
            how = "Write a label map with `data-prep plan MERGE.yaml --set label_map=label_map.yaml` and give"
            if path is not None:
                how = (
                    f"Open {path} and give"
                    if path.exists()
                    else f"Write {path} with `data-prep plan` and give"
                )
            raise LabelMapError(
                f"{len(unresolved)} of {len(self.matches)} classes have no node: {unresolved_text(unresolved)}. "
                f"{how} each its node there, or drop them with `--set unmapped=drop`."
            )


def make_plan(config: MergeConfig, progress: Progress | None = None) -> Plan:
    """The plan of a merge; raises a DataPrepError where sources, tree or label map cannot be used.

    progress: told how many more images were found, from time to time.
    """
    opened = [open_source(source) for source in config.sources]
    tree = given_tree(config.tree)
    matches = match_classes(config, opened, tree)
    every_image = _catalogue(config, opened, progress or (lambda _: None))
    matches = select_classes(matches, every_image, config)
    if tree is None:
        assert isinstance(config.tree, BuiltTree)
        tree = build_tree(config.tree, matches)
    classes = class_table(opened, matches, tree)
    has_node = np.array([row.node >= 0 for row in classes], dtype=np.bool_)
    counts = [source.counts for source in opened]
    images = stored_images(every_image, config, has_node, counts)
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
        tuple(dict(sorted((+count).items())) for count in counts),
    )


def _catalogue(config: MergeConfig, opened: Sequence[OpenSource], progress: Progress) -> Catalogue:
    """All images of all sources; raises SourceError where one has none."""
    builder, first_class = CatalogueBuilder(), 0
    progress(0)
    for number, source in enumerate(opened):
        before = len(builder)
        for record in source.records():
            builder.add(number, record, first_class)
            if len(builder) % _TOLD_EVERY == 0:
                progress(_TOLD_EVERY)
        if len(builder) == before:
            found = counts_in_words(source.counts) or "nothing"
            folder = config.sources[number].images
            raise SourceError(f"source {source.name!r}: no image to merge from {folder}; found {found}.")
        first_class += len(source.classes)
    return builder.finish()


def _shard_ends(sizes_bytes: Int64Array, shard_bytes: float) -> tuple[int, ...]:
    """A shard ends with the image that fills it."""
    filled, ends, enough = np.cumsum(sizes_bytes), [0], math.ceil(shard_bytes)
    while ends[-1] < len(filled):
        before = filled[ends[-1]] - sizes_bytes[ends[-1]]
        ends.append(min(int(np.searchsorted(filled, before + enough)) + 1, len(filled)))
    return tuple(ends[1:]) or (0,)
