"""The label map: the node of each source class, with the reason, in a file that people review and edit.

    all sources:
      apple: {node: null, proposed: n07739125, because: "food", reason: ambiguous, sources: [a, b], name: "2 senses"}
    coco:
      mouse: {node: n03793489, reason: curated, name: "mouse, computer mouse"}

A class of several sources has one line, below `all sources`, unless the sources mean different nodes. A line below a
source takes precedence. To edit the file, change `node` to another id, to a synset name (mouse.n.04), to a word with a
single sense, or to `drop` to leave the class out; or write `parent: ID` for a new node below another one. `node: null`
means that no node fits or that several senses do: these classes stop a merge unless `proposals: accept` takes the
node in `proposed`. `left_out` states why the selection of classes (`top`, `min_images`, lists) leaves a class out.
"""

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.classes.custom_classes import FlatMatcher
from data_prep.classes.matching import ClassMatch, ClassMatcher, LabelMapError
from wordtree.support.config_files import read_yaml
from wordtree.support.files import write_atomically
from wordtree.support.suggest import did_you_mean_inside, near
from wordtree.wordnet.names import name_key

ALL_SOURCES = "all sources"  # no name of a source has a blank
DROP = "drop"  # written instead of an id to leave a class out
SHOWN_CLASSES = 8  # classes without a node that a message lists
_SHOWN_CANDIDATES = 2  # for each of these classes
_HEADER = """\
# The node of each class of each source, the reason for the match, and the name of the node. Reasons:
#   wnid, synset name, exact, synonym: the name of the class matches.
#   spelling, plural, list, brackets: the name is read as a word of WordNet.
#   curated: the class is in the shipped list of COCO's or VOC's classes.
#   placed, proposed: custom_classes or a `parent` places the class; an accepted proposal.
#   ambiguous, unmapped: no match, which stops a merge. Candidates follow below: copy the id of one of them,
#   or write `proposals: accept` into MERGE.yaml to take what is `proposed`.
# To change a node, write another id, a synset name (mouse.n.04) or `drop`. To add a node, write `parent: ID`
# (or `parent: root`). Only `node`, `parent` and `left_out` are read.
"""


class MapEntry(NamedTuple):
    """A line of a label map: an id, a word or `drop` (None: no decision), and the parent of a new node."""

    node: str | None
    parent: str | None = None


LabelMap = Mapping[tuple[str, str], MapEntry]


def entry_of(match: ClassMatch, label_map: LabelMap) -> MapEntry | None:
    """The line of a class: of its source, or else of all sources, where any spelling of the name counts."""
    own = label_map.get((match.source, match.name))
    if own is not None:
        return own
    key = name_key(match.name)
    shared = (
        entry
        for (source, name), entry in label_map.items()
        if source == ALL_SOURCES and name_key(name) == key
    )
    return next(shared, None)


def apply_label_map(
    matches: Sequence[ClassMatch],
    label_map: LabelMap,
    matcher: ClassMatcher | FlatMatcher,
    path: Path,
) -> list[ClassMatch]:
    """The matches after the edits in the label map; raises LabelMapError if the map does not fit the sources."""
    keys = {(match.source, match.name) for match in matches}
    keys |= {(ALL_SOURCES, name_key(match.name)) for match in matches}
    for source, name in label_map:
        if (source, name_key(name) if source == ALL_SOURCES else name) not in keys:
            raise LabelMapError(f"{path}: {_missing(source, name, matches)}. Correct or remove the line.")
    return [_edited(match, entry_of(match, label_map), matcher, path) for match in matches]


def _missing(source: str, name: str, matches: Sequence[ClassMatch]) -> str:
    known = [match.name for match in matches if source in (match.source, ALL_SOURCES)]
    missing = f"class {name!r} of source {source!r}" if known else f"source {source!r}"
    if source == ALL_SOURCES:
        missing = f"class {name!r}"
    alike = near(name, known, limit=1) or near(source, {match.source for match in matches}, limit=1)
    return f"{missing} does not exist{did_you_mean_inside(alike)}"


def _edited(
    match: ClassMatch, entry: MapEntry | None, matcher: ClassMatcher | FlatMatcher, path: Path
) -> ClassMatch:
    """The match after the edit of its line in the label map; a class with a `parent` is placed already."""
    node = None if entry is None else entry.node
    if node is None or node == match.id or (entry and entry.parent and node != DROP):
        return match
    if node == DROP:
        return replace(
            match, id=None, reason="dropped", note="left out by the label map", parent="", candidates=()
        )
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


