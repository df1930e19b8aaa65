"""The command `wordtree`: arguments, output and exit codes. Heavy modules are imported inside the commands."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from wordtree.errors import WordTreeError
from wordtree.support.commands import run_app
from wordtree.support.printing import counted, print_json, print_text
from wordtree.views import terminal

app = typer.Typer(
    name="wordtree",
    help="Build, search and view label hierarchies made from WordNet 3.0.",
    pretty_exceptions_enable=False,
    add_completion=False,
)

TreeFile = Annotated[
    Path,
    typer.Argument(help="A hierarchy: *.tree (with its *.names), *.json, *.csv or *.txt.", metavar="TREE"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON only.")]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Also replace inputs, and files that no command wrote or that were changed since."
    ),
]


def main() -> None:
    """The console command."""
    run_app(app, WordTreeError)


@app.command()
def build(
    labels: Annotated[
        list[str],
        typer.Argument(
            help="Classes: words, synset names (dog.n.01), WordNet ids (n02084071), or files of them."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Output file: *.tree, *.json, *.csv or *.txt.")
    ] = None,
    profile: Annotated[
        str, typer.Option(help="The rules: paper, or darknet (those of the published tree).")
    ] = "paper",
    root: Annotated[
        str, typer.Option(help="The synset whose children become the roots.")
    ] = "physical_entity.n.01",
    graft: Annotated[
        Path | None, typer.Option(help="Custom classes to add: a CSV file child,parent[,name].")
    ] = None,
    explain: Annotated[
        list[str] | None, typer.Option(help="Explain why this label has its parent; may be repeated.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Build a tree of classes from WordNet; without -o and --explain, print it."""
    from wordtree.building.build import build_with_report
    from wordtree.hierarchies.convert import write_hierarchy
    from wordtree.hierarchies.labels import gather_labels

    tree, report = build_with_report(gather_labels(labels), profile=profile, root=root, graft=graft)
    explanations = [report.explain(label) for label in explain or ()]
    inputs = [*map(Path, labels), *([graft] if graft else [])]
    written = write_hierarchy(tree, out, inputs=inputs, overwrite=overwrite) if out else []
    files = [str(path) for path in written]
    if as_json:
        content: dict[str, Any] = {"files": files} if out else {"tree": json.loads(tree.to_json())}
        content |= {"explanations": [asdict(explanation) for explanation in explanations]} if explain else {}
        print_json({"report": report.to_dict(), **content})
        return
    for note in terminal.build_notes(report, tree):
        print(note, file=sys.stderr)
    for explanation in explanations:
        print(explanation)
    if out:
        print(f"{', '.join(files)}: {report.summary()}")
    elif not explain:
        terminal.print_tree(tree, None, None)


