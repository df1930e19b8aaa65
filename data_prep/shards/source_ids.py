"""The names of images within their sources, which only the shards store."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data_prep.shards.format import READ_ERRORS, SHARD_FORMAT, SHARD_VERSION, ShardError, open_hdf5
from data_prep.shards.offsets import fits
from wordtree.support.arrays import Int64Array


@dataclass(frozen=True)
class SourceIds:
    """The names of the images of a shard, in UTF-8, by the number of the image within the shard."""

    names: bytes
    offsets: Int64Array

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, image: int) -> bytes:
        return self.names[self.offsets[image] : self.offsets[image + 1]]

    def __iter__(self) -> Iterator[bytes]:
        return map(self.__getitem__, range(len(self)))

    def text(self, image: int) -> str:
        """A name for display."""
        return self[image].decode("utf-8", "replace")


def read_source_ids(shard: Path | BinaryIO, where: object) -> SourceIds:
    """The names of the images of a shard; raises ShardError, naming `where`, if it is damaged or in another format."""
    with open_hdf5(shard, where, SHARD_FORMAT, SHARD_VERSION) as file:
        try:
            names, offsets = file["source_id_bytes"].tobytes(), file["source_id_offsets"]
            if offsets.dtype != np.int64 or offsets.ndim != 1 or not fits(offsets, len(names)):
                raise ValueError("its names and their offsets contradict each other")
            return SourceIds(names, offsets)
        except READ_ERRORS:
            raise ShardError(f"{where}: the shard is damaged; run `data-prep check`.") from None
