"""`yolo9000 pretrain` and `yolo9000 train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from yolo9000.commands.shared import (
    Limit,
    print_facts,
    print_once,
    print_table,
)

Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a setting of the file.")
]
TrainingFile = Annotated[Path, typer.Argument(help="Configuration like those in configs/.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue from the run's last.pt.")]
Runs = Annotated[Path, typer.Option(help="Folder of all runs; this run writes to RUNS/NAME.")]
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

        print_facts(check_run(ClassifierTask(), cfg, runs / cfg.name, resume=resume))
        return

    from yolo9000.training.pretrain import pretrain as run_training

    best = runs / cfg.name / "best.pt"
    metrics = run_training(cfg, runs / cfg.name, resume=resume)
    print_table(metrics)
    print_once(
        f"Classifier: {best}   to start a detector from it: yolo9000 train … --set model.start_from={best}"
    )


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

        print_facts(check_run(DetectorTask(), cfg, folder, resume=resume))
        return
    if show_targets is not None:
        from yolo9000.training.show_targets import show_targets as draw

        print_once(*draw(cfg, folder, show_targets, resume=resume))
        return

    from yolo9000.training.train import train as run_training

    scorecard = run_training(cfg, folder, resume=resume)
    print_table(scorecard)
    print_once(f"Detector: {folder / 'best.pt'}   report: {folder / 'report.html'}")


def _with_limit(overrides: list[str] | None, limit: int | None) -> list[str]:
    return [*(overrides or ()), *([f"data.limit={limit}"] if limit is not None else [])]
