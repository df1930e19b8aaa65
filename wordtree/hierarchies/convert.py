"""Conversion of hierarchies and Darknet's class files; the suffix of a file name gives its format."""

from collections.abc import Callable, Iterable
from pathlib import Path

from wordtree.errors import TreeFileError
from wordtree.hierarchies.darknet_classes import lines_text, nodes_of_classes, read_map
from wordtree.hierarchies.hierarchy import Hierarchy
from wordtree.hierarchies.hierarchy_files import (
    csv_text,
    indented_text,
    read_csv,
    read_indented,
    read_names,
)
from wordtree.hierarchies.json_hierarchies import read_json_hierarchy
from wordtree.support.outputs import write_outputs
from wordtree.tree.tree import WordTree
from wordtree.tree.tree_files import is_own_json, load_json, names_beside, notice_beside

TREE_SUFFIXES = (".tree", ".json", ".csv", ".txt")
CLASS_SUFFIXES = (".names", ".labels", ".map")


def read_hierarchy(path: Path, names: Path | None = None) -> WordTree:
    """The tree in a `.tree`, `.csv`, `.tsv`, indented `.txt`, or `.json` file of ours or of `json_hierarchies`.

    names: a file of rows `id,name` for a hierarchy that has only ids. Raises TreeError with file and line.
    """
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        hierarchy = read_csv(path)
    elif suffix == ".txt":
        hierarchy = read_indented(path)
    elif suffix == ".json" and not is_own_json(content := load_json(path)):
        hierarchy = read_json_hierarchy(content, path)
    elif suffix in TREE_SUFFIXES:
        tree = WordTree.load(path)
        if names is None:
            return tree
        hierarchy = Hierarchy.of_tree(tree)
    else:
        raise TreeFileError(f"{path}: expected a tree file named *{', *'.join(TREE_SUFFIXES)}.")
    if names is not None:
        read_names(names, hierarchy)
    return hierarchy.to_tree()


def files_read(path: Path, names: Path | None = None) -> list[Path]:
    """The files that `read_hierarchy` may read."""
    beside = [names_beside(path)] if path.suffix.lower() == ".tree" else []
    return [path, *beside, *([] if names is None else [names])]


def write_hierarchy(
    tree: WordTree, path: Path, *, inputs: Iterable[Path] = (), overwrite: bool = True
) -> list[Path]:
    """Write the tree in the format of the suffix; returns the files written. Only `.json` and `.csv` hold relations.

    inputs, overwrite: as for `write_outputs`.
    """
    texts = hierarchy_texts(tree, path)
    write_outputs(texts, inputs=inputs, overwrite=overwrite)
    return list(texts)


def hierarchy_texts(tree: WordTree, path: Path) -> dict[Path, str]:
    """The texts of the files, by path, that hold the tree in the format of the suffix."""
    suffix = path.suffix.lower()
    if suffix in (".tree", ".json"):
        return tree.file_texts(path)
    text_of = {
        ".csv": lambda: csv_text(tree),
        ".txt": lambda: indented_text(tree),
        ".labels": lambda: lines_text(tree.ids),
        ".names": lambda: lines_text(tree.names),
    }
    if suffix not in text_of:
        raise TreeFileError(
            f"{path}: expected a name that ends in {', '.join(dict.fromkeys((*TREE_SUFFIXES, *text_of)))}."
        )
    return {path: text_of[suffix](), **notice_beside(path, tree.ids)}


def convert_classes(
    source: Path,
    out: Path,
    tree: WordTree,
    *,
    inputs: Iterable[Path] = (),
    overwrite: bool = True,
    on_hypernym: Callable[[str], None] = lambda _: None,
) -> int:
    """Convert `.names` or `.labels` to the `.map` of their nodes, or back; returns the number of classes.

    inputs, overwrite: as for `write_outputs`; `source` is an input. on_hypernym: as for `nodes_of_classes`.
    """
    is_map, suffix = source.suffix.lower() == ".map", out.suffix.lower()
    nodes = read_map(source, tree) if is_map else nodes_of_classes(source, tree, on_hypernym)
    if suffix == ".map":
        text = lines_text(nodes)
    elif suffix in CLASS_SUFFIXES:
        text = lines_text([(tree.ids if suffix == ".labels" else tree.names)[node] for node in nodes])
    else:
        raise TreeFileError(f"{out}: expected a name that ends in {', '.join(CLASS_SUFFIXES)}.")
    write_outputs({out: text}, inputs=[source, *inputs], overwrite=overwrite)
    return len(nodes)
