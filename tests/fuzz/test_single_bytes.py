"""A reader of all names and images detects every single-byte change of a small shard and index, and so does `check`."""

import contextlib
from pathlib import Path

import pytest

from data_prep.dataset.index_file import read_index
from data_prep.errors import DataPrepError
from data_prep.maintenance.check import check_shards
from data_prep.shards.format import INDEX_NAME
from tests.fuzz.shards import SHARD, contents, make_shards

FLIPS = (0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFF)  # xor: each bit, and all


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("single"), shard_mb=0.001)


def harmful_changes(shards: Path, name: str, positions: range) -> tuple[list[tuple[int, int]], int]:
    """The changes that a reader accepts although they change what it gives, and the number of detected changes."""
    path, images = shards / name, read_index(shards).shards[0].images
    expected = contents(shards, most=images)
    whole = path.read_bytes()
    harmful, detected = [], 0
    try:
        for position in positions:
            for flip in FLIPS:
                changed = bytearray(whole)
                changed[position] ^= flip
                path.write_bytes(changed)
                with contextlib.suppress(DataPrepError):
                    if contents(shards, most=images) != expected:
                        harmful.append((position, flip))
                    continue
                detected += 1
    finally:
        path.write_bytes(whole)
    return harmful, detected


@pytest.mark.parametrize("name", [SHARD, INDEX_NAME])
def test_some_single_byte_changes_are_detected(shards, name):
    size = (shards / name).stat().st_size
    places = range(0, size, max(1, size // 12))
    harmful, detected = harmful_changes(shards, name, places)
    assert harmful == []
    assert detected == len(places) * len(FLIPS)


@pytest.mark.slow
def test_every_single_byte_change_of_a_shard_is_detected(shards):
    size = (shards / SHARD).stat().st_size
    harmful, detected = harmful_changes(shards, SHARD, range(size))
    assert harmful == []
    assert detected == size * len(FLIPS)


@pytest.mark.slow
def test_every_single_byte_change_of_an_index_is_detected(shards):
    size = (shards / INDEX_NAME).stat().st_size
    harmful, detected = harmful_changes(shards, INDEX_NAME, range(size))
    assert harmful == []
    assert detected == size * len(FLIPS)


@pytest.mark.slow
def test_check_finds_every_single_byte_change_of_a_shard(shards):
    path, index = shards / SHARD, read_index(shards)
    whole = path.read_bytes()
    try:
        for position in range(len(whole)):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
            assert [damage.file for damage in check_shards(shards, index).damages] == [SHARD], position
    finally:
        path.write_bytes(whole)
