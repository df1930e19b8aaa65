"""Random access to a merged data set: labels in memory, images on demand."""

import os
import zlib
from collections import OrderedDict
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from data_prep.dataset.index import SourceClass, SourceInfo, label_counts_of
from data_prep.dataset.index_file import read_index
from data_prep.dataset.label_counts import LabelCounts
from data_prep.dataset.storage import LocalFile, RemoteFile, open_folder
from data_prep.shards.format import (
    BOXED,
    EXHAUSTIVE,
    IGNORED,
    INCOMPLETE,
    POSITIVE,
    RAGGED_COLUMNS,
    SHARD_FORMAT,
    SHARD_VERSION,
    Arrays,
    ShardError,
    open_hdf5,
)
from data_prep.shards.offsets import offsets_without
from data_prep.shards.source_ids import SourceIds, read_source_ids
from data_prep.shards.writer import ShardResult
from wordtree.support.arrays import BoolArray, Float32Array, Int32Array, Int64Array, UInt8Array
from wordtree.tree.node_sets import at_or_under

MAX_OPEN_SHARDS = 256  # per reader and process; far below the usual limit of 1024 open files


class ShardReader:
    """The n images of a folder of shards in a fixed order, with their labels as nodes of one tree.

    tree, sources, classes: the tree, the merged data sets, and their classes with the nodes
    image_source, image_width, image_height: (n,) number of the source, size of the stored image in px
    image_boxed: (n,) whether the image was annotated with boxes; without a box, all of it is background
    splits, image_split: names, and (n,) the number of each image's split, -1 for none
    box_offsets (n + 1,): the boxes of image i are rows offsets[i] to offsets[i + 1] of
        boxes_xyxy_unit (M, 4), box_nodes (M,), box_ignored (M,)
    label_offsets (n + 1,): the image labels of image i, rows of label_nodes (L,), label_positive (L,),
        label_exhaustive (L,)
    label_exhaustive: every object of the node in this image has its box
    counts, left_out: labels and images that the merge left out or changed; provenance: how it was made

    Labels of classes without a node are left out. Reads are thread-safe. A reader can be pickled and
    survives a fork, since an image is one read of a file that each process opens for itself.
    Raises ShardError if index or shards are missing, damaged or foreign.

    folder: a path, or an address that fsspec reads (`s3://…`).
    verify: compare each image with its checksum when it is read for the first time.
    """

    def __init__(self, folder: Path | str, *, verify: bool = True) -> None:
        self.folder: Path | str = folder if isinstance(folder, str) and "://" in folder else Path(folder)
        index = read_index(self.folder)
        columns = index.columns
        self.tree = index.tree
        self.sources: tuple[SourceInfo, ...] = index.sources
        self.classes: tuple[SourceClass, ...] = index.classes
        self.counts, self.left_out, self.provenance = index.counts, index.left_out, index.provenance
        self.label_counts: LabelCounts = label_counts_of(index)
        self.image_source: Int32Array = columns["image_source"]
        self.image_width: Int32Array = columns["image_width"]
        self.image_height: Int32Array = columns["image_height"]
        self.image_boxed: BoolArray = (columns["image_flags"] & BOXED) != 0
        self._is_incomplete: BoolArray = (columns["image_flags"] & INCOMPLETE) != 0
        self.splits, self.image_split = index.split_names, columns["image_split"]

        nodes = index.class_node.astype(np.int32)
        boxes, labels = (_with_nodes(columns, kind, nodes) for kind in ("box", "label"))
        self.box_offsets: Int64Array = boxes["box_offsets"]
        self.boxes_xyxy_unit: Float32Array = boxes["boxes_xyxy_unit"]
        self.box_nodes: Int32Array = nodes[boxes["box_class"]]
        self.box_ignored: BoolArray = (boxes["box_flags"] & IGNORED) != 0
        self.label_offsets: Int64Array = labels["label_offsets"]
        self.label_nodes: Int32Array = nodes[labels["label_class"]]
        self.label_positive: BoolArray = (labels["label_flags"] & POSITIVE) != 0
        self.label_exhaustive: BoolArray = (labels["label_flags"] & EXHAUSTIVE) != 0

        self._verify = verify
        self._is_verified = np.full(len(self), not verify)
        self._picture_crc32: npt.NDArray[np.uint32] = columns["picture_crc32"]
        self._picture_start: Int64Array = columns["picture_start"]
        self._picture_size: Int32Array = columns["picture_size"]
        self._image_shard: Int32Array = columns["image_shard"]
        self._image_place: Int32Array = columns["image_place"]
        self._files = _OpenShards(self.folder, index.shards)

    def __len__(self) -> int:
        return len(self.image_source)

    def __repr__(self) -> str:
        return f"<ShardReader of {len(self)} images, {len(self.tree)} nodes, {self.folder}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(ShardReader, verify=self._verify), (self.folder,)

    @cached_property
    def exhaustive_by_source(self) -> BoolArray:
        """Whether a source is exhaustively annotated for a node (`SourceInfo.exhaustive`), shape (S, N)."""
        return np.stack([at_or_under(self.tree, source.exhaustive) for source in self.sources])

    def exhaustive_as_source(self, image: int) -> BoolArray:
        """Whether a boxed image is exhaustively annotated for each node because its source is, (N,).

        In a source that is not federated, a positive label that is not exhaustive stands for an object without a box:
        the image is not exhaustively annotated for the node, nor for the nodes above and below it.
        """
        source = int(self.image_source[image])
        of_source: BoolArray = self.exhaustive_by_source[source]
        if self._is_incomplete[image]:
            return np.zeros_like(of_source)
        labels = slice(*self.label_offsets[image : image + 2])
        lost = self.label_nodes[labels][self.label_positive[labels] & ~self.label_exhaustive[labels]]
        if not len(lost) or self.sources[source].is_federated:
            return of_source
        kept: BoolArray = of_source & ~at_or_under(self.tree, lost.astype(np.int64))
        kept[[above for node in lost.tolist() for above in self.tree.ancestors(node)]] = False
        return kept

    def split(self, name: str) -> Int64Array:
        """Images of a split, ascending."""
        if name not in self.splits:
            raise ShardError(f"{self.folder}: no split {name!r}; there are: {', '.join(self.splits)}.")
        return np.flatnonzero(self.image_split == self.splits.index(name))

    def encoded(self, image: int) -> UInt8Array:
        """The stored JPEG or PNG, shape (bytes,); a fresh array that the caller may change."""
        shard, size = self._shard_of(image), int(self._picture_size[image])
        data = shard.file.read(int(self._picture_start[image]), size)
        if len(data) != size:
            raise self._damaged(image, "the file ends before it")
        if not self._is_verified[image]:
            if zlib.crc32(data.data) != self._picture_crc32[image]:
                raise self._damaged(image, "its bytes do not fit their checksum")
            self._is_verified[image] = True
        return data

    def source_id(self, image: int) -> str:
        """The image's name within its source."""
        return self._shard_of(image).source_ids.text(int(self._image_place[image]))

    def _shard_of(self, image: int) -> "_OpenShard":
        if not 0 <= image < len(self):
            raise IndexError(f"image {image} of {len(self)}")
        return self._files[int(self._image_shard[image])]

    def _damaged(self, image: int, trouble: str) -> ShardError:
        shard = self._files[int(self._image_shard[image])]
        return ShardError(
            f"{shard.path}: image {image} (image {self._image_place[image]} of the shard): {trouble}; "
            f"the shard is damaged. `data-prep check {self.folder}` lists all damaged images, and --repair leaves "
            "them out."
        )


