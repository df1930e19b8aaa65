"""The training loop, for detectors and classifiers alike."""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from wordtree.support.stop import StopRequest, end_by_signal
from yolo9000.checkpoints.checkpoint import SettingsT
from yolo9000.distributed import in_any_process, wait_for_all, world_size
from yolo9000.training.allocator import keep_freed_memory
from yolo9000.training.background_evaluation import BackgroundEvaluation
from yolo9000.training.gradients import compute_gradients
from yolo9000.training.journal import Journal
from yolo9000.training.optim import learning_rate_at, set_learning_rate
from yolo9000.training.resume import start_or_resume
from yolo9000.training.run import NetworkT, Run
from yolo9000.training.run_folder import TrainingError, locked_run, prepare_folder
from yolo9000.training.run_report import refuse_missing_attribution
from yolo9000.training.task import DataT, ResultT, Task

PASSED_ON_S = 5.0  # torchrun passes signals on to its processes, which may have received them already
ADVICE = (
    "The last checkpoint is kept; try a lower optimizer.learning_rate, a longer schedule.burn_in_steps or "
    "optimizer.clip_norm."
)


def run_training(
    task: Task[SettingsT, NetworkT, DataT, ResultT], cfg: SettingsT, folder: Path, *, resume: bool
) -> ResultT:
    """Train to `cfg.schedule.max_steps` in a run folder; returns the result of the last evaluation.

    The folder gets last.pt (to resume from), best.pt, config.yaml, metrics.csv and, at each evaluation, report.html.
    After Ctrl-C or SIGTERM in any process, all finish the present step and save it in last.pt; then
    KeyboardInterrupt or SystemExit(143) is raised. A second signal interrupts at once.
    Raises TrainingError, DataMismatch, CheckpointError.
    """
    if cfg.keep_freed_memory:
        keep_freed_memory()
    run = start_or_resume(task, cfg, folder, resume=resume)
    data, guard = task.training_data(run), Guard()
    loss_function = task.loss_function(run, data)
    # Raise now, instead of after hours, if there are no images to evaluate on.
    task.evaluation_images(run.cfg, run.reader)
    refuse_missing_attribution(run.cfg)
    with (
        locked_run(folder),
        Journal(run, folder) as journal,
        BackgroundEvaluation(task, run, folder, journal) as evaluation,
    ):
        prepare_folder(folder, run.cfg, step=run.step)
        task.before_first_step(run, folder, journal)
        evaluation.resume()
        if run.should_evaluate:  # the evaluation may have been lost when the run was killed
            evaluation.start()
        with StopRequest(grace_s=PASSED_ON_S if world_size() > 1 else 0) as stop:
            for micro_batches in data.micro_batches(run.step + 1, run.cfg.schedule.max_steps):
                run.step += 1
                rate = learning_rate_at(run.step, run.cfg.optimizer.learning_rate, run.cfg.schedule)
                set_learning_rate(run.optimizer, rate)
                terms = compute_gradients(run.model, micro_batches, loss_function, run.lazy_rows)
                guard.check_loss(terms, run.step)
                run.update()

                journal.step(rate, terms, input_px=micro_batches[0].images.shape[-1])
                is_stopped = in_any_process(stop.signal_number is not None)
                if run.should_save or is_stopped:
                    guard.check_weights(run)
                if (run.should_save and not is_stopped) or evaluation.is_done:
                    evaluation.collect()
                task.after_step(run, data, journal)
                if run.should_save or is_stopped:
                    run.save(folder)
                if is_stopped:
                    wait_for_all()  # torchrun ends all processes once one has ended
                    end_by_signal(stop.signal_number or signal.SIGTERM)
                if run.is_last:
                    stop.release()  # all is saved, and a resumed run repeats the evaluation
                if run.should_evaluate:  # after saving: an evaluation that fails loses no training
                    evaluation.start()
        run.save_new_best(folder)
    data.damaged.report_total()
    assert evaluation.result is not None, "the last step is evaluated"
    return evaluation.result


class Guard:
    """Stops a run whose loss or weights are not finite, without waiting for the device in every step."""

    def __init__(self) -> None:
        self._last: tuple[int, Mapping[str, Tensor]] | None = None

    def check_loss(self, terms: Mapping[str, Tensor], step: int) -> None:
        """Check the loss of the previous step, and keep that of this step for the next call.

        terms: `total` and its parts.
        """
        self._check_last_loss()
        self._last = step, terms

    def check_weights(self, run: Run[SettingsT, NetworkT]) -> None:
        """Check the last loss and the weights; even a finite loss can have a gradient that is not finite."""
        self._check_last_loss()
        with run.whole_weights():
            state = run.model.state_dict()
        broken = [name for name, value in state.items() if not value.isfinite().all()]
        if broken:
            raise TrainingError(
                f"Step {run.step}: {len(broken)} of {len(state)} weights are not finite, {broken[0]} first. {ADVICE}"
            )

    def _check_last_loss(self) -> None:
        if self._last and not math.isfinite(self._last[1]["total"]):
            step, terms = self._last
            numbers = ", ".join(f"{name} {float(value):g}" for name, value in terms.items())
            raise TrainingError(f"Step {step}: the loss is not finite ({numbers}). {ADVICE}")
