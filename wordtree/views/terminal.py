"""The output of the commands of `wordtree`: tables, trees and JSON. Heavy modules are imported inside functions."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordtree.support.printing import print_json

if TYPE_CHECKING:
    from wordtree.building.build import BuildReport
    from wordtree.tree.lint import Finding
    from wordtree.tree.tree import WordTree
    from wordtree.wordnet.columns import Synset
    from wordtree.wordnet.graph import WordNet


def find_in_wordnet(word: str, folder: Path | None, *, as_json: bool) -> None:
    """Print the senses of a word, in an installed WordNet if a folder is given; LabelError for an unknown word."""
    from wordtree.wordnet.graph import WordNet
    from wordtree.wordnet.resolve import LabelError, class_notes, resolve, unresolved_message

    graph = WordNet.shipped() if folder is None else WordNet.installed(folder)
    resolution = resolve(word, graph)
    if not resolution.senses:
        raise LabelError(unresolved_message(resolution, graph))
    senses = [sense_facts(sense, graph) for sense in resolution.senses]
    if as_json:
        head = {"label": resolution.label, "reason": resolution.reason, "classes": dict(resolution.classes)}
        print_json({**head, "senses": senses})
        return
    for sense in senses:
        print_sense(sense)
    for note in class_notes(resolution, graph):
        print(note)


def build_notes(report: "BuildReport", tree: "WordTree") -> Iterable[str]:
    """Notes for the user about a build, one line each."""
    for guess in report.guesses:
        yield f"{guess}; give a synset name to choose another sense."
    if report.repeated:
        yield f"Labels with the same meaning as others: {', '.join(report.repeated)}."
    if report.outside:
        names = ", ".join(f"{tree.names[tree.node(wnid)]} ({wnid})" for wnid in report.outside)
        yield f"Labels outside {report.root}, which are roots: {names}."


def print_tree(tree: "WordTree", node: int | None, depth: int | None) -> None:
    """Print a line for each node at or below `node` (None: the whole tree), at most `depth` levels below it."""
    from rich.console import Console

    from wordtree.views.draw import ASCII_GUIDES, UNICODE_GUIDES, tree_lines

    console = Console(soft_wrap=True, highlight=False)
    guides = ASCII_GUIDES if console.options.ascii_only else UNICODE_GUIDES
    for line in tree_lines(tree, node, depth=depth, guides=guides):
        console.print(line)


def glosses(tree: "WordTree", folder: Path | None) -> dict[str, str]:
    """The definition of each id in an installed WordNet; empty without a folder."""
    from wordtree.wordnet.graph import WordNet

    if folder is None:
        return {}
    graph = WordNet.installed(folder)
    return {id_: graph.gloss(graph.synset(id_)) or "" for id_ in tree.ids if id_ in graph}


def print_files(files: Iterable[Path], *, as_json: bool) -> None:
    """Print the names of the files that were written."""
    names = [str(file) for file in files]
    if as_json:
        print_json({"files": names})
    else:
        print(", ".join(names))


def node_facts(tree: "WordTree", node: int) -> dict[str, Any]:
    """A node as plain values: number, id, name, parent, depth, number of nodes below it."""
    below = int(tree.leave[node] - tree.enter[node]) - 1
    row = {"node": node, "id": tree.ids[node], "name": tree.names[node]}
    return {**row, "parent": int(tree.parent[node]), "depth": int(tree.depth[node]), "below": below}


def path_between(tree: "WordTree", start: int, goal: int, common: int | None) -> list[int]:
    """The nodes on the path from `start` to `goal`, inclusive; empty where they have no common root."""
    if common is None:
        return []
    level = int(tree.depth[common])
    return [*reversed(tree.path(start)[level:]), *tree.path(goal)[level + 1 :]]


def print_nodes(tree: "WordTree", nodes: Iterable[int]) -> None:
    """Print a line for each node: name, id, the names above it, nearest first."""
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    for node in nodes:
        above = " < ".join(tree.names[step] for step in tree.ancestors(node))
        line = Text(tree.names[node], style="green" if tree.is_leaf[node] else "bold")
        line.append(f"  {tree.ids[node]}", style="cyan")
        line.append(f"  < {above}" if above else "", style="dim")
        console.print(line)


def print_findings(findings: "list[Finding]", *, limit: int) -> None:
    """Print the number of findings of each kind, why they matter, and the first `limit` of them."""
    from rich.console import Console
    from rich.text import Text

    from wordtree.tree.lint import KINDS

    console = Console(soft_wrap=True, highlight=False)
    for kind, reason in KINDS.items():
        of_kind = [finding for finding in findings if finding.kind == kind]
        if of_kind:
            number = f"{kind}: {len(of_kind)}"
            if kind == "shared name":
                number += f" names of {sum(len(finding.nodes) for finding in of_kind)} nodes"
            console.print(Text.assemble((number, "bold"), f"  ({reason})"))
        for finding in of_kind[:limit]:
            console.print(Text(f"    {finding.text}"))
        if len(of_kind) > limit:
            console.print(Text(f"    … and {len(of_kind) - limit} more; --all lists them", style="dim"))
    if not findings:
        console.print("No findings.")


def tree_facts(tree: "WordTree") -> dict[str, Any]:
    """The size, shape and fingerprint of a tree as plain values."""
    from wordtree.wordnet.graph import WordNet

    wordnet = WordNet.shipped()
    return {
        "nodes": len(tree),
        "roots": int(tree.group_size[0]),
        "leaves": len(tree.leaves),
        "sibling_groups": len(tree.group_start),
        "groups_of_one": int((tree.group_size == 1).sum()),
        "median_group_size": int(sorted(tree.group_size.tolist())[len(tree.group_size) // 2]),
        "largest_group_size": int(tree.group_size.max()),
        "deepest_level": int(tree.depth.max()),
        "additional_relations": len(tree.relations),
        "shared_names": len(tree) - len(set(tree.names)),
        "in_wordnet_3.0": sum(id_ in wordnet for id_ in tree.ids),
        "fingerprint": tree.fingerprint,
    }


def sense_facts(synset: "Synset", wordnet: "WordNet") -> dict[str, Any]:
    """A synset as plain values: wnid, name, words, its gloss if known, and its paths below *entity*."""
    from wordtree.wordnet.graph import HypernymPaths

    entity = wordnet.senses("entity")[0]
    paths = [[wordnet.lemmas(step)[0] for step in path] for path in HypernymPaths(wordnet, entity).of(synset)]
    sense = {
        "wnid": wordnet.wnid(synset),
        "synset": wordnet.name(synset),
        "words": list(wordnet.lemmas(synset)),
    }
    gloss = wordnet.gloss(synset)
    return {**sense, "paths": paths} if gloss is None else {**sense, "gloss": gloss, "paths": paths}


def print_sense(sense: dict[str, Any]) -> None:
    """Print the values of `sense_facts`: a line for the synset, one for its gloss, one for each path."""
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    head = Text.assemble(
        (sense["synset"], "bold"), "  ", (sense["wnid"], "cyan"), "  ", ", ".join(sense["words"])
    )
    console.print(head)
    if "gloss" in sense:
        console.print(Text(f"    {sense['gloss']}"))
    for path in sense["paths"]:
        console.print(Text(f"    {' > '.join(path)}", style="dim"))
