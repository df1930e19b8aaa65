"""The deterministic plan of a merge: which pictures go where, under which nodes. Reads no pixels."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_prep.catalogue import Catalogue, CatalogueBuilder
from data_prep.config import BuiltTree, MergeConfig
from data_prep.errors import DataPrepError
from data_prep.index import SourceClass, SourceInfo
from data_prep.label_map import (
    ClassMatch,
    ClassMatcher,
    LabelMapError,
    apply_label_map,
    read_label_map,
    unsettled_text,
)
from data_prep.pictures import PictureRules
from data_prep.selection import stored_images
from data_prep.shard_format import SHARD_VERSION, shard_name
from data_prep.shard_writer import ShardJob
from data_prep.sources import OpenSource, SourceError, open_source
from wordtree import WordTree, WordTreeError
from wordtree.build import build_with_report
from wordtree.suggest import did_you_mean_inside, near


class MergeError(DataPrepError):
    """A merge that cannot start or go on."""


@dataclass(frozen=True)
class Plan:
    """What a merge will do.

    split_names: each name once, in the order of the sources.
    images: the pictures in the order in which they are stored; their classes are rows of `classes`.
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
    shard_ends: tuple[int, ...]
    counts: tuple[dict[str, int], ...]

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
        """For each source a sha256 (hex) of its pictures and labels as they will be stored."""
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

    def jobs(self, folder: Path) -> Iterator[ShardJob]:
        """One job for each shard, to be written into the folder in any order."""
        rules = PictureRules(self.config.resize_max, self.config.quality)
        bounds = zip((0, *self.shard_ends), self.shard_ends, strict=False)
        for number, (first, end) in enumerate(bounds):
            yield ShardJob(folder / shard_name(number), self.images.slice(first, end), rules)

    def require_settled(self) -> None:
        """Raise LabelMapError where classes have no node and the configuration does not say to drop them."""
        unsettled = [match for match in self.matches if not match.is_settled]
        if unsettled and self.config.unmapped == "stop":
            raise LabelMapError(
                f"{len(unsettled)} of {len(self.matches)} classes have no node: {unsettled_text(unsettled)}. "
                "Write a label map with `data-prep plan MERGE.yaml --set label_map=label_map.yaml` and give "
                "each its node there, or drop them with `--set unmapped=drop`."
            )

    def source_rows(self) -> list[dict[str, Any]]:
        """For each source what it will give, as plain values."""
        rows = []
        of_source = self.images["image_source"]
        images, boxes, labels, sizes = (
            np.bincount(of_source, weights, minlength=len(self.sources)).astype(np.int64).tolist()
            for weights in (
                None,
                self.images.count("box"),
                self.images.count("label"),
                self.images["size_bytes"],
            )
        )
        for number, source in enumerate(self.sources):
            rows.append(
                {
                    "name": source.name,
                    "split": self.config.sources[number].split,
                    "images": images[number],
                    "boxes": boxes[number],
                    "image_labels": labels[number],
                    "classes": sum(row.source == number for row in self.classes),
                    "bytes": sizes[number],
                    "repeat": source.repeat,
                    "counts": self.counts[number],
                }
            )
        return rows


def make_plan(config: MergeConfig) -> Plan:
    """The plan of a merge; raises a DataPrepError where sources, tree or label map cannot be used."""
    opened = [open_source(source) for source in config.sources]
    tree = _load_tree(config.tree) if isinstance(config.tree, Path) else None
    matches = _matches(config, opened, ClassMatcher(tree))
    if tree is None and isinstance(config.tree, BuiltTree):
        tree = _build_tree(config.tree, matches)
    assert tree is not None
    classes = _class_table(opened, matches, tree)
    class_node = np.array([row.node for row in classes], dtype=np.int64)
    counts = [source.counts for source in opened]
    images = stored_images(_catalogue(config, opened), config, class_node >= 0, counts)
    sources = _source_infos(config, opened, classes, tree, Counter(images["image_source"].tolist()))
    return Plan(
        config,
        tree,
        sources,
        tuple(dict.fromkeys(source.split for source in config.sources)),
        tuple(matches),
        classes,
        images,
        _shard_ends(images["size_bytes"], config.shard_mb * 1e6),
        tuple(dict(sorted((+count).items())) for count in counts),
    )


