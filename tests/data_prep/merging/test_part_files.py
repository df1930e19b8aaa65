"""No writer of data_prep touches files of the user that are named like its part files."""

from pathlib import Path

import pytest

from data_prep import merge
from data_prep.dataset.index_file import read_index, replace_index
from data_prep.synthetic.world_files import WorldError, write_world
from tests.part_names import folder_contents, write_part_like

DESCRIPTION = {"settings": {"images": 1}}


def write_description(folder: Path) -> None:
    (folder / "world.json").write_text('{"settings": {"images": 1}}')


def test_a_merge_keeps_them(world, tmp_path, config_of):
    names = [
        "shard-00000.h5",
        "index.h5",
        "unfinished.jsonl",
        "shards.jsonl",
        "left_out.csv",
        "label_map.yaml",
    ]
    kept = write_part_like(tmp_path / "out", *names)
    for _ in range(2):
        merge(config_of(world), tmp_path / "out")
        assert folder_contents(tmp_path / "out").items() >= kept.items()


def test_a_new_index_and_the_copy_of_the_old_one_keep_them(shards):
    kept = write_part_like(shards, "index.h5", "index.h5.bak")
    replace_index(shards, read_index(shards))
    assert (shards / "index.h5.bak").is_file()
    assert folder_contents(shards).items() >= kept.items()


def test_a_generated_world_keeps_them(tmp_path):
    kept = write_part_like(tmp_path, "world")
    write_world(tmp_path / "world", DESCRIPTION, write_description)
    write_world(tmp_path / "world", DESCRIPTION, write_description)
    assert folder_contents(tmp_path).items() >= kept.items()
    assert (tmp_path / "world" / "world.json").is_file()


def test_a_world_that_another_process_makes_is_refused(tmp_path):
    def write(folder: Path) -> None:
        with pytest.raises(WorldError, match="is writing into this folder"):
            write_world(tmp_path / "world", DESCRIPTION, write_description)
        write_description(folder)

    write_world(tmp_path / "world", DESCRIPTION, write)
