"""Random access to a merged data set: labels in memory as nodes of the tree, pictures on demand."""

import os
from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from data_prep.index import SourceClass, SourceInfo, ledger_of, read_index
from data_prep.ledger import Ledger
from data_prep.shard_format import (
    BOXED,
    EXHAUSTIVE,
    IGNORED,
    POSITIVE,
    SHARD_FORMAT,
    SHARD_VERSION,
    ShardError,
    open_marked,
)

MAX_OPEN_SHARDS = 256  # per reader and process; far below the usual limit of 1024 open files

Ints = npt.NDArray[np.int32]
Indices = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class ShardReader:
    """A folder of shards and its index: n images in a fixed order, under one tree.

    tree, sources, classes: what the labels mean
    image_source, image_width, image_height: (n,) the source's number, the stored picture's size in px
    box_offsets (n + 1,): the boxes of image i are rows offsets[i] to offsets[i + 1] of
        boxes_xyxy_unit (M, 4), box_nodes (M,), box_ignored (M,)
    label_offsets (n + 1,): likewise of label_nodes (L,), label_positive (L,), label_exhaustive (L,)
    image_boxed: (n,) whether somebody drew boxes on the picture; without any, it is background
    splits, image_split: names, and (n,) the number of each image's split, -1 for none
    label_exhaustive: everything of the node in this image has its box
    counts, left_out: what the merge left out or changed; provenance: how it was made

    Labels of classes that have no node are absent from these. Reads are safe in threads; a reader can be
    pickled and survives a fork, for a picture is one `pread` of a file that each process opens for itself.
    Raises ShardError where index or shards are missing, damaged or foreign.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        index = read_index(self.folder)
        columns = index.columns
        self.tree = index.tree
        self.sources: tuple[SourceInfo, ...] = index.sources
        self.classes: tuple[SourceClass, ...] = index.classes
        self.counts, self.left_out, self.provenance = index.counts, index.left_out, index.provenance
        self.ledger: Ledger = ledger_of(index)
        self.image_source: Ints = columns["image_source"]
        self.image_width: Ints = columns["image_width"]
        self.image_height: Ints = columns["image_height"]
        self.image_boxed: Bools = (columns["image_flags"] & BOXED) != 0
        self.splits, self.image_split = index.split_names, columns["image_split"]

        nodes = index.class_node.astype(np.int32)
        kept = nodes[columns["box_class"]] >= 0
        self.box_offsets: Indices = _kept_offsets(columns["box_offsets"], kept)
        self.boxes_xyxy_unit: npt.NDArray[np.float32] = columns["boxes_xyxy_unit"][kept]
        self.box_nodes: Ints = nodes[columns["box_class"][kept]]
        self.box_ignored: Bools = (columns["box_flags"][kept] & IGNORED) != 0
        kept = nodes[columns["label_class"]] >= 0
        self.label_offsets: Indices = _kept_offsets(columns["label_offsets"], kept)
        self.label_nodes: Ints = nodes[columns["label_class"][kept]]
        self.label_positive: Bools = (columns["label_flags"][kept] & POSITIVE) != 0
        self.label_exhaustive: Bools = (columns["label_flags"][kept] & EXHAUSTIVE) != 0

        self._shards = index.shards
        self._image_shard, self._image_place = columns["image_shard"], columns["image_place"]
        self._open: OrderedDict[int, _OpenShard] = OrderedDict()
        self._process = os.getpid()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self.image_source)

    def __repr__(self) -> str:
        return f"<ShardReader of {len(self)} images, {len(self.tree)} nodes, {self.folder}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.folder,)

    def split(self, name: str) -> Indices:
        """The images of a split, ascending."""
        if name not in self.splits:
            raise ShardError(f"{self.folder}: no split {name!r}; there are: {', '.join(self.splits)}.")
        return np.flatnonzero(self.image_split == self.splits.index(name))

    def encoded(self, image: int) -> npt.NDArray[np.uint8]:
        """The stored JPEG or PNG, (bytes,); a fresh array that the caller owns."""
        shard, place = self._find(image)
        return shard.picture(place)

    def source_id(self, image: int) -> str:
        """The picture's name within its source."""
        shard, place = self._find(image)
        return shard.source_id(place)

    def _find(self, image: int) -> "tuple[_OpenShard, int]":
        """The shard of an image and the image's place in it."""
        if not 0 <= image < len(self):
            raise IndexError(f"image {image} of {len(self)}")
        return self._shard(int(self._image_shard[image])), int(self._image_place[image])

    def _shard(self, number: int) -> "_OpenShard":
        if self._process != os.getpid():  # after a fork the lock may be held by a thread that is not here
            self._lock, self._open, self._process = Lock(), OrderedDict(), os.getpid()
        with self._lock:
            shard = self._open.get(number)
            if shard is None:
                result = self._shards[number]
                shard = _OpenShard(self.folder / result.name, result.images)
                self._open[number] = shard
                if len(self._open) > MAX_OPEN_SHARDS:
                    self._open.popitem(last=False)  # closed when its last reader lets go of it
            else:
                self._open.move_to_end(number)
            return shard


class _OpenShard:
    """One shard file: where its pictures lie, and a descriptor to read them with."""

    def __init__(self, path: Path, images: int) -> None:
        self._path = path
        self._descriptor = -1
        with open_marked(path, SHARD_FORMAT, SHARD_VERSION) as file:
            try:
                self._offsets: Indices = file["picture_offsets"][:]
                self._id_offsets: Indices = file["source_id_offsets"][:]
                self._ids: bytes = file["source_id_bytes"][:].tobytes()
                # HDF5 stores a contiguous dataset in one piece; from there on a picture is a plain read.
                self._start = file["picture_bytes"].id.get_offset() or 0
            except (KeyError, OSError, AttributeError):
                raise ShardError(f"{path}: the shard is damaged; merge again.") from None
        if len(self._offsets) != images + 1:
            raise ShardError(
                f"{path}: holds {len(self._offsets) - 1} images, the index says {images}; "
                "the shard belongs to another merge."
            )
        self._descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def picture(self, place: int) -> npt.NDArray[np.uint8]:
        first, end = int(self._offsets[place]), int(self._offsets[place + 1])
        data = np.empty(end - first, dtype=np.uint8)
        if os.preadv(self._descriptor, [data.data], self._start + first) != end - first:
            raise ShardError(f"{self._path}: ends before picture {place}; the shard is damaged, merge again.")
        return data

    def source_id(self, place: int) -> str:
        return self._ids[self._id_offsets[place] : self._id_offsets[place + 1]].decode("utf-8", "replace")


def _kept_offsets(offsets: Indices, kept: Bools) -> Indices:
    """The offsets after only the kept rows remain."""
    kept_before = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
    return kept_before[offsets]
