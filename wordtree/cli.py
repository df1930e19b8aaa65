"""The command `wordtree`: arguments, output and exit codes. What is heavy is imported inside the commands."""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wordtree.commands import run_app
from wordtree.errors import WordTreeError

if TYPE_CHECKING:
    from wordtree.build import BuildReport
    from wordtree.lint import Finding
    from wordtree.tree import WordTree
    from wordtree.wordnet import Synset, WordNet

app = typer.Typer(
    name="wordtree",
    help="Build, find and see label hierarchies made from WordNet 3.0.",
    pretty_exceptions_enable=False,
    add_completion=False,
)

TreeFile = Annotated[
    Path, typer.Argument(help="A .tree (its .names beside it) or .json file.", metavar="TREE")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout, and nothing else.")]


def main() -> None:
    """The console command."""
    run_app(app, WordTreeError)


@app.command()
def build(
    labels: Annotated[
        list[str], typer.Argument(help="Words, synset names (dog.n.01), wnids; or files of them.")
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Write it here: *.tree, *.json, *.csv or *.txt.")
    ] = None,
    profile: Annotated[
        str, typer.Option(help="The rules to build by: paper, or darknet (as the published tree).")
    ] = "paper",
    root: Annotated[
        str, typer.Option(help="The synset whose children are the roots.")
    ] = "physical_entity.n.01",
    graft: Annotated[
        Path | None, typer.Option(help="Own kinds to hang in: a CSV file child,parent[,name].")
    ] = None,
    explain: Annotated[
        list[str] | None, typer.Option(help="Tell why this label stands where it stands; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Build the tree of some labels; without -o and --explain, show it."""
    from wordtree.build import build_with_report
    from wordtree.convert import write_hierarchy
    from wordtree.labels import gather_labels

    tree, report = build_with_report(gather_labels(labels), profile=profile, root=root, graft=graft)
    explanations = [report.explain(label) for label in explain or ()]
    files = [str(path) for path in write_hierarchy(tree, out)] if out else []
    if as_json:
        content: dict[str, Any] = {"files": files} if out else {"tree": json.loads(tree.to_json())}
        content |= {"explanations": [asdict(one) for one in explanations]} if explain else {}
        _print_json({"report": report.to_dict(), **content})
        return
    for remark in _remarks(report, tree):
        print(remark, file=sys.stderr)
    for one in explanations:
        print(one)
    if out:
        print(f"{', '.join(files)}: {report.summary()}")
    elif not explain:
        _draw(tree, None, None)


@app.command()
def find(
    word: Annotated[str, typer.Argument(help="A word, synset name, wnid, or class name of COCO or VOC.")],
    tree_file: Annotated[
        Path | None, typer.Option("--tree", help="Find it in this tree instead of in WordNet.")
    ] = None,
    wordnet: Annotated[
        Path | None, typer.Option(help="Folder of an installed WordNet 3.0, for glosses.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find what a word means: each sense of it in WordNet with its paths, or its nodes in a tree."""
    if tree_file is None:
        _find_in_wordnet(word, wordnet, as_json=as_json)
        return
    from wordtree.resolve import nodes_of
    from wordtree.tree import WordTree

    tree = WordTree.load(tree_file)
    nodes = nodes_of(word, tree)
    if as_json:
        _print_json([_row(tree, node) for node in nodes])
    else:
        _print_nodes(tree, nodes)


@app.command()
def resolve(
    class_file: Annotated[
        Path,
        typer.Argument(
            help="Annotations of LVIS or COCO (.json), OpenImages' class-descriptions (.csv), or a list of labels."
        ),
    ],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the table here, as CSV.")] = None,
    as_json: AsJson = False,
) -> None:
    """Resolve the classes of a data set to WordNet: a table to review, with what is ambiguous or unknown."""
    from collections import Counter

    from wordtree.dataset_classes import meanings, meanings_to_csv, read_classes
    from wordtree.files import write_atomically
    from wordtree.wordnet import WordNet

    lines = meanings(read_classes(class_file), WordNet.shipped())
    table = meanings_to_csv(lines)
    if out:
        write_atomically(out, table)
    if as_json:
        _print_json([asdict(line) for line in lines])
        return
    if not out:
        print(table, end="")
    reasons = ", ".join(
        f"{number} {reason}" for reason, number in Counter(x.reason for x in lines).most_common()
    )
    print(f"{len(lines)} classes: {reasons}.", file=sys.stderr)


@app.command()
def convert(
    source: Annotated[
        Path, typer.Argument(help="*.tree, *.json (ours or OpenImages'), *.csv, *.txt.", metavar="IN")
    ],
    out: Annotated[
        Path, typer.Argument(help="*.tree, *.json, *.csv, *.txt, *.names or *.labels.", metavar="OUT")
    ],
    tree_file: Annotated[
        Path | None,
        typer.Option("--tree", help="IN and OUT are classes of this tree: *.names, *.labels, *.map."),
    ] = None,
    names: Annotated[
        Path | None, typer.Option(help="CSV file id,name, for hierarchies that have only ids.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Convert a hierarchy, or with --tree a list of classes, to the format that OUT's suffix names."""
    from wordtree.convert import convert_classes, read_hierarchy, write_hierarchy

    if tree_file is not None:
        count = convert_classes(source, out, read_hierarchy(tree_file, names))
        files, facts = [out], {"classes": count}
    else:
        tree = read_hierarchy(source, names)
        files = write_hierarchy(tree, out)
        facts = {"nodes": len(tree), "relations": len(tree.relations)}
        if len(tree.relations) and out.suffix not in (".json", ".csv"):
            print(
                f"{out}: {len(tree.relations)} relations are not in it; .json and .csv hold them.",
                file=sys.stderr,
            )
    if as_json:
        _print_json({"files": [str(file) for file in files], **facts})
    else:
        numbers = ", ".join(f"{number} {what}" for what, number in facts.items())
        print(f"{', '.join(map(str, files))}: {numbers}")


@app.command()
def info(tree_file: TreeFile, as_json: AsJson = False) -> None:
    """Tell a tree's size, shape and fingerprint; of any file that `convert` reads."""
    from wordtree.convert import read_hierarchy

    facts = _facts(read_hierarchy(tree_file))
    if as_json:
        _print_json(facts)
        return
    for key, value in facts.items():
        print(f"{key.replace('_', ' '):<16} {value}")


@app.command()
def show(
    tree_file: TreeFile,
    label: Annotated[str | None, typer.Argument(help="Show this node and what is below it.")] = None,
    depth: Annotated[int | None, typer.Option(min=0, help="At most so many levels below.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the whole tree as a page for the browser, opened at the label.")
    ] = None,
    dot: Annotated[Path | None, typer.Option(help="Write what is shown as a Graphviz graph.")] = None,
    wordnet: Annotated[
        Path | None, typer.Option(help="Folder of an installed WordNet 3.0: glosses for the page.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="CSV for the page: id, and columns of numbers such as boxes.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a tree, or the part below a label: as text, as a page for the browser or as a Graphviz graph."""
    from wordtree.draw import tree_dot
    from wordtree.resolve import node_of
    from wordtree.tree import WordTree

    if html is None and (wordnet or figures):
        raise typer.BadParameter("--wordnet and --figures belong to a page; give --html too")
    tree = WordTree.load(tree_file)
    node = None if label is None else node_of(label, tree)
    texts: dict[Path, str] = {}
    if html is not None:
        from wordtree.page import PageContent, read_figures, tree_page

        numbers = read_figures(figures, tree) if figures else {}
        content = PageContent(tree_file.name, _glosses(tree, wordnet), numbers, start=node, level=depth)
        texts[html] = tree_page(tree, content)
    if dot is not None:
        texts[dot] = tree_dot(tree, node, depth=depth)
    if texts:
        _write(texts, as_json=as_json)
    elif as_json:
        _print_json(list(_rows(tree, node, depth)))
    else:
        _draw(tree, node, depth)


@app.command()
def query(
    tree_file: TreeFile,
    expression: Annotated[
        str,
        typer.Argument(
            help="Names (with all below) joined by & | ! ( ); leaf, depth <= 8, below > 9, *terrier; "
            "only, below, children, siblings, above, graph, graph_above (NAME)."
        ),
    ],
    count: Annotated[bool, typer.Option("--count", help="Tell only how many there are.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the nodes that an expression selects."""
    from wordtree.query import parse
    from wordtree.tree import WordTree

    tree = WordTree.load(tree_file)
    asked = parse(expression, tree)
    nodes = asked.nodes().tolist()
    for note in asked.notes:
        print(note, file=sys.stderr)
    if as_json:
        _print_json(len(nodes) if count else [_row(tree, node) for node in nodes])
    elif count:
        print(len(nodes))
    else:
        _print_nodes(tree, nodes)


@app.command()
def path(
    tree_file: TreeFile,
    label: Annotated[str, typer.Argument(help="A node: id, name or any word of WordNet for it.")],
    other: Annotated[str | None, typer.Argument(help="Another node.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tell the way from the root to a node, or from one node to another, and where they meet."""
    from wordtree.resolve import node_of
    from wordtree.tree import WordTree

    tree = WordTree.load(tree_file)
    start = node_of(label, tree)
    goal = None if other is None else node_of(other, tree)
    meeting = None if goal is None else tree.lowest_common_ancestor(start, goal)
    way = tree.path(start) if goal is None else _way(tree, start, goal, meeting)
    if as_json:
        met = None if meeting is None else _row(tree, meeting)
        distance = None if meeting is None else len(way) - 1
        _print_json({"way": [_row(tree, node) for node in way], "meet_at": met, "distance": distance})
    elif not way:
        print(f"{label} and {other} share no root.")
    else:
        _print_nodes(tree, way)
        if meeting is not None:
            print(f"They meet at {tree.names[meeting]}, {len(way) - 1} edges apart.")


@app.command()
def lint(
    tree_file: TreeFile,
    show_all: Annotated[bool, typer.Option("--all", help="Every finding, not five of each kind.")] = False,
    wide_group: Annotated[int, typer.Option(min=1, help="Groups of more than so many are wide.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List what is doubtful in a tree: groups of one, siblings that are no rivals, shared names and more."""
    from wordtree.lint import lint as findings_of
    from wordtree.tree import WordTree

    tree = WordTree.load(tree_file)
    findings = findings_of(tree, wide_group=wide_group)
    if as_json:
        rows = (
            {**asdict(finding), "ids": [tree.ids[node] for node in finding.nodes]} for finding in findings
        )
        _print_json(list(rows))
    else:
        _print_findings(findings, limit=len(findings) if show_all else 5)


def _find_in_wordnet(word: str, folder: Path | None, *, as_json: bool) -> None:
    from wordtree.resolve import LabelError, class_remarks, resolve, trouble
    from wordtree.wordnet import WordNet

    graph = WordNet.shipped() if folder is None else WordNet.installed(folder)
    resolution = resolve(word, graph)
    if not resolution.senses:
        raise LabelError(trouble(resolution, graph))
    senses = [_sense(sense, graph) for sense in resolution.senses]
    if as_json:
        head = {"label": resolution.label, "reason": resolution.reason, "classes": dict(resolution.classes)}
        _print_json({**head, "senses": senses})
        return
    for sense in senses:
        _print_sense(sense)
    for remark in class_remarks(resolution, graph):
        print(remark)


def _remarks(report: "BuildReport", tree: "WordTree") -> Iterable[str]:
    """What the user should look at, one line each."""
    for guess in report.guesses:
        yield f"{guess}; give a synset name to choose."
    if report.repeated:
        yield f"Labels that repeat others: {', '.join(report.repeated)}."
    if report.outside:
        names = ", ".join(f"{tree.names[tree.node(wnid)]} ({wnid})" for wnid in report.outside)
        yield f"Outside {report.root}, so roots of their own: {names}."


def _size(tree: "WordTree") -> str:
    return f"{len(tree)} nodes ({len(tree.leaves)} leaves) in {len(tree.group_start)} groups"


def _draw(tree: "WordTree", node: int | None, depth: int | None) -> None:
    from rich.console import Console

    from wordtree.draw import ASCII_GUIDES, UNICODE_GUIDES, tree_lines

    console = Console(soft_wrap=True, highlight=False)
    guides = ASCII_GUIDES if console.options.ascii_only else UNICODE_GUIDES
    for line in tree_lines(tree, node, depth=depth, guides=guides):
        console.print(line)


def _rows(tree: "WordTree", node: int | None, depth: int | None) -> Iterable[dict[str, Any]]:
    from wordtree.draw import shown_nodes

    return (_row(tree, shown) for shown in shown_nodes(tree, node, depth=depth))


def _glosses(tree: "WordTree", folder: Path | None) -> dict[str, str]:
    """The meaning of each id that an installed WordNet has; none without one."""
    from wordtree.wordnet import WordNet

    if folder is None:
        return {}
    graph = WordNet.installed(folder)
    return {id_: graph.gloss(graph.synset(id_)) or "" for id_ in tree.ids if id_ in graph}


def _write(texts: dict[Path, str], *, as_json: bool) -> None:
    from wordtree.files import write_atomically

    for path, text in texts.items():
        write_atomically(path, text)
    if as_json:
        _print_json({"files": [str(path) for path in texts]})
    else:
        print(", ".join(str(path) for path in texts))


def _row(tree: "WordTree", node: int) -> dict[str, Any]:
    below = int(tree.leave[node] - tree.enter[node]) - 1
    row = {"node": node, "id": tree.ids[node], "name": tree.names[node]}
    return {**row, "parent": int(tree.parent[node]), "depth": int(tree.depth[node]), "below": below}


def _way(tree: "WordTree", start: int, goal: int, meeting: int | None) -> list[int]:
    """The nodes from one to the other, both included; none where they share no root."""
    if meeting is None:
        return []
    level = int(tree.depth[meeting])
    return [*reversed(tree.path(start)[level:]), *tree.path(goal)[level + 1 :]]


def _print_nodes(tree: "WordTree", nodes: Iterable[int]) -> None:
    """A line for each node: name, id, the names above it, nearest first."""
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    for node in nodes:
        above = " < ".join(tree.names[step] for step in tree.ancestors(node))
        line = Text(tree.names[node], style="green" if tree.is_leaf[node] else "bold")
        line.append(f"  {tree.ids[node]}", style="cyan")
        line.append(f"  < {above}" if above else "", style="dim")
        console.print(line)


def _print_findings(findings: "list[Finding]", *, limit: int) -> None:
    """Kind by kind: how many, why they matter, and the first of them."""
    from rich.console import Console
    from rich.text import Text

    from wordtree.lint import KINDS

    console = Console(soft_wrap=True, highlight=False)
    for kind, reason in KINDS.items():
        of_kind = [finding for finding in findings if finding.kind == kind]
        surplus = sum(len(finding.nodes) - 1 for finding in of_kind) if kind == "shared name" else 0
        if of_kind:
            number = f"{kind}: {len(of_kind)}" + (f", {surplus} surplus" if surplus else "")
            console.print(Text.assemble((number, "bold"), f"  ({reason})"))
        for finding in of_kind[:limit]:
            console.print(Text(f"    {finding.text}"))
        if len(of_kind) > limit:
            console.print(Text(f"    … and {len(of_kind) - limit} more; --all lists them", style="dim"))
    if not findings:
        console.print("Nothing doubtful.")


def _facts(tree: "WordTree") -> dict[str, Any]:
    from wordtree.wordnet import WordNet

    wordnet = WordNet.shipped()
    return {
        "nodes": len(tree),
        "roots": int(tree.group_size[0]),
        "leaves": len(tree.leaves),
        "groups": len(tree.group_start),
        "groups_of_one": int((tree.group_size == 1).sum()),
        "median_group": int(sorted(tree.group_size.tolist())[len(tree.group_size) // 2]),
        "largest_group": int(tree.group_size.max()),
        "deepest_level": int(tree.depth.max()),
        "relations": len(tree.relations),
        "shared_names": len(tree) - len(set(tree.names)),
        "in_wordnet_3.0": sum(id_ in wordnet for id_ in tree.ids),
        "fingerprint": tree.fingerprint,
    }


def _sense(synset: "Synset", wordnet: "WordNet") -> dict[str, Any]:
    from wordtree.wordnet import HypernymPaths

    entity = wordnet.senses("entity")[0]
    paths = [[wordnet.lemmas(step)[0] for step in path] for path in HypernymPaths(wordnet, entity).of(synset)]
    sense = {
        "wnid": wordnet.wnid(synset),
        "synset": wordnet.name(synset),
        "words": list(wordnet.lemmas(synset)),
    }
    gloss = wordnet.gloss(synset)
    return {**sense, "paths": paths} if gloss is None else {**sense, "gloss": gloss, "paths": paths}


def _print_sense(sense: dict[str, Any]) -> None:
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


def _print_json(content: Any) -> None:
    print(json.dumps(content, ensure_ascii=False, indent=2))
