"""`yolo9000 …`: arguments and exit codes only. Heavy imports stay inside the commands, so `--help` answers at once."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from enum import StrEnum
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

from data_prep import DataPrepError
from wordtree import WordTreeError
from wordtree.support.commands import run_app
from yolo9000.errors import Yolo9000Error

if TYPE_CHECKING:
    from yolo9000.inference.detections import Detections
    from yolo9000.inference.predict import Predictor

app = typer.Typer(
    name="yolo9000",
    help="Detect thousands of kinds of things from few boxes and many image labels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="A checkpoint: runs/NAME/best.pt")]
Shards = Annotated[str, typer.Argument(help="A folder that `data-prep merge` wrote, or an address: s3://…")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a value of the file")
]
TrainingFile = Annotated[Path, typer.Argument(help="A file like those in configs/train/")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the run's last.pt")]
Runs = Annotated[Path, typer.Option(help="The run goes to RUNS/NAME")]
Check = Annotated[
    bool, typer.Option("--check", help="Only try one batch and tell what would be done; writes nothing")
]
Limit = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Only the first N images of each source; for tries")
]
Overfit = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Learn the first N images of each source by heart, and be scored on them, to RUNS/NAME-overfit",
    ),
]
MAX_NOTES = 10  # on a Darknet file that are printed
AsJson = Annotated[bool, typer.Option("--json", help="Only JSON on stdout")]
Given = ParamSpec("Given")


def by_all_processes(command: Callable[Given, None]) -> Callable[Given, None]:
    """The command for all processes of `torchrun` together, which tell a mistake once, that of the file included."""

    @wraps(command)
    def joined(*arguments: Given.args, **named: Given.kwargs) -> None:
        if os.environ.get("WORLD_SIZE", "1") == "1":
            command(*arguments, **named)  # a mistake is told before torch, which takes seconds, is imported
            return
        from yolo9000.distributed import joined_processes

        with joined_processes():
            command(*arguments, **named)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # seen once in 24 starts: threads of the group abort a process that ends the usual way

    return joined


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--run", help="Where everything goes")] = Path("runs/demo"),
    minutes: Annotated[
        float, typer.Option(min=1, help="Training length, in minutes of the 2-core reference")
    ] = 5.5,
    quick: Annotated[
        bool, typer.Option("--quick", help="Half a minute: shows that everything works, learns little")
    ] = False,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """From nothing to a jointly trained detector: emoji world, merge, classifier, training, scorecard, report."""
    from yolo9000.demo import run_demo

    run_demo(folder, minutes=minutes, quick=quick, seed=seed)


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
    """Train a classifier on image labels, for detectors to start from; writes best.pt, last.pt, metrics.csv."""
    from yolo9000.config import overfitting, read_pretrain_config

    given = _with_limit(overrides, limit)
    cfg = read_pretrain_config(config, given)
    if overfit is not None:
        cfg = read_pretrain_config(config, [*given, *overfitting(cfg, overfit)])
    if check:
        from yolo9000.training.dry_run import check_run
        from yolo9000.training.pretrain import ClassifierTask

        _print_facts(check_run(ClassifierTask(), cfg, runs / cfg.name, resume=resume))
        return

    from rich import print as show

    from yolo9000.distributed import is_first
    from yolo9000.training.pretrain import pretrain as run_training

    folder = runs / cfg.name
    score = run_training(cfg, folder, resume=resume)
    if not is_first():
        return
    show(score.table())
    best = folder / "best.pt"
    print(f"Classifier: {best}   a detector starts from it: yolo9000 train … --set model.start_from={best}")


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
            min=1, metavar="N", help="Only draw what the next N images would teach, to RUNS/NAME/targets"
        ),
    ] = None,
    check: Check = False,
    limit: Limit = None,
    overfit: Overfit = None,
) -> None:
    """Train on boxes and image labels together; writes best.pt, last.pt, metrics.csv, report.html to runs/NAME."""
    from yolo9000.config import overfitting, read_config

    given = _with_limit(overrides, limit)
    cfg = read_config(config, given)
    if overfit is not None:
        cfg = read_config(config, [*given, *overfitting(cfg, overfit)])
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

    from rich import print as show

    from yolo9000.distributed import is_first
    from yolo9000.training.train import train as run_training

    scorecard = run_training(cfg, folder, resume=resume)
    if not is_first():
        return
    show(scorecard.table())
    print(f"Detector: {folder / 'best.pt'}   report: {folder / 'report.html'}")


@app.command()
@by_all_processes
def evaluate(
    model: ModelFile,
    shards: Shards,
    split: Annotated[
        str | None, typer.Option(help="Split to score on [default: the configuration's]")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first images")] = None,
    size: Annotated[
        int | None, typer.Option(min=1, help="Side of the input, px [default: the configuration's]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score a detector: AP50 and COCO AP, for classes with boxes and classes with image labels only.

    A classifier of `yolo9000 pretrain` is scored too: top-1, top-5, and how near in the tree its answers are.
    """
    from data_prep import ShardReader
    from yolo9000.checkpoints.checkpoint import load_checkpoint, refuse_other_tree
    from yolo9000.config import PretrainConfig
    from yolo9000.distributed import is_first, usual_device
    from yolo9000.evaluation.evaluate import evaluate_classifier, evaluate_detector
    from yolo9000.training.resume import refuse_odd_sizes

    found = load_checkpoint(model)
    reader = ShardReader(shards)
    refuse_other_tree(found, model, reader)
    changes = {name: value for name, value in {"split": split, "limit": limit}.items() if value is not None}
    cfg = found.config.evaluate.model_copy(update=changes)
    network: Any = found.build_model().to(usual_device())
    model_cfg = found.config.model
    if size is not None:
        model_cfg = model_cfg.model_copy(update={"input_size_px": size})
        refuse_odd_sizes(found.config.model_copy(update={"model": model_cfg}), network.backbone.stride)
    scorecard: Any = (
        evaluate_classifier(network, reader, model_cfg.side_px, cfg)
        if isinstance(found.config, PretrainConfig)
        else evaluate_detector(network, reader, found.label_counts, model_cfg.input_size_px, cfg)
    )
    if not is_first():
        return
    if as_json:
        print(json.dumps(scorecard.to_dict(), indent=1))
        return
    from rich import print as show

    show(scorecard.table())


