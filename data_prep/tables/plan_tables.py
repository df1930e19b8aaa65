"""Output of `data-prep plan`: tables for people, plain values for `--json`."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from data_prep.classes.conflicts import Conflict, find_conflicts, separate_roots
from data_prep.classes.label_map import entry_of, read_label_map, unresolved_lines
from data_prep.classes.matching import ClassMatch
from data_prep.config import BuiltTree
from data_prep.dataset.index import TRAIN_SPLIT
from data_prep.planning.duplicates import IN_SEVERAL_SPLITS, KINDS, EqualImages, PlannedDuplicates
from data_prep.planning.estimate import estimate
from data_prep.planning.plan import Plan
from data_prep.planning.selection import UNUSED_CLASS
from data_prep.sources.source import examples_in_words
from wordtree.support.printing import Row, counted, new_console, print_counts, print_line, splits_text
from wordtree.wordnet.names import name_key

SHOWN = 8  # rows of each list; --json has all


def plan_json(plan: Plan, duplicates: PlannedDuplicates | None = None) -> dict[str, Any]:
    """The plan as plain values."""
    expected = estimate(plan)
    values: dict[str, Any] = {
        "plan_sha256": plan.digest,
        "nodes": len(plan.tree),
        "tree_fingerprint": plan.tree.fingerprint,
        "images": len(plan.images),
        "shards": len(plan.shard_ends),
        "estimate": {
            "bytes": expected.size_bytes,
            "seconds_of_one_worker": expected.seconds,
            "basis": expected.basis,
        },
        "sources": source_rows(plan),
        "label_map": [
            {
                "source": match.source,
                "class": match.name,
                "id": match.id,
                "reason": match.reason,
                "left_out": match.left_out or None,
                "note": match.note,
                "parent": match.parent or None,
                "proposal": match.proposal._asdict() if match.proposal else None,
                "candidates": [candidate._asdict() for candidate in match.candidates],
            }
            for match in plan.matches
        ],
        "conflicts": [
            {
                "kind": conflict.kind,
                "classes": [_class_row(plan, row) for row in conflict.classes],
                "text": conflict.text,
            }
            for conflict in conflicts_of(plan)
        ],
    }
    if duplicates is not None:
        values["duplicates"] = [
            {"kind": group.kind, "images": [_image_row(plan, image) for image in group.images]}
            for group in duplicates.groups
        ]
    return values


def print_plan(
    plan: Plan,
    written_map: Path | None,
    duplicates: PlannedDuplicates | None = None,
    left_out: Path | None = None,
) -> None:
    """Print sources, tree, label map, conflicts, shares of an epoch and cost of a plan.

    written_map, left_out: the label map and the list of what is left out, if they have been written.
    """
    console = new_console()
    rows = source_rows(plan)
    table = Table("source", "splits", "images", "boxes", "image labels", "classes", "MB", title="Sources")
    for row in rows:
        megabytes = round(row["bytes"] / 1e6, 1)
        numbers = (row["images"], row["boxes"], row["image_labels"], row["classes"], megabytes)
        table.add_row(row["name"], splits_text(row["splits"]), *map(str, numbers))
    console.print(table)
    examples = {
        (row["name"], reason): examples_in_words(texts)
        for row in rows
        for reason, texts in row["examples"].items()
    }
    print_counts(console, {row["name"]: row["counts"] for row in rows}, examples)
    if left_out is not None:
        print_line(console, f"{left_out} lists all that is left out.")
    _print_classes(console, plan, written_map)
    _print_epoch(console, plan, rows)
    if duplicates is not None:
        _print_duplicates(console, plan, duplicates)
    expected = estimate(plan)
    print_line(
        console,
        f"Tree: {counted(len(plan.tree), 'node')}. {counted(len(plan.images), 'image')} in "
        f"{counted(len(plan.shard_ends), 'shard')}.",
    )
    print_line(
        console,
        f"Estimate: about {size_text(expected.size_bytes)}, {time_text(expected.seconds)} with one worker "
        f"({expected.basis}).",
    )


def source_rows(plan: Plan) -> list[Row]:
    """Images, labels and sizes of each source, as plain values."""
    images, sources = plan.images, len(plan.sources)
    of_source = images["image_source"]
    weights = (None, images.count("box"), images.count("label"), images["size_bytes"])
    image_counts, boxes, labels, sizes = (
        np.bincount(of_source, weight, minlength=sources).astype(np.int64).tolist() for weight in weights
    )
    splits = np.zeros((sources, len(plan.split_names)), dtype=np.int64)
    np.add.at(splits, (of_source, plan.image_split), 1)
    return [
        {
            "name": source.name,
            "splits": {
                name: int(count)
                for name, count in zip(plan.split_names, splits[number], strict=True)
                if count
            },
            "images": image_counts[number],
            "boxes": boxes[number],
            "image_labels": labels[number],
            "classes": sum(row.source == number for row in plan.classes),
            "bytes": sizes[number],
            "repeat": source.repeat,
            "counts": dict(sorted((+plan.counts[number]).items())),
            "examples": plan.counts[number].examples(),
        }
        for number, source in enumerate(plan.sources)
    ]


def conflicts_of(plan: Plan) -> list[Conflict]:
    """Doubtful matches in the label map of a plan."""
    boxes = np.bincount(plan.images["box_class"], minlength=len(plan.classes))
    names, setting = [source.name for source in plan.sources], plan.config.tree
    found = find_conflicts(plan.classes, names, plan.tree, boxes)
    if isinstance(setting, BuiltTree):
        found += separate_roots(plan.classes, names, plan.tree, setting.root)
    return found


def size_text(size_bytes: float) -> str:
    """Bytes as text: 71 MB, 1.2 TB."""
    for unit, size in (("TB", 1e12), ("GB", 1e9)):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return f"{size_bytes / 1e6:.{0 if size_bytes >= 1e7 else 1}f} MB"


def time_text(seconds: float) -> str:
    """Seconds as text: 40 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _print_classes(console: Console, plan: Plan, written_map: Path | None) -> None:
    staying = [match for match in plan.matches if not match.left_out]
    reasons = Counter(match.reason for match in staying)
    found = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())
    print_line(console, f"{counted(len(plan.matches), 'class', 'classes')}: {found}")
    if unused := [match.name for match in plan.matches if match.left_out == UNUSED_CLASS]:
        print_line(
            console,
            f"{counted(len(unused), 'class', 'classes')} without a node, and without a box or image label: "
            f"{', '.join(unused[:SHOWN])}{', …' if len(unused) > SHOWN else ''}",
        )
    left_out = Counter(
        match.left_out.rpartition(", ")[2]
        for match in plan.matches
        if match.left_out and match.left_out != UNUSED_CLASS
    )
    for why, number in left_out.most_common():
        print_line(console, f"left out by the selection of classes, {why}: {number}")
    if unresolved := unresolved_lines(plan.matches):
        effect = "dropped" if plan.config.unmapped == "drop" else "which stops the merge"
        print_line(console, f"{counted(len(unresolved), 'class', 'classes')} without a node, {effect}:")
        for text in unresolved[:SHOWN]:
            print_line(console, f"  {text}")
        if len(unresolved) > SHOWN:
            print_line(console, f"  {len(unresolved) - SHOWN} more; a label map lists all.")
    if proposed := sum(match.proposal is not None for match in plan.matches):
        print_line(console, f"To accept the {counted(proposed, 'proposal')}, add `--set proposals=accept`.")
    accepted: dict[str, ClassMatch] = {}
    for match in plan.matches:
        if match.reason == "proposed":
            accepted.setdefault(name_key(match.name), match)
    texts = [f"{match.name!r} is {match.id}, {match.note}" for match in accepted.values()]
    _print_first(console, "accepted proposal", texts)
    by_kind: dict[str, list[str]] = {}
    for conflict in conflicts_of(plan):
        by_kind.setdefault(conflict.kind, []).append(conflict.text)
    for kind, texts in by_kind.items():
        _print_first(console, f"to review: {kind}", texts)
    print_line(console, _map_text(plan, written_map))


