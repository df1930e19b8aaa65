"""`--check`: one training step that tries everything a run needs and writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from yolo9000.checkpoints.checkpoint import SettingsT
from yolo9000.config import Config, PretrainConfig
from yolo9000.data.sampler import Sampler
from yolo9000.distributed import joined_processes
from yolo9000.training.gradients import compute_gradients
from yolo9000.training.journal import peak_memory_mib, tensorboard_log_for
from yolo9000.training.loop import Guard
from yolo9000.training.resume import start_or_resume
from yolo9000.training.run import NetworkT, Run, with_settings
from yolo9000.training.run_report import refuse_missing_attribution
from yolo9000.training.task import DataT, ResultT, Task


@joined_processes()
def check_run(
    task: Task[SettingsT, NetworkT, DataT, ResultT], cfg: SettingsT, folder: Path, *, resume: bool = False
) -> dict[str, str]:
    """Facts about the run by name, such as its data and its first loss, after one step at the largest input size.

    Raises every error that the run itself would raise before its second step.
    """
    run = start_or_resume(task, cfg, folder, resume=resume)
    refuse_missing_attribution(run.cfg)
    tensorboard_log_for(folder, wanted=run.cfg.log.tensorboard, first_step=1)
    images = len(task.evaluation_images(run.cfg, run.reader))
    # The largest input size needs the most memory.
    largest_cfg = with_settings(run.cfg, "schedule", sizes_px=(max(_sizes_px(run.cfg)),))
    data = task.training_data(replace(run, cfg=largest_cfg))
    micro_batches = next(iter(data.micro_batches(run.step + 1, run.step + 1)))
    terms = compute_gradients(run.model, micro_batches, task.loss_function(run, data), run.lazy_rows)
    guard = Guard()
    guard.check_loss(terms, run.step + 1)
    run.update()
    guard.check_weights(run)
    return {
        **_network_facts(run),
        **_data_facts(run.cfg, data.sampler),
        "evaluated on": f"{images} images with {task.evaluation_labels} of split '{run.cfg.evaluate.split}'",
        **_step_facts(run, terms),
    }


def _sizes_px(cfg: Config | PretrainConfig) -> tuple[int, ...]:
    """The input sizes of training."""
    return cfg.schedule.sizes_px or (cfg.model.side_px,)


def _network_facts(run: Run[Any, Any]) -> dict[str, str]:
    label_counts, parameters = run.reader.label_counts, sum(p.numel() for p in run.model.parameters())
    boxed = label_counts.boxes_rolled_up > 0
    label_only = ~boxed & (label_counts.image_labels_rolled_up > 0)
    start = f"resumed after step {run.step}" if run.step else "new"
    class_rows = {"class rows": run.class_teacher.coverage} if run.class_teacher else {}
    return {
        "run": f"{run.cfg.name}, {start}, on {run.device.type}",
        "network": f"{run.cfg.model.network}, {parameters:,} parameters",
        "nodes": f"{boxed.sum()} with boxes, {label_only.sum()} with image labels only, "
        f"{len(boxed) - boxed.sum() - label_only.sum()} with neither",
        **class_rows,
    }


def _data_facts(cfg: Config | PretrainConfig, sampler: Sampler) -> dict[str, str]:
    steps = cfg.schedule.max_steps
    epochs = sampler.epochs(steps)
    sources = zip(sampler.names, sampler.images, sampler.shares, strict=True)
    return {
        **{
            f"source {name}": f"{len(images):,} images, {share:.0%} of each batch, seen {epochs[name]:.3g} times"
            for name, images, share in sources
        },
        "steps": f"{steps:,} with {cfg.data.batch_size} images each, at {', '.join(map(str, _sizes_px(cfg)))} px",
    }


def _step_facts(run: Run[Any, Any], terms: Mapping[str, Tensor]) -> dict[str, str]:
    memory_gib = peak_memory_mib(run.device) / 1024
    return {
        "first loss": ", ".join(
            f"{name} {float(value):.3g}" for name, value in terms.items() if float(value)
        ),
        "memory": f"{memory_gib:.1f} GiB so far, with one batch of {max(_sizes_px(run.cfg))} px",
    }
