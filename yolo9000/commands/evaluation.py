"""`yolo9000 evaluate`, `compare` and `calibrate`."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yolo9000.commands.predict_options import EngineName, PrecisionChoice
from yolo9000.commands.shared import (
    AsJson,
    Limit,
    Model,
    Overwrite,
    Shards,
    given,
    print_once,
    print_table,
)

if TYPE_CHECKING:
    from yolo9000.checkpoints.calibration import Calibration
    from yolo9000.checkpoints.checkpoint import Checkpoint, DetectorCheckpoint
    from yolo9000.comparison.comparison import Comparison
    from yolo9000.engines.engine import DetectorInEngine


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
Split = Annotated[
    str | None, typer.Option(help="Split to evaluate on; by default that of the checkpoint's configuration.")
]
ProtocolOption = Annotated[
    ProtocolChoice | None,
    typer.Option(help="Rules of AP; by default those of the checkpoint's configuration: coco."),
]
PrecisionOption = Annotated[
    PrecisionChoice, typer.Option(help="auto: bfloat16 where the processor supports it and results agree.")
]


def evaluate(
    model: Model,
    shards: Shards,
    split: Split = None,
    limit: Limit = None,
    size: Annotated[
        int | None,
        typer.Option(min=1, help="Side of the input, px; by default that of the checkpoint's configuration."),
    ] = None,
    protocol: ProtocolOption = None,
    engine: EngineName = None,
    precision: PrecisionOption = PrecisionChoice.float32,
    per_class: Annotated[
        bool,
        typer.Option("--per-class", help="Also print a row for each class, and confusions by tree distance."),
    ] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write a page with tables, curves and images.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate a detector: AP50 and COCO AP, for classes with boxes and classes with image labels only.

    Also precision, recall and F1 of the detections of `predict`, and how often their classes are correct and how
    specific they are (docs/calibration.md). A classifier of `yolo9000 pretrain` gets top-1 and top-5 accuracy, and
    accuracy along the path to the label.
    """
    from data_prep import ShardReader
    from data_prep.dataset.storage import files_of_shards
    from wordtree.support.outputs import check_outputs
    from yolo9000.checkpoints.checkpoint import load_checkpoint, refuse_other_tree
    from yolo9000.evaluation.evaluate import evaluate as evaluate_model
    from yolo9000.training.resume import refuse_sizes_off_grid
    from yolo9000.training.run import with_settings

    check_outputs([html] if html else [], inputs=[model, *files_of_shards(shards)], overwrite=overwrite)
    checkpoint, reader = load_checkpoint(model), ShardReader(shards)
    refuse_other_tree(checkpoint, model, reader)
    network, stride = _network_and_stride(checkpoint, engine, precision)
    cfg = with_settings(
        checkpoint.config,
        "evaluate",
        **given(split=split, limit=limit, protocol=protocol and protocol.value),
    )
    if size is not None:
        cfg = with_settings(cfg, "model", input_size_px=size)
        refuse_sizes_off_grid(cfg, stride)
    result = evaluate_model(network, reader, checkpoint.label_counts, cfg)
    if html is not None:
        from yolo9000.reports.evaluation_page import write_evaluation_page

        write_evaluation_page(html, result, checkpoint, reader, cfg.evaluate)
    if as_json:
        print_once(json.dumps(result.to_dict(), indent=1))
    else:
        print_table(result, per_class=per_class)


def calibrate(
    model: Model,
    shards: Shards,
    accuracies: Annotated[
        list[float] | None,
        typer.Option(
            "--target",
            "--accuracy",
            min=0.01,
            max=0.999,
            help="Requested accuracy: share of predicted classes that must be correct; may be repeated. [0.95]",
        ),
    ] = None,
    confidence: Annotated[
        float,
        typer.Option(
            min=0.01, max=0.9999, help="Probability that the requested accuracy is reached (rule confident)."
        ),
    ] = 0.95,
    by: Annotated[
        GroupingChoice,
        typer.Option(help="Separate thresholds by supervision of the classes, or for each child of a root."),
    ] = GroupingChoice.all,
    rule: Annotated[
        RuleChoice, typer.Option(help="How the threshold is chosen (docs/calibration.md).")
    ] = RuleChoice.confident,
    boxes_per_image: Annotated[
        int | None, typer.Option(min=1, help="Largest number of boxes in an image (rule per_image).")
    ] = None,
    split: Split = None,
    engine: EngineName = None,
    precision: Annotated[
        PrecisionChoice | None, typer.Option(help="By default that of the checkpoint's configuration.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Write here; by default into MODEL.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Find the thresholds that give predicted classes a requested accuracy, and store them in the checkpoint.

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
    network = detector_in_engine(checkpoint, engine, precision or checkpoint.config.predict.precision)
    choice = CalibrationChoice(
        accuracies=tuple(accuracies or [0.95]),
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
    protocol: ProtocolOption = None,
    resamples: Annotated[
        int, typer.Option(min=20, help="Number of times that the images are drawn with replacement.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the drawn images.")] = 0,
    confidence: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="Confidence level of the intervals.")
    ] = 0.95,
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
    from yolo9000.comparison.compare import compare as compare_models
    from yolo9000.comparison.model_pair import compared_models
    from yolo9000.comparison.resampling import ResamplingChoice
    from yolo9000.distributed import is_first

    inputs = [a, b, *files_of_shards(shards)]
    check_outputs([html] if html else [], inputs=inputs, overwrite=overwrite)
    reader = ShardReader(shards)
    changes = given(split=split, limit=limit, protocol=protocol and protocol.value)
    models = compared_models([(str(path), load_detector(path)) for path in (a, b)], changes)
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

    from yolo9000.comparison.tables import comparison_tables

    for table in comparison_tables(comparison, per_class=per_class):
        Console(markup=False, emoji=False).print(table)


def _network_and_stride(checkpoint: Checkpoint[Any], engine: str | None, precision: str) -> tuple[Any, int]:
    """The detector in an engine, or the classifier, and the stride of its backbone."""
    from yolo9000.config import Config
    from yolo9000.distributed import default_device
    from yolo9000.engines.names import EngineError

    if isinstance(checkpoint.config, Config):
        detector = detector_in_engine(checkpoint, engine, precision)
        return detector, detector.detector.backbone.stride
    if engine not in (None, "torch", "auto") or precision != "float32":
        raise EngineError("--engine and --precision choose how a detector computes; this is a classifier.")
    classifier = checkpoint.build_model().to(default_device())
    return classifier, classifier.backbone.stride


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
    from rich import print as rich_print
    from rich.table import Table

    table = Table(
        "requested",
        "group",
        title=f"Thresholds of P(class) for the requested accuracy, rule {calibration.rule}",
    )
    table.add_column("threshold", justify="right")
    table.add_column("boxes", justify="right")
    table.add_column("from")
    for requested in calibration.targets:
        for row in requested.groups:
            source: str = "all, too few boxes" if row.is_inherited else row.source
            source += "" if row.is_reached else "; out of reach even at the root"
            values = (f"{requested.accuracy:g}", row.group, f"{row.threshold:.4f}", str(row.boxes), source)
            table.add_row(*values)
    rich_print(table)
    print(f"temperatures by depth: {', '.join(f'{value:.2f}' for value in calibration.temperatures)}")
    if any(row.source == "image labels" for requested in calibration.targets for row in requested.groups):
        print(LABEL_IMAGES_ONLY)
    accuracy = calibration.targets[0].accuracy
    print(f"Stored in {path}; to use it: yolo9000 predict {path} IMAGES --accuracy {accuracy:g}")
