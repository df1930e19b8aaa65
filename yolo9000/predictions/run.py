"""A run over many images. Decoding, the network, drawing and writing overlap; each result is stored at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from wordtree.support.file_lock import locked
from wordtree.support.files import LeftoverParts, remove_leftover_parts
from wordtree.support.outputs import refuse_links_out, write_outputs
from wordtree.support.progress import ProgressBar
from wordtree.support.stop import StopRequest
from yolo9000.inference.detections import Detections
from yolo9000.inference.sources import FoundImages, ImageItem
from yolo9000.inference.stream import DECODE_THREADS, Predicted
from yolo9000.predictions.almost import AlmostDetected
from yolo9000.predictions.annotated import AnnotatedFiles, existing_images, write_annotated
from yolo9000.predictions.formats import FORMATS, write_format
from yolo9000.predictions.identity import read_run, refuse_other_run, run_identity, write_run
from yolo9000.predictions.printing import PrintedResults
from yolo9000.predictions.report import ReportFacts, write_report
from yolo9000.predictions.result_log import Key, Record, ResultLog, ResultsError
from yolo9000.predictions.thumbnails import FOLDER, is_sampled, thumbnail_name, write_thumbnail

if TYPE_CHECKING:
    from yolo9000.inference.predict import AnyPredictor

MAX_WAITING = 2 * DECODE_THREADS  # images that are being drawn; more would only fill the memory


class Sink(Protocol):
    """A receiver of results: the log or the store.

    failures: the reasons why images failed in earlier runs.
    """

    failures: dict[Key, str]

    def take_earlier_result(self, key: Key) -> bool:
        """Count off one earlier result of this image; False if none is left. An image given twice has two."""

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
    report      whether report.html is written, with its thumbnails
    resume      continue the run in `out`, or begin one if there is none
    overwrite   replace the results of another run
    """

    out: Path | None = None
    format: str = "json"
    draw: bool = True
    report: bool = False
    resume: bool = False
    overwrite: bool = False


@dataclass
class Summary:
    """The outcome of a run.

    done: number of images with a result, from this run and earlier ones.
    failed, failures: number of images that failed, also in earlier runs; sentences about MAX_FAILURES of them.
    signal_number: the signal that stopped the run; None if it is complete.
    """

    done: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    signal_number: int | None = None
    files: list[Path] = field(default_factory=list)

    MAX_FAILURES = 10

    def add(self, failure: str | None) -> None:
        """Count a result; failure: the reason if the image failed."""
        self.done += 1
        if failure:
            self.failed += 1
            if len(self.failures) < self.MAX_FAILURES:
                self.failures.append(failure)


def predict_images(
    predictor: AnyPredictor,
    found: FoundImages,
    choice: OutputChoice,
    *,
    query: str | None = None,
    sinks: Iterable[Sink] = (),
    printed: PrintedResults | None = None,
) -> Summary:
    """Predict on all images without a result, in their order, and write to the output folder and the sinks.

    printed: prints the new results too. A failed image is also a result. Ctrl-C and SIGTERM stop the run, and nothing
    is lost. Raises ResultsError, QueryError, and OSError with the name of the file if the disk is full.
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
        small = folder.path / FOLDER if folder is not None and choice.report else None
        left = None if folder is None else LeftoverParts(folder.path)
        work = _Work(predictor, found, query, everywhere, printed, drawn, small, left)
        summary = _run(work, stop)
        if folder is not None:
            outputs = folder.outputs(choice.format)
            summary.files = write_format(choice.format, folder.log, outputs, predictor.tree)
            if choice.report:
                page = folder.path / f"report{folder.suffix}.html"
                summary.files.append(write_report(page, folder.log, _facts(work, folder.path.name)))
    return summary


def _facts(work: _Work, name: str) -> ReportFacts:
    predictor, settings = work.predictor, work.predictor.settings
    return ReportFacts(
        tree=predictor.tree,
        label_counts=predictor.label_counts,
        allowed=None if predictor.vocabulary is None else predictor.vocabulary.allowed,
        min_score=settings.min_score,
        min_absolute=settings.min_absolute,
        title=f"Detections: {name}" if work.query is None else f"Detections of {work.query}",
        fixed_scores=work.query is not None or settings.descent == "darknet",
    )


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

    def begin(self, predictor: AnyPredictor, choice: OutputChoice, query: str | None) -> list[str]:
        """Check or remove an earlier run's files, and write run.json and tree.json; returns the images to keep."""
        identity = run_identity(predictor, predictor.checkpoint, query) | {"report": choice.report}
        report_file = self.path / f"report{self.suffix}.html"
        written = [self.run_file, *self.outputs(choice.format), report_file]
        names = [path.name for path in (*written, self.log, self.path / FOLDER, self.path / "tree.json")]
        refuse_links_out(self.path, names)
        remove_leftover_parts(self.path, [path.name for path in written])
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
        report = [report_file, self.path / FOLDER] if choice.report else []
        own = [self.log, *self.outputs(choice.format), *report]
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


