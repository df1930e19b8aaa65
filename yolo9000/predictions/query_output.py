"""The output of a query over stored results: counts for each depth of the tree, files, a contact sheet, formats."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wordtree.support.lines import printable
from wordtree.support.outputs import check_outputs, refuse_links_out
from yolo9000.predictions.contact_sheet import MAX_IMAGES, write_contact_sheet
from yolo9000.predictions.formats import FORMATS, replaced, write_format
from yolo9000.predictions.store import Match, StoredQuery

SHOWN_CLASSES = 12  # at one depth
SHOWN_FILES = 10


@dataclass(frozen=True)
class QueryOutput:
    """The parts of the output; if none is chosen, all counts and the best files.

    sheet: the file of the contact sheet.
    """

    counts: bool = False
    files: bool = False
    sheet: Path | None = None
    as_json: bool = False
    overwrite: bool = False


def print_query(query: StoredQuery, shown: QueryOutput) -> None:
    """Print the chosen parts and write the sheet. Raises OutputError if it would replace a file of the user."""
    if shown.sheet is not None:
        check_outputs([shown.sheet], overwrite=shown.overwrite)
    if shown.as_json:
        print(json.dumps(_as_dict(query), indent=1))
    else:
        everything = not (shown.counts or shown.files or shown.sheet)
        if shown.counts or everything:
            _print_counts(query)
        if shown.files or everything:
            _print_files(query, None if shown.files else SHOWN_FILES)
    if shown.sheet is not None:
        write_contact_sheet(shown.sheet, query.matches(MAX_IMAGES))


def write_matches(query: StoredQuery, out: Path, format_name: str, *, overwrite: bool = False) -> list[Path]:
    """Write the matching detections into a folder, in a format. Returns the files; raises OutputError."""
    log = out / "detections.jsonl"
    outputs = [out / name.format(part="") for name in FORMATS[format_name].files]
    check_outputs([log, *outputs, out / "tree.json"], overwrite=overwrite)
    refuse_links_out(out, [path.name for path in (log, *outputs, out / "tree.json")])
    out.mkdir(parents=True, exist_ok=True)
    query.store.tree.save(out / "tree.json")
    with replaced(log) as file:
        for match in query.matches():
            found = [match.record["detections"][rank] for rank in match.ranks]
            file.write(json.dumps({**match.record, "detections": found}) + "\n")
    return write_format(format_name, log, outputs, query.store.tree)


def _print_counts(query: StoredQuery) -> None:
    tree, levels = query.store.tree, query.counts_by_level()
    print(
        f"{int(query.counts().sum()):,} detections in {query.count_matching_images():,} of "
        f"{query.store.count_images():,} images"
    )
    for level in levels:
        some = [f"{tree.names[node]} {number:,}" for node, number in level[:SHOWN_CLASSES]]
        more = f", … ({len(level)} classes)" if len(level) > SHOWN_CLASSES else ""
        print(printable(f"depth {tree.depth[level[0][0]]}: {', '.join(some)}{more}"))


def _print_files(query: StoredQuery, limit: int | None) -> None:
    for match in query.matches(limit):
        print(printable(f"{match.best_score:.2f}  {_name_of(match)}"))


def _name_of(match: Match) -> str:
    frame = f" frame {match.record['frame']}" if "frame" in match.record else ""
    return f"{match.record['image']}{frame}"


def _as_dict(query: StoredQuery) -> dict[str, Any]:
    tree = query.store.tree
    return {
        "detections": int(query.counts().sum()),
        "images": query.count_matching_images(),
        "levels": [
            [{"id": tree.ids[node], "name": tree.names[node], "detections": number} for node, number in level]
            for level in query.counts_by_level()
        ],
        "files": [
            {
                **{name: match.record[name] for name in ("image", "frame", "time_s") if name in match.record},
                "best_score": match.best_score,
                "detections": [match.record["detections"][rank] for rank in match.ranks],
            }
            for match in query.matches()
        ],
    }
