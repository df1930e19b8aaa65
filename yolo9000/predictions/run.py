"""A run over many images: decoding, network, drawing and writing overlap; results are appended as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from wordtree.support.file_lock import locked
from wordtree.support.outputs import write_outputs
from wordtree.support.progress import ProgressBar
from yolo9000.inference.predict import DECODE_THREADS, Predicted, Predictor
from yolo9000.inference.sources import FoundImages, ImageItem
from yolo9000.predictions.annotated import AnnotatedFiles, existing_images, write_annotated
from yolo9000.predictions.formats import FORMATS, write_format
from yolo9000.predictions.identity import read_run, refuse_other_run, run_identity, write_run
from yolo9000.predictions.printing import PrintedResults
from yolo9000.predictions.result_log import Key, Record, ResultLog, ResultsError
from yolo9000.predictions.stop import StopRequest

MAX_WAITING = 2 * DECODE_THREADS  # images that are being drawn; more would only fill the memory


class Sink(Protocol):
    """A place that keeps results: the log, the store."""

    def take(self, key: Key) -> bool:
        """Whether the sink has the result of this image from an earlier run; each result is taken once."""

    def add(self, record: Record) -> None:
        """Add the result of the next image."""

    def flush(self) -> None:
        """Make the results that were added durable."""


@dataclass(frozen=True)
class OutputChoice:
    """The files of a run.

    out         folder for detections.jsonl, run.json, tree.json, the format, and annotated images; None: no files
    format      the format that is written at the end, beside detections.jsonl
    draw        whether annotated images are written
    resume      continue the run in `out`, or begin one if there is none
    overwrite   replace the results of another run
    """

    out: Path | None = None
    format: str = "json"
    draw: bool = True
    resume: bool = False
    overwrite: bool = False


@dataclass
class Summary:
    """The outcome of a run.

    done: images with a result, in this run and earlier ones. failures: of this run, as sentences, at most MAX_FAILURES.
    signal_number: that which ended the run before its end.
    """

    done: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    signal_number: int | None = None
    files: list[Path] = field(default_factory=list)

    MAX_FAILURES = 10

    def add(self, result: Predicted) -> None:
        """Count a result."""
        self.done += 1
        if result.failure:
            self.failed += 1
            if len(self.failures) < self.MAX_FAILURES:
                self.failures.append(result.failure)


def predict_images(
    predictor: Predictor,
    found: FoundImages,
    choice: OutputChoice,
    *,
    query: str | None = None,
    sinks: Iterable[Sink] = (),
    printed: PrintedResults | None = None,
) -> Summary:
    """Predict on all images that are not done yet, into the output folder and the sinks, in the order of the images.

    printed: also prints the new results. A failed image is a result too. Ctrl-C and SIGTERM end the run early; nothing
    is lost. Raises ResultsError, QueryError, and OSError, which names the file, for a full disk.
    """
    with ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        folder = None if choice.out is None else RunFolder(choice.out, found.part)
        everywhere = list(sinks)
        kept: list[str] = []
        if folder is not None:
            stack.enter_context(folder.locked())
            kept = folder.begin(predictor, choice, query)
            everywhere.insert(0, stack.enter_context(ResultLog(folder.log)))
        drawn = AnnotatedFiles(folder.path, found, kept) if folder is not None and choice.draw else None
        summary = _run(_Work(predictor, found, query, everywhere, printed, drawn), stop)
    if folder is not None:
        summary.files = write_format(choice.format, folder.log, folder.outputs(choice.format), predictor.tree)
    return summary


@dataclass(frozen=True)
class RunFolder:
    """The names of a run's files; with `part` = (K, N) each name has `-K-of-N`."""

    path: Path
    part: tuple[int, int]

    @property
    def suffix(self) -> str:
        number, parts = self.part
        return "" if parts == 1 else f"-{number}-of-{parts}"

    @property
    def log(self) -> Path:
        return self.path / f"detections{self.suffix}.jsonl"

    @property
    def run_file(self) -> Path:
        return self.path / f"run{self.suffix}.json"

    def outputs(self, name: str) -> list[Path]:
        """The files that a format consists of."""
        return [self.path / file.format(part=self.suffix) for file in FORMATS[name].files]

    def locked(self) -> Any:
        """A context manager: no other process writes the same part into the folder."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise ResultsError(
                f"{self.path}: expected a folder for the results, found a file. Choose another name with -o."
            ) from None
        return locked(self.path, name=f".run{self.suffix}.lock", error=ResultsError)

    def begin(self, predictor: Predictor, choice: OutputChoice, query: str | None) -> list[str]:
        """Check or remove what an earlier run has left, and write run.json and tree.json; the files to keep."""
        identity = run_identity(predictor, predictor.checkpoint, query)
        kept = [] if choice.overwrite else existing_images(self.path)
        if self.run_file.exists() and not choice.overwrite:
            if not choice.resume:
                raise ResultsError(
                    f"{self.path}: holds results already. Continue the run with --resume, replace the results with "
                    "--overwrite, or choose another folder."
                )
            stored = read_run(self.run_file)
            refuse_other_run(stored["identity"], identity, self.path)
            return list(stored.get("kept_files", []))
        own = [self.log, *self.outputs(choice.format)]
        foreign = next((path for path in own if path.exists()), None)
        if foreign is not None and not choice.overwrite:
            raise ResultsError(
                f"{foreign}: exists already, and is not part of a run that can be resumed. Choose another folder, or "
                "replace the file with --overwrite."
            )
        self.log.unlink(missing_ok=True)
        write_outputs({self.path / "tree.json": predictor.tree.to_json()}, overwrite=choice.overwrite)
        facts = {"model": str(predictor.checkpoint), "identity": identity, "kept_files": kept}
        write_run(self.run_file, facts)
        return kept


@dataclass(frozen=True)
class _Work:
    predictor: Predictor
    found: FoundImages
    query: str | None
    sinks: list[Sink]
    printed: PrintedResults | None
    drawn: AnnotatedFiles | None


@dataclass
class _Waiting:
    """A result whose annotated image is being written, and the sinks that lack the result."""

    result: Predicted
    sinks: list[Sink]
    written: Future[None] | None


def _run(work: _Work, stop: StopRequest) -> Summary:
    """Predict, draw in threads, and add each result to its sinks once its annotated image is written."""
    summary = Summary()
    lacking: deque[tuple[list[Sink], Path | None]] = deque()  # of the images that are in the stream
    waiting: deque[_Waiting] = deque()
    total = work.found.total
    # Few images are not worth a full batch; and their results cannot differ between a whole and a resumed run.
    fills_batches = total is None or total > work.predictor.settings.batch_size
    with ProgressBar("predict", total) as bar, ThreadPoolExecutor(DECODE_THREADS, "draw") as pool:
        items = _undone(work, lacking, summary, bar)
        stream = work.predictor.stream(
            items, query=work.query, keep_pixels=work.drawn is not None, fill_batches=fills_batches
        )
        try:
            with closing(stream):
                for result in stream:
                    sinks, path = lacking.popleft()
                    waiting.append(_Waiting(result, sinks, _draw(pool, result, path)))
                    while waiting and (len(waiting) > MAX_WAITING or _is_written(waiting[0])):
                        _deliver(waiting.popleft(), work, summary, bar)
                    if stop.signal_number is not None:
                        break
            while waiting:
                _deliver(waiting.popleft(), work, summary, bar)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            for sink in work.sinks:
                sink.flush()
            if work.printed is not None:
                work.printed.finish()
    summary.signal_number = stop.signal_number
    return summary


def _undone(
    work: _Work, lacking: deque[tuple[list[Sink], Path | None]], summary: Summary, bar: ProgressBar
) -> Iterator[ImageItem]:
    """The images that a sink lacks; the sinks, and the file to draw into, are appended to `lacking`."""
    for item in work.found:
        path = None if work.drawn is None else work.drawn.path_of(item)
        sinks = [sink for sink in work.sinks if not sink.take(item.key)]
        if sinks or not work.sinks:
            lacking.append((sinks, path))
            yield item
        else:
            summary.done += 1
            bar.advance()


def _draw(pool: ThreadPoolExecutor, result: Predicted, path: Path | None) -> Future[None] | None:
    if path is None or result.detections is None or result.pixels is None:
        return None
    return pool.submit(write_annotated, path, result.pixels, result.detections)


def _is_written(waiting: _Waiting) -> bool:
    return waiting.written is None or waiting.written.done()


def _deliver(waiting: _Waiting, work: _Work, summary: Summary, bar: ProgressBar) -> None:
    if waiting.written is not None:
        waiting.written.result()
    record = record_of(waiting.result)
    for sink in waiting.sinks:
        sink.add(record)
    if work.printed is not None:
        work.printed.add(record)
    summary.add(waiting.result)
    bar.advance()


def record_of(result: Predicted) -> Record:
    """The line of a result in detections.jsonl."""
    if result.detections is not None:
        return result.detections.to_dict()
    item = result.item
    video = {} if item.frame is None else {"frame": item.frame, "time_s": item.time_s}
    return {"image": item.name, **video, "failure": result.failure}
