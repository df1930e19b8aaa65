"""The execution of a plan: shards, written by any executor, then the index. A killed merge can be resumed."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import h5py
import numpy as np
import PIL

from data_prep.classes.label_map import is_label_map, write_label_map
from data_prep.classes.matching import ClassMatch
from data_prep.config import MergeConfig
from data_prep.dataset.index import Index, join_columns, take_images
from data_prep.dataset.index_file import BACKUP_NAME, write_index
from data_prep.errors import MergeError
from data_prep.merging.progress_file import (
    FINISHED_NAME,
    PROGRESS_NAME,
    ProgressFile,
    finished_shards,
    write_finished,
)
from data_prep.merging.stored_duplicates import (
    DUPLICATES_HEADER,
    DUPLICATES_NAME,
    StoredImages,
    resolve_duplicates,
)
from data_prep.merging.workers import Progress, Workers
from data_prep.planning.duplicates import Origins
from data_prep.planning.left_out import (
    HEADER,
    LEFT_OUT_NAME,
    Row,
    planned_rows,
    require_own_list,
    write_left_out,
)
from data_prep.planning.plan import Plan, make_plan
from data_prep.planning.splits import stored_splits
from data_prep.shards.format import INDEX_NAME, LOCK_NAME, shard_name
from data_prep.shards.writer import ShardResult
from data_prep.sources.source import Counts, counts_in_words
from wordtree.support.file_lock import locked
from wordtree.support.files import remove_leftover_parts, system_message
from wordtree.support.outputs import refuse_links_out

LABEL_MAP_NAME = "label_map.yaml"
_WRITTEN = (
    INDEX_NAME,
    BACKUP_NAME,
    PROGRESS_NAME,
    FINISHED_NAME,
    DUPLICATES_NAME,
    LEFT_OUT_NAME,
    LABEL_MAP_NAME,
)


def merge(
    config: MergeConfig,
    out: Path | str,
    *,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Index:
    """Merge the sources of a configuration into a folder of shards; returns the index written there.

    workers: processes on this machine.
    executor: used instead of these processes; its workers must see the same files under the same paths.
    progress: called with the number of images that are already stored, then with the number stored since the last call.
    An unfinished merge of the same plan is resumed. Raises a DataPrepError.
    """
    return execute_plan(make_plan(config), Path(out), workers=workers, executor=executor, progress=progress)


def execute_plan(
    plan: Plan,
    out: Path,
    *,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> Index:
    """Write the missing shards of a plan, then the index; raises a DataPrepError."""
    plan.require_resolved()
    plan.require_undamaged()
    if out.exists() and not out.is_dir():
        raise MergeError(f"{out}: expected a folder to write shards into, found a file.")
    is_new, out = not out.exists(), out.absolute()
    with _failures_reported(out):
        out.mkdir(parents=True, exist_ok=True)
        try:
            with locked(out, name=LOCK_NAME, error=MergeError):
                return _execute(plan, out, Workers(workers, executor, progress or (lambda _: None)))
        finally:
            if is_new and not any(out.iterdir()):
                out.rmdir()


def _execute(plan: Plan, out: Path, workers: Workers) -> Index:
    _refuse_foreign_files(out, plan.config)
    refuse_links_out(out, [*_WRITTEN, *_shard_names(plan)])
    done = finished_shards(out, plan.hashes)
    remove_leftover_parts(out, [*_WRITTEN, *_shard_names(plan)])
    try:
        _write_missing(plan, out, done, workers)
        if not any(result.images for result in done.values()):
            reasons = _reasons_in_words(plan, done)
            done.clear()
            raise MergeError(
                f"None of the {len(plan.images)} images can be used, so nothing is written: {reasons}."
            )
    finally:
        if not done:  # nothing to resume
            _remove_files(plan, out)
    index = _index(plan, out, [done[name] for name in _shard_names(plan)])
    write_label_map_copy(out, plan.config, plan.matches)
    counts = dict(zip((source.name for source in plan.sources), plan.counts, strict=True))
    write_left_out(out / LEFT_OUT_NAME, chain(planned_rows(counts), _unpacked_rows(plan, done)))
    write_finished(out, plan.hashes, index.shards)
    write_index(out, index)
    (out / PROGRESS_NAME).unlink()
    return index


def _refuse_foreign_files(out: Path, config: MergeConfig) -> None:
    """Raise MergeError if a file of the user has the name of one that the merge writes at its end."""
    require_own_list(out / LEFT_OUT_NAME, HEADER)
    require_own_list(out / DUPLICATES_NAME, DUPLICATES_HEADER)
    if not _is_label_map_of(config, out / LABEL_MAP_NAME):
        _require_own_label_map(out / LABEL_MAP_NAME)


def _require_own_label_map(path: Path) -> None:
    if path.exists() and not is_label_map(path):
        raise MergeError(
            f"{path}: expected a label map that this program wrote, found another file; rename it."
        )


def _shard_names(plan: Plan) -> list[str]:
    return [shard_name(number) for number in range(len(plan.shard_ends))]


def _unpacked_rows(plan: Plan, results: Mapping[str, ShardResult]) -> Iterator[Row]:
    """The images that could not be packed, with their paths."""
    for number in range(len(plan.shard_ends)):
        result = results.get(shard_name(number))
        if result is None or not result.left_out:
            continue
        images = plan.job(number, Path()).images
        ids = {source_id for _, source_id, _ in result.left_out}
        path_of = {
            (int(images["image_source"][image]), source_id): str(images.file(image).path)
            for image in range(len(images))
            if (source_id := images.source_id(image)) in ids
        }
        for source, source_id, reason in result.left_out:
            yield plan.sources[source].name, reason, source_id, path_of.get((source, source_id), "")


def _reasons_in_words(plan: Plan, results: Mapping[str, ShardResult]) -> str:
    counts = Counts()
    for _, reason, source_id, path in _unpacked_rows(plan, results):
        counts.leave_out(reason, source_id, path)
    return counts_in_words(counts)


def _write_missing(plan: Plan, out: Path, done: dict[str, ShardResult], workers: Workers) -> None:
    """Write the shards that `done` lacks, and add them to `done`."""
    sizes = np.diff([0, *plan.shard_ends]).tolist()
    missing = [number for number in range(len(sizes)) if shard_name(number) not in done]
    workers.progress(len(plan.images) - sum(sizes[number] for number in missing))
    for result in done.values():
        _require_readable(plan, result)
    with ProgressFile(out, plan.hashes, done) as progress_file:

        def on_shard(result: ShardResult) -> None:
            progress_file.add(result)
            done[result.name] = result
            _require_readable(plan, result)

        workers.write((plan.job(number, out) for number in missing), len(missing), on_shard)


def _require_readable(plan: Plan, result: ShardResult) -> None:
    """Raise MergeError if an image was left out and the configuration says `unreadable: stop`."""
    if result.left_out and plan.config.unreadable == "stop":
        source, source_id, reason = result.left_out[0]
        more = f" (and {len(result.left_out) - 1} more in {result.name})" if len(result.left_out) > 1 else ""
        raise MergeError(
            f"source {plan.sources[source].name!r}: {source_id}: {reason}{more}. "
            "Set `unreadable: drop` to merge without such images; the finished shards stay."
        )


def _index(plan: Plan, out: Path, shards: Sequence[ShardResult]) -> Index:
    columns = join_columns(out, shards)
    shares = [source.split_shares for source in plan.config.sources]
    columns["image_split"] = stored_splits(columns, out, shards, shares, plan.config.seed)
    origins = Origins(columns["image_source"], columns["image_split"], plan.split_names)
    stored = StoredImages(columns, out, shards, origins, [source.name for source in plan.sources])
    resolved = resolve_duplicates(stored, plan.config.duplicates)
    if len(resolved.images) < len(columns["image_source"]):
        columns = take_images(columns, resolved.images)
    return Index(
        plan.tree,
        plan.sources,
        plan.split_names,
        plan.classes,
        tuple(shards),
        columns,
        tuple(
            dict(sorted((Counter(planned) + stored).items()))
            for planned, stored in zip(plan.counts, resolved.counts, strict=True)
        ),
        plan_left_out=tuple(
            (number, example, reason)
            for number, counts in enumerate(plan.counts)
            for reason, examples in counts.examples().items()
            for example in examples
        ),
        provenance={
            **plan.hashes,
            "config": plan.config.model_dump(mode="json"),
            "versions": {
                "Pillow": PIL.__version__,
                "h5py": h5py.__version__,
                "HDF5": h5py.version.hdf5_version,
                "NumPy": np.__version__,
            },
        },
    )


def write_label_map_copy(folder: Path, config: MergeConfig, matches: Sequence[ClassMatch]) -> None:
    """Write the label map beside the index, for people to read; never over the label map of the configuration."""
    path = folder / LABEL_MAP_NAME
    if not _is_label_map_of(config, path):
        _require_own_label_map(path)
        write_label_map(path, matches)


def _is_label_map_of(config: MergeConfig, path: Path) -> bool:
    written = config.label_map
    return written is not None and written.exists() and written.resolve() == path.resolve()


@contextmanager
def _failures_reported(out: Path) -> Iterator[None]:
    """Report failures of the system in one line, such as a full disk or a folder that cannot be written."""
    try:
        yield
    except OSError as reason:
        where = reason.filename or out
        raise MergeError(
            f"{where}: {system_message(reason)}. Finished shards stay; run the command again to resume."
        ) from None


def _remove_files(plan: Plan, out: Path) -> None:
    """Remove the files that this merge made."""
    for name in (PROGRESS_NAME, DUPLICATES_NAME, *_shard_names(plan)):
        (out / name).unlink(missing_ok=True)
