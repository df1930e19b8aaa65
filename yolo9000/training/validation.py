"""Validation beside training: a copy of the averaged weights is scored in a thread (decision 29)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Generic, Self, TypeVar

from yolo9000.checkpoints.checkpoint import SavedRun
from yolo9000.distributed import size
from yolo9000.training.journal import Journal
from yolo9000.training.run import Network, Run

Score = TypeVar("Score")


@dataclass(frozen=True)
class Scoring(Generic[Network, Score]):
    """How models are scored: all of it, what of it is written down, by which of these the best is chosen, its page.

    report: makes the page, given the score and the step of the weights.
    """

    of: Callable[[Network], Score]
    headline: Callable[[Score], dict[str, float]]
    best_by: str
    report: Callable[[Score, int], None]


class Validation(Generic[Network, Score]):
    """Scores a run's weights as they are at some step; a context manager, so that nothing goes on after an error.

    At most one evaluation is under way. What comes out is written down under the step that it began at, and best.pt
    gets the weights that were scored. Training does not notice: it shares neither numbers nor random state. A
    checkpoint of a later step must wait for it (`collect`), for it holds the best score; so what a killed run loses is
    at most the evaluation of its last.pt's step, which is made again when it goes on.
    """

    score: Score | None = None  # of the last evaluation that was collected

    def __init__(
        self, run: Run[Any, Network], folder: Path, journal: Journal, scoring: Scoring[Network, Score]
    ) -> None:
        self._run, self._folder, self._journal, self._scoring = run, folder, journal, scoring
        self._thread = ThreadPoolExecutor(1, "validation")
        self._is_abandoned = Event()
        self._pending: tuple[Future[Score], SavedRun[Any]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_abandoned.set()
        self._thread.shutdown(cancel_futures=True)

    def start(self) -> None:
        """Score the weights as they are now; at once after the last step, and where processes share the work."""
        self.collect()
        saved = self._run.checkpoint(to_go_on=False)
        if self._run.is_last or size() > 1:
            with self._journal.paused(), self._run.averaged_weights() as model:
                score = self._scoring.of(model)
            self._keep(score, saved)
        else:
            model = self._run.averaged_copy()
            model.register_forward_pre_hook(self._end_if_abandoned)
            self._pending = self._thread.submit(self._scoring.of, model), saved

    @property
    def is_done(self) -> bool:
        """Whether there is something to collect without waiting."""
        return self._pending is not None and self._pending[0].done()

    def collect(self) -> None:
        """Wait for the evaluation under way, if there is one, and keep what came out; raises what it raised."""
        if self._pending:
            future, saved = self._pending
            self._pending = None
            self._keep(future.result(), saved)

    def _keep(self, score: Score, saved: SavedRun[Any]) -> None:
        self.score = score
        numbers = self._scoring.headline(score)
        self._run.keep_if_best(self._folder, numbers.get(self._scoring.best_by), saved)
        self._journal.scores(numbers, step=saved.step)
        self._scoring.report(score, saved.step)

    def _end_if_abandoned(self, *_: object) -> None:
        """Before each batch: after an error or Ctrl-C nobody waits for the rest."""
        if self._is_abandoned.is_set():
            raise CancelledError
