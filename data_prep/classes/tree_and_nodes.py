"""The tree of a merge, the node of each class, and the exhaustively annotated nodes of each source."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_prep.classes.class_selection import read_names
from data_prep.classes.custom_classes import (
    CustomClasses,
    FlatMatcher,
    accept_proposals,
    add_custom_classes,
    flat_matches,
    propose,
)
from data_prep.classes.label_map import (
    LabelMap,
    apply_label_map,
    entry_of,
    read_label_map,
    unresolved_text,
)
from data_prep.classes.matching import ClassMatch, ClassMatcher, LabelMapError
from data_prep.config import FLAT, BuiltTree, MergeConfig, TreeSetting
from data_prep.dataset.index import SourceClass, SourceInfo
from data_prep.errors import MergeError
from data_prep.sources import OpenSource
from wordtree import WordTree, WordTreeError
from wordtree.building.build import build_with_report
from wordtree.hierarchies import read_hierarchy
from wordtree.support.files import system_message
from wordtree.support.suggest import did_you_mean_inside, near
from wordtree.wordnet.graph import WordNet


class NothingToBuild(LabelMapError):
    """No class has a node, so no tree can be built; `matches` allow the caller to write a label map."""

    def __init__(self, matches: Sequence[ClassMatch]) -> None:
        left_out = sum(bool(match.left_out) for match in matches)
        selection = f"{left_out} are left out by the selection of classes" if left_out else ""
        reasons = "; ".join(filter(None, [selection, unresolved_text(matches)]))
        proposed = sum(match.proposal is not None for match in matches)
        how = " Accept what is proposed with `--set proposals=accept`." if proposed else ""
        if not proposed and not left_out and reasons:
            how = " For a flat list of classes of your own, write `tree: flat`."
        super().__init__(
            f"None of {len(matches)} classes has a node to build a tree from: {reasons or 'all are dropped'}.{how}"
        )
        self.matches = tuple(matches)


def match_classes(
    config: MergeConfig,
    opened: Sequence[OpenSource],
    given_tree: WordTree | None,
    decisions: LabelMap | None = None,
    where: Path | None = None,
) -> tuple[ClassMatch, ...]:
    """The node of every class of every source, in the given tree or, if the tree will be built, in WordNet.

    decisions: used instead of the label map of the configuration; `where` names them in messages.
    """
    matcher = _matcher(config, given_tree)
    if isinstance(matcher, FlatMatcher):
        matches = flat_matches({source.name: source.classes for source in opened})
    else:
        matches = [
            match for source in opened for match in matcher.match(source.name, source.classes, source.aliases)
        ]
    path = config.label_map
    if decisions is None:
        has_map = path is not None and path.exists()
        decisions = read_label_map(path, drop_left_out=False) if path is not None and has_map else {}
    where = where or path or Path("custom_classes")
    matches = _placed(matches, config, decisions, matcher, where)
    matches = propose(apply_label_map(matches, decisions, matcher, where))
    return tuple(accept_proposals(matches) if config.proposals == "accept" else matches)


def _matcher(config: MergeConfig, given_tree: WordTree | None) -> ClassMatcher | FlatMatcher:
    return FlatMatcher() if given_tree is None and config.tree == FLAT else ClassMatcher(given_tree)


def _placed(
    matches: Sequence[ClassMatch],
    config: MergeConfig,
    decisions: LabelMap,
    matcher: ClassMatcher | FlatMatcher,
    where: Path,
) -> list[ClassMatch]:
    """The matches, those of custom classes and of classes with a `parent` in the label map at new nodes."""
    in_map = {name: entry.parent for (_, name), entry in decisions.items() if entry.parent}
    of_config = CustomClasses(config.custom_classes, matcher, "custom_classes")
    of_both = CustomClasses({**config.custom_classes, **in_map}, matcher, str(where))
    placed = []
    for match in matches:
        entry = entry_of(match, decisions)
        placed.append((of_both if entry is not None and entry.parent else of_config).placed(match))
    return placed


def merged_tree(config: MergeConfig, given_tree: WordTree | None, matches: Sequence[ClassMatch]) -> WordTree:
    """The given tree, or the tree built from the classes in use, with the custom classes in use.

    Raises NothingToBuild where no class has a node.
    """
    custom = CustomClasses(config.custom_classes, _matcher(config, given_tree), "custom_classes")
    tree = given_tree
    if tree is None and isinstance(config.tree, BuiltTree):
        tree = _built_tree(config.tree, matches, [parent for _, _, parent in custom.nodes()])
    has_custom = custom.nodes() or any(match.parent for match in matches if match.is_used)
    if tree is not None and not has_custom:
        return tree
    if tree is None and not any(match.is_used for match in matches):
        raise NothingToBuild(matches)
    return add_custom_classes(tree, matches, custom)


def given_tree(setting: TreeSetting) -> WordTree | None:
    """The tree in the configured file; None if the tree will be built."""
    return load_tree(setting) if isinstance(setting, Path) else None


def load_tree(path: Path) -> WordTree:
    """The tree in a file of any format that `wordtree convert` reads; raises MergeError if it cannot be read."""
    try:
        tree: WordTree = read_hierarchy(path)
    except OSError as reason:
        raise MergeError(f"{path}: cannot read the tree ({system_message(reason)}).") from None
    except WordTreeError as reason:
        raise MergeError(str(reason)) from None
    return tree


def _built_tree(setting: BuiltTree, matches: Sequence[ClassMatch], parents: Sequence[str]) -> WordTree | None:
    """The tree built from the file of labels and the classes in use, with the parents of custom classes.

    None if all classes in use are custom classes at the root.
    """
    labels = read_names(setting.labels) if setting.labels else []
    used = [match for match in matches if match.id is not None and match.is_used]
    if setting.from_sources:
        labels += [match.id for match in used if match.id is not None and not match.parent]
    wordnet = WordNet.shipped()
    labels += [parent for parent in [*parents, *(match.parent for match in used)] if parent in wordnet]
    if not labels and not any(match.parent for match in used):
        raise NothingToBuild(matches)
    if not labels:
        return None
    try:
        tree, report = build_with_report(labels, profile=setting.profile, root=setting.root)
    except WordTreeError as reason:
        raise MergeError(f"The tree cannot be built: {reason}") from None
    if report.guesses:
        guesses = "; ".join(map(str, report.guesses))
        raise MergeError(f"{setting.labels}: words with several senses: {guesses}. Write the intended sense.")
    return tree


def class_table(
    opened: Sequence[OpenSource], matches: Sequence[ClassMatch], tree: WordTree
) -> tuple[SourceClass, ...]:
    """The table of all classes; the node is -1 if the class is not in use."""
    number_of = {source.name: number for number, source in enumerate(opened)}
    return tuple(
        SourceClass(
            number_of[match.source],
            match.name,
            tree.node(match.id) if match.id is not None and match.is_used and match.id in tree else -1,
            f"left out: {match.left_out}" if match.left_out else match.reason,
            match.alias,
        )
        for match in matches
    )


def source_infos(
    config: MergeConfig,
    opened: Sequence[OpenSource],
    classes: Sequence[SourceClass],
    tree: WordTree,
    train_images: Sequence[int],
) -> tuple[SourceInfo, ...]:
    """The properties of each source for the index; train_images: the number of training images of each source."""
    repeats = _repeats(config, train_images)
    infos = []
    for number, (source, setting) in enumerate(zip(opened, config.sources, strict=True)):
        own = {row.name: row.node for row in classes if row.source == number and row.node >= 0}
        nodes = sorted(set(own.values())) if source.has_boxes and not source.is_federated else []
        if setting.exhaustive is not None:
            without_node = {row.name for row in classes if row.source == number and row.node < 0}
            named = [name for name in setting.exhaustive if name not in without_node]
            nodes = sorted({_exhaustive_node(name, own, tree, source.name) for name in named})
        exhaustive = np.array(nodes, dtype=np.int64)
        infos.append(
            SourceInfo(source.name, source.has_boxes, exhaustive, repeats[number], source.is_federated)
        )
    return tuple(infos)


def _exhaustive_node(name: str, own: dict[str, int], tree: WordTree, source: str) -> int:
    if name in own:
        return own[name]
    if name not in tree:
        suggestion = did_you_mean_inside(near(name, [*own, *tree.ids], limit=1))
        raise MergeError(
            f"source {source!r}, exhaustive: {name!r} is neither a class of the source "
            f"nor an id of the tree{suggestion}."
        )
    return tree.node(name)


def _repeats(config: MergeConfig, train_images: Sequence[int]) -> list[float]:
    """The repeats of each source's images in an epoch; `ratio` repeats images and never leaves images out."""
    repeats = [source.repeat for source in config.sources]
    if config.ratio:
        shares = {
            number: config.ratio[source.name] / train_images[number]
            for number, source in enumerate(config.sources)
            if source.name in config.ratio and train_images[number]
        }
        for number, share in shares.items():
            repeats[number] = share / min(shares.values())
    return repeats
