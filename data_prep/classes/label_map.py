"""The label map: the node of each source class, with the reason, in a file that people review and edit.

    coco:
      mouse: {node: n03793489, reason: curated, name: "mouse, computer mouse"}

To edit the file, change `node` to another id, to a synset name (mouse.n.04), to a word with a single sense, or to
`drop` to leave the class out. `node: null` means that no node fits or that several senses do: these classes stop a
merge, and their candidates follow as comments. `left_out` states why the selection of classes (`top`, `min_images`,
lists) leaves a class out.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from data_prep.classes.candidates import Candidate, CandidateSenses
from data_prep.errors import DataPrepError
from wordtree import WordTree
from wordtree.support.config_files import read_yaml
from wordtree.support.files import write_atomically
from wordtree.support.suggest import Spellings, did_you_mean, did_you_mean_inside, near
from wordtree.tree.lookup import parent_text
from wordtree.wordnet.class_lists import coco_classes, voc_classes
from wordtree.wordnet.graph import WordNet
from wordtree.wordnet.names import name_key
from wordtree.wordnet.resolve import Resolution, resolve, unresolved_message

DROP = "drop"  # written instead of an id to leave a class out
SHOWN_CLASSES = 8  # classes without a node that a message lists
_SHOWN_CANDIDATES = 2  # for each of these classes
_HEADER = """\
# The node of each class of each source, the reason for the match, and the name of the node. Reasons:
#   wnid, synset name, exact, synonym: the name of the class matches.
#   curated: the class is in the shipped list of COCO's or VOC's classes.
#   ambiguous, unmapped: no match, which stops a merge. Candidates follow below: copy the id of one of them.
# To change a node, write another id, a synset name (mouse.n.04) or `drop`. Only `node` and `left_out` are read.
"""


class LabelMapError(DataPrepError):
    """Classes without a node, or an invalid label map."""


@dataclass(frozen=True)
class ClassMatch:
    """A class of a source and the id of its node, or None.

    reason: wnid, synset name, exact, synonym, curated, edited; without a node: unmapped, ambiguous, dropped.
    note: the name of the node, or the explanation why there is none.
    alias: another name that the source gives the class.
    left_out: why the selection of classes leaves the class out; empty if the class is selected.
    candidates: possible nodes of a class without a node.
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
    def is_used(self) -> bool:
        """Whether labels of the class have a node in the merged data set."""
        return self.id is not None and not self.left_out

    @property
    def is_resolved(self) -> bool:
        """Whether the class has a node or has been left out on purpose."""
        return self.id is not None or self.reason == "dropped" or bool(self.left_out)


