"""The JSON text in an index: everything but its columns. Strangers may have written it, so each value is checked."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from data_prep.dataset.index import Index, SourceClass, SourceInfo
from data_prep.shards.writer import ShardResult
from wordtree import WordTree

_FORMER_NAMES = {"pictures_first": "bytes_start", "pictures_end": "bytes_end"}  # of fields of ShardResult

Count = Annotated[int, Field(ge=0, lt=2**53)]
CountsByReason = dict[str, Count]
LeftOut = tuple[Count, str, str]  # source, name and reason


class _Row(BaseModel):
    """A JSON object; other keys, which a later version may add, are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class _Source(_Row):
    name: str
    has_boxes: bool
    exhaustive: list[Count]
    repeat: float = Field(gt=0)
    is_federated: bool = False


class _Class(_Row):
    source: Count
    name: str
    node: Annotated[int, Field(ge=-1, lt=2**31)]
    reason: str
    alias: str = ""


class _Shard(_Row):
    name: str = Field(pattern=r"^shard-[0-9]{5,9}\.h5$")  # within the folder; never a path to elsewhere
    images: Count
    size_bytes: Count
    sha256: str = Field(pattern=r"^([0-9a-f]{64})?$")
    frame_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes_start: Count
    bytes_end: Count
    counts: dict[Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], CountsByReason]
    left_out: list[LeftOut]


def _with_different_names(shards: list[_Shard]) -> list[_Shard]:
    if len({shard.name for shard in shards}) != len(shards):
        raise ValueError("two shards have the same name")
    return shards


class _Metadata(_Row):
    tree: dict[str, Any]
    sources: list[_Source]
    classes: list[_Class]
    splits: list[str]
    shards: Annotated[list[_Shard], AfterValidator(_with_different_names)]
    plan_counts: list[CountsByReason]
    plan_left_out: list[LeftOut] = []
    provenance: dict[str, Any]


def metadata_text(index: Index) -> str:
    """The JSON text of an index."""
    return json.dumps(
        {
            "tree": json.loads(index.tree.to_json()),
            "sources": [
                {**vars(source), "exhaustive": source.exhaustive.tolist()} for source in index.sources
            ],
            "classes": [vars(source_class) for source_class in index.classes],
            "splits": index.split_names,
            "shards": [vars(shard) for shard in index.shards],
            "plan_counts": index.plan_counts,
            "plan_left_out": index.plan_left_out,
            "provenance": index.provenance,
        }
    )


def index_of(text: str | bytes, columns: Mapping[str, np.ndarray[Any, Any]]) -> Index:
    """The index with this metadata and these columns. Raises ValueError, WordTreeError."""
    try:
        metadata = _Metadata.model_validate_json(text)
    except ValidationError as reason:
        raise ValueError(_first_problem(reason)) from None
    return Index(
        tree=WordTree.from_json(json.dumps(metadata.tree)),
        sources=tuple(
            SourceInfo(**{**vars(row), "exhaustive": np.array(row.exhaustive, dtype=np.int64)})
            for row in metadata.sources
        ),
        split_names=tuple(metadata.splits),
        classes=tuple(SourceClass(**vars(row)) for row in metadata.classes),
        shards=tuple(map(_shard_of, metadata.shards)),
        columns=columns,
        plan_counts=tuple(metadata.plan_counts),
        provenance=metadata.provenance,
        plan_left_out=tuple(metadata.plan_left_out),
    )


def shard_from_json(text: str | bytes) -> ShardResult:
    """The shard of a JSON object with the fields of ShardResult, also under former names. Raises ValueError."""
    row = json.loads(text)
    if isinstance(row, dict):
        row = {_FORMER_NAMES.get(name, name): value for name, value in row.items()}
    try:
        return _shard_of(_Shard.model_validate_json(json.dumps(row)))
    except ValidationError as reason:
        raise ValueError(_first_problem(reason)) from None


def _shard_of(row: _Shard) -> ShardResult:
    counts = {int(source): count for source, count in row.counts.items()}
    return ShardResult(**{**vars(row), "counts": counts, "left_out": tuple(row.left_out)})


def _first_problem(reason: ValidationError) -> str:
    problem = reason.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, problem['loc'])) or 'its metadata'}: {problem['msg']}"
