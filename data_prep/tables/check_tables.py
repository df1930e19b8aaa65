"""Output of `data-prep check`."""

from typing import Any

from rich.console import Console

from data_prep.dataset.index_file import BACKUP_NAME
from data_prep.maintenance.check import CheckReport, Damage
from wordtree.support.printing import counted, new_console, print_line

SHOWN_IMAGES = 10


def check_json(report: CheckReport, *, repaired: bool) -> dict[str, Any]:
    """The result of a check as plain values."""
    return {
        "shards": report.shards,
        "images": len(report.index),
        "bytes": report.size_bytes,
        "damages": [_damage_json(report, damage) for damage in report.damages],
        "lost_shards": list(report.lost_shards),
        "other_files": list(report.other_files),
        "repaired": repaired,
    }


def print_check(report: CheckReport, *, repaired: bool) -> None:
    """Print a line for each damaged file and each damaged image."""
    console = new_console()
    for damage in report.damages:
        print_line(console, f"{damage.file}: {damage.trouble}{_extent(damage)}")
        _print_names(console, report, damage)
    for name in report.lost_shards:
        print_line(console, f"{name}: left out of the index by a repair")
    for name in report.other_files:
        print_line(console, f"{name}: does not belong to this data set")
    read = f"{counted(report.shards, 'shard')}, {counted(len(report.index), 'image')}, {report.size_bytes / 1e6:.1f} MB"
    if not report.damages:
        print_line(console, f"{report.folder}: {read}: no byte has changed.")
    if repaired:
        lost = sum(len(damage.images) for damage in report.damages if damage.part != "index")
        print_line(
            console,
            f"{report.folder}: {counted(lost, 'image')} left out of a new index; the old index is {BACKUP_NAME}. "
            "To restore the shards, merge again with the same MERGE.yaml.",
        )


def summary(report: CheckReport) -> str:
    """The damage and what to do about it, in one line."""
    return (
        f"{report.folder}: {counted(len(report.damages), 'damaged file')}, "
        f"{counted(len(report.damaged_images), 'damaged image')}. Leave the images out with "
        f"`data-prep check {report.folder} --repair`, or merge again to restore them."
    )


def _damage_json(report: CheckReport, damage: Damage) -> dict[str, Any]:
    sources = report.index.columns["image_source"][damage.images].tolist()
    names = damage.source_ids or (None,) * len(sources)
    return {
        "file": damage.file,
        "trouble": damage.trouble,
        "part": damage.part,
        "images": [
            {"image": image, "source": report.index.sources[source].name, "source_id": name}
            for image, source, name in zip(damage.images.tolist(), sources, names, strict=True)
        ],
    }


def _extent(damage: Damage) -> str:
    """The range of images of a shard that is damaged as a whole; empty for other damage."""
    if damage.part != "shard" or not len(damage.images):
        return ""
    first, last = damage.images[[0, -1]].tolist()
    return f"; it holds {counted(len(damage.images), 'image')}, {first} to {last}"


def _print_names(console: Console, report: CheckReport, damage: Damage) -> None:
    for image, name in list(zip(damage.images.tolist(), damage.source_ids, strict=False))[:SHOWN_IMAGES]:
        source = report.index.sources[report.index.columns["image_source"][image]]
        print_line(console, f"  image {image}: {source.name}: {name}")
    if len(damage.source_ids) > SHOWN_IMAGES:
        more = len(damage.source_ids) - SHOWN_IMAGES
        print_line(console, f"  {more} more; `data-prep check --json` lists all")
