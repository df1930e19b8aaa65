"""`yolo9000 …`: arguments and exit codes only. Heavy imports stay inside the commands, so `--help` is fast."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer

from data_prep import DataPrepError
from wordtree import WordTreeError
from wordtree.support.commands import run_app
from yolo9000.errors import Yolo9000Error
from yolo9000.evaluation_commands import Limit, Precision, Protocol, calibrate, compare, detector_in_engine
from yolo9000.predict_commands import Engine, PrecisionChoice, predict, query

app = typer.Typer(
    name="yolo9000",
    help="Detect thousands of classes from few boxes and many image labels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="Checkpoint: runs/NAME/best.pt.")]
Shards = Annotated[str, typer.Argument(help="Folder that `data-prep merge` wrote, or an address: s3://…")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a setting of the file.")
]
TrainingFile = Annotated[Path, typer.Argument(help="Configuration like those in configs/.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue from the run's last.pt.")]
Runs = Annotated[Path, typer.Option(help="The run's folder is RUNS/NAME.")]
Check = Annotated[
    bool, typer.Option("--check", help="Only try one batch and describe the run; write nothing.")
]
Overfit = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Memorise N evenly spaced images of each source and evaluate on them, in RUNS/NAME-overfit.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace any existing file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON only.")]
MEMORY_ADVICE = (
    "For training set a smaller data.batch_size, model.input_size_px or model.width, or a larger data.accumulate; for "
    "evaluation a smaller evaluate.batch_size. --resume continues a run."
)
MAX_NOTES = 10  # printed for one file or query
Parameters = ParamSpec("Parameters")


def by_all_processes(command: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """The command, run by the processes of `torchrun` as one group; an error is printed once."""

    @wraps(command)
    def joined(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        if os.environ.get("WORLD_SIZE", "1") == "1":
            command(*args, **kwargs)  # without torch, so that configuration errors are reported at once
            return
        from yolo9000.distributed import joined_processes

        with joined_processes():
            command(*args, **kwargs)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # once in 24 starts, threads of the group aborted a process that exited normally

    return joined


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--run", help="Folder for all files of the demo.")] = Path(
        "runs/demo"
    ),
    minutes: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Training time in minutes on 2 CPU cores like those of docs/results.md; default: 5.5, with "
            "--photographs 2.",
        ),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Half a minute: shows that the installation works, learns little.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the generated world and of training.")] = 0,
    photographs: Annotated[
        bool, typer.Option("--photographs/--emoji", help="Photographs of the package, or generated scenes.")
    ] = False,
) -> None:
    """Merge photographs, or emoji scenes that it generates, train a detector on them, and write a report."""
    if photographs:
        from yolo9000.demo_photographs import run_photograph_demo

        run_photograph_demo(folder, minutes=minutes or 2, quick=quick, seed=seed)
    else:
        from yolo9000.demo import run_demo

        run_demo(folder, minutes=minutes or 5.5, quick=quick, seed=seed)


@app.command()
@by_all_processes
def pretrain(
    config: TrainingFile,
    overrides: Overrides = None,
    resume: Resume = False,
    runs: Runs = Path("runs"),
    check: Check = False,
    limit: Limit = None,
    overfit: Overfit = None,
) -> None:
    """Train a classifier on image labels, from which detectors can start. Writes best.pt, last.pt, metrics.csv."""
    from yolo9000.config import overfit_overrides, read_pretrain_config

    settings = _with_limit(overrides, limit)
    cfg = read_pretrain_config(config, settings)
    if overfit is not None:
        cfg = read_pretrain_config(config, [*settings, *overfit_overrides(cfg, overfit)])
    if check:
        from yolo9000.training.dry_run import check_run
        from yolo9000.training.pretrain import ClassifierTask

        _print_facts(check_run(ClassifierTask(), cfg, runs / cfg.name, resume=resume))
        return

    from yolo9000.training.pretrain import pretrain as run_training

    best = runs / cfg.name / "best.pt"
    metrics = run_training(cfg, runs / cfg.name, resume=resume)
    _print_table(metrics)
    _print_once(
        f"Classifier: {best}   to start a detector from it: yolo9000 train … --set model.start_from={best}"
    )


@app.command()
@by_all_processes
def train(
    config: TrainingFile,
    overrides: Overrides = None,
    resume: Resume = False,
    runs: Runs = Path("runs"),
    show_targets: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Only draw N training images with the anchor assigned to each label, in RUNS/NAME/targets.",
        ),
    ] = None,
    check: Check = False,
    limit: Limit = None,
    overfit: Overfit = None,
) -> None:
    """Train a detector on boxes and image labels. Writes best.pt, last.pt, metrics.csv, report.html."""
    from yolo9000.config import overfit_overrides, read_config

    settings = _with_limit(overrides, limit)
    cfg = read_config(config, settings)
    if overfit is not None:
        cfg = read_config(config, [*settings, *overfit_overrides(cfg, overfit)])
    folder = runs / cfg.name
    if check:
        from yolo9000.training.dry_run import check_run
        from yolo9000.training.train import DetectorTask

        _print_facts(check_run(DetectorTask(), cfg, folder, resume=resume))
        return
    if show_targets is not None:
        from yolo9000.training.show_targets import show_targets as draw

        _print_once(*draw(cfg, folder, show_targets, resume=resume))
        return

    from yolo9000.training.train import train as run_training

    scorecard = run_training(cfg, folder, resume=resume)
    _print_table(scorecard)
    _print_once(f"Detector: {folder / 'best.pt'}   report: {folder / 'report.html'}")


@app.command()
@by_all_processes
def evaluate(
    model: ModelFile,
    shards: Shards,
    split: Annotated[
        str | None,
        typer.Option(help="Split to evaluate on; by default the one in the checkpoint's configuration."),
    ] = None,
    limit: Limit = None,
    size: Annotated[
        int | None,
        typer.Option(min=1, help="Side of the input, px; by default that of the checkpoint's configuration."),
    ] = None,
    protocol: Protocol = None,
    engine: Engine = None,
    precision: Precision = PrecisionChoice.float32,
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
    from yolo9000.config import Config
    from yolo9000.distributed import default_device
    from yolo9000.engines.names import EngineError
    from yolo9000.evaluation.evaluate import evaluate as evaluate_model
    from yolo9000.training.resume import refuse_sizes_off_grid
    from yolo9000.training.run import with_settings

    check_outputs([html] if html else [], inputs=[model, *files_of_shards(shards)], overwrite=overwrite)
    checkpoint, reader = load_checkpoint(model), ShardReader(shards)
    refuse_other_tree(checkpoint, model, reader)
    network: Any
    if isinstance(checkpoint.config, Config):
        network = detector_in_engine(checkpoint, engine, precision)
        stride = network.detector.backbone.stride
    elif engine not in (None, "torch", "auto") or precision != "float32":
        raise EngineError("--engine and --precision choose how a detector computes; this is a classifier.")
    else:
        network = checkpoint.build_model().to(default_device())
        stride = network.backbone.stride
    cfg = with_settings(
        checkpoint.config,
        "evaluate",
        **_given(split=split, limit=limit, protocol=protocol and protocol.value),
    )
    if size is not None:
        cfg = with_settings(cfg, "model", input_size_px=size)
        refuse_sizes_off_grid(cfg, stride)
    result = evaluate_model(network, reader, checkpoint.label_counts, cfg)
    if html is not None:
        from yolo9000.reports.evaluation_page import write_evaluation_page

        write_evaluation_page(html, result, checkpoint, reader, cfg.evaluate)
    if as_json:
        _print_once(json.dumps(result.to_dict(), indent=1))
    else:
        _print_table(result, per_class=per_class)


app.command()(by_all_processes(compare))
app.command()(calibrate)
app.command()(predict)
app.command()(query)


@app.command()
def results(
    model: ModelFile,
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="Darknet's .data: valid, eval, and optionally map and names."),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the files.")] = Path("results"),
    overwrite: Overwrite = False,
) -> None:
    """Write result files for the servers of VOC, COCO or ILSVRC, as `darknet detector valid` does."""
    from yolo9000.checkpoints.checkpoint import load_detector
    from yolo9000.darknet.data_file import read_data
    from yolo9000.inference.darknet_results import write_results

    for path in write_results(load_detector(model), read_data(data), out, overwrite=overwrite):
        print(path)


@app.command()
def info(model: ModelFile, as_json: AsJson = False) -> None:
    """Describe a checkpoint: network, tree, training, supervision."""
    from yolo9000.checkpoints.checkpoint import load_checkpoint

    facts = load_checkpoint(model).facts()
    if as_json:
        print(json.dumps(facts, indent=1))
    else:
        _print_facts({key.replace("_", " "): value for key, value in facts.items()})


class BatchNormChoice(StrEnum):
    standard = "standard"
    darknet_cpu = "darknet_cpu"


class RulesChoice(StrEnum):
    ours = "ours"
    darknet = "darknet"


@app.command()
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
    if out.suffix == ".pt":
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
    if out.suffix != ".weights" or len(files) != 1:
        raise typer.BadParameter(
            "Expected Darknet's files and -o NAME.pt, or one checkpoint and -o NAME.weights."
        )
    from yolo9000.checkpoints.checkpoint import load_checkpoint
    from yolo9000.checkpoints.darknet_export import write_darknet

    for path in write_darknet(load_checkpoint(files[0]), out, overwrite=overwrite):
        print(path)


@app.command()
def export(
    model: ModelFile,
    out: Annotated[Path, typer.Option("-o", "--out", help="NAME.onnx.")],
    locations: Annotated[
        int, typer.Option(min=1, help="Locations of highest objectness per image that are classified.")
    ] = 100,
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

    if out.suffix != ".onnx":
        raise typer.BadParameter(f"expected a name that ends with .onnx, found {out}", param_hint="--out")
    check_outputs([out], inputs=[model], overwrite=overwrite)
    from yolo9000.checkpoints.checkpoint import load_detector
    from yolo9000.export.network import OPSET
    from yolo9000.export.onnx_file import ExportOptions, export_onnx

    checkpoint = load_detector(model)
    settings = checkpoint.config.predict
    if checkpoint.config.model.roi_head:
        typer.echo(
            f"{model}: the ONNX file has no RoI head (model.roi_head), so its objectness and classes are less exact "
            "than those of `yolo9000 predict`.",
            err=True,
        )
    if min_absolute is not None:
        settings = settings.model_copy(update={"min_absolute": min_absolute})
    content = export_onnx(checkpoint, ExportOptions(locations, suppress=nms), settings)
    write_outputs({out: content}, inputs=[model], overwrite=overwrite)
    print(f"{out}: {checkpoint.config.model.network}, {len(checkpoint.tree)} nodes, opset {OPSET}")


def _with_limit(overrides: list[str] | None, limit: int | None) -> list[str]:
    return [*(overrides or ()), *([f"data.limit={limit}"] if limit is not None else [])]


def _given(**options: Any) -> dict[str, Any]:
    """The options that were given on the command line."""
    return {name: value for name, value in options.items() if value is not None}


def _print_facts(facts: dict[str, Any]) -> None:
    width = max(map(len, facts))
    _print_once(*(f"{name:>{width}}  {value}" for name, value in facts.items()))


def _print_table(result: Any, *, per_class: bool = False) -> None:
    from rich.console import Console

    from yolo9000.distributed import is_first
    from yolo9000.evaluation.metric_tables import metric_tables

    for table in metric_tables(result, per_class=per_class) if is_first() else ():
        Console(markup=False, emoji=False).print(table)  # names such as [red] and :car: stay as they are


def _print_once(*lines: object) -> None:
    """Print in the first of several processes only."""
    from yolo9000.distributed import is_first

    for line in lines if is_first() else ():
        print(line)


def main() -> None:
    """Run the command and leave the process."""
    try:
        run_app(app, Yolo9000Error, DataPrepError, WordTreeError, memory_advice=MEMORY_ADVICE)
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        print(
            f"yolo9000: not enough memory ({str(error).splitlines()[0][:200]}). {MEMORY_ADVICE}",
            file=sys.stderr,
        )
        sys.exit(2)


def _is_out_of_memory(error: Exception) -> bool:
    """Whether the error is from torch's CPU allocator or a GPU (torch.OutOfMemoryError)."""
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
