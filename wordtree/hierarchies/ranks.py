"""Taxonomies as tables: a column for each rank, from kingdom to species, and a row for each class."""

from collections import defaultdict
from collections.abc import Mapping
from itertools import chain, count
from typing import Any

from wordtree.hierarchies.hierarchy import Hierarchy, HierarchyError, as_id
from wordtree.support.lines import plain_blanks, quoted

RANKS = (
    *("domain", "superkingdom", "kingdom", "subkingdom", "superphylum", "phylum", "subphylum"),
    *("superclass", "class", "subclass", "infraclass", "superorder", "order", "suborder", "infraorder"),
    *("superfamily", "family", "subfamily", "tribe", "subtribe", "genus", "subgenus"),
    *("species", "subspecies", "variety"),
)
_EPITHETS = ("specific_epithet", "species_epithet")
_MISSING = frozenset({"", "nan", "none", "null", "n/a"})
_MAX_NAMESAKES = 100
_NAMED_BELOW_GENUS = ("species", "subspecies", "variety")


def rank_of(column: str) -> str | None:
    """The rank that a column or key names, ignoring case; None for other columns."""
    name = "_".join(column.casefold().split())
    return "species" if name in _EPITHETS else name if name in RANKS else None


class Taxonomy:
    """Fills a hierarchy with the taxa of rows.

    Rows give the same taxon where they agree in its rank and name, and in all higher ranks that both have. Other taxa
    of the same name, such as the bird and the plant *Oenanthe*, are nodes of their own.
    """

    def __init__(self, hierarchy: Hierarchy) -> None:
        self._hierarchy = hierarchy
        self._known: defaultdict[tuple[str, str], list[tuple[dict[str, str], str]]] = defaultdict(list)

    def add(self, values: Mapping[str, Any], *, name: str = "", line: int = 0) -> None:
        """Add the taxa of a row: `values` by rank. Missing ranks are passed over.

        name: of the class. Without a species in the row, it is the lowest taxon; else it is the species' display name.
        """
        above: dict[str, str] = {}
        parent: str | None = None
        for rank, taxon in self._path(values, name):
            parent = self._node(rank, taxon, above, parent, line)
            above[rank] = taxon
        if parent is not None and name and any(rank in above for rank in _NAMED_BELOW_GENUS):
            self._hierarchy.names[parent] = name

    def _path(self, values: Mapping[str, Any], name: str) -> list[tuple[str, str]]:
        path: list[tuple[str, str]] = []
        for rank in RANKS:
            taxon = values.get(rank)
            taxon = plain_blanks(taxon) if isinstance(taxon, str) else ""
            if taxon.casefold() in _MISSING:
                continue
            upper = {"species": "genus", "subspecies": "species", "variety": "species"}.get(rank)
            if upper and path and path[-1][0] == upper and " " not in taxon and taxon[0].islower():
                taxon = f"{path[-1][1]} {taxon}"  # an epithet
            if not path or taxon.casefold() != path[-1][1].casefold():
                path.append((rank, taxon))
        lowest, taxon = path[-1] if path else ("", "")
        if name and lowest not in _NAMED_BELOW_GENUS and name.casefold() != taxon.casefold():
            path.append(("species", name))
        return path

    def _node(self, rank: str, taxon: str, above: dict[str, str], parent: str | None, line: int) -> str:
        namesakes = self._known[rank, taxon]
        for other, node in namesakes:
            if all(other.get(upper, value) == value for upper, value in above.items()):
                other |= above
                return self._hierarchy.add(node, parent, line=line)
        if len(namesakes) == _MAX_NAMESAKES:
            raise HierarchyError(
                f"{self._hierarchy.location(line)}more than {_MAX_NAMESAKES} taxa are named {quoted(taxon)}."
            )
        node = self._free_id(taxon, parent)
        self._hierarchy.add(node, parent, name=taxon, line=line)
        namesakes.append((dict(above), node))
        return node

    def _free_id(self, taxon: str, parent: str | None) -> str:
        plain = as_id(taxon)
        with_parent = [f"{plain}_({parent})"] if parent else []
        numbered = (f"{plain}_({number})" for number in count(2))
        return next(
            id_ for id_ in chain([plain], with_parent, numbered) if id_ not in self._hierarchy.parents
        )
