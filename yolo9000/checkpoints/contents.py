"""Checks of a checkpoint's content. The file may come from a stranger, so each value is checked before it is used."""

from __future__ import annotations

import io
import math
import os
import pickle
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from yolo9000.checkpoints.sealed_zip import is_zip

MAX_PICKLE_BYTES = 1 << 29  # the tree, the configuration and the names of the weights
MAX_OPERATIONS = 5_000_000
MAX_CONFIG_CHARACTERS = 1 << 24
MAX_COUNT = 2**53
MAX_VALUES, MAX_DEPTH, MAX_NAME = 1_000_000, 10, 300  # of the state of training
_GLOBALS = re.compile(r"collections OrderedDict|torch\._utils _rebuild_tensor_v2|torch \w{1,20}Storage")
_FOREIGN_OPERATIONS = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}
_LEGACY_PICKLES = 5
_PICKLE_ERRORS = (ValueError, OSError, zipfile.BadZipFile, NotImplementedError, EOFError, LookupError)
LOAD_ERRORS = (  # of torch.load, which has many for damaged files
    *(
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ),
    *(OverflowError, AssertionError, zipfile.BadZipFile, NotImplementedError),
)
ENTRIES: dict[str, tuple[type, ...]] = {
    "format": (str,),
    "version": (int,),
    "config": (str,),
    "tree": (str,),
    "boxes": (Tensor,),
    "image_labels": (Tensor,),
    "step": (int,),
    "score": (float,),
    "weights": (dict,),
    "training": (dict, type(None)),
    "seen_before": (int,),
    "darknet": (dict, type(None)),
    "calibration": (str, type(None)),
}
OPTIONAL = {"seen_before", "darknet", "calibration"}


def foreign_pickle(path: Path) -> bool:
    """Whether a torch file may contain anything but dense tensors and plain values; True also for a damaged one."""
    try:
        content = _pickle_of(path)
        return any(
            _is_foreign(operation, argument) for operation, argument, _ in pickletools.genops(content)
        ) or (_has_no_end(io.BytesIO(content)))
    except _PICKLE_ERRORS:
        return True


def is_endless(path: Path) -> bool:
    """Whether the values in a torch file, counted as often as they occur, are too many; True for a damaged one."""
    try:
        if is_zip(path):
            return _has_no_end(io.BytesIO(_pickle_of(path)))
        # the format before torch 1.6: pickles one after another, then the numbers
        with _BoundedFile(io.FileIO(path)) as file:
            return any(_has_no_end(file) for _ in range(_LEGACY_PICKLES))
    except _PICKLE_ERRORS:
        return True