@app.command()
def predict(
    model: ModelFile,
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of images")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for annotated images and detections.json")
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(min=0, max=1, help="Objectness × absolute probability")
    ] = None,
    min_absolute: Annotated[
        float | None, typer.Option(min=0, max=1, help="Name things as precisely as this probability allows")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find things in images; each answer is as deep in the tree as its probability allows."""
    from yolo9000.inference.predict import Predictor

    given = {"min_score": min_score, "min_absolute": min_absolute}
    predictor = Predictor(model, changes={name: value for name, value in given.items() if value is not None})
    _answer(predictor, images, out, as_json=as_json)


@app.command()
def query(
    model: ModelFile,
    expression: Annotated[str, typer.Argument(help="What is asked for: 'fruit & !apple' (docs/queries.md)")],
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of images")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for annotated images and detections.json")
    ] = None,
    min_score: Annotated[
        float | None, typer.Option(min=0, max=1, help="Objectness × P(what is asked for)")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find what a query asks for, any nodes of the tree; each place is scored by objectness × P(one of them)."""
    from yolo9000.inference.predict import Predictor

    predictor = Predictor(model, changes={} if min_score is None else {"min_score": min_score})
    if unknown := predictor.without_supervision(expression):
        some = ", ".join(unknown[:MAX_NOTES]) + (" …" if len(unknown) > MAX_NOTES else "")
        print(f"Training had neither boxes nor image labels of: {some}.", file=sys.stderr)
    _answer(predictor, images, out, as_json=as_json, query=expression)


@app.command()
def results(
    model: ModelFile,
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="Darknet's .data: valid, eval, perhaps map, names")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the files")] = Path("results"),
) -> None:
    """Answer for a list of images as `darknet detector valid` does: files for the servers of VOC, COCO or ILSVRC."""
    from yolo9000.checkpoints.checkpoint import load_detector
    from yolo9000.darknet.data_file import read_data
    from yolo9000.inference.darknet_results import write_results

    for path in write_results(load_detector(model), read_data(data), out):
        print(path)


