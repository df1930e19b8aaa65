"""`yolo9000 calibrate` and `yolo9000 compare`: their options, and what they print."""

from __future__ import annotations

import json
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from yolo9000.checkpoints.calibration import Calibration


class GroupingChoice(StrEnum):
    all = "all"
    supervision = "supervision"
    subtree = "subtree"


class RuleChoice(StrEnum):
    confident = "confident"
    marginal = "marginal"
    per_image = "per_image"


Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Checkpoint: runs/NAME/best.pt.")]
Shards = Annotated[Path, typer.Argument(metavar="SHARDS", help="Folder of `data-prep merge`.")]
Split = Annotated[
    str | None, typer.Option(help="Split of the images; by default that of the checkpoint's configuration.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON only.")]


def calibrate(
    model: Model,
    shards: Shards,
    target: Annotated[
        list[float] | None,
        typer.Option(min=0.01, max=0.999, help="Share of correct classes; may be repeated. [0.95]"),
    ] = None,
    confidence: Annotated[
        float, typer.Option(min=0.01, max=0.9999, help="Probability that the share is kept (rule confident).")
    ] = 0.95,
    by: Annotated[
        GroupingChoice,
        typer.Option(help="Own thresholds by supervision of the class, or for each branch of the tree."),
    ] = GroupingChoice.all,
    rule: Annotated[
        RuleChoice, typer.Option(help="docs/calibration.md compares the rules.")
    ] = RuleChoice.confident,
    boxes_per_image: Annotated[
        int | None, typer.Option(min=1, help="Largest number of boxes in an image (rule per_image).")
    ] = None,
    split: Split = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Write here; by default into MODEL.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the thresholds at which a requested share of predicted classes is correct, and store them in the checkpoint.

    `yolo9000 predict --accuracy` uses them. The split must hold images with boxes that training did not see
    (docs/calibration.md).
    """
    from data_prep import ShardReader
    from yolo9000.checkpoints.checkpoint import load_detector, refuse_other_tree, save_checkpoint
    from yolo9000.distributed import default_device
    from yolo9000.evaluation.calibrate import CalibrationChoice
    from yolo9000.evaluation.calibrate import calibrate as find_thresholds
    from yolo9000.training.run import with_settings

    checkpoint, reader = load_detector(model), ShardReader(shards)
    refuse_other_tree(checkpoint, model, reader)
    changes = {} if split is None else {"split": split}
    asked = replace(checkpoint, config=with_settings(checkpoint.config, "evaluate", **changes))
    network = checkpoint.build_model().to(default_device())
    choice = CalibrationChoice(
        targets=tuple(target or [0.95]),
        confidence=confidence,
        by=by.value,
        rule=rule.value,
        boxes_per_image=boxes_per_image,
    )
    calibration = find_thresholds(asked, network, reader, choice)
    save_checkpoint(out or model, replace(checkpoint, calibration=calibration))
    if as_json:
        print(json.dumps(calibration.model_dump(), indent=1))
    else:
        _print_calibration(calibration, out or model)


def _print_calibration(calibration: Calibration, path: Path) -> None:
    from rich import print as print_table
    from rich.table import Table

    table = Table("accuracy", "group", title=f"Thresholds of P(class), rule {calibration.rule}")
    table.add_column("threshold", justify="right")
    table.add_column("boxes", justify="right")
    table.add_column("from")
    for target in calibration.targets:
        for row in target.groups:
            source = "all, too few boxes" if row.is_inherited else row.source
            values = (f"{target.accuracy:g}", row.group, f"{row.threshold:.4f}", str(row.boxes), source)
            table.add_row(*values)
    print_table(table)
    print(f"temperatures by depth: {', '.join(f'{value:.2f}' for value in calibration.temperatures)}")
    if any(row.source == "image labels" for target in calibration.targets for row in target.groups):
        print(
            "The threshold of 'image labels' holds for images like those with image labels, not for scenes."
        )
    accuracy = calibration.targets[0].accuracy
    print(f"Stored in {path}; to use it: yolo9000 predict {path} IMAGES --accuracy {accuracy:g}")