def _catalogue(config: MergeConfig, opened: Sequence[OpenSource]) -> Catalogue:
    """All pictures of all sources; raises SourceError where one has none."""
    builder, first_class = CatalogueBuilder(), 0
    for number, source in enumerate(opened):
        before = len(builder)
        for record in source.records():
            builder.add(number, record, first_class)
        if len(builder) == before:
            found = "; ".join(f"{reason}: {count}" for reason, count in (+source.counts).items()) or "nothing"
            folder = config.sources[number].images
            raise SourceError(f"source {source.name!r}: no picture to merge from {folder}; found {found}.")
        first_class += len(source.classes)
    return builder.finish()


def _load_tree(path: Path) -> WordTree:
    try:
        return WordTree.load(path)
    except OSError:
        raise MergeError(f"{path}: the tree file cannot be read; expected a .tree or .json file.") from None
    except WordTreeError as reason:
        raise MergeError(str(reason)) from None


def _build_tree(setting: BuiltTree, matches: Sequence[ClassMatch]) -> WordTree:
    labels = _lines(setting.labels) if setting.labels else []
    if setting.from_sources:
        labels += [match.id for match in matches if match.id is not None]
    if not labels:
        raise MergeError("No class has a node, so there is nothing to build a tree from; see the label map.")
    try:
        tree, report = build_with_report(labels, profile=setting.profile, root=setting.root)
    except WordTreeError as reason:
        raise MergeError(f"The tree cannot be built: {reason}") from None
    if report.guesses:
        guesses = "; ".join(map(str, report.guesses))
        raise MergeError(
            f"{setting.labels}: words of several senses: {guesses}. Write the one that is meant."
        )
    return tree


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise MergeError(f"{path}: the file of labels cannot be read as text.") from None
    stripped = (line.partition("#")[0].strip() for line in lines)
    return [line for line in stripped if line]


def _matches(config: MergeConfig, opened: Sequence[OpenSource], matcher: ClassMatcher) -> list[ClassMatch]:
    matches = [
        match
        for source in opened
        for match in matcher.match(source.name, source.classes, by_hand=source.has_boxes)
    ]
    path = config.label_map
    if path is None or not path.exists():
        return matches
    return apply_label_map(matches, read_label_map(path), matcher, path)


def _class_table(
    opened: Sequence[OpenSource], matches: Sequence[ClassMatch], tree: WordTree
) -> tuple[SourceClass, ...]:
    number_of = {source.name: number for number, source in enumerate(opened)}
    return tuple(
        SourceClass(
            number_of[match.source],
            match.name,
            tree.node(match.id) if match.id is not None and match.id in tree else -1,
            match.reason,
        )
        for match in matches
    )


def _shard_ends(sizes_bytes: npt.NDArray[np.int64], shard_bytes: float) -> tuple[int, ...]:
    """A shard ends with the picture that fills it."""
    filled, ends = np.cumsum(sizes_bytes), [0]
    while ends[-1] < len(filled):
        before = filled[ends[-1]] - sizes_bytes[ends[-1]]
        ends.append(min(int(np.searchsorted(filled, before + shard_bytes)) + 1, len(filled)))
    return tuple(ends[1:]) or (0,)


def _source_infos(
    config: MergeConfig,
    opened: Sequence[OpenSource],
    classes: Sequence[SourceClass],
    tree: WordTree,
    images: Counter[int],
) -> tuple[SourceInfo, ...]:
    repeats = _repeats(config, images)
    infos = []
    for number, (source, setting) in enumerate(zip(opened, config.sources, strict=True)):
        own = {row.name: row.node for row in classes if row.source == number and row.node >= 0}
        nodes = sorted(set(own.values())) if source.has_boxes and not source.is_federated else []
        if setting.vouches is not None:
            nodes = sorted({_vouched_node(name, own, tree, source.name) for name in setting.vouches})
        vouched = np.array(nodes, dtype=np.int64)
        infos.append(SourceInfo(source.name, source.has_boxes, vouched, repeats[number], source.is_federated))
    return tuple(infos)


def _vouched_node(name: str, own: dict[str, int], tree: WordTree, source: str) -> int:
    if name in own:
        return own[name]
    if name not in tree:
        offer = did_you_mean_inside(near(name, [*own, *tree.ids], limit=1))
        raise MergeError(
            f"source {source!r} vouches for {name!r}: neither a class of it nor an id of the tree{offer}."
        )
    return tree.node(name)


def _repeats(config: MergeConfig, images: Counter[int]) -> list[float]:
    """How often an epoch shows each source's pictures; `ratio` is met by repeating, never by leaving out."""
    repeats = [source.repeat for source in config.sources]
    if config.ratio:
        shares = {
            number: config.ratio[source.name] / images[number]
            for number, source in enumerate(config.sources)
            if source.name in config.ratio and images[number]
        }
        for number, share in shares.items():
            repeats[number] = share / min(shares.values())
    return repeats