class _OpenShards:
    """The shards of a folder, opened when first asked for; the least recently used are closed."""

    def __init__(self, folder: Path | str, shards: tuple[ShardResult, ...]) -> None:
        self._folder, self._shards = folder, shards
        self._handles = _Handles(folder)

    def __getitem__(self, number: int) -> "_OpenShard":
        handles = self._handles
        if handles.process != os.getpid():  # after a fork, a thread of the parent may hold the lock
            handles = self._handles = _Handles(self._folder)
        with handles.lock:
            shard = handles.open.get(number)
            if shard is None:
                shard = handles.open[number] = self._opened(handles, self._shards[number])
                if len(handles.open) > MAX_OPEN_SHARDS:
                    handles.open.popitem(last=False)  # closed when no thread uses it any more
            else:
                handles.open.move_to_end(number)
            return shard

    def _opened(self, handles: "_Handles", shard: ShardResult) -> "_OpenShard":
        path = f"{self._folder}/{shard.name}"
        file = handles.stored.file(shard.name)
        if file.size_bytes != shard.size_bytes:
            raise ShardError(
                f"{path}: holds {file.size_bytes} bytes, the index says {shard.size_bytes}; the shard is "
                f"damaged or belongs to another merge. Run `data-prep check {self._folder}`."
            )
        if isinstance(file, LocalFile):  # a link could lead to any file of this machine
            with file.stream() as stream, open_hdf5(stream, path, SHARD_FORMAT, SHARD_VERSION) as opened:
                images = opened.column("picture_bytes")
            if (images.start, images.start + images.size_bytes) != (shard.bytes_start, shard.bytes_end):
                raise ShardError(
                    f"{path}: its images lie elsewhere than the index says. Run `data-prep check`."
                )
        return _OpenShard(path, file, shard)


class _Handles:
    """The open shards of one process; replaced as a whole, so that threads never mix those of two processes."""

    def __init__(self, folder: Path | str) -> None:
        self.process = os.getpid()
        self.lock = Lock()
        self.stored = open_folder(folder)
        self.open: OrderedDict[int, _OpenShard] = OrderedDict()


class _OpenShard:
    """One shard file. Reading an image needs no HDF5: the index has its position."""

    def __init__(self, path: str, file: LocalFile | RemoteFile, shard: ShardResult) -> None:
        self.path, self.file, self._shard = path, file, shard

    @cached_property
    def source_ids(self) -> SourceIds:
        """The names of its images; raises ShardError if the names or labels of the shard have changed."""
        with self.file.stream() as stream:
            return read_source_ids(stream, self.path, self._shard)


def _with_nodes(columns: Arrays, kind: str, nodes: Int32Array) -> dict[str, npt.NDArray[Any]]:
    """Columns of the boxes or image labels whose class has a node; not copied where all have one."""
    offsets = f"{kind}_offsets"
    parts = {name: columns[name] for name in (offsets, *RAGGED_COLUMNS[kind])}
    kept = nodes[columns[f"{kind}_class"]] >= 0
    if kept.all():
        return parts
    return {
        name: offsets_without(column, kept) if name == offsets else column[kept]
        for name, column in parts.items()
    }