class ClassMatcher:
    """Finds the node of a class name in a given tree or, before the tree is built, in WordNet."""

    def __init__(self, tree: WordTree | None) -> None:
        self._tree = tree
        self._wordnet = WordNet.shipped()
        self._senses = CandidateSenses(self._wordnet, lambda wnid: tree is None or wnid in tree)
        self._nodes_of_name: dict[str, list[int]] = {}
        for node, name in enumerate(tree.names if tree else ()):
            self._nodes_of_name.setdefault(name_key(name), []).append(node)

    def match(
        self, source: str, names: Sequence[str], aliases: Sequence[str] = (), *, curated: bool = True
    ) -> list[ClassMatch]:
        """The node of each class.

        aliases: another name for each class, tried first: an id of the tree, a wnid or a synset name.
        curated: use the shipped list of COCO or VOC if it has all names.
        """
        wnid_of_name = _curated_wnids(names) if curated else {}
        return [
            replace(
                self._match_alias(source, name, alias) or self._match(source, name, wnid_of_name.get(name)),
                alias=alias,
            )
            for name, alias in zip(names, aliases or [""] * len(names), strict=True)
        ]

    def match_id(self, source: str, name: str, id_: str, reason: str) -> ClassMatch:
        """The match of a class with a known id, if the tree or, before it is built, WordNet has that id."""
        if self._tree is not None and id_ in self._tree:
            return ClassMatch(source, name, id_, reason, self._tree.names[self._tree.node(id_)])
        if self._tree is None and id_ in self._wordnet:
            return ClassMatch(source, name, id_, reason, self._described(id_))
        searched = "WordNet 3.0" if self._tree is None else "the tree"
        description = f" ({self._described(id_)})" if id_ in self._wordnet else ""
        return ClassMatch(source, name, None, "unmapped", f"{id_}{description} is not in {searched}")

    def match_edited(self, source: str, name: str, node: str) -> ClassMatch:
        """The match of a class whose node a person wrote, as an id or as a name with a single sense."""
        by_id = self.match_id(source, name, node, "edited")
        if by_id.id is not None or _WNID.fullmatch(node):
            return by_id
        by_name = self._match(source, node, None)
        return replace(by_name, name=name, reason="edited" if by_name.id else by_name.reason)

    def _match_alias(self, source: str, name: str, alias: str) -> ClassMatch | None:
        synset = self._wordnet.named(alias) if alias else None
        ids = [(alias, "wnid" if _WNID.fullmatch(alias) else "exact")] if alias else []
        if synset is not None:
            ids.append((self._wordnet.wnid(synset), "synset name"))
        matches = (self.match_id(source, name, id_, reason) for id_, reason in ids)
        return next((match for match in matches if match.id is not None), None)

    def _match(self, source: str, name: str, curated_wnid: str | None) -> ClassMatch:
        if curated_wnid is not None:
            match = self.match_id(source, name, curated_wnid, "curated")
            if match.id is not None:
                return match
        if (self._tree is not None and name in self._tree) or _WNID.fullmatch(name):
            return self.match_id(source, name, name, "wnid" if _WNID.fullmatch(name) else "exact")
        nodes = self._nodes_of_name.get(name_key(name), [])
        if self._tree is not None and len(nodes) == 1:
            return self.match_id(source, name, self._tree.ids[nodes[0]], "exact")
        return self._match_word(source, name)

    def _match_word(self, source: str, name: str) -> ClassMatch:
        """The match of a word of WordNet; only senses in the given tree count."""
        resolution = resolve(name, self._wordnet)
        possible = self._senses.senses(resolution)
        if len(possible) == 1:
            return self.match_id(source, name, possible[0], self._reason(resolution, possible[0]))
        if possible:
            note, candidates = f"{len(possible)} senses", self._senses.of(resolution)
            return ClassMatch(source, name, None, "ambiguous", note, candidates=candidates)
        if nodes := self._nodes_of_name.get(name_key(name), []):
            note, candidates = f"{len(nodes)} nodes of this name", tuple(map(self._candidate, nodes))
            return ClassMatch(source, name, None, "ambiguous", note, candidates=candidates)
        if resolution.senses:
            senses = ", ".join(map(self._wordnet.wnid, resolution.senses))
            note, candidates = f"{senses}: not in the tree", self._senses.of(resolution)
            return ClassMatch(source, name, None, "unmapped", note, candidates=candidates)
        return self._match_unknown(source, name, resolution)

    def _match_unknown(self, source: str, name: str, resolution: Resolution) -> ClassMatch:
        word, candidates = self._senses.of_shorter(name)
        offer = f" Is it a kind of {word!r}?" if candidates else ""
        if self._tree is None:
            note = (
                f"WordNet does not know {name!r}.{offer}"
                if offer
                else unresolved_message(resolution, self._wordnet)
            )
        else:
            suggestion = did_you_mean(self._spellings_of_tree.near(name))
            note = f"the tree has no such node.{suggestion or offer}"
        return ClassMatch(source, name, None, "unmapped", note.rstrip("."), candidates=candidates)

    @cached_property
    def _spellings_of_tree(self) -> Spellings:
        return Spellings([*self._tree.names, *self._tree.ids] if self._tree else ())

    def _candidate(self, node: int) -> Candidate:
        assert self._tree is not None
        return Candidate(self._tree.ids[node], f"{self._tree.names[node]} ({parent_text(node, self._tree)})")

    def _reason(self, resolution: Resolution, wnid: str) -> str:
        if resolution.reason in ("COCO class", "VOC class"):
            return "curated"
        if resolution.reason == "synset name":
            return "synset name"
        first_lemma = self._wordnet.lemmas(self._wordnet.synset(wnid))[0]
        return "exact" if name_key(first_lemma) == name_key(resolution.label) else "synonym"

    def _described(self, wnid: str) -> str:
        return ", ".join(self._wordnet.lemmas(self._wordnet.synset(wnid))[:3])


