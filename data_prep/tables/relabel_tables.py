"""Output of `data-prep relabel`."""

from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console

from data_prep.classes.label_map import SHOWN_CLASSES, unresolved_lines
from data_prep.dataset.index import TRAIN_SPLIT, Index, label_counts_of
from data_prep.dataset.index_file import BACKUP_NAME
from data_prep.maintenance.relabel import Relabelled
from data_prep.tables.dataset_tables import index_json, print_sources
from wordtree.support.printing import counted, new_console, print_line


def relabel_json(before: Index, relabelled: Relabelled, *, written: bool) -> dict[str, Any]:
    """The new index as `info --json` shows it, and the sizes of the former index."""
    return {
        "written": written,
        "before": {"nodes": len(before.tree), "tree_fingerprint": before.tree.fingerprint, **_labels(before)},
        **index_json(relabelled.index),
        "label_map": [
            {
                "source": match.source,
                "class": match.name,
                "id": match.id,
                "reason": match.reason,
                "note": match.note,
                "candidates": [candidate._asdict() for candidate in match.candidates],
            }
            for match in relabelled.matches
        ],
    }


def print_review(relabelled: Relabelled, label_map: Path) -> None:
    """Print how the classes were matched; nothing has been changed."""
    console = new_console()
    _print_matches(console, relabelled)
    print_line(
        console,
        f"Label map written to {label_map}: review it, edit it, and run this command again to apply it.",
    )


def print_relabelled(before: Index, relabelled: Relabelled, folder: Path, *, replaces: bool) -> None:
    """Print the content of the new index beside that of the old one."""
    console, index = new_console(), relabelled.index
    print_sources(console, index)
    _print_matches(console, relabelled)
    now, then = _labels(index), _labels(before)
    in_train = (f"{name.replace('_', ' ')}: {now[name]} (before: {then[name]})" for name in now)
    nodes = f"nodes: {len(index.tree)} (before: {len(before.tree)})"
    print_line(console, f"{nodes}; in split {TRAIN_SPLIT!r}: {'; '.join(in_train)}")
    if index.tree.fingerprint != before.tree.fingerprint:
        print_line(console, "The tree has changed: models trained with the old tree do not fit.")
    backup = f"; the old index is {BACKUP_NAME}" if replaces else ""
    print_line(console, f"{folder}: {len(index)} images, no image was read{backup}.")


def _labels(index: Index) -> dict[str, int]:
    """Numbers of boxes and image labels of the training split."""
    label_counts = label_counts_of(index)
    return {"boxes": int(label_counts.boxes.sum()), "image_labels": int(label_counts.image_labels.sum())}


def _print_matches(console: Console, relabelled: Relabelled) -> None:
    if not relabelled.matches:
        return
    reasons = Counter("left out" if match.left_out else match.reason for match in relabelled.matches)
    found = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())
    print_line(console, f"{counted(len(relabelled.matches), 'class', 'classes')}: {found}")
    for text in unresolved_lines(relabelled.matches)[:SHOWN_CLASSES]:
        print_line(console, f"without a node: {text}")
