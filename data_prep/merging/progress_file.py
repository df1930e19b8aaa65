"""The progress of a merge, so that it can be resumed, and the refusal to resume another merge.

A finished merge keeps the list of its shards beside the index. With this list, the same merge restores a lost or
damaged index without reading an image.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from zlib import crc32

from data_prep.dataset.index import Index, whole_shards
from data_prep.dataset.index_file import read_index
from data_prep.dataset.metadata import shard_from_json
from data_prep.errors import MergeError
from data_prep.shards.format import INDEX_NAME, ShardError, hash_file, hash_frame
from data_prep.shards.writer import ShardResult
from wordtree.support.files import write_atomically

PROGRESS_NAME = "unfinished.jsonl"  # a line with the plan's hashes, then one for each finished shard
FINISHED_NAME = "shards.jsonl"  # the lines of a finished merge, in the order of the shards
_CHECKSUM = "crc32"  # in each line, of the JSON text of the rest


class ProgressFile:
    """The list of finished shards; a shard counts as finished once its line is durable."""

    def __init__(self, folder: Path, hashes: Mapping[str, Any], done: Mapping[str, ShardResult]) -> None:
        _write_list(folder / PROGRESS_NAME, hashes, done.values())
        self._file = (folder / PROGRESS_NAME).open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, result: ShardResult) -> None:
        self._file.write(_line(vars(result)))
        self._file.flush()
        os.fsync(self._file.fileno())


def write_finished(folder: Path, hashes: Mapping[str, Any], shards: Sequence[ShardResult]) -> None:
    """Write the list of all shards of a finished merge."""
    _write_list(folder / FINISHED_NAME, hashes, shards)


def finished_shards(folder: Path, hashes: Mapping[str, Any]) -> dict[str, ShardResult]:
    """The finished shards of this plan in a folder that can be reused, so that the merge writes the others again.

    Names and labels of a shard are compared with their checksum, and after a lost index the images too.
    hashes: `Plan.hashes`, which identify the plan. Raises MergeError if the folder holds another merge.
    """
    is_intact = _has_intact_frame
    if (index := _readable_index(folder)) is not None:
        found: Mapping[str, Any] = index.provenance
        results = whole_shards(index)  # shards with losses are written again
    elif (folder / PROGRESS_NAME).exists():
        found, results = _read(folder / PROGRESS_NAME)
    elif (folder / FINISHED_NAME).exists():
        # The index is lost or damaged, so the shards may be too.
        found, results = _read(folder / FINISHED_NAME)
        is_intact = _is_unchanged
    elif any(folder.glob("shard-*.h5")):
        raise MergeError(
            f"{folder} holds shards of an unknown merge; choose another folder, or delete this one first."
        )
    else:
        return {}
    if found.get("plan_sha256") != hashes["plan_sha256"]:
        differences = "; ".join(_differences(found, hashes)) or "its images, labels or packing differ"
        raise MergeError(
            f"{folder} holds another merge: {differences}. Choose another folder, or delete this one to start again."
        )
    sizes = {path.name: path.stat().st_size for path in folder.glob("shard-*.h5")}
    return {
        result.name: result
        for result in results
        if sizes.get(result.name) == result.size_bytes and is_intact(folder / result.name, result)
    }


def _has_intact_frame(path: Path, result: ShardResult) -> bool:
    """Whether names, labels and structure of a shard are as they were written."""
    with path.open("rb") as file:
        return hash_frame(file, result.bytes_start, result.bytes_end) == result.frame_sha256


def _is_unchanged(path: Path, result: ShardResult) -> bool:
    """Whether every byte of a shard is as it was written."""
    with path.open("rb") as file:
        return hash_file(file, result.bytes_start, result.bytes_end)[0] == result.sha256


def _readable_index(folder: Path) -> Index | None:
    """The index of a folder; None if it has none, or a damaged one that the list of shards can restore."""
    if not (folder / INDEX_NAME).exists():
        return None
    try:
        return read_index(folder)
    except ShardError:
        if (folder / FINISHED_NAME).exists():
            return None
        raise


def _differences(found: Mapping[str, Any], hashes: Mapping[str, Any]) -> Iterator[str]:
    """The differences of two plans as text."""
    old, new = found.get("sources_sha256"), hashes["sources_sha256"]
    if isinstance(old, dict):
        if list(old) != list(new):
            order = "in another order: " if sorted(old) == sorted(new) else ""
            yield f"its sources are {order}{', '.join(old)}, this plan's are {', '.join(new)}"
        for name in new:
            if name in old and old[name] != new[name]:
                yield f"the images, the labels or the selection of source {name!r} have changed"
    old, new = found.get("packing"), hashes["packing"]
    if isinstance(old, dict):
        for key, value in new.items():
            if old.get(key, False) != value:
                yield f"its {key} is {old.get(key, False)}, this plan's is {value}"


def _read(path: Path) -> tuple[Mapping[str, Any], list[ShardResult]]:
    """The hashes of the plan and the finished shards.

    Reading ends at a line that is damaged, or that a killed process left incomplete.
    """
    head: Mapping[str, Any] = {}
    results = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines()):
        try:
            row = _checked(line)
            if number == 0:
                head = row
            else:
                results.append(shard_from_json(json.dumps(row)))
        except (ValueError, TypeError, RecursionError):
            break
    if "plan_sha256" not in head:
        raise MergeError(f"{path} is damaged; delete the folder {path.parent} and merge again.")
    return head, results


def _write_list(path: Path, hashes: Mapping[str, Any], shards: Iterable[ShardResult]) -> None:
    write_atomically(path, "".join(map(_line, [hashes, *map(vars, shards)])))


def _line(row: Mapping[str, Any]) -> str:
    """A JSON object and its checksum."""
    return f"{json.dumps({**row, _CHECKSUM: crc32(json.dumps(row).encode())})}\n"


def _checked(line: str) -> dict[str, Any]:
    """The object of a line. Raises ValueError unless it fits its checksum, which former versions did not write."""
    row = dict(json.loads(line))
    checksum = row.pop(_CHECKSUM, None)
    if checksum is not None and checksum != crc32(json.dumps(row).encode()):
        raise ValueError("the line does not fit its checksum")
    return row
