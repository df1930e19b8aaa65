"""Classes that WordNet or the tree lacks, as new nodes: by MERGE.yaml, by the label map, or in a flat tree."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from data_prep.classes.candidates import UsedNodes, propose_parent, proposed_first
from data_prep.classes.matching import ClassMatch, ClassMatcher, LabelMapError
from wordtree import Hierarchy, WordTree
from wordtree.hierarchies.hierarchy import as_id
from wordtree.support.suggest import did_you_mean_inside, near
from wordtree.wordnet.graph import WordNet
from wordtree.wordnet.names import name_key

ROOT = "root"  # written instead of a parent


def flat_matches(sources: Mapping[str, Sequence[str]]) -> list[ClassMatch]:
    """A node of its own for each name, in any spelling; sources: the classes of each source."""
    first: dict[str, str] = {}
    wordnet = WordNet.shipped()
    matches = []
    for source, names in sources.items():
        for name in names:
            id_ = as_id(first.setdefault(name_key(name), name))
            note = wordnet.lemmas(wordnet.synset(id_))[0] if id_ in wordnet else name
            matches.append(ClassMatch(source, name, id_, "exact", note, parent=ROOT))
    return matches


class FlatMatcher:
    """Matches each name to a node of that name, because the nodes of a flat tree are the names of its classes."""

    def match_edited(self, source: str, name: str, node: str) -> ClassMatch:
        """The match of a class whose node a person wrote."""
        return ClassMatch(source, name, as_id(node), "edited", node, parent=ROOT)


class CustomClasses:
    """Custom classes by name, each with its id and its parent (an id, or `root`)."""

    def __init__(self, parents: Mapping[str, str], matcher: ClassMatcher | FlatMatcher, where: str) -> None:
        """Resolve the parents. parents: the parent of each class: an id, a word, a custom class, or `root`.

        where: the file that has the parents, for messages. Raises LabelMapError for a parent that is no node.
        """
        self._ids = {name_key(name): as_id(name) for name in parents}
        self._names = {as_id(name): name for name in parents}
        self._matcher = matcher
        self._parent = {
            as_id(name): self._parent_id(name, parent.strip(), where) for name, parent in parents.items()
        }

    def id_of(self, name: str) -> str | None:
        """The id of the custom class of this name, in any spelling; None if there is none."""
        return self._ids.get(name_key(name))

    def placed(self, match: ClassMatch) -> ClassMatch:
        """The match at the custom class of its name; the match itself if there is none."""
        id_ = self.id_of(match.name)
        if id_ is None:
            return match
        return replace(
            match, id=id_, reason="placed", note=match.name, parent=self._parent[id_], candidates=(), head=""
        )

    def nodes(self) -> list[tuple[str, str, str]]:
        """Id, name and parent of each custom class."""
        return [(id_, self._names[id_], parent) for id_, parent in self._parent.items()]

    def _parent_id(self, name: str, parent: str, where: str) -> str:
        if parent.lower() == ROOT:
            return ROOT
        custom = self.id_of(parent)
        return custom if custom is not None else parent_id(parent, self._matcher, f"{where}: {name}")


def parent_id(parent: str, matcher: ClassMatcher | FlatMatcher, where: str) -> str:
    """The id of the parent that a person wrote as an id, a synset name or a word; raises LabelMapError."""
    match = matcher.match_edited("", parent, parent)
    if match.id is None:
        raise LabelMapError(f"{where}: parent {parent!r}: {match.note.rstrip('.')}.")
    return match.id


def propose(matches: Sequence[ClassMatch]) -> list[ClassMatch]:
    """The matches, with a proposal for each class that has no node but likely candidates."""
    used = UsedNodes([(match.source, match.id) for match in matches if match.id is not None])
    proposed = []
    for match in matches:
        if not match.is_resolved and match.candidates:
            proposal = (
                propose_parent(match.head, match.candidates)
                if match.head
                else used.propose(match.candidates, match.source)
            )
            candidates = proposed_first(match.candidates, proposal)
            match = replace(match, proposal=proposal, candidates=candidates)
        proposed.append(match)
    return proposed


def accept_proposals(matches: Sequence[ClassMatch]) -> list[ClassMatch]:
    """The matches, with each proposal accepted as the node of its class, or as the parent of a new node."""
    first: dict[str, str] = {}  # the spelling that names a new node
    accepted = []
    for match in matches:
        proposal = match.proposal
        if proposal is None:
            accepted.append(match)
            continue
        text = next(candidate.text for candidate in match.candidates if candidate.id == proposal.id)
        id_, parent, note = proposal.id, "", f"{text}: {proposal.because}"
        if proposal.is_parent:
            id_ = as_id(first.setdefault(name_key(match.name), match.name))
            parent, note = proposal.id, f"below {proposal.id} {note}"
        accepted.append(
            replace(match, id=id_, parent=parent, reason="proposed", note=note, proposal=None, candidates=())
        )
    return accepted


def add_custom_classes(
    tree: WordTree | None, matches: Sequence[ClassMatch], custom: CustomClasses
) -> WordTree:
    """The tree with a node for each placed class that is in use; without a tree, the tree of these classes alone.

    Raises LabelMapError for a parent that is not in the tree and for a custom class that nothing uses.
    """
    hierarchy = Hierarchy() if tree is None else Hierarchy.of_tree(tree)
    known = {id_: (name, parent) for id_, name, parent in custom.nodes()}
    nodes = {
        match.id: (match.node_name, match.parent) for match in reversed(matches) if match.id and match.parent
    }
    wanted = list(dict.fromkeys(match.id for match in matches if match.id and match.parent and match.is_used))
    for id_ in wanted:  # grows: parents that are custom classes too
        parent = known[id_][1] if id_ in known else nodes[id_][1]
        if parent in known and parent not in wanted:
            wanted.append(parent)
    _require_used(known, wanted, matches)
    for id_ in wanted:
        name, parent = known[id_] if id_ in known else nodes[id_]
        if id_ not in hierarchy.parents:
            hierarchy.add(id_, None if parent == ROOT else parent, name=name)
    return hierarchy.to_tree()


def _require_used(
    known: Mapping[str, tuple[str, str]], wanted: Sequence[str], matches: Sequence[ClassMatch]
) -> None:
    """Raise LabelMapError for a custom class that is neither a class of a source nor a parent of one."""
    names = {name_key(match.name): match.name for match in matches}
    for id_, (name, _) in known.items():
        if id_ not in wanted and name_key(name) not in names:
            suggestion = did_you_mean_inside(near(name, names.values(), limit=1))
            raise LabelMapError(
                f"custom_classes: {name!r} is neither a class of a source nor the parent of one{suggestion}."
            )