def read_label_map(path: Path, *, drop_left_out: bool = True) -> dict[tuple[str, str], MapEntry]:
    """The line of each (source, class); raises LabelMapError if the file is not a label map.

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


def _node_entry(entry: Any, where: str, *, drop_left_out: bool) -> MapEntry:
    if drop_left_out and isinstance(entry, dict) and entry.get("left_out"):
        return MapEntry(DROP)
    node, parent = (entry.get("node"), entry.get("parent")) if isinstance(entry, dict) else (entry, None)
    if isinstance(entry, dict) and not entry.keys() & {"node", "parent"}:
        raise LabelMapError(f"{where}: expected `{{node: ID}}` or `{{parent: ID}}`, found no `node`.")
    for key, value in (("node", node), ("parent", parent)):
        if value is not None and not isinstance(value, str):
            raise LabelMapError(f"{where}: expected an id, `drop` or null as `{key}`, found {value!r}.")
    return MapEntry(DROP if node is not None and node.lower() == DROP else node, parent)


def write_label_map(path: Path, matches: Sequence[ClassMatch]) -> None:
    """Write a line for each class: of several sources below `all sources`, the others below their source.

    Candidates follow as comments where a class has no node.
    """
    shared, single = _grouped(matches)
    lines = [_HEADER.rstrip()]
    if shared:
        lines.append(f"{ALL_SOURCES}:")
    for group in shared:
        lines += _lines(next((match for match in group if not match.is_resolved), group[0]), group)
    for number, match in enumerate(single):
        if number == 0 or single[number - 1].source != match.source:
            lines.append(f"{_quoted(match.source)}:")
        lines += _lines(match, [match])
    write_atomically(path, "\n".join(lines) + "\n")


def is_label_map(path: Path) -> bool:
    """Whether a file begins like a label map that `write_label_map` wrote."""
    first = _HEADER.splitlines()[0]
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline(1000).rstrip() == first


def _grouped(matches: Sequence[ClassMatch]) -> tuple[list[list[ClassMatch]], list[ClassMatch]]:
    """The classes of several sources that do not differ in their nodes, and all other classes."""
    of_key: defaultdict[str, list[ClassMatch]] = defaultdict(list)
    for match in matches:
        of_key[name_key(match.name)].append(match)
    shared = [group for group in of_key.values() if _is_one_class(group)]
    in_shared = {id(match) for group in shared for match in group}
    return shared, [match for match in matches if id(match) not in in_shared]


def _is_one_class(group: Sequence[ClassMatch]) -> bool:
    decisions = {
        (match.id, match.parent, match.reason == "dropped", match.left_out)
        for match in group
        if match.is_resolved
    }
    return len(group) == len({match.source for match in group}) > 1 and len(decisions) <= 1


def _lines(match: ClassMatch, group: Sequence[ClassMatch]) -> list[str]:
    """The line of a class, and its candidates as comments where it has no node."""
    node = DROP if match.reason == "dropped" else match.id
    fields = {"node": _quoted(node) if node else "null"}
    if match.parent:
        fields["parent"] = _quoted(match.parent)
    if not match.is_resolved and match.proposal is not None:
        proposed = "proposed_parent" if match.proposal.is_parent else "proposed"
        fields |= {proposed: _quoted(match.proposal.id), "because": _text(match.proposal.because)}
    fields["reason"] = match.reason
    if match.left_out:
        fields["left_out"] = _text(match.left_out)
    fields["name"] = _text(match.note)
    if len(group) > 1:
        fields["sources"] = f"[{', '.join(_quoted(other.source) for other in group)}]"
    entry = ", ".join(f"{key}: {value}" for key, value in fields.items())
    lines = [f"  {_quoted(match.name)}: {{{entry}}}"]
    if not match.is_resolved:
        lines += [f"    # {_text(str(candidate))[1:-1]}" for candidate in match.candidates]
    return lines


def unresolved_text(matches: Sequence[ClassMatch]) -> str:
    """The first eight classes without a node in one line, each with its reason and note, and the number of others."""
    groups = list(_unresolved(matches))
    shown = [
        f"{_sources(group)}: {group[0].name!r} is {group[0].reason} ({group[0].note})"
        for group in groups[:SHOWN_CLASSES]
    ]
    more = f"; and {len(groups) - SHOWN_CLASSES} more" if len(groups) > SHOWN_CLASSES else ""
    return "; ".join(shown) + more


def unresolved_lines(matches: Sequence[ClassMatch]) -> list[str]:
    """A line for each class without a node, with reason, note and its likeliest candidates."""
    lines = []
    for match, *others in _unresolved(matches):
        likely = match.candidates[:_SHOWN_CANDIDATES]
        more = len(match.candidates) - len(likely)
        further = f"; {more} more" if more else ""
        candidates = f": {'; '.join(map(str, likely))}{further}" if likely else ""
        sources = _sources([match, *others])
        lines.append(
            f"{sources} {match.name!r} is {match.reason}, {match.note}{candidates}{_proposal_text(match)}"
        )
    return lines


def _proposal_text(match: ClassMatch) -> str:
    if match.proposal is None:
        return ""
    below = "a node below " if match.proposal.is_parent else ""
    return f". Proposed: {below}{match.proposal.id} ({match.proposal.because})"


def _unresolved(matches: Sequence[ClassMatch]) -> list[list[ClassMatch]]:
    """The classes without a node, each once with all its sources."""
    of_key: defaultdict[str, list[ClassMatch]] = defaultdict(list)
    for match in matches:
        if not match.is_resolved:
            of_key[name_key(match.name)].append(match)
    return list(of_key.values())


def _sources(group: Sequence[ClassMatch]) -> str:
    return ", ".join(dict.fromkeys(match.source for match in group))


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


_PLAIN_YAML = re.compile(r"[A-Za-z][A-Za-z0-9_ ]*[A-Za-z0-9_]")
_YAML_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})


def _quoted(text: str) -> str:
    """The text as a YAML key or value, in quotes unless it is safe without."""
    is_plain = _PLAIN_YAML.fullmatch(text) and text.lower() not in _YAML_WORDS
    return text if is_plain else json.dumps(text, ensure_ascii=False)
