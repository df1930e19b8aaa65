"""Validation beside training: a copy of the averaged weights is scored in a thread (decision 29)."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, Generic, Self

from yolo9000.checkpoints.checkpoint import Checkpoint
from yolo9000.distributed import world_size
from yolo9000.training.journal import Journal
from yolo9000.training.run import Network, Run
from yolo9000.training.run_report import write_run_report
from yolo9000.training.task import Score, Task


class Validation(Generic[Network, Score]):
    """Evaluations of a run's weights, at most one at a time; a context manager that ends them after an error.

    The results are written down under the step of the scored weights, and best.pt gets these weights. Training is not
    affected: an evaluation shares neither tensors nor random state with it. A checkpoint holds the best score, so it
    waits for the evaluation under way (`collect`). A killed run therefore loses at most the evaluation of the step of
    its last.pt, which is repeated when the run is resumed.
    """

    score: Score | None = None  # of the last evaluation that was collected

    def __init__(
        self, task: Task[Any, Network, Any, Score], run: Run[Any, Network], folder: Path, journal: Journal
    ) -> None:
        self._task, self._run, self._folder, self._journal = task, run, folder, journal
        self._thread = ThreadPoolExecutor(1, "validation")
        self._is_abandoned = Event()
        self._pending: tuple[Future[Score], Checkpoint[Any]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_abandoned.set()
        self._thread.shutdown(cancel_futures=True)

    def start(self) -> None:
        """Score the present weights in the thread; after the last step, and of several processes, before returning."""
        self.collect()
        weights = self._run.weights_checkpoint()
        if self._run.is_last or world_size() > 1:
            with self._journal.paused(), self._run.averaged_weights() as model:
                score = self._task.evaluate(self._run, model)
            self._keep(score, weights)
        else:
            model = self._run.averaged_copy()
            model.register_forward_pre_hook(self._end_if_abandoned)
            self._pending = self._thread.submit(self._task.evaluate, self._run, model), weights

    @property
    def is_done(self) -> bool:
        """Whether `collect` has a result to keep and need not wait for it."""
        return self._pending is not None and self._pending[0].done()

    def collect(self) -> None:
        """Wait for the evaluation under way, if any, and keep its result; raises what the evaluation raised."""
        if self._pending:
            future, weights = self._pending
            self._pending = None
            self._keep(future.result(), weights)

    def _keep(self, score: Score, weights: Checkpoint[Any]) -> None:
        self.score = score
        metrics = self._task.metrics(score)
        self._run.keep_if_best(self._folder, metrics.get(self._task.best_by), weights)
        self._journal.evaluation(metrics, step=weights.step)
        write_run_report(self._task, self._run, self._folder, score, weights.step)

    def _end_if_abandoned(self, *_: object) -> None:
        """Called before each batch: after an error or Ctrl-C the rest of the evaluation is of no use."""
        if self._is_abandoned.is_set():
            raise CancelledError
