"""Rows of never_boxed.py: the detectors that it compares."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import product

from never_boxed_table import BOXES_ONLY, ON_BEST_BOX, ON_IMAGE, ORACLE

from yolo9000.errors import Yolo9000Error

JOINT, RANDOM_WEIGHTS = "joint training", "random weights"
SCENES = "SCENES"  # in a row's settings: the name of the source of images with boxes
JOINT_MERGE, ORACLE_MERGE = "merge", "merge_oracle"
CLASSIFIER = "classifier"


class BenchmarkError(Yolo9000Error):
    """Arguments name no row, or results were made with other settings."""


@dataclass(frozen=True)
class Row:
    """A detector of the table: its merge of the world, and its differences from joint training."""

    name: str
    merge: str = JOINT_MERGE
    overrides: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        return re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-")


NO_PSEUDO_BOXES = (
    "pseudo_boxes.at_steps=[]"  # rules are compared without them; other rows have no labels for them
)
RULES = (
    Row(JOINT),
    *(
        Row(
            f"{assign}, {objectness}",
            overrides=(
                *(f"loss.label_assignment={assign}", f"loss.label_objectness={objectness}"),
                *("loss.assumed_iou=0.3", NO_PSEUDO_BOXES),  # paper, section 4
            ),
        )
        for assign, objectness in product(
            ("max_score", "max_objectness", "max_size", "top_k"), ("paper", "darknet", "ignore")
        )
    ),
    Row(BOXES_ONLY, overrides=(f"data.ratio={{{SCENES}: 1}}", NO_PSEUDO_BOXES, "model.start_from=null")),
    Row(ORACLE, ORACLE_MERGE, ("augment.tile_sources=[labels]", NO_PSEUDO_BOXES)),
    Row(
        RANDOM_WEIGHTS,
        overrides=(
            *("model.architecture=tiny", "model.width=1", "model.grid_stride=null", "model.start_from=null"),
            *("model.backbone=null", "model.backbone_weights=random", "model.freeze=0"),
            *("optimizer.backbone_lr_scale=1",),
        ),
    ),
)


def rows_of(arguments: argparse.Namespace) -> list[Row]:
    """The rows that --rules selects, then those of --row; BenchmarkError for a pattern without a row."""
    selected: list[Row] = []
    for pattern in arguments.rules:
        matching = [row for row in RULES if pattern == "all" or fnmatch(row.name, pattern)]
        if not matching:
            names = "; ".join(row.name for row in RULES)
            raise BenchmarkError(f"--rules {pattern!r} matches no row. The rows are: {names}; or `all`.")
        selected += matching
    own = [row_of(text) for text in arguments.row]
    folders = [row.folder for row in (*RULES, *map(Row, (ON_IMAGE, ON_BEST_BOX, CLASSIFIER)), *own)]
    for row in own:
        if not row.folder or folders.count(row.folder) > 1:
            raise BenchmarkError(
                f"--row {row.name!r}: this name is taken or empty. Give the row another name."
            )
    return [*(row for row in RULES if row in selected), *own]


def row_of(text: str) -> Row:
    """The row of `NAME: a.b=c, d.e=f`; a value may contain commas."""
    name, _, settings = text.partition(":")
    parts = [part.strip() for part in re.split(r",(?=\s*[\w.]+=)", settings) if part.strip()]
    merges = [part.removeprefix("merge=") for part in parts if part.startswith("merge=")]
    overrides = tuple(part for part in parts if not part.startswith("merge="))
    if any("=" not in part for part in overrides) or not {*merges} <= {JOINT_MERGE, ORACLE_MERGE}:
        raise BenchmarkError(f"--row {text!r}: expected NAME: key=value, key=value …, or merge=merge_oracle.")
    return Row(name.strip(), *merges[-1:] or (JOINT_MERGE,), overrides)
