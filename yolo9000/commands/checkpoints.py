"""`yolo9000 info`, `convert`, `export` and `results`: the commands for a trained checkpoint."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from yolo9000.commands.shared import (
    AsJson,
    Model,
    Overwrite,
    print_facts,
)

MAX_NOTES = 10  # printed for one file or query


def results(
    model: Model,
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Darknet's .data: valid, eval, and optionally map and names."),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the files.")] = Path("results"),
    overwrite: Overwrite = False,
) -> None:
    """Write result files for the evaluation servers of VOC, COCO or ILSVRC, as `darknet detector valid` does."""
    from yolo9000.checkpoints.checkpoint import load_detector
    from yolo9000.darknet.data_file import read_data
    from yolo9000.inference.darknet_results import write_results

    for path in write_results(load_detector(model), read_data(data), out, overwrite=overwrite):
        print(path)


def info(model: Model, as_json: AsJson = False) -> None:
    """Describe a checkpoint: network, tree, training, supervision."""
    from yolo9000.checkpoints.checkpoint import load_checkpoint

    facts = load_checkpoint(model).facts()
    if as_json:
        print(json.dumps(facts, indent=1))
    else:
        print_facts({key.replace("_", " "): value for key, value in facts.items()})


class BatchNormChoice(StrEnum):
    standard = "standard"
    darknet_cpu = "darknet_cpu"


class RulesChoice(StrEnum):
    ours = "ours"
    darknet = "darknet"


def convert(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="NET.cfg [NET.weights] [.tree] [.names] [.labels] [.map] [.data], or a checkpoint."
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="NAME.pt; for a checkpoint NAME.weights.")],
    layers: Annotated[
        int | None,
        typer.Option(min=1, help="Read only the first layers of the weights: 23 for darknet19_448.conv.23."),
    ] = None,
    batch_norm: Annotated[
        BatchNormChoice, typer.Option(help="darknet_cpu: for exact comparison with Darknet on a CPU.")
    ] = BatchNormChoice.standard,
    rules: Annotated[
        RulesChoice,
        typer.Option(
            "--rules", "--answers", help="darknet: predict with Darknet's thresholds, scores and suppression."
        ),
    ] = RulesChoice.ours,
    overwrite: Overwrite = False,
) -> None:
    """Convert Darknet's files to a checkpoint, or a checkpoint to Darknet's files (docs/darknet.md)."""
    from wordtree.support.outputs import check_outputs

    check_outputs([out], inputs=files, overwrite=overwrite)
    if out.suffix.lower() == ".pt":
        from yolo9000.checkpoints.checkpoint import save_checkpoint
        from yolo9000.checkpoints.darknet_import import DarknetFiles, read_darknet

        checkpoint, notes = read_darknet(
            DarknetFiles.of(files), layers=layers, batch_norm=batch_norm.value, rules=rules.value
        )
        save_checkpoint(out, checkpoint)
        for note in notes[:MAX_NOTES]:
            print(f"note: {note}", file=sys.stderr)
        if len(notes) > MAX_NOTES:
            print(f"note: … and {len(notes) - MAX_NOTES} more", file=sys.stderr)
        print(f"{out}: {checkpoint.config.model.network}, {len(checkpoint.tree)} nodes")
        return
    if out.suffix.lower() != ".weights" or len(files) != 1:
        raise typer.BadParameter(
            "Expected Darknet's files and -o NAME.pt, or one checkpoint and -o NAME.weights."
        )
    from yolo9000.checkpoints.checkpoint import load_checkpoint
    from yolo9000.checkpoints.darknet_export import write_darknet

    for path in write_darknet(load_checkpoint(files[0]), out, overwrite=overwrite):
        print(path)


def export(
    model: Model,
    out: Annotated[Path, typer.Option("-o", "--out", help="NAME.onnx.")],
    locations: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Locations of highest objectness per image that are classified; default: as many as by `predict`.",
        ),
    ] = None,
    nms: Annotated[
        bool, typer.Option("--nms/--no-nms", help="Add the output `kept`: suppression inside the graph.")
    ] = False,
    min_absolute: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Threshold of the descent in the tree; default: the checkpoint's."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a detector as one ONNX file, from images to boxes and classes (docs/export.md)."""
    from wordtree.support.outputs import check_outputs, write_outputs

    if out.suffix.lower() != ".onnx":
        raise typer.BadParameter(f"expected a name that ends with .onnx, found {out}", param_hint="--out")
    check_outputs([out], inputs=[model], overwrite=overwrite)
    from yolo9000.checkpoints.checkpoint import load_detector
    from yolo9000.export.network import OPSET
    from yolo9000.export.onnx_file import ExportOptions, export_onnx

    checkpoint = load_detector(model)
    settings = checkpoint.config.predict
    if min_absolute is not None:
        settings = settings.model_copy(update={"min_absolute": min_absolute})
    content = export_onnx(checkpoint, ExportOptions(locations, suppress=nms), settings)
    write_outputs({out: content}, inputs=[model], overwrite=overwrite)
    print(f"{out}: {checkpoint.config.model.network}, {len(checkpoint.tree)} nodes, opset {OPSET}")
