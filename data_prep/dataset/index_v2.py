"""Reads indexes of format version 2, which kept its tables as parallel datasets; nothing writes them any more."""

import json
from typing import Any

import h5py
import numpy as np

from data_prep.dataset.index import Index, SourceClass, SourceInfo, read_columns
from data_prep.shards.writer import ShardResult
from wordtree import WordTree

VERSION = 2
_PLANNING = -1  # in place of a shard number: counts of planning


def index_of(file: h5py.File) -> Index:
    """The index in an open file of version 2."""
    sources = _sources_of(file)
    shards, plan_counts = _shards_of(file, len(sources))
    classes = zip(
        _numbers(file, "class_source"),
        _texts(file, "class_name"),
        _numbers(file, "class_node"),
        _texts(file, "class_reason"),
        _texts(file, "class_alias"),
        strict=True,
    )
    return Index(
        tree=WordTree.from_json(file["tree"].asstr()[()]),
        sources=sources,
        split_names=tuple(_texts(file, "split_name")),
        classes=tuple(SourceClass(*row) for row in classes),
        shards=shards,
        columns=read_columns(file),
        plan_counts=plan_counts,
        provenance=json.loads(file["provenance"].asstr()[()]),
    )


def _sources_of(file: h5py.File) -> tuple[SourceInfo, ...]:
    rows = zip(
        _texts(file, "source_name"),
        map(bool, _numbers(file, "source_boxes")),
        np.split(file["vouched_nodes"][:].astype(np.int64), _numbers(file, "vouched_offsets")[1:-1]),
        _numbers(file, "source_repeat"),
        map(bool, _numbers(file, "source_federated")),
        strict=True,
    )
    return tuple(SourceInfo(*row) for row in rows)


def _shards_of(file: h5py.File, sources: int) -> tuple[tuple[ShardResult, ...], tuple[dict[str, int], ...]]:
    """The shards, and the counts of planning by source."""
    names = _texts(file, "shard_name")
    counts: dict[int, dict[int, dict[str, int]]] = {number: {} for number in (*range(len(names)), _PLANNING)}
    for number, source, reason, count in zip(
        _numbers(file, "count_shard"),
        _numbers(file, "count_source"),
        _texts(file, "count_reason"),
        _numbers(file, "count_number"),
        strict=True,
    ):
        counts[number].setdefault(source, {})[_current(reason)] = count
    left_out: dict[int, list[tuple[int, str, str]]] = {number: [] for number in range(len(names))}
    for number, source, source_id, reason in zip(
        _numbers(file, "left_out_shard"),
        _numbers(file, "left_out_source"),
        _texts(file, "left_out_id"),
        _texts(file, "left_out_reason"),
        strict=True,
    ):
        left_out[number].append((source, source_id, _current(reason)))
    planned = counts.pop(_PLANNING)
    columns = (
        names,
        _numbers(file, "shard_images"),
        _numbers(file, "shard_size_bytes"),
        _texts(file, "shard_sha256"),
        _texts(file, "shard_frame_sha256"),
        _numbers(file, "shard_pictures_first"),
        _numbers(file, "shard_pictures_end"),
        counts.values(),
        map(tuple, left_out.values()),
    )
    shards = tuple(ShardResult(*row) for row in zip(*columns, strict=True))
    return shards, tuple(planned.get(source, {}) for source in range(sources))


def _current(reason: str) -> str:
    """The reason in today's words, as `relabel` and `repair` look up some reasons; version 2 wrote "picture"."""
    return reason.replace("a picture", "an image").replace("picture", "image")


def _numbers(file: h5py.File, name: str) -> list[Any]:
    numbers: list[Any] = file[name][:].tolist()
    return numbers


def _texts(file: h5py.File, name: str) -> list[str]:
    return [value.decode() for value in file[name][:]]
