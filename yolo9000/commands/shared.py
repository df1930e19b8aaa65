"""Options and output that several commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Checkpoint: runs/NAME/best.pt.")]
Shards = Annotated[str, typer.Argument(help="Folder that `data-prep merge` wrote, or an address: s3://…")]
Limit = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Use only N evenly spaced images of each source.")
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Also replace inputs, and files that no command wrote or that were changed since."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON only.")]
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


def given(**options: Any) -> dict[str, Any]:
    """The options that were given on the command line."""
    return {name: value for name, value in options.items() if value is not None}


def print_facts(facts: dict[str, Any]) -> None:
    """Print names and values in two columns."""
    width = max(map(len, facts))
    print_once(*(f"{name:>{width}}  {value}" for name, value in facts.items()))


def print_table(result: Any, *, per_class: bool = False) -> None:
    """Print the metrics of an evaluation as tables; `per_class`: also each class."""
    from rich.console import Console

    from yolo9000.distributed import is_first
    from yolo9000.evaluation.metric_tables import metric_tables

    for table in metric_tables(result, per_class=per_class) if is_first() else ():
        Console(markup=False, emoji=False).print(table)  # names such as [red] and :car: stay as they are


def print_once(*lines: object) -> None:
    """Print in the first of several processes only."""
    from yolo9000.distributed import is_first

    for line in lines if is_first() else ():
        print(line)
