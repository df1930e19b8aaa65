"""Finds the node of each class of a source, with the reason, or candidates for it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from data_prep.classes.candidates import Candidate, CandidateSenses, Proposal
from data_prep.errors import DataPrepError
from wordtree import WordTree
from wordtree.support.suggest import Spellings, did_you_mean
from wordtree.tree.lookup import parent_text
from wordtree.wordnet.class_lists import data_set_of, listed_wnid
from wordtree.wordnet.graph import WordNet
from wordtree.wordnet.names import name_key, wnid_of
from wordtree.wordnet.resolve import Resolution, resolve, unresolved_message

# Names of images or boxes without an object, as of camera traps, which WordNet knows as words.
_WITHOUT_OBJECT = frozenset({"empty", "blank", "background", "nothing", "none", "null", "void"})
_NO_CHANCE = 10  # so many names are all classes of COCO, or of VOC, only if they were taken from there


class LabelMapError(DataPrepError):
    """Classes without a node, or an invalid label map."""


@dataclass(frozen=True)
class ClassMatch:
    """A class of a source and the id of its node, or None.

    reason: wnid, synset name, exact, synonym, spelling, plural, list, brackets, curated, edited, proposed, placed;
        without a node: unmapped, ambiguous, dropped.
    note: the name of the node, or the explanation why there is none.
    alias: another name that the source gives the class.
    left_out: why the selection of classes leaves the class out; empty if the class is selected.
    candidates: possible nodes of a class without a node; where `head` is given, possible parents.
    head: the part of an unknown name that WordNet knows.
    parent: of a new node below a node of the tree or of WordNet, the id of this node, or `root`.
    proposal: the likeliest candidate.
    """

    source: str
    name: str
    id: str | None
    reason: str
    note: str = ""
    alias: str = ""
    left_out: str = ""
    candidates: tuple[Candidate, ...] = ()
    head: str = ""
    parent: str = ""
    proposal: Proposal | None = None

    @property
    def is_used(self) -> bool:
        """Whether labels of the class have a node in the merged data set."""
        return self.id is not None and not self.left_out

    @property
    def node_name(self) -> str:
        """The name of a new node of the class."""
        return self.note if self.reason == "exact" else self.name

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
        curated: use the shipped list of COCO or VOC if it has all names, in any spelling.
        """
        wnid_of_name = self._in_list(names) if curated else {}
        return [
            replace(
                self._match_alias(source, name, alias) or self._match(source, name, wnid_of_name.get(name)),
                alias=alias,
            )
            for name, alias in zip(names, aliases or [""] * len(names), strict=True)
        ]

    def _in_list(self, names: Sequence[str]) -> dict[str, str]:
        """The wnid of each name in the list of COCO or VOC, if the list has all names.

        A few names may be there by chance: a *mouse* beside a *cat* is no computer mouse. Then only names count whose
        likeliest sense the list has.
        """
        data_set = data_set_of(names)
        listed = {name: listed_wnid(name, data_set) for name in names} if data_set else {}
        if len(listed) >= _NO_CHANCE:
            return listed
        return {name: wnid for name, wnid in listed.items() if self._senses.is_likeliest(name, wnid)}

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
        if by_id.id is not None or wnid_of(node) == node:
            return by_id
        by_name = self._match(source, node, None)
        return replace(by_name, name=name, reason="edited" if by_name.id else by_name.reason)

    def _match_alias(self, source: str, name: str, alias: str) -> ClassMatch | None:
        synset = self._wordnet.named(alias) if alias else None
        ids = [(alias, "wnid" if wnid_of(alias) == alias else "exact")] if alias else []
        if synset is not None:
            ids.append((self._wordnet.wnid(synset), "synset name"))
        matches = (self.match_id(source, name, id_, reason) for id_, reason in ids)
        return next((match for match in matches if match.id is not None), None)

    def _match(self, source: str, name: str, curated_wnid: str | None) -> ClassMatch:
        if curated_wnid is not None:
            match = self.match_id(source, name, curated_wnid, "curated")
            if match.id is not None:
                return match
        if self._tree is not None and name in self._tree:
            return self.match_id(source, name, name, "wnid" if wnid_of(name) == name else "exact")
        if wnid := wnid_of(name):
            return self.match_id(source, name, wnid, "wnid")
        nodes = self._nodes_of_name.get(name_key(name), [])
        if self._tree is not None and len(nodes) == 1:
            return self.match_id(source, name, self._tree.ids[nodes[0]], "exact")
        if name.strip().isdecimal():  # WordNet has words for digits
            return ClassMatch(
                source, name, None, "unmapped", "a number, perhaps the index of a class; enter its node"
            )
        if name_key(name) in _WITHOUT_OBJECT:
            note = "perhaps of images without an object; write drop, or enter its node"
            return ClassMatch(source, name, None, "unmapped", note)
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
        return ClassMatch(source, name, None, "unmapped", note.rstrip("."), candidates=candidates, head=word)

    @cached_property
    def _spellings_of_tree(self) -> Spellings:
        return Spellings([*self._tree.names, *self._tree.ids] if self._tree else ())

    def _candidate(self, node: int) -> Candidate:
        assert self._tree is not None
        return Candidate(self._tree.ids[node], f"{self._tree.names[node]} ({parent_text(node, self._tree)})")

    def _reason(self, resolution: Resolution, wnid: str) -> str:
        if resolution.reason in ("COCO class", "VOC class"):
            return "curated"
        if resolution.reason in ("synset name", "spelling", "plural", "list", "brackets"):
            return resolution.reason
        first_lemma = self._wordnet.lemmas(self._wordnet.synset(wnid))[0]
        return "exact" if name_key(first_lemma) == name_key(resolution.label) else "synonym"

    def _described(self, wnid: str) -> str:
        return ", ".join(self._wordnet.lemmas(self._wordnet.synset(wnid))[:3])
