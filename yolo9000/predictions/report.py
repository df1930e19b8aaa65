"""The report page of a run: images with their boxes, whose classes move up and down the tree.

Up to MAX_INLINE images the page is one file. With more, the page loads its data and small images from `report_files/`
beside it. Neither loads anything from elsewhere.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from data_prep.dataset.label_counts import LabelCounts
from wordtree.support.files import write_atomically
from wordtree.tree.tree import WordTree
from yolo9000.predictions.result_log import Record, key_of, result_records
from yolo9000.predictions.thumbnails import FOLDER, MAX_IMAGES, thumbnail_name

MAX_INLINE = 200
MAX_FAILURES = 200  # that are listed
_SUPERVISION = ("none", "image labels", "boxes")  # the number of a badge on the page


@dataclass(frozen=True)
class ReportFacts:
    """The facts about a run for its report page.

    label_counts    labels of the training, for the supervision that each class shows as a badge
    allowed         (N,) bool, the classes that may be predicted; None: all
    min_absolute    first value of the slider "Specificity"
    fixed_scores    whether the score of a detection stays when its class changes: with a query, and by Darknet's rules
    """

    tree: WordTree
    label_counts: LabelCounts
    allowed: np.ndarray | None
    min_score: float
    min_absolute: float
    title: str
    fixed_scores: bool = False


def write_report(page: Path, log: Path, facts: ReportFacts) -> Path:
    """Write the page about the results in the log, with the small images in `report_files/` beside it."""
    folder = page.parent / FOLDER
    images: list[dict[str, Any]] = []
    failures: list[list[str]] = []
    total = 0
    nodes = _NodeTable(facts)
    for record in result_records(log):
        total += 1
        if "failure" in record:
            failures.append([record["image"], record["failure"]])
        elif len(images) < 2 * MAX_IMAGES and (folder / thumbnail_name(key_of(record))).exists():
            images.append(_image(record, nodes))
    is_inline = len(images) <= MAX_INLINE
    if is_inline:
        for image in images:
            content = base64.b64encode((folder / image["thumb"]).read_bytes()).decode()
            image["thumb"] = f"data:image/jpeg;base64,{content}"
    else:
        for image in images:
            image["thumb"] = f"{FOLDER}/{image['thumb']}"
    data = {
        "images": images,
        "nodes": nodes.as_dict(),
        "failures": failures[:MAX_FAILURES],
        "failed": len(failures),
        "total": total,
        "min_score": facts.min_score,
        "min_absolute": facts.min_absolute,
        "fixed_scores": facts.fixed_scores,
    }
    text = json.dumps(data, separators=(",", ":"))
    if not is_inline:
        write_atomically(folder / f"{page.stem}.js", f"window.predictions = {text};\n")
    html = _template().render(
        title=facts.title,
        data=Markup(text.replace("<", "\\u003c")) if is_inline else None,
        data_file=f"{FOLDER}/{page.stem}.js",
        css=_asset("predictions.css"),
        script=_asset("predictions.js"),
    )
    write_atomically(page, html)
    return page


class _NodeTable:
    """The nodes that occur in the report, numbered anew: parents first."""

    def __init__(self, facts: ReportFacts) -> None:
        self._facts = facts
        self._number: dict[int, int] = {}
        self._rows: list[list[Any]] = []

    def number(self, node: int) -> int:
        """The number of a node; its ancestors are added before it."""
        if node not in self._number:
            tree = self._facts.tree
            parent = int(tree.parent[node])
            parent_number = self.number(parent) if parent >= 0 else -1
            badge = _SUPERVISION.index(self._facts.label_counts.supervision(node))
            allowed = self._facts.allowed is None or bool(self._facts.allowed[node])
            self._number[node] = len(self._rows)
            self._rows.append([tree.ids[node], tree.names[node], parent_number, badge, int(allowed)])
        return self._number[node]

    def as_dict(self) -> dict[str, list[Any]]:
        """The columns of the table."""
        names = ("ids", "names", "parents", "badges", "allowed")
        return {name: [row[column] for row in self._rows] for column, name in enumerate(names)}

    def of_id(self, id_: str) -> int:
        return self.number(self._facts.tree.node(id_))


def _image(record: Record, nodes: _NodeTable) -> dict[str, Any]:
    return {
        "name": record["image"].encode("utf-8", "backslashreplace").decode(),
        **({"frame": record["frame"]} if "frame" in record else {}),
        "size": [record.get("width_px", 1), record.get("height_px", 1)],
        "thumb": thumbnail_name(key_of(record)),
        "found": list(_detections(record, nodes)),
    }


def _detections(record: Record, nodes: _NodeTable) -> Iterator[list[Any]]:
    """Rows: box, best leaf, P along the path to it, depth of the detected class, objectness, score, almost, reason."""
    for kind, almost in (("detections", 0), ("almost_detected", 1)):
        for found in record.get(kind, ()):
            leaf = found.get("best_leaf", {"id": found["id"], "conditional_below": []})
            path = np.cumprod([*found["conditional"], *leaf["conditional_below"]])
            yield [
                found["xyxy_px"],
                nodes.of_id(leaf["id"]),
                [float(f"{value:.3g}") for value in path],
                len(found["conditional"]) - 1,
                float(f"{found['objectness']:.4g}"),
                float(f"{found['score']:.4g}"),
                almost,
                found.get("stopped", ""),
            ]


@cache
def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("yolo9000", "assets"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("predictions.html")


def _asset(name: str) -> Markup:
    return Markup((Path(__file__).parents[1] / "assets" / name).read_text("utf-8"))