@app.command()
def find(
    word: Annotated[str, typer.Argument(help="A word, synset name, wnid, or class name of COCO or VOC.")],
    tree_file: Annotated[
        Path | None, typer.Option("--tree", help="Search this tree instead of WordNet.")
    ] = None,
    wordnet: Annotated[
        Path | None, typer.Option(help="Folder of an installed WordNet 3.0, for glosses.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the senses of a word in WordNet, with their paths, or its nodes in a tree."""
    if tree_file is None:
        terminal.find_in_wordnet(word, wordnet, as_json=as_json)
        return
    from wordtree.hierarchies.convert import read_hierarchy
    from wordtree.tree.lookup import nodes_of

    tree = read_hierarchy(tree_file)
    nodes = nodes_of(word, tree)
    if as_json:
        print_json([terminal.node_facts(tree, node) for node in nodes])
    else:
        terminal.print_nodes(tree, nodes)


@app.command()
def resolve(
    class_file: Annotated[
        Path,
        typer.Argument(
            help="Annotations of LVIS or COCO (.json), OpenImages' class-descriptions (.csv), or a list of labels."
        ),
    ],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write the table to this CSV file.")] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Resolve the classes of a data set to WordNet: a table for review, with ambiguous and unknown classes marked."""
    from collections import Counter

    from wordtree.hierarchies.dataset_classes import read_dataset_classes, resolutions_csv, resolve_classes
    from wordtree.support.outputs import write_outputs
    from wordtree.wordnet.graph import WordNet

    lines = resolve_classes(read_dataset_classes(class_file), WordNet.shipped())
    table = resolutions_csv(lines)
    if out:
        write_outputs({out: table}, inputs=[class_file], overwrite=overwrite)
    if as_json:
        print_json([asdict(line) for line in lines])
        return
    if not out:
        print_text(table)
    reasons = ", ".join(
        f"{number} {reason}" for reason, number in Counter(x.reason for x in lines).most_common()
    )
    print(f"{counted(len(lines), 'class', 'classes')}: {reasons}.", file=sys.stderr)


@app.command()
def convert(
    source: Annotated[
        Path,
        typer.Argument(
            help="*.tree, *.json (ours, or a form in docs/hierarchies.md), *.csv, *.txt.", metavar="IN"
        ),
    ],
    out: Annotated[
        Path, typer.Argument(help="*.tree, *.json, *.csv, *.txt, *.names, *.labels or *.map.", metavar="OUT")
    ],
    tree_file: Annotated[
        Path | None,
        typer.Option(
            "--tree", help="IN and OUT are lists of classes of this tree: *.names, *.labels or *.map."
        ),
    ] = None,
    names: Annotated[
        Path | None, typer.Option(help="CSV file id,name, for a hierarchy that has only ids.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Convert a hierarchy, or with --tree a list of classes, to the format given by OUT's suffix."""
    from wordtree.hierarchies.convert import convert_classes, files_read, read_hierarchy, write_hierarchy

    if tree_file is not None:
        tree, inputs = read_hierarchy(tree_file, names), files_read(tree_file, names)
        count = convert_classes(
            source,
            out,
            tree,
            inputs=inputs,
            overwrite=overwrite,
            on_hypernym=lambda text: print(f"{source}: {text}.", file=sys.stderr),
        )
        files, facts = [out], {"classes": count}
    else:
        tree = read_hierarchy(source, names)
        files = write_hierarchy(tree, out, inputs=files_read(source, names), overwrite=overwrite)
        facts = {"nodes": len(tree), "additional_relations": len(tree.relations)}
        if len(tree.relations) and out.suffix.lower() not in (".json", ".csv"):
            print(
                f"{out}: without the tree's additional relations ({len(tree.relations)}); .json and .csv keep them.",
                file=sys.stderr,
            )
    if as_json:
        print_json({"files": [str(file) for file in files], **facts})
    else:
        numbers = ", ".join(f"{number} {what.replace('_', ' ')}" for what, number in facts.items())
        print(f"{', '.join(map(str, files))}: {numbers}")


@app.command()
def info(
    tree_file: TreeFile,
    as_json: AsJson = False,
) -> None:
    """Print the size, shape and fingerprint of a tree."""
    from wordtree.hierarchies.convert import read_hierarchy

    facts = terminal.tree_facts(read_hierarchy(tree_file))
    if as_json:
        print_json(facts)
        return
    for key, value in facts.items():
        print(f"{key.replace('_', ' '):<20} {value}")


@app.command()
def show(
    tree_file: TreeFile,
    label: Annotated[
        str | None, typer.Argument(metavar="NODE", help="Show only this node and everything below it.")
    ] = None,
    depth: Annotated[int | None, typer.Option(min=0, help="Show at most this many levels below.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the whole tree as an HTML page, opened at the node.")
    ] = None,
    dot: Annotated[Path | None, typer.Option(help="Write the part shown as a Graphviz graph.")] = None,
    wordnet: Annotated[
        Path | None, typer.Option(help="Folder of an installed WordNet 3.0: glosses for the page.")
    ] = None,
    numbers: Annotated[
        Path | None,
        typer.Option(
            "--numbers", "--figures", help="CSV for the page: id, and columns of numbers such as boxes."
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Show a tree, or the part below a node, as text, as an HTML page or as a Graphviz graph."""
    from wordtree.hierarchies.convert import files_read, read_hierarchy
    from wordtree.support.outputs import write_outputs
    from wordtree.tree.lookup import node_of
    from wordtree.views.draw import shown_nodes, tree_dot

    if html is None and (wordnet or numbers):
        raise typer.BadParameter("--wordnet and --numbers need --html")
    if html is not None and html == dot:
        raise typer.BadParameter("--html and --dot need different files")
    tree = read_hierarchy(tree_file)
    node = None if label is None else node_of(label, tree)
    texts: dict[Path, str] = {}
    if html is not None:
        from wordtree.views.page import PageContent, read_numbers, tree_page

        columns = read_numbers(numbers, tree) if numbers else {}
        content = PageContent(
            tree_file.name, terminal.glosses(tree, wordnet), columns, start=node, level=depth
        )
        texts[html] = tree_page(tree, content)
    if dot is not None:
        texts[dot] = tree_dot(tree, node, depth=depth)
    if texts:
        inputs = [*files_read(tree_file), *([numbers] if numbers else [])]
        write_outputs(texts, inputs=inputs, overwrite=overwrite)
        terminal.print_files(texts, as_json=as_json)
    elif as_json:
        shown = shown_nodes(tree, node, depth=depth)
        print_json([terminal.node_facts(tree, shown_node) for shown_node in shown])
    else:
        terminal.print_tree(tree, node, depth)


@app.command()
def query(
    tree_file: TreeFile,
    expression: Annotated[
        str,
        typer.Argument(
            help="Names, each with everything below it, combined by & | ! ( ). Also leaf, depth <= 8, below > 9, "
            "*terrier, only(NAME), below(NAME), children, siblings, above, graph, graph_above: docs/queries.md."
        ),
    ],
    count: Annotated[bool, typer.Option("--count", help="Print only the number of nodes.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the nodes that an expression selects."""
    from wordtree.hierarchies.convert import read_hierarchy
    from wordtree.tree.query import parse

    tree = read_hierarchy(tree_file)
    selection = parse(expression, tree)
    nodes = selection.nodes().tolist()
    for note in selection.notes:
        print(note, file=sys.stderr)
    if as_json:
        print_json(len(nodes) if count else [terminal.node_facts(tree, node) for node in nodes])
    elif count:
        print(len(nodes))
    else:
        terminal.print_nodes(tree, nodes)


@app.command()
def path(
    tree_file: TreeFile,
    label: Annotated[
        str, typer.Argument(metavar="NODE", help="A node: id, name or any word of WordNet for it.")
    ],
    other: Annotated[str | None, typer.Argument(metavar="OTHER", help="Another node.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the path from the root to a node, or between two nodes with their lowest common ancestor."""
    from wordtree.hierarchies.convert import read_hierarchy
    from wordtree.tree.lookup import node_of

    tree = read_hierarchy(tree_file)
    start = node_of(label, tree)
    goal = None if other is None else node_of(other, tree)
    common = None if goal is None else tree.lowest_common_ancestor(start, goal)
    nodes = tree.path(start) if goal is None else terminal.path_between(tree, start, goal, common)
    if as_json:
        print_json(
            {
                "path": [terminal.node_facts(tree, node) for node in nodes],
                "lowest_common_ancestor": None if common is None else terminal.node_facts(tree, common),
                "distance": None if common is None else len(nodes) - 1,
            }
        )
    elif not nodes:
        print(f"{label} and {other} have no common root.")
    else:
        terminal.print_nodes(tree, nodes)
        if common is not None:
            print(
                f"Their lowest common ancestor is {tree.names[common]}; the path has {len(nodes) - 1} edges."
            )


@app.command()
def lint(
    tree_file: TreeFile,
    show_all: Annotated[
        bool, typer.Option("--all", help="List every finding, not only five of each kind.")
    ] = False,
    wide_group: Annotated[
        int, typer.Option(min=1, help="Report sibling groups with more nodes than this.")
    ] = 100,
    as_json: AsJson = False,
) -> None:
    """List doubtful nodes of a tree: nodes without siblings, siblings that overlap, shared names and more."""
    from wordtree.hierarchies.convert import read_hierarchy
    from wordtree.tree.lint import lint as find_problems

    tree = read_hierarchy(tree_file)
    findings = find_problems(tree, wide_group=wide_group)
    if as_json:
        rows = (
            {**asdict(finding), "ids": [tree.ids[node] for node in finding.nodes]} for finding in findings
        )
        print_json(list(rows))
    else:
        terminal.print_findings(findings, limit=len(findings) if show_all else 5)
