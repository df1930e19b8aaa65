"""`yolo9000 …`: all commands. Heavy imports stay inside the commands, so `--help` is fast."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from data_prep import DataPrepError
from wordtree import WordTreeError
from wordtree.support.commands import run_app
from yolo9000.commands.checkpoints import convert, export, info, results
from yolo9000.commands.evaluation import calibrate, compare, evaluate
from yolo9000.commands.predict import predict, query
from yolo9000.commands.shared import by_all_processes
from yolo9000.commands.training import pretrain, train
from yolo9000.errors import Yolo9000Error

app = typer.Typer(
    name="yolo9000",
    help="Detect thousands of classes from few boxes and many image labels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

MEMORY_ADVICE = (
    "For training set a smaller data.batch_size, model.input_size_px or model.width, or a larger data.accumulate; for "
    "evaluation a smaller evaluate.batch_size. --resume continues a run."
)


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
        bool,
        typer.Option("--quick", help="Half a minute: shows that the installation works, but learns little."),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the generated world and of training.")] = 0,
    photographs: Annotated[
        bool,
        typer.Option("--photographs/--emoji", help="Train on packaged photographs, or on emoji scenes."),
    ] = False,
) -> None:
    """Train a detector on generated emoji scenes, or on packaged photographs, and write a report."""
    if photographs:
        from yolo9000.demo_photographs import run_photograph_demo

        run_photograph_demo(folder, minutes=minutes or 2, quick=quick, seed=seed)
    else:
        from yolo9000.demo import run_demo

        run_demo(folder, minutes=minutes or 5.5, quick=quick, seed=seed)


for joint in (pretrain, train, evaluate, compare):
    app.command()(by_all_processes(joint))
for single in (calibrate, predict, query, results, info, convert, export):
    app.command()(single)


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