@app.command()
def info(model: ModelFile, as_json: AsJson = False) -> None:
    """What a checkpoint holds: network, tree, training, evidence."""
    from yolo9000.checkpoints.checkpoint import load_checkpoint

    facts = load_checkpoint(model).facts()
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    _print_facts(facts)


class BatchNormRule(StrEnum):
    standard = "standard"
    darknet_cpu = "darknet_cpu"


class Answers(StrEnum):
    ours = "ours"
    darknet = "darknet"


@app.command()
def convert(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="NET.cfg [NET.weights] [.tree] [.names] [.labels] [.map] [.data], or a checkpoint"
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="NAME.pt, or of a checkpoint NAME.weights")],
    layers: Annotated[
        int | None,
        typer.Option(min=1, help="Take only the first layers of the weights: 23 of darknet19_448.conv.23"),
    ] = None,
    batch_norm: Annotated[
        BatchNormRule, typer.Option(help="darknet_cpu: to compare with Darknet on a CPU to the last digits")
    ] = BatchNormRule.standard,
    answers: Annotated[
        Answers, typer.Option(help="darknet: its thresholds, scores and suppression, whatever the paper says")
    ] = Answers.ours,
) -> None:
    """Darknet's files to a checkpoint, and a checkpoint to Darknet's files (docs/darknet.md)."""
    if out.suffix == ".pt":
        from yolo9000.checkpoints.checkpoint import save_checkpoint
        from yolo9000.checkpoints.darknet_import import DarknetFiles, read_darknet

        checkpoint, notes = read_darknet(
            DarknetFiles.of(files), layers=layers, batch_norm=batch_norm.value, rules=answers.value
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
            "Expected -o NAME.pt for Darknet's files, or one checkpoint and -o NAME.weights."
        )
    from yolo9000.checkpoints.checkpoint import load_detector
    from yolo9000.checkpoints.darknet_export import write_darknet

    for path in write_darknet(load_detector(files[0]), out):
        print(path)


def _with_limit(overrides: list[str] | None, limit: int | None) -> list[str]:
    return [*(overrides or ()), *([f"data.limit={limit}"] if limit is not None else [])]


def _print_facts(facts: dict[str, Any]) -> None:
    _print_once(*(f"{name:>20}  {value}" for name, value in facts.items()))


def _print_once(*lines: object) -> None:
    """By the first of several processes."""
    from yolo9000.distributed import is_first

    for line in lines if is_first() else ():
        print(line)


def _print_found(found: Iterable[Detections], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([detections.to_dict() for detections in found], indent=1))
        return
    for detections in found:
        names = (
            f"{name} {score:.2f}" for name, score in zip(detections.names, detections.score, strict=True)
        )
        print(f"{detections.image}: {', '.join(names) or 'nothing found'}")


def _answer(
    predictor: Predictor, images: list[Path], out: Path | None, *, as_json: bool, query: str | None = None
) -> None:
    """Print what is found on the images, and draw it into `out` if that is given; then a line for each image that
    cannot be read, and exit code 2."""
    from yolo9000.inference.predict import predict_to_folder

    left_out: list[Exception] = []
    ask = partial(predict_to_folder, predictor, out=out) if out else predictor
    _print_found(ask(images, query=query, on_unreadable=left_out.append), as_json=as_json)
    for trouble in left_out:
        print(f"yolo9000: {trouble} It is left out.", file=sys.stderr)
    if left_out:
        raise typer.Exit(2)


def main() -> None:
    """The console command."""
    try:
        run_app(app, Yolo9000Error, DataPrepError, WordTreeError)
    except (MemoryError, RuntimeError) as trouble:
        if not _is_want_of_memory(trouble):
            raise
        message = (str(trouble) or "MemoryError").splitlines()[0][:200]
        print(
            f"yolo9000: not enough memory ({message}). In training set a smaller data.batch_size, model.input_size_px or "
            "model.width, or a larger data.accumulate; in scoring a smaller evaluate.batch_size. A run goes on with "
            "--resume.",
            file=sys.stderr,
        )
        sys.exit(2)


def _is_want_of_memory(trouble: Exception) -> bool:
    """Whether Python, the CPU's allocator or that of a GPU (torch.OutOfMemoryError) says so."""
    named = isinstance(trouble, MemoryError) or type(trouble).__name__ == "OutOfMemoryError"
    return named or "can't allocate memory" in str(trouble)
