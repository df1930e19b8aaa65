"""`yolo9000 calibrate` and `yolo9000 compare`: options and output."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yolo9000.predict_commands import Engine, PrecisionChoice

if TYPE_CHECKING:
    from yolo9000.checkpoints.calibration import Calibration
    from yolo9000.checkpoints.checkpoint import DetectorCheckpoint
    from yolo9000.engines.engine import Engine as DetectorInEngine
    from yolo9000.evaluation.comparison import Comparison


class GroupingChoice(StrEnum):
    all = "all"
    supervision = "supervision"
    subtree = "subtree"


class RuleChoice(StrEnum):
    confident = "confident"
    marginal = "marginal"
    per_image = "per_image"


class ProtocolChoice(StrEnum):
    coco = "coco"
    lvis = "lvis"
    lvis_fixed = "lvis_fixed"
    openimages = "openimages"
    ilsvrc = "ilsvrc"


LABEL_IMAGES_ONLY = (
    "The threshold of 'image labels' comes from images with an image label, as no box of the split has such a class: "
    "the accuracy of these classes is guaranteed for such images only, not for scenes with several objects."
)


Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Checkpoint: runs/NAME/best.pt.")]
Shards = Annotated[Path, typer.Argument(metavar="SHARDS", help="Folder of `data-prep merge`.")]
Split = Annotated[
    str | None, typer.Option(help="Split of the images; by default that of the checkpoint's configuration.")
]
Limit = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Use only N evenly spaced images of each source.")
]
Protocol = Annotated[
    ProtocolChoice | None,
    typer.Option(help="Rules of AP; by default those of the checkpoint's configuration: coco."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace any existing file.")]
Precision = Annotated[
    PrecisionChoice, typer.Option(help="auto: bfloat16 where the processor computes it and results agree.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON only.")]


def calibrate(
    model: Model,
    shards: Shards,
    target: Annotated[
        list[float] | None,
        typer.Option(min=0.01, max=0.999, help="Accuracy: share of correct classes; may be repeated. [0.95]"),
    ] = None,
    confidence: Annotated[
        float,
        typer.Option(min=0.01, max=0.9999, help="Probability that the accuracy is reached (rule confident)."),
    ] = 0.95,
    by: Annotated[
        GroupingChoice,
        typer.Option(
            help="Separate thresholds by supervision of the classes, or for each branch of the tree."
        ),
    ] = GroupingChoice.all,
    rule: Annotated[
        RuleChoice, typer.Option(help="docs/calibration.md compares the rules.")
    ] = RuleChoice.confident,
    boxes_per_image: Annotated[
        int | None, typer.Option(min=1, help="Largest number of boxes in an image (rule per_image).")
    ] = None,
    split: Split = None,
    engine: Engine = None,
    precision: Precision = PrecisionChoice.float32,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Write here; by default into MODEL.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Find the thresholds at which a requested share of predicted classes is correct, and store them in the checkpoint.

    `yolo9000 predict --accuracy` uses them. The split must hold images with boxes that training did not see
    (docs/calibration.md).
    """
    from data_prep import ShardReader
    from data_prep.dataset.storage import files_of_shards
    from wordtree.support.outputs import check_outputs
    from yolo9000.checkpoints.checkpoint import load_detector, refuse_other_tree, save_checkpoint
    from yolo9000.evaluation.calibrate import CalibrationChoice
    from yolo9000.evaluation.calibrate import calibrate as find_thresholds
    from yolo9000.training.run import with_settings

    inputs = [model, *files_of_shards(shards)]
    check_outputs([out] if out else [], inputs=inputs, overwrite=overwrite)
    checkpoint, reader = load_detector(model), ShardReader(shards)
    refuse_other_tree(checkpoint, model, reader)
    changes = {} if split is None else {"split": split}
    asked = replace(checkpoint, config=with_settings(checkpoint.config, "evaluate", **changes))
    network = detector_in_engine(checkpoint, engine, precision)
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


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Checkpoint: runs/NAME/best.pt.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another checkpoint.")],
    shards: Annotated[str, typer.Argument(help="Folder that `data-prep merge` wrote, or an address: s3://…")],
    split: Split = None,
    limit: Limit = None,
    protocol: Protocol = None,
    resamples: Annotated[
        int, typer.Option(min=20, help="Number of times that the images are drawn with replacement.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the drawn images.")] = 0,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the intervals.")] = 0.95,
    images: Annotated[
        int, typer.Option(min=0, metavar="N", help="List N images on which the models disagree most.")
    ] = 12,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Print every class, not only those that differ most.")
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write a page with tables, and these images with all boxes."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Compare two detectors on the same images: differences with intervals, by class and by level of the tree.

    B − A above 0: B is better. Intervals come from a paired bootstrap over the images. Models of different trees are
    compared by the classes that both know (docs/calibration.md).
    """
    from data_prep import ShardReader
    from data_prep.dataset.storage import files_of_shards
    from wordtree.support.outputs import check_outputs
    from yolo9000.checkpoints.checkpoint import load_detector
    from yolo9000.distributed import is_first
    from yolo9000.evaluation.compare import compare as compare_models
    from yolo9000.evaluation.compared_models import compared_models
    from yolo9000.evaluation.resampling import ResamplingChoice

    inputs = [a, b, *files_of_shards(shards)]
    check_outputs([html] if html else [], inputs=inputs, overwrite=overwrite)
    reader = ShardReader(shards)
    options = {"split": split, "limit": limit, "protocol": protocol and protocol.value}
    given = {name: value for name, value in options.items() if value is not None}
    models = compared_models([(str(path), load_detector(path)) for path in (a, b)], given)
    choice = ResamplingChoice(resamples, seed, confidence)
    comparison = compare_models(models, reader, choice, listed_images=images)
    if html is not None:
        from yolo9000.reports.comparison_page import write_comparison_page

        write_comparison_page(html, comparison, reader)
    if not is_first():
        return
    if as_json:
        print(json.dumps(comparison.to_dict(), indent=1))
    else:
        _print_comparison(comparison, per_class=per_class)


def _print_comparison(comparison: Comparison, *, per_class: bool) -> None:
    from rich.console import Console

    from yolo9000.evaluation.comparison_tables import comparison_tables

    for table in comparison_tables(comparison, per_class=per_class):
        Console(markup=False, emoji=False).print(table)


def detector_in_engine(
    checkpoint: DetectorCheckpoint, engine: str | None, precision: str
) -> DetectorInEngine:
    """The detector of a checkpoint in an engine, which is printed if it was chosen by `auto`."""
    from yolo9000.distributed import default_device, is_first
    from yolo9000.engines.engine import build_engine

    device = "cpu" if engine in ("onnxruntime", "openvino") else default_device()
    built = build_engine(
        checkpoint.build_model().to(device), engine or "torch", precision=PrecisionChoice(precision).value
    )
    if engine == "auto" and is_first():
        print(f"yolo9000: engine {built.description}", file=sys.stderr)
    return built


def _print_calibration(calibration: Calibration, path: Path) -> None:
    from rich import print as print_table
    from rich.table import Table

    table = Table("accuracy", "group", title=f"Thresholds of P(class), rule {calibration.rule}")
    table.add_column("threshold", justify="right")
    table.add_column("boxes", justify="right")
    table.add_column("from")
    for target in calibration.targets:
        for row in target.groups:
            source: str = "all, too few boxes" if row.is_inherited else row.source
            source += "" if row.is_reached else "; out of reach even at the root"
            values = (f"{target.accuracy:g}", row.group, f"{row.threshold:.4f}", str(row.boxes), source)
            table.add_row(*values)
    print_table(table)
    print(f"temperatures by depth: {', '.join(f'{value:.2f}' for value in calibration.temperatures)}")
    if any(row.source == "image labels" for target in calibration.targets for row in target.groups):
        print(LABEL_IMAGES_ONLY)
    accuracy = calibration.targets[0].accuracy
    print(f"Stored in {path}; to use it: yolo9000 predict {path} IMAGES --accuracy {accuracy:g}")
