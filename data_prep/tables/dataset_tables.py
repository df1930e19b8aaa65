"""Output of `data-prep merge` and `info`: tables for people, plain values for `--json`."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from data_prep.dataset.index import Index, label_counts_of
from data_prep.dataset.label_counts import LabelCounts
from data_prep.planning.left_out import LEFT_OUT_NAME
from data_prep.shards.format import BOXED, EXHAUSTIVE, POSITIVE
from data_prep.shards.offsets import owner_of_rows
from data_prep.sources.source import SHOWN_EXAMPLES, examples_in_words
from wordtree.support.arrays import IntegerArray
from wordtree.support.printing import counted, new_console, print_counts, print_line, splits_text

SHOWN_NODES = 80


def index_json(index: Index) -> dict[str, Any]:
    """Sources and label counts of an index as plain values."""
    return {
        "images": len(index),
        "shards": len(index.shards),
        "bytes": sum(shard.size_bytes for shard in index.shards),
        "nodes": len(index.tree),
        "tree_fingerprint": index.tree.fingerprint,
        "sources": _source_rows(index),
        "left_out": [list(row) for row in index.left_out],
        "left_out_by_plan": [[index.sources[source].name, *rest] for source, *rest in index.plan_left_out],
        "label_counts": label_counts_of(index).rows(),
    }


def print_merge(index: Index, out: Path) -> None:
    """Print the content of a merged data set, and the images that the merge left out."""
    console = new_console()
    print_sources(console, index)
    if (out / LEFT_OUT_NAME).exists():
        print_line(console, f"{out / LEFT_OUT_NAME} lists all that was left out.")
    size_mb = sum(shard.size_bytes for shard in index.shards) / 1e6
    shards = counted(len(index.shards), "shard")
    print_line(
        console,
        f"{out}: {counted(len(index), 'image')}, {size_mb:.1f} MB in {shards}, {counted(len(index.tree), 'node')}.",
    )


def print_info(index: Index, under: int | None = None, depth: int | None = None) -> None:
    """Print sources and label counts of a merged data set.

    under: only nodes at or under this one; depth: levels of the tree below it, None for as many as fit.
    """
    console, label_counts = new_console(), label_counts_of(index)
    print_sources(console, index)
    _print_label_counts(console, label_counts, under, depth)
    by_supervision = Counter(label_counts.supervision(node) for node in range(len(index.tree)))
    print_line(
        console,
        f"{len(index.tree)} nodes: {by_supervision['boxes']} with boxes, "
        f"{by_supervision['image labels']} with image labels only, {by_supervision['none']} with neither.",
    )


def _print_label_counts(
    console: Console, label_counts: LabelCounts, under: int | None, depth: int | None
) -> None:
    tree = label_counts.tree
    title = "Labels of the training split: at the node itself / at the node and below"
    table = Table("node", "id", "boxes", "image labels", "supervision", "nearest boxed ancestor", title=title)
    names = dict(zip(tree.ids, tree.names, strict=True))
    nodes = [
        node for node in label_counts.nodes_with_labels() if under is None or tree.is_at_or_under(node, under)
    ]
    top = 0 if under is None else int(tree.depth[under])
    levels = _levels_that_fit(tree.depth[nodes] - top) if depth is None else depth
    shown = [node for node in nodes if tree.depth[node] - top <= levels]
    for row in map(label_counts.row, shown):
        above = row["nearest_boxed_ancestor"]
        table.add_row(
            "  " * (row["depth"] - top) + row["name"],
            row["id"],
            f"{row['boxes']} / {row['boxes_rolled_up']}",
            f"{row['image_labels']} / {row['image_labels_rolled_up']}",
            row["supervision"],
            "–" if above is None else names[above],
        )
    console.print(table)
    if len(shown) < len(nodes):
        deeper = len(nodes) - len(shown)
        print_line(
            console,
            f"{deeper} nodes with labels are deeper: see --depth, --under NODE, --csv FILE or --charts DIR.",
        )


def _levels_that_fit(depths: IntegerArray) -> int:
    """The deepest level down to which at most SHOWN_NODES nodes have the given depths."""
    ends = np.cumsum(np.bincount(depths))
    return max(1, int(np.searchsorted(ends, SHOWN_NODES, side="right")) - 1)


def _source_rows(index: Index) -> list[dict[str, Any]]:
    columns, counts = index.columns, index.counts
    of_image, flags = columns["image_source"], columns["label_flags"]
    of_box, of_label = (of_image[owner_of_rows(columns[f"{kind}_offsets"])] for kind in ("box", "label"))
    is_boxed = (columns["image_flags"] & BOXED) != 0
    images, boxed, boxes, labels, negative, exhaustive, classes = (
        np.bincount(rows, minlength=len(index.sources)).tolist()
        for rows in (
            of_image,
            of_image[is_boxed],
            of_box,
            of_label,
            of_label[(flags & POSITIVE) == 0],
            of_label[(flags & EXHAUSTIVE) != 0],
            np.array([row.source for row in index.classes], dtype=np.int64),
        )
    )
    return [
        {
            "name": source.name,
            "splits": _splits_of(index, number),
            "images": images[number],
            "boxed_images": boxed[number],
            "boxes": boxes[number],
            "image_labels": labels[number],
            "negative_labels": negative[number],
            "exhaustive_labels": exhaustive[number],
            "classes": classes[number],
            "exhaustive": [index.tree.ids[node] for node in source.exhaustive],
            "repeat": source.repeat,
            "counts": counts[number],
        }
        for number, source in enumerate(index.sources)
    ]


def _splits_of(index: Index, source: int) -> dict[str, int]:
    """Images of a source by split, without empty splits."""
    own = index.columns["image_split"][index.columns["image_source"] == source]
    counts = np.bincount(own[own >= 0], minlength=len(index.split_names)).tolist()
    return {name: count for name, count in zip(index.split_names, counts, strict=True) if count}


def print_sources(console: Console, index: Index) -> None:
    """Print a table of the sources, and for each how much was left out or changed."""
    headings = ("source", "splits", "images", "boxed images", "boxes", "image labels", "classes")
    table = Table(*headings, title="Sources")
    rows = _source_rows(index)
    for row in rows:
        negative = f" ({row['negative_labels']} negative)" if row["negative_labels"] else ""
        labels = f"{row['image_labels']}{negative}"
        numbers = (row["images"], row["boxed_images"], row["boxes"], labels, row["classes"])
        in_none = row["images"] - sum(row["splits"].values())
        splits = splits_text(row["splits"]) + (f"; {in_none} in none" if in_none else "")
        table.add_row(row["name"], splits, *map(str, numbers))
    console.print(table)
    print_counts(console, {row["name"]: row["counts"] for row in rows}, _examples_of(index))


def _examples_of(index: Index) -> dict[tuple[str, str], str]:
    """The first images and labels that were left out, as text by source and reason."""
    examples: dict[tuple[str, str], list[str]] = {}
    planned = ((index.sources[source].name, *rest) for source, *rest in index.plan_left_out)
    for source, source_id, reason in (*planned, *index.left_out):
        texts = examples.setdefault((source, reason), [])
        if len(texts) < SHOWN_EXAMPLES:
            texts.append(source_id)
    return {key: examples_in_words(texts) for key, texts in examples.items()}
