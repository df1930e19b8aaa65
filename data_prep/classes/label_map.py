"""Source class → node of the tree, reviewably: one line for each class, with the reason.

    coco:
      mouse: {node: n03793489, reason: by hand, name: "mouse, computer mouse"}

The file is written for review and honoured when edited: change `node` to another id, synset name (mouse.n.04) or word
of one sense, or to `drop` to leave the class out. `node: null` means that nothing fits, or that several senses do; such
classes stop a merge, and what they may mean stands below them. `left_out` tells that the configuration chose other
classes (`top`, `min_images`, lists), and why.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from data_prep.classes.candidates import Candidate, Candidates
from data_prep.errors import DataPrepError
from wordtree import WordTree
from wordtree.support.config_files import read_yaml
from wordtree.support.files import write_atomically
from wordtree.support.suggest import Spellings, did_you_mean, did_you_mean_inside, near
from wordtree.wordnet.graph import WordNet
from wordtree.wordnet.resolve import Resolution, coco_classes, resolve, unresolved_message, voc_classes

DROP = "drop"  # what a reviewer writes instead of an id
SHOWN = 8  # classes without a node that are told one by one
_LIKELY = 2  # of the senses of each
_HEAD = """\
# A line for each class of each source: the node that it means, how that was found, what the node is called.
#   wnid, synset name, exact, synonym: by its name; by hand: from the map of COCO's or VOC's classes that is shipped.
#   ambiguous, unmapped: not found, which stops a merge. What the class may mean stands below it: copy the id.
# To change a line, write another id, a synset name (mouse.n.04) or `drop` for `node`; the rest of it is not read.
"""


class LabelMapError(DataPrepError):
    """Classes that have no node, or a label map that does not fit."""


@dataclass(frozen=True)
class ClassMatch:
    """A class of a source and the id of its node; None where it has none, and why.

    reason: wnid, synset name, exact, synonym, by hand, edited; without a node: unmapped, ambiguous, dropped.
    note: what the node is called, or why there is none.
    alias: another name that its source gives the class.
    left_out: why it does not stay although it may have a node (`top`, `min_images`, lists); empty where it stays.
    candidates: what a class without a node may mean.
    """

    source: str
    name: str
    id: str | None
    reason: str
    note: str = ""
    alias: str = ""
    left_out: str = ""
    candidates: tuple[Candidate, ...] = ()

    @property
    def stays(self) -> bool:
        """Whether its labels count."""
        return self.id is not None and not self.left_out

    @property
    def is_resolved(self) -> bool:
        """Whether it has a node, or was left out on purpose."""
        return self.id is not None or self.reason == "dropped" or bool(self.left_out)


class ClassMatcher:
    """Finds the node of a class name, in a given tree or, where none is given yet, in WordNet."""

    def __init__(self, tree: WordTree | None) -> None:
        self._tree = tree
        self._wordnet = WordNet.shipped()
        self._candidates = Candidates(self._wordnet, lambda wnid: tree is None or wnid in tree)
        self._nodes_of_name: dict[str, list[int]] = {}
        for node, name in enumerate(tree.names if tree else ()):
            self._nodes_of_name.setdefault(plain(name), []).append(node)

    def match(
        self, source: str, names: Sequence[str], aliases: Sequence[str] = (), *, by_hand: bool = True
    ) -> list[ClassMatch]:
        """The node of each class.

        aliases: another name of each class, tried first: an id of the tree, a wnid or a synset name.
        by_hand: names that are all COCO's, or VOC's, mean what they mean there.
        """
        table = _table_by_hand(names) if by_hand else {}
        return [
            replace(
                self._match_alias(source, name, alias) or self._match(source, name, table.get(name)),
                alias=alias,
            )
            for name, alias in zip(names, aliases or [""] * len(names), strict=True)
        ]

    def match_id(self, source: str, name: str, id_: str, reason: str) -> ClassMatch:
        """A class whose id is known, if the tree (or else WordNet) has that id."""
        if self._tree is not None and id_ in self._tree:
            return ClassMatch(source, name, id_, reason, self._tree.names[self._tree.node(id_)])
        if self._tree is None and id_ in self._wordnet:
            return ClassMatch(source, name, id_, reason, self._described(id_))
        place = "WordNet 3.0" if self._tree is None else "the tree"
        meant = f" ({self._described(id_)})" if id_ in self._wordnet else ""
        return ClassMatch(source, name, None, "unmapped", f"{id_}{meant} is not in {place}")

    def match_written(self, source: str, name: str, node: str) -> ClassMatch:
        """A class whose node a person wrote: by its id, or by a name that means just one node."""
        known = self.match_id(source, name, node, "edited")
        if known.id is not None or _WNID.fullmatch(node):
            return known
        found = self._match(source, node, None)
        return replace(found, name=name, reason="edited" if found.id else found.reason)

    def _match_alias(self, source: str, name: str, alias: str) -> ClassMatch | None:
        synset = self._wordnet.named(alias) if alias else None
        ids = [(alias, "wnid" if _WNID.fullmatch(alias) else "exact")] if alias else []
        if synset is not None:
            ids.append((self._wordnet.wnid(synset), "synset name"))
        matches = (self.match_id(source, name, id_, reason) for id_, reason in ids)
        return next((match for match in matches if match.id is not None), None)

    def _match(self, source: str, name: str, wnid_by_hand: str | None) -> ClassMatch:
        if wnid_by_hand is not None:
            found = self.match_id(source, name, wnid_by_hand, "by hand")
            if found.id is not None:
                return found
        if (self._tree is not None and name in self._tree) or _WNID.fullmatch(name):
            return self.match_id(source, name, name, "wnid" if _WNID.fullmatch(name) else "exact")
        namesakes = self._nodes_of_name.get(plain(name), [])
        if self._tree is not None and len(namesakes) == 1:
            return self.match_id(source, name, self._tree.ids[namesakes[0]], "exact")
        return self._match_word(source, name)

    def _match_word(self, source: str, name: str) -> ClassMatch:
        """By WordNet; a given tree narrows a word of several senses to those that it has."""
        resolution = resolve(name, self._wordnet)
        possible = self._candidates.senses(resolution)
        if len(possible) == 1:
            return self.match_id(source, name, possible[0], self._reason(resolution, possible[0]))
        if possible:
            note = f"{len(possible)} senses"
            return ClassMatch(
                source, name, None, "ambiguous", note, candidates=self._candidates.of(resolution)
            )
        if namesakes := self._nodes_of_name.get(plain(name), []):
            nodes = tuple(map(self._candidate, namesakes))
            return ClassMatch(
                source, name, None, "ambiguous", f"{len(nodes)} nodes of this name", candidates=nodes
            )
        if resolution.senses:
            senses = ", ".join(map(self._wordnet.wnid, resolution.senses))
            note, candidates = f"{senses}: not in the tree", self._candidates.of(resolution)
            return ClassMatch(source, name, None, "unmapped", note, candidates=candidates)
        return self._match_unknown(source, name, resolution)

    def _match_unknown(self, source: str, name: str, resolution: Resolution) -> ClassMatch:
        word, candidates = self._candidates.of_shorter(name)
        offer = f" Is it a kind of {word!r}?" if candidates else ""
        if self._tree is None:
            note = (
                f"WordNet does not know {name!r}.{offer}"
                if offer
                else unresolved_message(resolution, self._wordnet)
            )
        else:
            alike = did_you_mean(self._spellings_of_tree.near(name))
            note = f"the tree has no such node.{alike or offer}"
        return ClassMatch(source, name, None, "unmapped", note.rstrip("."), candidates=candidates)

    @cached_property
    def _spellings_of_tree(self) -> Spellings:
        return Spellings([*self._tree.names, *self._tree.ids] if self._tree else ())

    def _candidate(self, node: int) -> Candidate:
        assert self._tree is not None
        parent = int(self._tree.parent[node])
        above = "a root" if parent < 0 else f"under {self._tree.names[parent]}"
        return Candidate(self._tree.ids[node], f"{self._tree.names[node]} ({above})")

    def _reason(self, resolution: Resolution, wnid: str) -> str:
        if resolution.reason in ("COCO class", "VOC class"):
            return "by hand"
        if resolution.reason == "synset name":
            return "synset name"
        first_lemma = self._wordnet.lemmas(self._wordnet.synset(wnid))[0]
        return "exact" if plain(first_lemma) == plain(resolution.label) else "synonym"

    def _described(self, wnid: str) -> str:
        return ", ".join(self._wordnet.lemmas(self._wordnet.synset(wnid))[:3])


def apply_label_map(
    matches: Sequence[ClassMatch],
    label_map: Mapping[tuple[str, str], str | None],
    matcher: ClassMatcher,
    path: Path,
) -> list[ClassMatch]:
    """The matches with what the label map says instead; raises LabelMapError where it does not fit."""
    by_key = {(match.source, match.name): match for match in matches}
    for source, name in label_map:
        if (source, name) not in by_key:
            known = [match.name for match in matches if match.source == source]
            what = f"class {name!r} of source {source!r}" if known else f"source {source!r}"
            alike = near(name, known, limit=1) or near(source, {match.source for match in matches}, limit=1)
            offer = did_you_mean_inside(alike)
            raise LabelMapError(f"{path}: {what} does not exist{offer}. Correct or remove the line.")
    return [_honoured(match, label_map, matcher, path) for match in matches]


def _honoured(
    match: ClassMatch, label_map: Mapping[tuple[str, str], str | None], matcher: ClassMatcher, path: Path
) -> ClassMatch:
    id_ = label_map.get((match.source, match.name))
    if id_ is None or id_ == match.id:
        return match
    if id_ == DROP:
        return replace(match, id=None, reason="dropped", note="left out by the label map")
    edited = matcher.match_written(match.source, match.name, id_)
    if edited.id is None:
        found = f"node {id_!r}: {edited.note}"
        if edited.reason == "ambiguous":
            found = f"node {id_!r} has {edited.note}: {'; '.join(map(str, edited.candidates[:SHOWN]))}"
        raise LabelMapError(
            f"{path}: {match.source}: {match.name}: {found}{'' if found.endswith('?') else '.'}"
        )
    return replace(edited, alias=match.alias)


def read_label_map(path: Path, *, drop_left_out: bool = True) -> dict[tuple[str, str], str | None]:
    """(source, class) → id, `drop` or None; raises LabelMapError where the file is no label map.

    drop_left_out: classes that the map says were left out are dropped; else whoever reads it chooses anew.
    """
    content = read_yaml(path, LabelMapError, what="label map")
    if not all(isinstance(classes, dict) for classes in content.values()):
        raise LabelMapError(f"{path}: expected `source:` lines with `class: {{node: ID}}` lines under each.")
    return {
        (str(source), str(name)): _node_entry(entry, f"{path}: {source}: {name}", drop_left_out=drop_left_out)
        for source, classes in content.items()
        for name, entry in classes.items()
    }


def _node_entry(entry: Any, place: str, *, drop_left_out: bool) -> str | None:
    if drop_left_out and isinstance(entry, dict) and entry.get("left_out"):
        return DROP
    node = entry.get("node") if isinstance(entry, dict) else entry
    if isinstance(entry, dict) and "node" not in entry:
        raise LabelMapError(f"{place}: expected `{{node: ID}}`, found no node.")
    if node is not None and not isinstance(node, str):
        raise LabelMapError(f"{place}: expected an id, `drop` or null as node, found {node!r}.")
    return DROP if node is not None and node.lower() == DROP else node


def write_label_map(path: Path, matches: Sequence[ClassMatch]) -> None:
    """One line for each class, under its source; below it, as comments, what a class without a node may mean."""
    lines = [_HEAD.rstrip()]
    for number, match in enumerate(matches):
        if number == 0 or matches[number - 1].source != match.source:
            lines.append(f"{_quoted(match.source)}:")
        node = DROP if match.reason == "dropped" else match.id
        left_out = f"left_out: {json.dumps(match.left_out, ensure_ascii=False)}, " if match.left_out else ""
        lines.append(
            f"  {_quoted(match.name)}: {{node: {_quoted(node) if node else 'null'}, reason: {match.reason}, "
            f"{left_out}name: {json.dumps(match.note, ensure_ascii=False)}}}"
        )
        if not match.is_resolved:
            lines += [
                f"    # {json.dumps(str(candidate), ensure_ascii=False)[1:-1]}"
                for candidate in match.candidates
            ]
    write_atomically(path, "\n".join(lines) + "\n")


def unresolved_text(matches: Sequence[ClassMatch]) -> str:
    """The classes without a node in one line, the first eight of them with what is known."""
    unresolved = [match for match in matches if not match.is_resolved]
    shown = [
        f"{match.source}: {match.name!r} is {match.reason} ({match.note})" for match in unresolved[:SHOWN]
    ]
    more = f"; and {len(unresolved) - SHOWN} more" if len(unresolved) > SHOWN else ""
    return "; ".join(shown) + more


def unresolved_lines(matches: Sequence[ClassMatch]) -> list[str]:
    """The same, a line for each class with the likeliest of what it may mean."""
    lines = []
    for match in matches:
        if not match.is_resolved:
            likely, more = match.candidates[:_LIKELY], len(match.candidates) - _LIKELY
            others = f"; {more} more" if more > 0 else ""
            may = f": {'; '.join(map(str, likely))}{others}" if likely else ""
            lines.append(f"{match.source} {match.name!r} is {match.reason}, {match.note}{may}")
    return lines


_WNID = re.compile(r"n[0-9]{8}")
_PLAIN_YAML = re.compile(r"[A-Za-z][A-Za-z0-9_ ]*[A-Za-z0-9_]")
_YAML_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})


def _quoted(text: str) -> str:
    """The text as a YAML key or value: plain where that is safe, else in quotes."""
    is_plain = _PLAIN_YAML.fullmatch(text) and text.lower() not in _YAML_WORDS
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def _table_by_hand(names: Sequence[str]) -> Mapping[str, str]:
    for table in (coco_classes(), voc_classes()):
        if names and all(name in table for name in names):
            return table
    return {}


def plain(name: str) -> str:
    return name.replace("_", " ").lower().strip()
