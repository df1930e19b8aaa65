"""A merge into a folder that exists: the files that it reuses, and those that it leaves alone."""

import fcntl

import h5py
import pytest

from data_prep import ShardReader, make_plan, merge
from data_prep.errors import MergeError
from data_prep.merging.merge import execute_plan
from data_prep.merging.progress_file import finished_shards
from data_prep.shards.format import SHARD_FORMAT, SHARD_VERSION, ShardError, open_hdf5
from tests.data_prep.shards.test_frame import flip_one_byte_of
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


@pytest.mark.parametrize("state", ["finished", "unfinished"])
@pytest.mark.parametrize("dataset", ["source_id_bytes", "boxes_xyxy_unit"])
def test_a_shard_whose_names_or_labels_have_changed_is_not_reused(world, tmp_path, config_of, dataset, state):
    config, out = config_of(world), tmp_path / "out"
    merge(config, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    flip_one_byte_of(out / "shard-00000.h5", dataset)
    if state == "unfinished":
        (out / "index.h5").unlink()
        (out / "shards.jsonl").rename(out / "unfinished.jsonl")
    merge(config, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_changed_image_of_a_reused_shard_is_never_compared_with_others(world, tmp_path, config_of):
    """Two equal images: if one of them changed, the merge would take both for different ones."""
    (world / "photos" / "001.jpg").write_bytes((world / "photos" / "000.jpg").read_bytes())
    config, out = config_of(world, "duplicates=drop"), tmp_path / "out"
    merge(config, out)
    (out / "index.h5").unlink()
    (out / "shards.jsonl").rename(out / "unfinished.jsonl")
    flip_one_byte_of(out / "shard-00000.h5", "picture_bytes")
    with pytest.raises(
        ShardError, match=r"shard-00000\.h5: one of its images is damaged; delete it and merge"
    ):
        merge(config, out)
    (out / "shard-00000.h5").unlink()
    assert len(merge(config, out)) == 11


def test_every_changed_byte_of_the_list_of_shards_costs_shards_but_changes_none(world, tmp_path, config_of):
    plan, out = make_plan(config_of(world, "shard_mb=0.001")), tmp_path / "out"
    shards = {shard.name: shard for shard in execute_plan(plan, out).shards}
    (out / "index.h5").unlink()
    whole = (out / "shards.jsonl").read_bytes()
    kept = 0
    for place in range(len(whole)):
        (out / "shards.jsonl").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            found = finished_shards(out, plan.hashes)
        except MergeError:
            assert place <= whole.index(b"\n")
            continue
        assert found.items() <= shards.items()
        kept += len(found)
    assert len(shards) == 6
    assert kept > len(whole)  # the lines before the damage


def test_a_shard_is_read_without_a_lock(shards):
    """Some file systems have no locks; here another process could hold one."""
    with (shards / "shard-00000.h5").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        open_hdf5(shards / "shard-00000.h5", "shard", SHARD_FORMAT, SHARD_VERSION).close()
