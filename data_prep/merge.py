"""The execution of a plan: shards by any executor, then the index. Killed at any moment, it continues."""

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Self

import h5py
import numpy as np
import PIL

from data_prep.config import MergeConfig
from data_prep.errors import MergeError
from data_prep.index import Index, join_columns, whole_shards
from data_prep.index_file import read_index, write_index
from data_prep.label_map import write_label_map
from data_prep.plan import Plan, make_plan
from data_prep.shard_format import INDEX_NAME
from data_prep.shard_writer import ShardJob, ShardResult, write_shard
from data_prep.splits import stored_splits
from wordtree.files import write_atomically

JOURNAL_NAME = (
    "unfinished.jsonl"  # what is done so far: a line with the plan's digest, then one for each shard
)
LABEL_MAP_NAME = "label_map.yaml"

Progress = Callable[[int], None]  # called with the number of pictures that were just done


def merge(
    config: MergeConfig,
    out: Path | str,
    *,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Index:
    """Merge the sources of a configuration into a folder of shards; returns the index written there.

    workers: processes on this machine; executor: any other, which must see the same files.
    A folder with an unfinished merge of the same plan is continued. Raises a DataPrepError.
    """
    return carry_out(make_plan(config), Path(out), workers=workers, executor=executor, progress=progress)


def carry_out(
    plan: Plan,
    out: Path,
    *,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Index:
    """Write the shards of a plan that are not there yet, then the index."""
    plan.require_settled()
    done = _done_before(out, plan.digest)
    is_new = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    _remove_parts(out)
    jobs = list(plan.jobs(out.absolute()))
    try:
        _write_missing(plan, out, jobs, done, _Workers(workers, executor, progress or (lambda _: None)))
        if not any(result.images for result in done.values()):
            done.clear()
            raise MergeError(f"None of the {len(plan.images)} pictures can be used, so nothing is written.")
    finally:
        if not done:  # nothing worth continuing
            _clear(out, jobs, is_new=is_new)
    index = _index(plan, out, [done[job.path.name] for job in jobs])
    write_label_map(out / LABEL_MAP_NAME, plan.matches)
    write_index(out, index)
    (out / JOURNAL_NAME).unlink()
    return index


@dataclass(frozen=True)
class _Workers:
    """Who writes shards, and whom they tell."""

    processes: int
    executor: Executor | None
    report: Progress


def _write_missing(
    plan: Plan, out: Path, jobs: Sequence[ShardJob], done: dict[str, ShardResult], workers: _Workers
) -> None:
    """Write the shards that `done` lacks, and add them to it."""
    missing = [job for job in jobs if job.path.name not in done]
    workers.report(len(plan.images) - sum(len(job.images) for job in missing))
    with _Journal(out / JOURNAL_NAME, plan.digest, done) as journal:
        for result in _results(missing, workers):
            journal.add(result)
            done[result.name] = result


def _done_before(out: Path, digest: str) -> dict[str, ShardResult]:
    """The finished shards of the same plan in the folder; MergeError where it holds anything else of ours."""
    if out.exists() and not out.is_dir():
        raise MergeError(f"{out}: expected a folder to write shards into, found a file.")
    if (out / INDEX_NAME).exists():
        index = read_index(out)
        _require_same(index.provenance.get("plan_sha256"), digest, out)
        results = whole_shards(index)  # those that a repair has cut are written anew
    elif (out / JOURNAL_NAME).exists():
        found, results = _read_journal(out / JOURNAL_NAME)
        _require_same(found, digest, out)
    elif any(out.glob("shard-*.h5")):
        raise MergeError(f"{out} holds shards of an unknown merge; give another folder, or delete it first.")
    else:
        return {}
    paths = {result.name: out / result.name for result in results}
    return {
        result.name: result
        for result in results
        if paths[result.name].is_file() and paths[result.name].stat().st_size == result.size_bytes
    }


def _require_same(found: object, digest: str, out: Path) -> None:
    if found != digest:
        raise MergeError(
            f"{out} holds another merge: its pictures, labels or packing differ from this plan's. "
            "Give another folder, or delete it first."
        )


class _Journal:
    """The shards that are finished, each on a line that is durable before the next shard counts."""

    def __init__(self, path: Path, digest: str, done: dict[str, ShardResult]) -> None:
        lines = [json.dumps({"plan_sha256": digest}), *(_journal_line(result) for result in done.values())]
        write_atomically(path, "".join(f"{line}\n" for line in lines))
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, result: ShardResult) -> None:
        self._file.write(f"{_journal_line(result)}\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def _journal_line(result: ShardResult) -> str:
    return json.dumps(asdict(result))


def _read_journal(path: Path) -> tuple[object, list[ShardResult]]:
    """The digest and the finished shards; a last line that was cut by a kill is passed over."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    try:
        digest = json.loads(lines[0])["plan_sha256"]
    except (IndexError, ValueError, KeyError, TypeError):
        raise MergeError(f"{path} is damaged; delete the folder {path.parent} and merge again.") from None
    results = []
    for line in lines[1:]:
        try:
            row = json.loads(line)
            row["counts"] = {int(source): count for source, count in row["counts"].items()}
            row["left_out"] = tuple(map(tuple, row["left_out"]))
            results.append(ShardResult(**row))
        except (ValueError, KeyError, TypeError):
            break
    return digest, results


def _results(jobs: Sequence[ShardJob], workers: _Workers) -> Iterator[ShardResult]:
    """The written shards in the order in which they are finished."""
    if workers.executor is not None:
        yield from _results_of(workers.executor, jobs, workers.report)
    elif workers.processes == 1 or len(jobs) == 1:
        for job in jobs:
            yield write_shard(job, on_picture=lambda: workers.report(1))
    elif jobs:
        # Spawned, not forked: the parent's progress bar is a thread, and threads do not survive a fork.
        processes = min(workers.processes, len(jobs))
        with ProcessPoolExecutor(processes, get_context("spawn"), _ignore_interrupts) as pool:
            yield from _results_of(pool, jobs, workers.report)


def _results_of(executor: Executor, jobs: Sequence[ShardJob], report: Progress) -> Iterator[ShardResult]:
    futures = {executor.submit(write_shard, job): job for job in jobs}
    try:
        for future in as_completed(futures):
            result = future.result()
            report(len(futures[future].images))
            yield result
    except BrokenExecutor:
        raise MergeError(
            "A worker process died, perhaps for want of memory. Run the command again to continue; "
            "fewer workers or a smaller shard_mb need less memory."
        ) from None
    finally:
        for future in futures:
            future.cancel()


def _ignore_interrupts() -> None:
    """Ctrl-C is the parent's to handle; it lets running shards finish and starts no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _index(plan: Plan, out: Path, shards: Sequence[ShardResult]) -> Index:
    columns = join_columns(out, shards)
    shares = [source.split_shares for source in plan.config.sources]
    paths = [out / shard.name for shard in shards]
    columns["image_split"] = stored_splits(columns, paths, shares, plan.config.seed)
    return Index(
        plan.tree,
        plan.sources,
        plan.split_names,
        plan.classes,
        tuple(shards),
        columns,
        plan.counts,
        provenance={
            "plan_sha256": plan.digest,
            "config": plan.config.model_dump(mode="json"),
            "versions": {
                "Pillow": PIL.__version__,
                "h5py": h5py.__version__,
                "HDF5": h5py.version.hdf5_version,
                "NumPy": np.__version__,
            },
        },
    )


def _remove_parts(out: Path) -> None:
    for part in (*out.glob("shard-*.h5.part"), out / f"{INDEX_NAME}.part"):
        part.unlink(missing_ok=True)


def _clear(out: Path, jobs: Sequence[ShardJob], *, is_new: bool) -> None:
    """Remove what this merge made; the folder too, where it made that and nothing else lies in it."""
    for path in (out / JOURNAL_NAME, *(job.path for job in jobs)):
        path.unlink(missing_ok=True)
    if is_new and not any(out.iterdir()):
        out.rmdir()