def _map_text(plan: Plan, written_map: Path | None) -> str:
    """The label map that was read or written, or how to write one."""
    path = plan.config.label_map
    if path is None:
        return "To review the node of each class, add `--set label_map=label_map.yaml`."
    if written_map is not None:
        return f"Label map written to {path}: review it, edit it, then merge."
    known = read_label_map(path)
    lacking = [f"{match.source} {match.name!r}" for match in plan.matches if entry_of(match, known) is None]
    if not lacking:
        return f"Label map read from {path}."
    more = f" and {len(lacking) - 4} more" if len(lacking) > 4 else ""
    return f"Label map read from {path}, which lacks {', '.join(lacking[:4])}{more}; these classes are matched by name."


def _print_epoch(console: Console, plan: Plan, rows: list[Row]) -> None:
    """Print how many images of each source an epoch shows."""
    shown = {row["name"]: row["splits"].get(TRAIN_SPLIT, 0) * row["repeat"] for row in rows}
    for row in rows:
        if row["repeat"] != 1:
            images = round(shown[row["name"]])
            print_line(
                console,
                f"An epoch shows each image of {row['name']} {row['repeat']:.3g} times ({images} images).",
            )
    for name in plan.config.ratio or ():
        if not shown[name]:
            print_line(
                console,
                f"The ratio of {name} has no effect: none of its images is in split {TRAIN_SPLIT!r}.",
            )
    least = min((count for count in shown.values() if count), default=0)
    if sum(count > 0 for count in shown.values()) > 1:
        names = " : ".join(name for name, count in shown.items() if count)
        ratio = " : ".join(f"{count / least:.3g}" for count in shown.values() if count)
        print_line(console, f"An epoch shows {round(sum(shown.values()))} images, {names} = {ratio}.")
    if not least:
        print_line(console, f"No image is in split {TRAIN_SPLIT!r}, which training reads.")


