"""Evaluation during training: a thread evaluates a copy of the model with its EMA weights (decision 29)."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, Generic, Self

from yolo9000.checkpoints.checkpoint import Checkpoint
from yolo9000.distributed import world_size
from yolo9000.training.journal import Journal
from yolo9000.training.run import NetworkT, Run
from yolo9000.training.run_report import write_run_report
from yolo9000.training.task import ResultT, Task


class BackgroundEvaluation(Generic[NetworkT, ResultT]):
    """Evaluations of a run's weights, one at a time; a context manager that abandons them after an error.

    The metrics are recorded under the step of the evaluated weights, and best.pt gets these weights. Evaluations do not
    affect training: they share neither tensors nor random state with it. A checkpoint holds the best metric so far, so
    it waits for the running evaluation (`collect`). A killed run therefore loses at most the evaluation of its last.pt,
    which is repeated when the run is resumed. A run that a signal stops does not wait: its last.pt has the weights that
    are being evaluated, and the resumed run evaluates them (`resume`).
    """

    result: ResultT | None = None  # of the last evaluation that was collected

    def __init__(
        self, task: Task[Any, NetworkT, Any, ResultT], run: Run[Any, NetworkT], folder: Path, journal: Journal
    ) -> None:
        self._task, self._run, self._folder, self._journal = task, run, folder, journal
        self._thread = ThreadPoolExecutor(1, "evaluation")
        self._is_abandoned = Event()
        self._pending: tuple[Future[ResultT], Checkpoint[Any]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_abandoned.set()
        self._thread.shutdown(cancel_futures=True)

    def start(self) -> None:
        """Evaluate the present weights: in the thread, or at once after the last step and with several processes."""
        self.resume()
        self.collect()
        weights = self._run.weights_checkpoint()
        if self._run.is_last or world_size() > 1:
            with self._journal.paused(), self._run.ema_weights() as model:
                result = self._task.evaluate(self._run, model)
            self._keep(result, weights)
        else:
            self._begin(self._run.ema_copy(), weights)

    def resume(self) -> None:
        """Evaluate the weights that were being evaluated when the run was stopped, if any."""
        weights: Any = self._run.unevaluated
        if weights is None or self._pending:
            return
        model = weights.build_model().to(self._run.device)
        if world_size() > 1:
            with self._journal.paused():
                self._keep(self._task.evaluate(self._run, model), weights)
        else:
            self._begin(model, weights)

    def _begin(self, model: NetworkT, weights: Checkpoint[Any]) -> None:
        """Evaluate a network in the thread; weights: those of the network, with their step."""
        model.register_forward_pre_hook(self._end_if_abandoned)
        self._run.unevaluated = weights
        self._pending = self._thread.submit(self._task.evaluate, self._run, model), weights

    @property
    def is_done(self) -> bool:
        """True if `collect` has a result to keep and need not wait."""
        return self._pending is not None and self._pending[0].done()

    def collect(self) -> None:
        """Wait for the running evaluation, if any, and keep its result; raises the errors of the evaluation."""
        if self._pending:
            future, weights = self._pending
            self._pending = None
            self._keep(future.result(), weights)

    def _keep(self, result: ResultT, weights: Checkpoint[Any]) -> None:
        self.result, self._run.unevaluated = result, None
        columns = self._task.csv_columns(result)
        self._run.keep_if_best(self._folder, columns.get(self._task.best_by), weights)
        self._journal.record_evaluation(columns, step=weights.step)
        write_run_report(self._task, self._run, self._folder, result, weights.step)

    def _end_if_abandoned(self, *_: object) -> None:
        """End the evaluation before its next batch after an error or Ctrl-C."""
        if self._is_abandoned.is_set():
            raise CancelledError