class _BoundedFile(io.BufferedReader):
    """A file; a read of more bytes than it has takes no more memory than it is large."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size if size is None else min(size, os.fstat(self.fileno()).st_size))


def _pickle_of(path: Path) -> bytes:
    """The pickle in a zip of torch."""
    with _BoundedFile(io.FileIO(path)) as file, zipfile.ZipFile(file) as archive:
        (member,) = (one for one in archive.infolist() if one.filename.endswith("/data.pkl"))
        if member.file_size > MAX_PICKLE_BYTES:
            raise ValueError("a pickle that is too large")
        return archive.read(member)


def _is_foreign(operation: pickletools.OpcodeInfo, argument: Any) -> bool:
    name = operation.name
    return (name == "GLOBAL" and not _GLOBALS.fullmatch(str(argument))) or name in _FOREIGN_OPERATIONS


def _has_no_end(stream: BinaryIO) -> bool:
    """Whether the next pickle has a value whose parts, counted as often as they occur, are too many.

    A tuple of a tuple of … that occurs twice at each level is small in the file but endless for a hash.
    """
    sizes: list[int] = []  # of the values on the pickle's stack; MARK is 0
    memo: dict[Any, int] = {}
    for number, (operation, argument, _) in enumerate(pickletools.genops(stream)):
        name = operation.name
        size = 1
        if "PUT" in name or name == "MEMOIZE":
            memo[len(memo) if argument is None else argument] = sizes[-1]
            continue
        if "GET" in name:
            size = memo[argument]
        elif pickletools.markobject in operation.stack_before:
            while (top := sizes.pop()) > 0:
                size += top
            for _ in operation.stack_before[: operation.stack_before.index(pickletools.markobject)]:
                size += sizes.pop()
        else:
            for _ in operation.stack_before:
                size += sizes.pop()
        if size > MAX_VALUES * 10 or number > MAX_OPERATIONS:
            return True
        sizes += [0] if name == "MARK" else [size] * len(operation.stack_after)
    return False


def wrong_entries(content: Mapping[str, Any]) -> list[str]:
    """Names of the entries that are absent, unknown, or of another type."""
    wrong = [
        name
        for name, types in ENTRIES.items()
        if (name in content or name not in OPTIONAL) and not _has_type(content.get(name, ...), types)
    ]
    unknown = [name for name in content if name not in ENTRIES]
    return wrong + [name[:40] if isinstance(name, str) else "a name that is no text" for name in unknown]


def _has_type(value: Any, types: tuple[type, ...]) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)


def check_values(content: Mapping[str, Any], *, nodes: int) -> None:
    """Raise ValueError for numbers that no training writes: infinite or NaN weights, negative or too large counts."""
    for name in ("boxes", "image_labels"):
        _check_counts(name, content[name], nodes)
    if not 0 <= content["step"] < 2**64:
        raise ValueError("its step is not a number of steps")
    # Below zero in a run whose batches have grown; `images_seen` is checked by the checkpoint itself.
    if abs(content.get("seen_before", 0)) >= 2**64:  # as in Darknet's header
        raise ValueError("its seen_before is not a number of images")
    if math.isinf(content["score"]):
        raise ValueError("its score is infinite")
    _check_weights(content["weights"])
    if content["training"] is not None:
        _check_plain(content["training"])
        _check_weights(content["training"].get("weights", {}))
        _check_unevaluated(content["training"].get("unevaluated"))


def problem_of_tensor(value: Any) -> str | None:
    """A description of a value that is not a dense tensor with its own memory; None if it is one."""
    if type(value) is not Tensor:
        return f"a {type(value).__name__}"
    if value.layout != torch.strided:
        return "a sparse tensor"
    if value.is_meta:
        return "a tensor without values"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return "a tensor that repeats itself"
    return None


def _check_counts(name: str, counts: Tensor, nodes: int) -> None:
    problem = problem_of_tensor(counts)
    if problem or counts.dtype != torch.int64 or counts.shape != (nodes,):
        raise ValueError(f"its label counts `{name}` are not {nodes} integers, one for each node of its tree")
    if int(counts.min()) < 0 or int(counts.max()) >= MAX_COUNT:
        raise ValueError(f"its label counts `{name}` are negative or too large")


def _check_weights(weights: Any) -> None:
    """Raise ValueError unless all weights are finite; names, shapes and types are compared with the network later."""
    if not isinstance(weights, dict):
        raise ValueError("its weights have no names")
    for name, value in weights.items():
        if problem := problem_of_tensor(value):
            raise ValueError(
                f"its weight {str(name)[:MAX_NAME] if isinstance(name, str) else '?'} is {problem}"
            )
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ValueError(
                f"its weight {str(name)[:MAX_NAME]} has values that are infinite or not a number"
            )


def _check_unevaluated(evaluated: Any) -> None:
    """Raise ValueError unless these are weights that a stopped run has not evaluated yet, with their step."""
    if evaluated is None:
        return
    if not isinstance(evaluated, dict) or set(evaluated) != {"step", "weights"}:
        raise ValueError("its weights to be evaluated are incomplete")
    if type(evaluated["step"]) is not int or not 0 <= evaluated["step"] < 2**64:
        raise ValueError("its weights to be evaluated have no step")
    _check_weights(evaluated["weights"])


def _check_plain(value: Any) -> None:
    """Raise ValueError unless a value consists of few plain values and dense tensors; repeated parts count again."""
    waiting, seen = [(value, 0)], 0
    while waiting:
        part, depth = waiting.pop()
        seen += 1
        if seen > MAX_VALUES or depth > MAX_DEPTH:
            raise ValueError("its state of training is nested too deeply or too large")
        if isinstance(part, dict):
            if not all(type(key) in (str, int) and len(str(key)) <= MAX_NAME for key in part):
                raise ValueError("its state of training has odd names")
            waiting += [(inner, depth + 1) for inner in part.values()]
        elif type(part) in (list, tuple):
            waiting += [(inner, depth + 1) for inner in part]
        elif isinstance(part, Tensor):
            if problem := problem_of_tensor(part):
                raise ValueError(f"its state of training has {problem}")
        elif type(part) not in (int, float, bool, str, type(None)):
            raise ValueError(f"its state of training has a {type(part).__name__}")