@dataclass
class _Work:
    predictor: AnyPredictor
    found: FoundImages
    query: str | None
    sinks: list[Sink]
    printed: PrintedResults | None
    drawn: AnnotatedFiles | None
    small: Path | None  # folder of the thumbnails; None without a report
    left: LeftoverParts | None  # of killed runs, in the output folder

    @cached_property
    def total(self) -> int | None:
        return self.found.total

    @cached_property
    def almost(self) -> AlmostDetected | None:
        return None if self.small is None else AlmostDetected(self.predictor, self.query is not None)


@dataclass(frozen=True)
class _Missing:
    """The outputs that an image still needs.

    result: False if it is complete, and is computed only to keep the batch. sinks: those that lack the result.
    path: the file to draw into.
    """

    result: bool
    sinks: list[Sink] = field(default_factory=list)
    path: Path | None = None


@dataclass
class _Waiting:
    """A result whose annotated image is being written, and the sinks that lack the result."""

    result: Predicted
    almost: Detections | None
    sinks: list[Sink]
    written: Future[None] | None


def _run(work: _Work, stop: StopRequest) -> Summary:
    """Predict, draw in threads, and add each result to its sinks once its annotated image is written."""
    summary = Summary()
    missing: deque[_Missing] = deque()  # of the images that are in the stream
    waiting: deque[_Waiting] = deque()
    with ProgressBar("predict", work.total) as bar, ThreadPoolExecutor(DECODE_THREADS, "draw") as pool:
        items = _unfinished(work, missing, summary, bar)
        predictor = work.predictor if work.almost is None else work.almost.lowered()
        keep_pixels = work.drawn is not None or work.small is not None
        stream = predictor.stream(items, query=work.query, keep_pixels=keep_pixels)
        try:
            with closing(stream):
                for result in stream:
                    needs = missing.popleft()
                    if needs.result:
                        waiting.append(_begin(work, pool, result, needs))
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


def _unfinished(
    work: _Work, missing: deque[_Missing], summary: Summary, bar: ProgressBar
) -> Iterator[ImageItem]:
    """The images of each batch in which an image needs a result; what each needs is appended to `missing`.

    The batches are those of an undisturbed run, because the last digits of a result may depend on the other images of
    its batch, and the precision on the first batch.
    """
    items, first = iter(work.found), list[ImageItem]()
    batches = iter(lambda: list(islice(items, work.predictor.settings.batch_size)), [])
    for number, batch in enumerate(batches):
        needed = [_missing_of(work, item) for item in batch]
        for item in (item for item, needs in zip(batch, needed, strict=True) if not needs.result):
            summary.add(next(filter(None, (sink.failures.get(item.key) for sink in work.sinks)), None))
            bar.advance()
        if any(needs.result for needs in needed):
            missing.extend([*([_Missing(False)] * len(first)), *needed])
            yield from [*first, *batch]
            first = []
        elif number == 0 and work.predictor.chooses_precision:
            first = batch


def _missing_of(work: _Work, item: ImageItem) -> _Missing:
    path = None if work.drawn is None else work.drawn.path_of(item)
    sinks = [sink for sink in work.sinks if not sink.take_earlier_result(item.key)]
    return _Missing(bool(sinks) or not work.sinks, sinks, path)


def _begin(work: _Work, pool: ThreadPoolExecutor, result: Predicted, needs: _Missing) -> _Waiting:
    """Split off the almost detected objects, and start to write the annotated image and the thumbnail."""
    if work.almost is not None and result.detections is not None:
        found, almost = work.almost.split(result.detections)
        result = replace(result, detections=found)
    else:
        almost = None
    small = None
    if work.small is not None and is_sampled(result.item.key, work.total):
        small = work.small / thumbnail_name(result.item.key)
    is_written = result.detections is not None and (needs.path is not None or small is not None)
    for file in (needs.path, small):
        if file is not None and work.left is not None:
            work.left.remove(file)
    written = pool.submit(_write_files, result, needs.path, small) if is_written else None
    return _Waiting(result, almost, needs.sinks, written)


def _write_files(result: Predicted, path: Path | None, small: Path | None) -> None:
    assert result.detections is not None
    assert result.pixels is not None
    if path is not None:
        write_annotated(path, result.pixels, result.detections)
    if small is not None:
        write_thumbnail(small, result.pixels)


def _is_written(waiting: _Waiting) -> bool:
    return waiting.written is None or waiting.written.done()


def _deliver(waiting: _Waiting, work: _Work, summary: Summary, bar: ProgressBar) -> None:
    if waiting.written is not None:
        waiting.written.result()
    record = record_of(waiting.result, waiting.almost)
    for sink in waiting.sinks:
        sink.add(record)
    if work.printed is not None:
        work.printed.add(record)
    summary.add(waiting.result.failure)
    bar.advance()


def record_of(result: Predicted, almost: Detections | None = None) -> Record:
    """The line of a result in detections.jsonl."""
    if result.detections is not None:
        more = {} if almost is None else {"almost_detected": almost.to_dicts()}
        return {**result.detections.to_dict(), **more}
    item = result.item
    video = {} if item.frame is None else {"frame": item.frame, "time_s": item.time_s}
    return {"image": item.name, **video, "failure": result.failure}