def apply_label_map(
    matches: Sequence[ClassMatch],
    label_map: Mapping[tuple[str, str], str | None],
    matcher: ClassMatcher,
    path: Path,
) -> list[ClassMatch]:
    """The matches after the edits in the label map; raises LabelMapError if the map does not fit the sources."""
    by_key = {(match.source, match.name): match for match in matches}
    for source, name in label_map:
        if (source, name) not in by_key:
            known = [match.name for match in matches if match.source == source]
            missing = f"class {name!r} of source {source!r}" if known else f"source {source!r}"
            alike = near(name, known, limit=1) or near(source, {match.source for match in matches}, limit=1)
            suggestion = did_you_mean_inside(alike)
            raise LabelMapError(f"{path}: {missing} does not exist{suggestion}. Correct or remove the line.")
    return [_edited(match, label_map.get((match.source, match.name)), matcher, path) for match in matches]


def _edited(match: ClassMatch, node: str | None, matcher: ClassMatcher, path: Path) -> ClassMatch:
    """The match after the edit of its line in the label map."""
    if node is None or node == match.id:
        return match
    if node == DROP:
        return replace(match, id=None, reason="dropped", note="left out by the label map")
    edited = matcher.match_edited(match.source, match.name, node)
    if edited.id is None:
        found = f"node {node!r}: {edited.note}"
        if edited.reason == "ambiguous":
            found = (
                f"node {node!r} has {edited.note}: {'; '.join(map(str, edited.candidates[:SHOWN_CLASSES]))}"
            )
        raise LabelMapError(
            f"{path}: {match.source}: {match.name}: {found}{'' if found.endswith('?') else '.'}"
        )
    return replace(edited, alias=match.alias)


def read_label_map(path: Path, *, drop_left_out: bool = True) -> dict[tuple[str, str], str | None]:
    """The id, `drop` or None for each (source, class); raises LabelMapError if the file is not a label map.

    drop_left_out: drop the classes marked `left_out`; otherwise the caller selects classes again.
    """
    content = read_yaml(path, LabelMapError, content="label map")
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
        raise LabelMapError(f"{place}: expected `{{node: ID}}`, found no `node`.")
    if node is not None and not isinstance(node, str):
        raise LabelMapError(f"{place}: expected an id, `drop` or null as `node`, found {node!r}.")
    return DROP if node is not None and node.lower() == DROP else node


def write_label_map(path: Path, matches: Sequence[ClassMatch]) -> None:
    """Write a line for each class, grouped by source; candidates follow as comments where a class has no node."""
    lines = [_HEADER.rstrip()]
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
    """The first eight classes without a node in one line, each with its reason and note, and the number of others."""
    unresolved = [match for match in matches if not match.is_resolved]
    shown = [
        f"{match.source}: {match.name!r} is {match.reason} ({match.note})"
        for match in unresolved[:SHOWN_CLASSES]
    ]
    more = f"; and {len(unresolved) - SHOWN_CLASSES} more" if len(unresolved) > SHOWN_CLASSES else ""
    return "; ".join(shown) + more


def unresolved_lines(matches: Sequence[ClassMatch]) -> list[str]:
    """A line for each class without a node, with reason, note and its likeliest candidates."""
    lines = []
    for match in matches:
        if not match.is_resolved:
            likely = match.candidates[:_SHOWN_CANDIDATES]
            more = len(match.candidates) - len(likely)
            others = f"; {more} more" if more else ""
            candidates = f": {'; '.join(map(str, likely))}{others}" if likely else ""
            lines.append(f"{match.source} {match.name!r} is {match.reason}, {match.note}{candidates}")
    return lines


_WNID = re.compile(r"n[0-9]{8}")
_PLAIN_YAML = re.compile(r"[A-Za-z][A-Za-z0-9_ ]*[A-Za-z0-9_]")
_YAML_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})


def _quoted(text: str) -> str:
    """The text as a YAML key or value, in quotes unless it is safe without."""
    is_plain = _PLAIN_YAML.fullmatch(text) and text.lower() not in _YAML_WORDS
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def _curated_wnids(names: Sequence[str]) -> Mapping[str, str]:
    """The shipped list of COCO or VOC that has all the names; empty if neither has."""
    for wnid_of_name in (coco_classes(), voc_classes()):
        if names and all(name in wnid_of_name for name in names):
            return wnid_of_name
    return {}
