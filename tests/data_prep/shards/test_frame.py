"""Names and labels are read from a shard only as they were written."""

import h5py
import numpy as np
import pytest

from data_prep import ShardReader
from data_prep.dataset.index import join_columns
from data_prep.dataset.index_file import read_index
from data_prep.shards.columns import read_shard_columns
from data_prep.shards.format import SHARD_DATASETS, ShardError
from data_prep.shards.frame import open_shard
from data_prep.shards.source_ids import read_source_ids

SHARD = "shard-00002.h5"
CHANGED = r"shard-00002\.h5: its names or labels have changed since they were written"


def flip_one_byte_of(shard, dataset):
    with h5py.File(shard) as file:
        place = file[dataset].id.get_offset()
    data = bytearray(shard.read_bytes())
    data[place] ^= 1
    shard.write_bytes(data)


@pytest.fixture
def spoilt(shards, request):
    """The folder with one changed byte in a dataset of a shard."""
    flip_one_byte_of(shards / SHARD, request.param)
    return shards


def datasets_of(kind):
    return [name for name in SHARD_DATASETS if name.startswith(kind)]


@pytest.mark.parametrize("spoilt", datasets_of("source_id"), indirect=True)
def test_a_reader_refuses_changed_names(spoilt):
    reader = ShardReader(spoilt)
    names = [reader.source_id(image) for image in range(4)]  # of the first two shards
    assert names == ["000.jpg", "001.jpg", "002.jpg", "003.jpg"]
    with pytest.raises(ShardError, match=CHANGED):
        reader.source_id(4)
    assert len(reader.encoded(4)) > 100  # the image is whole


@pytest.mark.parametrize("spoilt", datasets_of(("image", "box", "picture_o", "picture_c")), indirect=True)
def test_an_index_is_never_made_from_changed_labels(spoilt):
    with pytest.raises(ShardError, match=CHANGED):
        join_columns(spoilt, read_index(spoilt).shards)


def test_names_and_columns_of_every_shard_are_those_that_h5py_reads(shards):
    for shard in read_index(shards).shards:
        path = shards / shard.name
        columns, names = read_shard_columns(path, shard), read_source_ids(path, path, shard)
        with h5py.File(path) as file:
            assert names.names == file["source_id_bytes"][:].tobytes()
            assert np.array_equal(names.offsets, file["source_id_offsets"])
            assert all(np.array_equal(column, file[name]) for name, column in columns.items())


def test_the_images_of_a_shard_are_not_read_to_open_it(shards):
    (shard, *_) = read_index(shards).shards
    with (shards / shard.name).open("r+b") as file:
        file.seek(shard.bytes_start)
        file.write(bytes(shard.bytes_end - shard.bytes_start))
    with open_shard(shards / shard.name, shard.name, shard) as opened:
        assert set(opened.columns) == set(SHARD_DATASETS)
