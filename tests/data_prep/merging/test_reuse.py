"""A merge into a folder that exists: the files that it reuses, and those that it leaves alone."""

import fcntl

import h5py
import pytest

from data_prep import ShardReader, merge
from data_prep.shards.format import SHARD_FORMAT, SHARD_VERSION, open_hdf5
from wordtree.support.files import part_path


def test_a_merge_deletes_its_own_parts_and_no_other_file(world, tmp_path, config_of):
    out = tmp_path / "out"
    out.mkdir()
    foreign = [
        "openimages.tar.part",
        "notes.txt",
        "my-shard-00000.h5.part",
        "shard-00000.h5.download.part",
        "shard-00000.h5.part",
        "shard-00000.h5.0123abcd.part",
        "left_out.csv.0123abcd89abcdef.part",
    ]
    own = [part_path(out / name).name for name in ("shard-00000.h5", "index.h5", "left_out.csv")]
    for name in (*foreign, *own):
        (out / name).write_text("half done")
    merge(config_of(world), out)
    assert [name for name in foreign if (out / name).read_text() != "half done"] == []
    assert [name for name in own if (out / name).exists()] == []


@pytest.mark.parametrize("part", ["box", "structure"])
def test_after_a_damaged_index_a_damaged_shard_is_written_again(world, tmp_path, config_of, part):
    config, out = config_of(world), tmp_path / "out"
    merge(config, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    shard, index = bytearray(before["shard-00000.h5"]), bytearray(before["index.h5"])
    with h5py.File(out / "shard-00000.h5") as file:
        position = (
            file["boxes_xyxy_unit"].id.get_offset() + 3 if part == "box" else shard.find(b"label_class\0")
        )
    shard[position] ^= 1
    index[3000] ^= 1
    (out / "shard-00000.h5").write_bytes(shard)
    (out / "index.h5").write_bytes(index)
    merge(config, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert len(ShardReader(out)) == 12


def test_a_shard_is_read_without_a_lock(shards):
    """Some file systems have no locks; here another process could hold one."""
    with (shards / "shard-00000.h5").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        open_hdf5(shards / "shard-00000.h5", "shard", SHARD_FORMAT, SHARD_VERSION).close()