def _print_duplicates(console: Console, plan: Plan, duplicates: PlannedDuplicates) -> None:
    for kind in KINDS:
        groups = [group for group in duplicates.groups if group.kind == kind]
        title = "equal images " + ("in several splits (a leak)" if kind == IN_SEVERAL_SPLITS else kind)
        _print_first(console, title, [_equal_text(plan, group) for group in groups])
    if duplicates.unreadable:
        print_line(console, f"{counted(duplicates.unreadable, 'image')} could not be read and compared.")
    if not duplicates.groups:
        print_line(console, "No two images are equal.")


def _print_first(console: Console, title: str, texts: list[str]) -> None:
    for text in texts[:SHOWN]:
        print_line(console, f"{title}: {text}")
    if len(texts) > SHOWN:
        print_line(console, f"{title}: {len(texts) - SHOWN} more; `--json` lists all.")


def _equal_text(plan: Plan, group: EqualImages) -> str:
    rows = (_image_row(plan, image) for image in group.images)
    return " = ".join(f"{row['source']} {row['source_id']} ({row['split']})" for row in rows)


def _image_row(plan: Plan, image: int) -> Mapping[str, str]:
    return {
        "source": plan.sources[plan.images["image_source"][image]].name,
        "source_id": plan.images.source_id(image),
        "split": plan.split_names[plan.image_split[image]],
    }


def _class_row(plan: Plan, row: int) -> Mapping[str, str]:
    source_class = plan.classes[row]
    return {
        "source": plan.sources[source_class.source].name,
        "class": source_class.name,
        "id": plan.tree.ids[source_class.node],
    }
