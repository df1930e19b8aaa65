"""The names of images within their sources, which only the shards store."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data_prep.shards.frame import open_shard
from data_prep.shards.offsets import fits
from data_prep.shards.writer import ShardResult
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


def read_source_ids(source: Path | BinaryIO, where: object, shard: ShardResult) -> SourceIds:
    """The names of the images of a shard; raises ShardError, naming `where`, as `open_shard` does."""
    with open_shard(source, where, shard) as file:
        names, offsets = file["source_id_bytes"].tobytes(), file["source_id_offsets"]
        if offsets.dtype != np.int64 or offsets.shape != (shard.images + 1,) or not fits(offsets, len(names)):
            raise ValueError(f"its names are not those of {shard.images} images")
        return SourceIds(names, offsets)
