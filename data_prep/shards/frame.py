"""The frame of a shard: names, labels and structure; all its bytes but those of the images.

The index has the SHA-256 of each frame. A frame is read only while it fits, so no name and no label can have changed.
A frame is hashed whenever it is read. It has 78 bytes for each image and 21 for each box: 0.05 to 0.2 s for a million
images.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from data_prep.shards.format import (
    READ_ERRORS,
    SHARD_FORMAT,
    SHARD_VERSION,
    ShardError,
    hash_frame,
    open_hdf5,
)
from data_prep.shards.hdf5_reader import Hdf5File
from data_prep.shards.writer import ShardResult
from wordtree.support.lines import one_line


@contextmanager
def open_shard(source: Path | BinaryIO, where: object, shard: ShardResult) -> Iterator[Hdf5File]:
    """A shard, opened to read its names or labels.

    where: the file, for messages. Raises ShardError, also while it is open, where the shard is damaged, in another
    format, or has another frame than `shard` says.
    """
    with open_hdf5(source, where, SHARD_FORMAT, SHARD_VERSION) as file:
        try:
            if hash_frame(file.stream, shard.bytes_start, shard.bytes_end) != shard.frame_sha256:
                raise ShardError(
                    f"{where}: its names or labels have changed since they were written. `data-prep check` lists all "
                    "damage; to write this shard again, delete it and merge again."
                )
            yield file
        except READ_ERRORS as reason:
            raise ShardError(
                f"{where}: the shard is damaged ({one_line(reason)}); run `data-prep check`."
            ) from None
