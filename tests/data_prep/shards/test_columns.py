"""The columns of a shard are checked before anyone uses them."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

from data_prep.dataset.index_file import read_index
from data_prep.shards.columns import read_shard_columns
from data_prep.shards.format import SHARD_DATASETS, ShardError, hash_frame


def test_all_columns_of_a_shard_are_read_as_documented(shards):
    (shard, *_) = read_index(shards).shards
    columns = read_shard_columns(shards / shard.name, shard)
    with h5py.File(shards / shard.name) as file:
        assert {*columns, "picture_bytes", "source_id_bytes"} == set(SHARD_DATASETS) == set(file)
        assert all(np.array_equal(column, file[name][:]) for name, column in columns.items())


def with_fitting_frame(shards, shard):
    """The shard with the checksum of its changed frame, as a stranger's index would have it."""
    with (shards / shard.name).open("rb") as file:
        return replace(shard, frame_sha256=hash_frame(file, shard.bytes_start, shard.bytes_end))


ODD = [
    ("box_class", np.zeros(99, np.int32)),
    ("box_class", np.zeros(2, np.int64)),
    ("boxes_xyxy_unit", np.zeros(8, np.float32)),
    ("label_flags", np.zeros((0, 3), np.uint8)),
    ("picture_offsets", np.array([0, 10**12, 5])),
    ("picture_offsets", np.array([0, -4, 5])),
    ("source_id_offsets", np.array([0, 1, 2, 3, 4])),
    ("image_width", np.zeros((), np.int32)),
]


@pytest.mark.parametrize(("name", "column"), ODD, ids=lambda value: value if isinstance(value, str) else "")
def test_columns_that_do_not_fit_each_other_are_refused(shards, name, column):
    (shard, *_) = read_index(shards).shards
    with h5py.File(shards / shard.name, "r+") as file:
        del file[name]
        file[name] = column
    shard = with_fitting_frame(shards, shard)
    with pytest.raises(ShardError, match=r"shard-00000\.h5: the shard is damaged \("):
        read_shard_columns(shards / shard.name, shard)
