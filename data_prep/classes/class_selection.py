"""Which classes stay: the `top` by images as in the paper, those with `min_images`, and lists of names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data_prep.classes.label_map import ClassMatch
from data_prep.config import ClassSelection, MergeConfig
from data_prep.shards.catalogue import Catalogue
from data_prep.shards.format import POSITIVE
from wordtree.errors import ConfigError
from wordtree.support.arrays import Int64Array
from wordtree.support.suggest import did_you_mean_inside, near


def select_classes(
    matches: Sequence[ClassMatch], images: Catalogue, config: MergeConfig
) -> tuple[ClassMatch, ...]:
    """The matches, one for each class of the catalogue; those left out say why.

    Each source chooses among its own classes; then `config.classes` among the nodes of all that stay.
    """
    chosen = list(matches)
    rows_of: dict[str, list[int]] = {}
    for row, match in enumerate(matches):
        rows_of.setdefault(match.source, []).append(row)
    for source in config.sources:
        if source.classes != ClassSelection():
            groups = [[row] for row in rows_of[source.name]]
            _leave_out(chosen, groups, images, source.classes, f"sources.{source.name}.classes")
    if config.classes != ClassSelection():
        by_node: dict[str | tuple[str, str], list[int]] = {}
        for row, match in enumerate(chosen):
            if not match.left_out:
                by_node.setdefault(match.id or (match.source, match.name), []).append(row)
        _leave_out(chosen, list(by_node.values()), images, config.classes, "classes")
    return tuple(chosen)


def images_of(groups: Sequence[Sequence[int]], images: Catalogue) -> Int64Array:
    """(groups,) how many images show a class of each group: by a box or by a positive label."""
    classes = 1 + max((row for group in groups for row in group), default=-1)
    group_of = np.full(max(classes, _classes_in(images)), -1, dtype=np.int64)
    for number, group in enumerate(groups):
        group_of[list(group)] = number
    shown = (images["label_flags"] & POSITIVE) != 0
    image = np.concatenate([images.image_of("box"), images.image_of("label")[shown]])
    group = group_of[np.concatenate([images["box_class"], images["label_class"][shown]])]
    pairs = np.unique((image * len(groups) + group)[group >= 0])
    return np.bincount(pairs % max(len(groups), 1), minlength=len(groups))


def _classes_in(images: Catalogue) -> int:
    """One more than the highest class of any box or label."""
    return 1 + max(
        (int(images[name].max()) for name in ("box_class", "label_class") if images[name].size), default=-1
    )


@dataclass(frozen=True)
class _Candidate:
    """Classes that stay or go together: their names, how many images show them, whether they have a node."""

    names: frozenset[str]
    images: int
    has_node: bool


def _leave_out(
    matches: list[ClassMatch],
    groups: Sequence[Sequence[int]],
    images: Catalogue,
    selection: ClassSelection,
    place: str,
) -> None:
    """Mark the matches of those groups of rows that do not stay."""
    candidates = []
    for rows, count in zip(groups, images_of(groups, images).tolist(), strict=True):
        group = [matches[row] for row in rows]
        names = frozenset(name for match in group for name in (match.name, match.alias, match.id) if name)
        candidates.append(_Candidate(names, count, group[0].id is not None))
    why_not = _rule(candidates, selection, place)
    for rows, candidate in zip(groups, candidates, strict=True):
        for row in rows:
            matches[row] = replace(matches[row], left_out=why_not(candidate))


def _rule(
    candidates: Sequence[_Candidate], selection: ClassSelection, place: str
) -> Callable[[_Candidate], str]:
    """What tells why a class does not stay; an empty text where it does."""
    known = frozenset[str]().union(*(candidate.names for candidate in candidates))
    kept = _names(selection.keep, known, f"{place}.keep")
    dropped = _names(selection.drop, known, f"{place}.drop")
    ranked = [one for one in candidates if one.has_node and not one.names & dropped]
    ranked.sort(key=lambda one: -one.images)  # stable: of equals the first in the table stays
    top = ranked if selection.top is None else ranked[: selection.top]
    in_top = {id(one) for one in top}
    ranks = selection.top is not None
    chooses = ranks or selection.min_images is not None

    def why_not(one: _Candidate) -> str:
        if one.names & dropped:
            return f"named in {place}.drop"
        if one.names & kept:
            return ""
        if kept and not chooses:
            return f"not named in {place}.keep"
        if selection.min_images is not None and one.images < selection.min_images:
            return f"{one.images} images, {place}.min_images is {selection.min_images}"
        if ranks and one.has_node and id(one) not in in_top:
            return f"{one.images} images, not among {place}.top {selection.top}"
        return ""

    return why_not


def _names(setting: Path | tuple[str, ...], known: frozenset[str], place: str) -> frozenset[str]:
    """The names of a list or of the file of one; raises ConfigError where one is no class."""
    names = read_names(setting) if isinstance(setting, Path) else setting
    for name in names:
        if name not in known:
            offer = did_you_mean_inside(near(name, known, limit=1))
            raise ConfigError(f"{place} names {name!r}, which is no class here, nor the id of one{offer}.")
    return frozenset(names)


def read_names(path: Path) -> list[str]:
    """The lines without what follows a `#`, blanks around them and empty ones; raises ConfigError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{path}: this list of names cannot be read as text.") from None
    stripped = (line.partition("#")[0].strip() for line in lines)
    return [line for line in stripped if line]
