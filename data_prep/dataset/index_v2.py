"""Reads indexes of format version 2, which kept its tables as parallel datasets; nothing writes them any more."""

import json
from typing import Any

import numpy as np

from data_prep.dataset.index import Index, read_columns
from data_prep.dataset.metadata import index_of as metadata_index_of
from data_prep.shards.hdf5_reader import Hdf5File

VERSION = 2
_PLANNING = -1  # in place of a shard number: counts of planning


def index_of(file: Hdf5File) -> Index:
    """The index in an open file of version 2."""
    sources = _sources(file)
    shards, plan_counts = _shards(file, len(sources))
    class_columns: dict[str, list[Any]] = {
        "source": _numbers(file, "class_source"),
        "name": file.texts("class_name"),
        "node": _numbers(file, "class_node"),
        "reason": file.texts("class_reason"),
        "alias": file.texts("class_alias"),
    }
    metadata = {
        "tree": json.loads(file.texts("tree")[0]),
        "sources": sources,
        "classes": _rows(class_columns),
        "splits": file.texts("split_name"),
        "shards": shards,
        "plan_counts": plan_counts,
        "provenance": json.loads(file.texts("provenance")[0]),
    }
    return metadata_index_of(json.dumps(metadata), read_columns(file))


def _sources(file: Hdf5File) -> list[dict[str, Any]]:
    nodes = np.split(file["vouched_nodes"], _numbers(file, "vouched_offsets")[1:-1])
    columns: dict[str, list[Any]] = {
        "name": file.texts("source_name"),
        "has_boxes": list(map(bool, _numbers(file, "source_boxes"))),
        "exhaustive": [part.tolist() for part in nodes],
        "repeat": _numbers(file, "source_repeat"),
        "is_federated": list(map(bool, _numbers(file, "source_federated"))),
    }
    return _rows(columns)


def _shards(file: Hdf5File, sources: int) -> tuple[list[dict[str, Any]], list[dict[str, int]]]:
    """The shards, and the counts of planning by source."""
    names = file.texts("shard_name")
    counts: dict[int, dict[int, dict[str, int]]] = {number: {} for number in (*range(len(names)), _PLANNING)}
    for number, source, reason, count in zip(
        _numbers(file, "count_shard"),
        _numbers(file, "count_source"),
        file.texts("count_reason"),
        _numbers(file, "count_number"),
        strict=True,
    ):
        counts[number].setdefault(source, {})[_current(reason)] = count
    left_out: dict[int, list[tuple[int, str, str]]] = {number: [] for number in range(len(names))}
    for number, source, source_id, reason in zip(
        _numbers(file, "left_out_shard"),
        _numbers(file, "left_out_source"),
        file.texts("left_out_id"),
        file.texts("left_out_reason"),
        strict=True,
    ):
        left_out[number].append((source, source_id, _current(reason)))
    planned = counts.pop(_PLANNING)
    columns = {
        "name": names,
        "images": _numbers(file, "shard_images"),
        "size_bytes": _numbers(file, "shard_size_bytes"),
        "sha256": file.texts("shard_sha256"),
        "frame_sha256": file.texts("shard_frame_sha256"),
        "bytes_start": _numbers(file, "shard_pictures_first"),
        "bytes_end": _numbers(file, "shard_pictures_end"),
        "counts": list(counts.values()),
        "left_out": list(left_out.values()),
    }
    return _rows(columns), [planned.get(source, {}) for source in range(sources)]


def _rows(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """An object for each row of equally long columns."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _current(reason: str) -> str:
    """The reason in today's words, as `relabel` and `repair` look up some reasons; version 2 wrote "picture"."""
    return reason.replace("a picture", "an image").replace("picture", "image")


def _numbers(file: Hdf5File, name: str) -> list[Any]:
    numbers: list[Any] = file[name].tolist()
    return numbers
