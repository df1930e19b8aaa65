"""How many nodes of the published 9418-node tree get their published parent, and why not the others?

    python benchmarks/published_tree.py FOLDER

FOLDER holds `9k.tree` and `9k.names` (github.com/pjreddie/darknet, data/); timm brings the lists of ImageNet's ids.
The labels are the ids of ImageNet-22k in the published tree; it is not known which of them its authors used. Prints how
many nodes have their published parent, for each set of rules; then each node with another parent, with the cause. A
cause is named only if it is shown to be one: without it, the node has its published parent.
"""

from __future__ import annotations

import argparse
import time
from importlib.util import find_spec
from pathlib import Path

from wordtree.building.build import build_with_report
from wordtree.building.grow import (
    collapse_unary_nodes,
    flatten_lone_leaves,
    grow_by_least_path,
    grow_in_rounds,
)
from wordtree.tree.tree import WordTree
from wordtree.wordnet.columns import Synset
from wordtree.wordnet.graph import HypernymPaths, WordNet

Edges = dict[str, str | None]  # id -> the parent's id, None for roots

ABSTRACT = "its authors let abstract paths compete too, and moved signals and bubbles afterwards"
LABELS = "its authors did not use these labels, which have few images of their own"
UNKNOWN = "unknown cause"


def main() -> None:
    folder = parse_folder()
    published = edges(WordTree.load(folder / "9k.tree"))
    wordnet = WordNet.shipped()
    labels = sorted(set(published) & set(imagenet("imagenet22k_ms_synsets.txt")))
    used = used_labels(labels, published)
    print(f"{len(labels)} labels; nodes with their parent in the published tree, of {len(published)}:")
    for name, built in (
        ("profile paper (rule A)", edges(build_with_report(labels)[0])),
        ("the same and rule B", with_rule_b(labels, wordnet)),
        ("profile darknet", edges(build_with_report(labels, profile="darknet")[0])),
        (
            f"profile darknet, the {len(used)} likely labels",
            edges(build_with_report(used, profile="darknet")[0]),
        ),
    ):
        print(f"  {name:44} {agreement(built, published):5}   {len(built)} nodes")
    print_differences(labels, used, published, wordnet)
    print("\nILSVRC's 1000 labels (the paper: 1369 nodes) and ImageNet-21k")
    for profile in ("paper", "darknet"):
        for file in ("imagenet_synsets.txt", "imagenet21k_goog_synsets.txt"):
            start = time.perf_counter()
            report = build_with_report(imagenet(file), profile=profile)[1]
            print(f"  {profile:8} {time.perf_counter() - start:4.1f} s  {report.summary()}")


def print_differences(labels: list[str], used: list[str], published: Edges, wordnet: WordNet) -> None:
    """Print each node with another parent, and the cause."""
    built = edges(build_with_report(labels, profile="darknet")[0])
    built_from_used = edges(build_with_report(used, profile="darknet")[0])
    abstract = grown_from_entity(labels, wordnet)
    print("\nNodes with another parent")
    for wnid, parent in published.items():
        if wnid in built and built[wnid] == parent:
            continue
        if abstract.get(wnid, "") == parent:
            cause = ABSTRACT
        elif built_from_used.get(wnid, "") == parent:
            above = ids_of_ancestors(wnid, wordnet) & (set(labels) - set(used))
            cause = f"{LABELS}: {', '.join(label_of(one, wordnet) for one in sorted(above))}"
        else:
            cause = UNKNOWN
        ours = label_of(built[wnid], wordnet) if wnid in built else "absent"
        print(f"  {label_of(wnid, wordnet):18} published {label_of(parent, wordnet):18} built {ours}")
        print(f"    {cause}")


def used_labels(labels: list[str], published: Edges) -> list[str]:
    """Labels that are leaves of the published tree or in timm's list of the 12k classes with many images."""
    parents, many_images = set(published.values()), set(imagenet("imagenet12k_synsets.txt"))
    return [wnid for wnid in labels if wnid not in parents or wnid in many_images]


def with_rule_b(labels: list[str], wordnet: WordNet) -> Edges:
    """The tree of profile `paper` after rule B."""
    paths = HypernymPaths(wordnet, wordnet.synset("n00001930"))
    labelled = {wordnet.synset(wnid) for wnid in labels}
    parents = grow_by_least_path({synset: paths.of(synset) for synset in sorted(labelled)}).parents
    collapse_unary_nodes(parents, labelled=labelled)
    flatten_lone_leaves(parents, labelled=labelled, fixed=set())
    return by_wnid(parents, wordnet)


def grown_from_entity(labels: list[str], wordnet: WordNet) -> Edges:
    """The tree with abstract paths, before nodes are removed."""
    paths = HypernymPaths(wordnet, wordnet.synset("n00001740"))
    paths_of = {synset: paths.of(synset) for synset in map(wordnet.synset, labels)}
    growth = grow_in_rounds(
        paths_of, enters_first=lambda synset: len(paths_of[synset]) == 1, name=wordnet.name
    )
    return by_wnid(growth.parents, wordnet)


def by_wnid(parents: dict[Synset, Synset | None], wordnet: WordNet) -> Edges:
    return {
        wordnet.wnid(synset): None if above is None else wordnet.wnid(above)
        for synset, above in parents.items()
    }


def edges(tree: WordTree) -> Edges:
    above = (tree.ids[parent] if parent >= 0 else None for parent in tree.parent.tolist())
    return dict(zip(tree.ids, above, strict=True))


def agreement(built: Edges, published: Edges) -> int:
    return sum(wnid in built and built[wnid] == parent for wnid, parent in published.items())


def ids_of_ancestors(wnid: str, wordnet: WordNet) -> set[str]:
    """Ids of all hypernyms of the synset, direct and indirect."""
    found: set[str] = set()
    waiting = [wordnet.synset(wnid)]
    while waiting:
        for upper in wordnet.hypernyms(waiting.pop()):
            if wordnet.wnid(upper) not in found:
                found.add(wordnet.wnid(upper))
                waiting.append(upper)
    return found


def label_of(wnid: str | None, wordnet: WordNet) -> str:
    return "a root" if wnid is None else wordnet.name(wordnet.synset(wnid))


def imagenet(file: str) -> list[str]:
    """Ids of one of timm's lists."""
    spec = find_spec("timm")
    if spec is None or spec.origin is None:
        raise SystemExit("timm, which has ImageNet's lists of ids, is not installed: pip install timm")
    return (Path(spec.origin).parent / "data" / "_info" / file).read_text().split()


def parse_folder() -> Path:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    if not (folder / "9k.tree").is_file():
        raise SystemExit(
            f"{folder}: expected 9k.tree in this folder; get it from github.com/pjreddie/darknet, data/."
        )
    return folder


if __name__ == "__main__":
    main()
