"""`yolo9000 predict` and `yolo9000 query`: options and output."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from yolo9000.commands.predict_options import (
    OF_PREDICT,
    OF_QUERY,
    Images,
    Model,
    Options,
    QueriedImages,
    with_options,
)
from yolo9000.errors import Yolo9000Error

if TYPE_CHECKING:
    from yolo9000.inference.onnx_predict import OnnxPredictor
    from yolo9000.inference.predict import AnyPredictor, Predictor
    from yolo9000.inference.sources import FoundImages
    from yolo9000.predictions.query_output import QueryOutput
    from yolo9000.predictions.run import Summary
    from yolo9000.predictions.store import StoreWriter

MAX_NOTES = 10  # printed for one query


@with_options(*OF_QUERY)
def predict(model: Model, images: Images, *, options: Options) -> None:
    """Detect objects in images; each class is as deep in the tree as its probability allows (docs/predicting.md)."""
    _run(model, images, options)


@with_options(*OF_PREDICT)
def query(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL|STORE", help="Checkpoint, or an SQLite file of `predict --store`."),
    ],
    expression: Annotated[str, typer.Argument(help="Nodes to detect: 'fruit & !apple' (docs/queries.md).")],
    images: QueriedImages = None,
    *,
    options: Options,
) -> None:
    """Detect objects of the queried nodes in images, or find stored detections (docs/queries.md).

    With a MODEL, the score of a box is objectness × P(any of the nodes). A STORE needs neither images nor the model.
    """
    from yolo9000.predictions.store import is_store

    if is_store(model):
        _query_store(model, expression, images, options)
    elif images:
        _run(model, images, options, expression)
    else:
        raise typer.BadParameter(
            f"{model}: not a file of stored results, so images are needed: MODEL EXPRESSION IMAGES"
        )


def _query_store(path: Path, expression: str, images: list[str] | None, options: Options) -> None:
    """Print the stored detections that match the expression. Loads neither the model nor torch."""
    from yolo9000.predictions.query_output import print_query, write_matches
    from yolo9000.predictions.store import ResultStore

    if images:
        raise typer.BadParameter(f"{path}: holds stored results, so leave out the images")
    with ResultStore.open(path) as store:
        query = store.query(expression)
        for note in query.notes[:MAX_NOTES]:
            print(f"yolo9000: {note}", file=sys.stderr)
        if options.out is not None:
            write_matches(query, options.out, options.format or "json", overwrite=options.overwrite)
        print_query(query, _shown(options))


def _shown(options: Options) -> QueryOutput:
    from yolo9000.predictions.query_output import QueryOutput

    return QueryOutput(
        counts=options.counts,
        files=options.files,
        sheet=options.sheet,
        as_json=options.as_json,
        overwrite=options.overwrite,
    )


def _run(model: Path, images: list[str], options: Options, expression: str | None = None) -> None:
    """Predict, and print one line for each failed image and one for skipped files."""
    share = _part_of(options.part)
    _check(options)
    from yolo9000.inference.sources import find_images

    found = find_images(images, recursive=options.recursive, every=options.every)
    found.part = share
    predictor = _predictor(model, options, expression)
    if options.engine == "auto":
        print(f"yolo9000: engine {predictor.engine.description}", file=sys.stderr)
    _report_skipped(found)
    _finish(_predict(predictor, found, options, expression), found, options)


def _predictor(model: Path, options: Options, expression: str | None) -> AnyPredictor:
    """The predictor of a checkpoint, or of an ONNX file, for which torch is not imported."""
    if model.suffix.lower() == ".onnx":
        return _onnx_predictor(model, options, expression)
    from yolo9000.inference.predict import Predictor
    from yolo9000.inference.vocabulary import VocabularyChoice

    choice = VocabularyChoice(options.classes, options.regions, options.region)
    predictor = Predictor(
        model,
        changes=options.changes(),
        device=options.device,
        engine=options.engine or "torch",
        classes=None if choice == VocabularyChoice() else choice,
        accuracy=options.accuracy,
    )
    if expression is not None:
        _warn_of_nodes_without_supervision(predictor, expression)
    return predictor


def _onnx_predictor(model: Path, options: Options, expression: str | None) -> OnnxPredictor:
    from yolo9000.inference.onnx_predict import OnnxPredictor

    given = {
        "--classes": options.classes,
        "--regions": options.regions,
        "--region": options.region,
        "--accuracy": options.accuracy,
        "a query": expression,
    }
    if wrong := [name for name, value in given.items() if value is not None]:
        raise typer.BadParameter(
            f"{model}: an ONNX file returns only the most probable classes; use the checkpoint for {', '.join(wrong)}"
        )
    if options.device not in (None, "cpu"):
        raise typer.BadParameter(
            f"{model}: an ONNX file runs on the CPU; leave out --device {options.device}"
        )
    return OnnxPredictor(model, changes=options.changes(), engine=options.engine or "auto")


def _predict(predictor: AnyPredictor, found: FoundImages, options: Options, query: str | None) -> Summary:
    from yolo9000.predictions.printing import PrintedResults
    from yolo9000.predictions.query_output import print_query
    from yolo9000.predictions.run import OutputChoice, predict_images
    from yolo9000.predictions.store import ResultStore

    output = OutputChoice(
        out=options.out,
        format=options.format or "json",
        draw=not options.no_images,
        report=options.report,
        resume=options.resume,
        overwrite=options.overwrite,
    )
    how = "json" if options.as_json else "text"
    if options.out is None and options.format is not None:
        how = options.format
    is_copy = options.out is not None or options.store is not None
    printed = None if options.is_summarised else PrintedResults(how, predictor.tree, is_copy=is_copy)
    try:
        with ExitStack() as stack:
            path = options.store
            if path is None and options.is_summarised:
                path = Path(stack.enter_context(TemporaryDirectory())) / "results.sqlite"
            sinks = [] if path is None else [stack.enter_context(_writer(path, predictor, query, options))]
            summary = predict_images(predictor, found, output, query=query, sinks=sinks, printed=printed)
            if path is not None and options.is_summarised:
                with ResultStore.open(path) as store:
                    print_query(store.query("depth >= 0"), _shown(options))
            return summary
    except OSError as reason:
        if options.out is None or reason.filename is None or isinstance(reason, BrokenPipeError):
            raise
        raise Yolo9000Error(
            f"{reason.filename}: {reason.strerror}. The results so far are in {options.out}; continue the run with "
            "--resume."
        ) from None


def _writer(path: Path, predictor: AnyPredictor, query: str | None, options: Options) -> StoreWriter:
    from yolo9000.predictions.identity import run_identity
    from yolo9000.predictions.store import StoreWriter, remove_store

    if options.overwrite:
        remove_store(path)
    identity = run_identity(predictor, predictor.checkpoint, query)
    return StoreWriter(path, predictor.tree, identity, resume=options.resume)


def _check(options: Options) -> None:
    """Refuse options that need or exclude others."""
    excluded = {
        "--min-absolute": options.min_absolute,
        "--classes": options.classes,
        "--region": options.region,
    }
    if options.accuracy is not None and (
        found := [name for name, value in excluded.items() if value is not None]
    ):
        raise typer.BadParameter(
            f"--accuracy decides how specific the classes are; leave out {', '.join(found)}"
        )
    if options.resume and options.out is None and options.store is None:
        raise typer.BadParameter("--resume needs the results of a run: -o FOLDER or --store FILE")
    if options.resume and options.is_summarised and options.store is None:
        raise typer.BadParameter("--counts, --files and --sheet of a resumed run need --store FILE")
    if options.out is None and options.report:
        raise typer.BadParameter("--report needs a folder for its files: -o FOLDER")
    if options.out is None and options.format in ("coco", "yolo", "megadetector"):
        raise typer.BadParameter(f"--format {options.format} needs a folder for its files: -o FOLDER")


def _part_of(text: str | None) -> tuple[int, int]:
    if text is None:
        return 1, 1
    numbers = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if numbers is None or not 1 <= int(numbers[1]) <= int(numbers[2]):
        raise typer.BadParameter(f"--part: expected K/N with K from 1 to N, such as 2/8, found '{text}'")
    return int(numbers[1]), int(numbers[2])


def _warn_of_nodes_without_supervision(predictor: Predictor, expression: str) -> None:
    if unknown := predictor.without_supervision(expression):
        some = ", ".join(unknown[:MAX_NOTES]) + (" …" if len(unknown) > MAX_NOTES else "")
        print(f"Training had neither boxes nor image labels of: {some}.", file=sys.stderr)


def _report_skipped(found: FoundImages) -> None:
    if found.unsearched:
        folders = "1 folder is" if found.unsearched == 1 else f"{found.unsearched} folders are"
        print(
            f"yolo9000: {folders} not searched; --recursive also takes the images in them.", file=sys.stderr
        )
    if found.skipped:
        some = ", ".join(f"{suffix} ({number})" for suffix, number in found.skipped.most_common(5))
        more = ", …" if len(found.skipped) > 5 else ""
        files = "1 file is" if found.skipped.total() == 1 else f"{found.skipped.total()} files are"
        print(
            f"yolo9000: {files} skipped, because their suffix is not that of an image: {some}{more}",
            file=sys.stderr,
        )


def _finish(summary: Summary, found: FoundImages, options: Options) -> None:
    """Print the failures and the reason of an early end; exit with 2 or 128 + the signal in these cases."""
    for failure in summary.failures:
        print(f"yolo9000: {failure} The image is skipped.", file=sys.stderr)
    if summary.failed > len(summary.failures):
        more = summary.failed - len(summary.failures)
        print(f"yolo9000: … and {more} more images that are skipped.", file=sys.stderr)
    if summary.signal_number is not None:
        total = "" if found.total is None else f" of {found.total}"
        stored = f"; the results are in {options.out}, continue with --resume" if options.out else ""
        print(f"yolo9000: stopped after {summary.done}{total} images{stored}.", file=sys.stderr)
        raise typer.Exit(128 + summary.signal_number)
    if summary.failed:
        raise typer.Exit(2)
