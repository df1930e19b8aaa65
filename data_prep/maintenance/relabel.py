"""Makes a new index over the same shards: another tree, label map, choice of classes, or split; reads no image.

The index stores the settings of MERGE.yaml. The new index is the index that a merge with changed settings would have
written for these images.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data_prep.classes.class_selection import select_classes
from data_prep.classes.custom_classes import ROOT
from data_prep.classes.label_map import DROP, LabelMap, MapEntry, unresolved_text
from data_prep.classes.matching import ClassMatch, LabelMapError
from data_prep.classes.tree_and_nodes import class_table, load_tree, match_classes, merged_tree, source_infos
from data_prep.config import MergeConfig
from data_prep.dataset.index import TRAIN_SPLIT, Index, SourceClass
from data_prep.dataset.index_file import replace_index, write_index
from data_prep.maintenance.relabel_settings import Change
from data_prep.merging.merge import write_label_map_copy
from data_prep.planning.selection import LABEL_WITHOUT_NODE, UNLABELLED_IMAGE, has_labels
from data_prep.planning.splits import split_names, stored_splits
from data_prep.shards.catalogue import Catalogue
from data_prep.shards.format import INDEX_NAME, ShardError
from data_prep.shards.offsets import owner_of_rows
from data_prep.sources import OpenSource
from wordtree import WordTree
from wordtree.support.arrays import BoolArray, Int32Array
from wordtree.support.lines import one_line

_BY_HAND = frozenset({"edited", "dropped", "placed"})  # reasons of classes that a label map decided


@dataclass(frozen=True)
class Relabelled:
    """A new index, not yet written, and the match of each class; without matches where no class was matched again."""

    index: Index
    config: MergeConfig
    matches: tuple[ClassMatch, ...]

    def require_resolved(self) -> None:
        """Raise LabelMapError if classes have no node and the settings do not say to drop them."""
        unresolved = [match for match in self.matches if not match.is_resolved]
        if unresolved and self.config.unmapped == "stop":
            raise LabelMapError(
                f"{len(unresolved)} of {len(self.matches)} classes have no node: {unresolved_text(unresolved)}. "
                "Give each its node in a label map (`--map MAP.yaml`, written for review if it does not exist), "
                "or drop them with `--unmapped drop`."
            )


def relabel(folder: Path, index: Index, change: Change, *, keep_tree: bool = False) -> Relabelled:
    """The index of a folder of shards with changed settings; raises a DataPrepError.

    keep_tree: do not build the tree again when other classes or nodes are chosen.
    """
    config, tree, classes = change.config, index.tree, index.classes
    opened = [_opened(index, number) for number in range(len(index.sources))]
    matches: tuple[ClassMatch, ...] = ()
    if change.matches_again:
        given = _given_tree(index, change, keep_tree=keep_tree)
        matches = _matches(folder, index, config, opened, given)
        tree = merged_tree(config, given, matches)
        classes = class_table(opened, matches, tree)
    has_node = np.array([row.node >= 0 for row in classes], dtype=np.bool_)
    image_split, names = _splits(folder, index, config, has_node)
    is_train = np.isin(image_split, [number for number, name in enumerate(names) if name == TRAIN_SPLIT])
    of_source = np.bincount(index.columns["image_source"][is_train], minlength=len(opened)).tolist()
    changed = replace(
        index,
        tree=tree,
        sources=source_infos(config, opened, classes, tree, of_source),
        split_names=names,
        classes=classes,
        columns={**index.columns, "image_split": image_split},
        plan_counts=_counts(index, has_node),
        provenance={**index.provenance, "config": config.model_dump(mode="json")},
    )
    return Relabelled(changed, config, matches)


def write_relabelled(folder: Path, relabelled: Relabelled, out: Path | None = None) -> None:
    """Replace the index and keep the old one beside it; or write the new index into the folder `out`.

    out: gets hard links to the shards (symbolic links on another disk), which take no further space.
    """
    relabelled.require_resolved()
    if out is not None:
        _link_shards(folder, out, relabelled.index)
    if relabelled.matches:
        write_label_map_copy(out or folder, relabelled.config, relabelled.matches)
    if out is None:
        replace_index(folder, relabelled.index)
    else:
        write_index(out, relabelled.index)


def _opened(index: Index, number: int) -> OpenSource:
    """A source without its images."""
    source, rows = index.sources[number], [row for row in index.classes if row.source == number]
    return OpenSource(
        source.name,
        has_boxes=source.has_boxes,
        classes=tuple(row.name for row in rows),
        stream=lambda _: iter(()),
        aliases=tuple(row.alias for row in rows),
        is_federated=source.is_federated,
    )


def _given_tree(index: Index, change: Change, *, keep_tree: bool) -> WordTree | None:
    """The tree to match classes with; None if the tree is built from the classes."""
    setting = change.config.tree
    if keep_tree or ("tree" not in change.given and isinstance(setting, Path)):
        return index.tree
    return load_tree(setting) if isinstance(setting, Path) else None


def _matches(
    folder: Path,
    index: Index,
    config: MergeConfig,
    opened: Sequence[OpenSource],
    given_tree: WordTree | None,
) -> tuple[ClassMatch, ...]:
    """The match of each class under the new settings; without a label map, earlier decisions by hand stay."""
    decisions = _decisions(index) if config.label_map is None else None
    matches = match_classes(config, opened, given_tree, decisions, folder / INDEX_NAME)
    return select_classes(matches, Catalogue((), index.columns), config)


def _decisions(index: Index) -> LabelMap:
    """The decisions by hand that an index holds."""
    return {
        (index.sources[row.source].name, row.name): _decision(index, row)
        for row in index.classes
        if row.reason in _BY_HAND
    }


def _decision(index: Index, row: SourceClass) -> MapEntry:
    if row.node < 0:
        return MapEntry(DROP)
    tree = index.tree
    parent = int(tree.parent[row.node])
    is_placed = row.reason == "placed"
    return MapEntry(tree.ids[row.node], (tree.ids[parent] if parent >= 0 else ROOT) if is_placed else None)


def _splits(
    folder: Path, index: Index, config: MergeConfig, has_node: BoolArray
) -> tuple[Int32Array, tuple[str, ...]]:
    """The split of each image, shape (n,), -1 for images without a label of a node; and the names of the splits."""
    shares = [source.split_shares for source in config.sources]
    splits = stored_splits(index.columns, folder, index.shards, shares, config.seed)
    splits[_is_unlabelled(index, has_node)] = -1
    return splits, split_names(shares)


def _is_unlabelled(index: Index, has_node: BoolArray) -> BoolArray:
    return ~has_labels(Catalogue((), index.columns), has_node)


def _counts(index: Index, has_node: BoolArray) -> tuple[dict[str, int], ...]:
    """The counts of planning; counts that depend on the nodes are counted again for these images."""
    before = _counts_of_images(index, index.class_node >= 0)
    after = _counts_of_images(index, has_node)
    totals = [Counter(count) for count in index.plan_counts]
    for number, total in enumerate(totals):
        total.subtract(before[number])
        total.update(after[number])
    return tuple(dict(sorted((+total).items())) for total in totals)


def _counts_of_images(index: Index, has_node: BoolArray) -> list[Counter[str]]:
    """For each source how many images have no label of a node, and how many boxes and image labels have no node."""
    source, counts = index.columns["image_source"], [Counter[str]() for _ in index.sources]
    images_of = {UNLABELLED_IMAGE: np.flatnonzero(_is_unlabelled(index, has_node))}
    for kind, reason in LABEL_WITHOUT_NODE.items():
        lacks_node = ~has_node[index.columns[f"{kind}_class"]]
        images_of[reason] = owner_of_rows(index.columns[f"{kind}_offsets"])[lacks_node]
    for reason, images in images_of.items():
        for number, count in enumerate(np.bincount(source[images], minlength=len(counts)).tolist()):
            counts[number][reason] = count
    return counts


def _link_shards(folder: Path, out: Path, index: Index) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ShardError(
            f"{out}: expected a new or empty folder, found another file or folder. Choose another folder."
        )
    out.mkdir(parents=True, exist_ok=True)
    for shard in index.shards:
        if shard.is_lost:
            continue
        try:
            _link(folder / shard.name, out / shard.name)
        except OSError as reason:
            raise ShardError(f"{out / shard.name}: cannot link this shard ({one_line(reason)}).") from None


def _link(shard: Path, link: Path) -> None:
    try:
        os.link(shard, link)
    except OSError:
        link.symlink_to(shard.resolve())
