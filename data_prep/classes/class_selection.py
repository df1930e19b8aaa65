"""Selects classes: the `top` by number of images as in the paper, `min_images`, and lists of names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data_prep.classes.matching import ClassMatch
from data_prep.config import ClassSelection, MergeConfig
from data_prep.shards.catalogue import Catalogue
from data_prep.shards.format import POSITIVE
from wordtree.errors import ConfigError
from wordtree.support.arrays import Int64Array
from wordtree.support.suggest import did_you_mean_inside, near


def select_classes(
    matches: Sequence[ClassMatch], images: Catalogue, config: MergeConfig
) -> tuple[ClassMatch, ...]:
    """The matches, one for each class of the catalogue; `left_out` is set where a class is not selected.

    First each source selects among its own classes, then `config.classes` among the nodes of the remaining ones.
    """
    selected = list(matches)
    rows_of: dict[str, list[int]] = {}
    for row, match in enumerate(matches):
        rows_of.setdefault(match.source, []).append(row)
    for source in config.sources:
        if source.classes != ClassSelection():
            groups = [[row] for row in rows_of[source.name]]
            _leave_out(selected, groups, images, source.classes, f"sources.{source.name}.classes")
    if config.classes != ClassSelection():
        by_node: dict[str | tuple[str, str], list[int]] = {}
        for row, match in enumerate(selected):
            if not match.left_out:
                by_node.setdefault(match.id or (match.source, match.name), []).append(row)
        _leave_out(selected, list(by_node.values()), images, config.classes, "classes")
    return tuple(selected)


def images_per_group(groups: Sequence[Sequence[int]], images: Catalogue) -> Int64Array:
    """The number of images with a box or a positive label of a class of each group, (groups,)."""
    classes = 1 + max((row for group in groups for row in group), default=-1)
    group_of = np.full(max(classes, _classes_in(images)), -1, dtype=np.int64)
    for number, group in enumerate(groups):
        group_of[list(group)] = number
    positive = (images["label_flags"] & POSITIVE) != 0
    image = np.concatenate([images.image_of("box"), images.image_of("label")[positive]])
    group = group_of[np.concatenate([images["box_class"], images["label_class"][positive]])]
    pairs = np.unique((image * len(groups) + group)[group >= 0])
    return np.bincount(pairs % max(len(groups), 1), minlength=len(groups))


def _classes_in(images: Catalogue) -> int:
    """The highest class of any box or label, plus one."""
    return 1 + max(
        (int(images[name].max()) for name in ("box_class", "label_class") if images[name].size), default=-1
    )


@dataclass(frozen=True)
class _ClassGroup:
    """Classes that are selected together, with their names and the number of images that show them."""

    names: frozenset[str]
    images: int
    has_node: bool


def _leave_out(
    matches: list[ClassMatch],
    groups: Sequence[Sequence[int]],
    images: Catalogue,
    selection: ClassSelection,
    setting: str,
) -> None:
    """Set `left_out` for each class (row of `matches`) of the groups that are not selected.

    setting: the name of the selection in messages.
    """
    class_groups = []
    for rows, count in zip(groups, images_per_group(groups, images).tolist(), strict=True):
        own = [matches[row] for row in rows]
        names = frozenset(name for match in own for name in (match.name, match.alias, match.id) if name)
        class_groups.append(_ClassGroup(names, count, own[0].id is not None))
    reason_to_leave_out = _rule(class_groups, selection, setting)
    for rows, group in zip(groups, class_groups, strict=True):
        for row in rows:
            matches[row] = replace(matches[row], left_out=reason_to_leave_out(group))


def _rule(
    groups: Sequence[_ClassGroup], selection: ClassSelection, setting: str
) -> Callable[[_ClassGroup], str]:
    """A function that returns the reason to leave a group out, or an empty text if the group is selected."""
    known = frozenset[str]().union(*(group.names for group in groups))
    keep = _names(selection.keep, known, f"{setting}.keep")
    drop = _names(selection.drop, known, f"{setting}.drop")
    ranked = [group for group in groups if group.has_node and not group.names & drop]
    ranked.sort(key=lambda group: -group.images)  # stable: of equals the first in the table is selected
    top = {id(group) for group in ranked[: selection.top]}
    has_criterion = selection.top is not None or selection.min_images is not None

    def reason_to_leave_out(group: _ClassGroup) -> str:
        if group.names & drop:
            return f"named in {setting}.drop"
        if group.names & keep:
            return ""
        if keep and not has_criterion:
            return f"not named in {setting}.keep"
        if selection.min_images is not None and group.images < selection.min_images:
            return f"{group.images} images, {setting}.min_images is {selection.min_images}"
        if selection.top is not None and group.has_node and id(group) not in top:
            return f"{group.images} images, not among {setting}.top {selection.top}"
        return ""

    return reason_to_leave_out


def _names(names: Path | tuple[str, ...], known: frozenset[str], setting: str) -> frozenset[str]:
    """The names in a list or in a file; raises ConfigError if one is not known."""
    listed = read_names(names) if isinstance(names, Path) else names
    for name in listed:
        if name not in known:
            suggestion = did_you_mean_inside(near(name, known, limit=1))
            raise ConfigError(f"{setting}: {name!r} is neither a class here nor the id of one{suggestion}.")
    return frozenset(listed)


def read_names(path: Path) -> list[str]:
    """The lines of a file without comments (`#`), surrounding blanks and empty lines; raises ConfigError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{path}: expected a list of names, cannot read this file as UTF-8 text.") from None
    stripped = (line.partition("#")[0].strip() for line in lines)
    return [line for line in stripped if line]
