"""Failures between a plan and its index: another merge, a full disk, sources that change."""

import os
import subprocess
import sys
import tarfile

import h5py
import pytest

from data_prep import DataPrepError, ShardReader, make_plan, merge
from data_prep.dataset.index_file import read_index
from data_prep.errors import MergeError
from data_prep.merging.merge import execute_plan
from data_prep.shards.format import LOCK_NAME
from data_prep.shards.hdf5_files import new_hdf5
from data_prep.shards.source_ids import read_source_ids
from tests.data_prep.conftest import CAR, encoded_image
from wordtree.support.file_lock import locked

MANY_SHARDS = "shard_mb=0.0005"  # one image each


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def merge_limited(world, out, largest_file, *settings):
    """The command in a process whose files may not exceed a size, as on a disk that gets full."""
    code = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({largest_file}, {largest_file}))\n"
        "from data_prep.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "merge", world / "merge.yaml", "-o", out]
    for setting in settings:
        command += ["--set", setting]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("largest_file", "what"),
    [
        pytest.param(100, "/unfinished.jsonl: File too large. Finished shards stay", id="the progress file"),
        pytest.param(2000, "shard-00000.h5: cannot write this shard", id="columns of the first shard"),
        pytest.param(6000, "shard-00000.h5: cannot write this shard", id="images of the first shard"),
    ],
)
def test_a_full_disk_is_one_line_and_leaves_nothing(world, tmp_path, largest_file, what):
    done = merge_limited(world, tmp_path / "out", largest_file)
    assert (done.returncode, done.stdout) == (2, "")
    assert "File too large" in done.stderr
    assert what in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_merge_is_resumed_when_the_disk_has_room_again(world, tmp_path, config_of):
    """The last image is too large for the disk, so its shard fails when the others are finished."""
    (world / "labelled" / CAR / "2.jpg").write_bytes(encoded_image(11, (2000, 2000), kind="BMP"))
    merge(config_of(world, MANY_SHARDS), tmp_path / "whole")
    size = max(path.stat().st_size for path in (tmp_path / "whole").glob("shard-*"))
    done = merge_limited(world, tmp_path / "out", size - 1000, MANY_SHARDS)
    assert done.returncode == 2
    assert "shard-00011.h5: cannot write this shard (File too large)" in done.stderr
    assert len(list((tmp_path / "out").glob("shard-*.h5"))) == 11
    assert not list((tmp_path / "out").glob("*.part"))
    merge(config_of(world, MANY_SHARDS), tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_an_index_that_cannot_be_written_is_reported_and_written_later(world, tmp_path, config_of):
    done = merge_limited(world, tmp_path / "out", 15_000, MANY_SHARDS)
    assert done.returncode == 2
    assert "index.h5: cannot write the index (File too large)" in done.stderr
    assert not (tmp_path / "out" / "index.h5").exists()
    merge(config_of(world, MANY_SHARDS), tmp_path / "out")
    assert len(ShardReader(tmp_path / "out")) == 12


@pytest.mark.parametrize("limit", [0, 96, 800, 3000])
def test_an_hdf5_file_that_cannot_be_written_is_closed_and_reported(tmp_path, limit):
    code = (
        "import resource, sys; from pathlib import Path; import h5py\n"
        "from data_prep.shards.hdf5_files import new_hdf5\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "try:\n"
        "    with new_hdf5(Path(sys.argv[1])) as file:\n"
        "        for name in 'abcdef':\n"
        "            file.create_dataset(name, data=[1] * 500)\n"
        "except OSError as reason:\n"
        "    kinds = h5py.h5f.OBJ_FILE | h5py.h5f.OBJ_DATASET\n"
        "    print(reason.strerror, h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, kinds))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.h5"], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("File too large 0\n", "", 0)


def test_a_new_hdf5_file_holds_what_was_written(tmp_path):
    with new_hdf5(tmp_path / "a.h5", userblock_size=512) as file:
        file.attrs["number"] = 7
        file.create_dataset("numbers", data=range(100_000), track_times=False)
        file.create_dataset("none", data=[0.5][:0], track_times=False)
    with h5py.File(tmp_path / "a.h5") as file:
        assert (file.attrs["number"], file.userblock_size) == (7, 512)
        assert file["numbers"][:].tolist() == list(range(100_000))
        assert file["none"].shape == (0,)


def test_a_second_merge_into_the_same_folder_is_refused_and_names_the_first(world, tmp_path, config_of):
    out = tmp_path / "out"
    out.mkdir()
    with locked(out, name=LOCK_NAME, error=MergeError):
        with pytest.raises(
            DataPrepError, match=rf"out: process {os.getpid()} on .* is writing into this folder"
        ):
            merge(config_of(world), out)
        assert [path.name for path in out.iterdir()] == [LOCK_NAME]
    merge(config_of(world), out)
    assert not (out / LOCK_NAME).exists()


def test_a_lock_ends_with_its_process(world, tmp_path, config_of):
    out = tmp_path / "out"
    out.mkdir()
    code = (
        "import os, signal, sys; from pathlib import Path; from wordtree.support.file_lock import locked\n"
        "with locked(Path(sys.argv[1]), name='merge.lock', error=ValueError):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, out]).returncode == -9
    assert (out / LOCK_NAME).exists()
    merge(config_of(world), out)
    assert not (out / LOCK_NAME).exists()


def test_a_file_system_without_locks_refuses_nobody(world, tmp_path, config_of, monkeypatch):
    def unknown(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", unknown)
    merge(config_of(world), tmp_path / "out")


def test_an_unreadable_image_stops_a_merge_that_does_not_drop_it(world, tmp_path, config_of):
    out = tmp_path / "out"
    (world / "photos" / "003.jpg").write_bytes(
        b"no picture, but as long as one is, so that it fills a shard" * 12
    )
    expected = r"source 'coco': 003\.jpg: image that cannot be decoded\. Set `unreadable: drop`"
    with pytest.raises(DataPrepError, match=expected):
        merge(config_of(world, MANY_SHARDS, "unreadable=stop"), out)
    with pytest.raises(DataPrepError, match=expected):
        merge(config_of(world, MANY_SHARDS, "unreadable=stop"), out)
    assert not (out / "index.h5").exists()
    merge(config_of(world, MANY_SHARDS), out)
    assert len(ShardReader(out)) == 11
    with pytest.raises(DataPrepError, match=expected):
        merge(config_of(world, MANY_SHARDS, "unreadable=stop"), out)


@pytest.mark.parametrize("state", ["finished", "unfinished"])
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param("quality=90", "its quality is 95, this plan's is 90", id="packing"),
        pytest.param(
            "a label", "the images, the labels or the selection of source 'labels' have changed", id="a label"
        ),
        pytest.param(
            "an image", "the images, the labels or the selection of source 'coco' have changed", id="an image"
        ),
        pytest.param(
            "sources.labels.name=other",
            "its sources are coco, labels, this plan's are coco, other",
            id="name",
        ),
        pytest.param(
            "sources.coco.max_images=2", "or the selection of source 'coco' have changed", id="a try"
        ),
    ],
)
def test_the_differences_from_the_merge_in_the_folder_are_reported(
    world, tmp_path, config_of, monkeypatch, change, expected, state
):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        if state == "unfinished":
            patch.delitem(merge.__globals__, "write_index")
            with pytest.raises(NameError):
                merge(config_of(world), out)
        else:
            merge(config_of(world), out)
    before = contents(out)
    if change == "a label":
        (world / "labelled" / CAR / "0.jpg").rename(world / "labelled" / "n02123045" / "9.jpg")
    elif change == "an image":
        (world / "photos" / "003.jpg").write_bytes(encoded_image(3, quality=30))
    with pytest.raises(DataPrepError, match="holds another merge") as caught:
        merge(config_of(world, *([change] if "=" in change else [])), out)
    assert expected in str(caught.value)
    assert contents(out) == before


def test_a_tar_truncated_after_planning_stops_the_merge_and_the_next_one_counts_the_loss(tmp_path, config_of):
    with tarfile.open(tmp_path / "n02121808.tar", "w") as tar:
        for number in range(4):
            (tmp_path / "a.jpg").write_bytes(encoded_image(number))
            tar.add(tmp_path / "a.jpg", f"{number}.jpg")
    (tmp_path / "merge.yaml").write_text("sources: [{name: t, format: imagenet, images: tars}]")
    (tmp_path / "tars").mkdir()
    archive = (tmp_path / "n02121808.tar").rename(tmp_path / "tars" / "n02121808.tar")
    plan = make_plan(config_of(tmp_path))
    os.truncate(archive, 3000)
    with pytest.raises(DataPrepError, match="has changed since the merge was planned"):
        execute_plan(plan, tmp_path / "out")
    index = merge(config_of(tmp_path), tmp_path / "out")
    assert 0 < len(index) < 4
    assert any("damaged" in reason for reason in index.counts[0])


def test_a_damaged_tar_is_read_up_to_the_damage_or_stops_a_merge_that_does_not_drop_it(tmp_path, config_of):
    (tmp_path / "tars").mkdir()
    (tmp_path / "a.jpg").write_bytes(encoded_image(0))
    with tarfile.open(tmp_path / "tars" / "n02121808.tar", "w") as tar:
        for number in range(3):
            tar.add(tmp_path / "a.jpg", f"{number}.jpg")
    os.truncate(tmp_path / "tars" / "n02121808.tar", 3000)
    (tmp_path / "merge.yaml").write_text(
        "sources: [{name: t, format: imagenet, images: tars}]\nduplicates: keep"
    )
    with pytest.raises(
        DataPrepError, match=r"n02121808\.tar: damaged, the rest is not read: .* `unreadable: drop`"
    ):
        merge(config_of(tmp_path, "unreadable=stop"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert 0 < len(merge(config_of(tmp_path), tmp_path / "out")) < 3


def test_a_label_map_in_the_folder_of_the_shards_is_never_overwritten(world, tmp_path, config_of):
    written = tmp_path / "out" / "label_map.yaml"
    written.parent.mkdir()
    written.write_text(f"# checked by me\ncoco: {{cat: {CAR}}}\n")
    index = merge(config_of(world, f"label_map={written}"), tmp_path / "out")
    assert [index.tree.ids[row.node] for row in index.classes if row.name == "cat"] == [CAR]
    assert written.read_text().startswith("# checked by me\n")


def test_a_shard_without_read_permission_is_reported(shards, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    (shard, *_) = read_index(shards).shards
    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(DataPrepError, match=r"shard-00000\.h5: cannot be read \(Permission denied\)\."):
        read_source_ids(shards / shard.name, shards / shard.name, shard)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_folder_that_cannot_be_listed_is_reported(world, tmp_path, config_of):
    (world / "labelled").chmod(0)
    try:
        with pytest.raises(DataPrepError, match="cannot be listed; check its permissions"):
            merge(config_of(world), tmp_path / "out")
    finally:
        (world / "labelled").chmod(0o755)
