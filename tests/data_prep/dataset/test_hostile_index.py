"""An index by a stranger, with a right checksum: it reaches no file outside its folder, and is refused in one line."""

import json
import random
import time

import h5py
import numpy as np
import pytest

from data_prep import ShardReader
from data_prep.dataset.index_file import read_index, write_checksum
from data_prep.maintenance.check import check_shards
from data_prep.shards.format import ShardError


def change(path, action):
    """Change the index through HDF5, and write its checksum again."""
    with h5py.File(path, "r+") as file:
        action(file)
    write_checksum(path)


def change_metadata(path, action):
    def changed(file):
        metadata = json.loads(file["metadata"][:].tobytes())
        action(metadata)
        text = json.dumps(metadata) if not isinstance(metadata, str) else metadata
        del file["metadata"]
        file["metadata"] = np.frombuffer(text.encode(), np.uint8)

    change(path, changed)


def problem(shards):
    with pytest.raises(ShardError) as caught:
        read_index(shards)
    message = str(caught.value)
    assert "the index is damaged" in message or "expected an HDF5 file" in message
    assert "\n" not in message
    assert len(message) < 600
    return message


@pytest.mark.parametrize(
    "name",
    [
        "/etc/hostname",
        "../secret.h5",
        "sub/shard-00000.h5",
        "shard-00000.h5/../../secret",
        "shard-00000.h5\n",
        "shard-00000.H5",
        "shard-0.h5",
        "s3://bucket/shard-00000.h5",
        "shard-00000.h5\0",
        "shard-٠٠٠٠٠.h5",
        "",
    ],
)
def test_only_plain_names_of_shards_are_accepted(shards, name):
    change_metadata(shards / "index.h5", lambda metadata: metadata["shards"][0].update(name=name))
    assert "shards.0.name" in problem(shards)


def test_two_shards_of_one_name_are_refused(shards):
    def same(metadata):
        metadata["shards"][1]["name"] = metadata["shards"][0]["name"]

    change_metadata(shards / "index.h5", same)
    assert "two shards have the same name" in problem(shards)


def test_a_link_to_another_file_is_not_handed_out_as_images(shards, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("a private text of the reader\n" * 4)
    path = shards / "shard-00000.h5"
    path.unlink()
    path.symlink_to(secret)
    size = secret.stat().st_size

    def elsewhere(metadata):
        metadata["shards"][0].update(size_bytes=size, bytes_start=0, bytes_end=size)

    def whole_file(file):
        first = file["image_shard"][:] == 0
        for name, value in (("picture_start", 0), ("picture_size", size)):
            file[name][:] = np.where(first, value, file[name][:])

    change_metadata(shards / "index.h5", elsewhere)
    change(shards / "index.h5", whole_file)
    with pytest.raises(ShardError, match=r"shard-00000\.h5: expected an HDF5 file"):
        ShardReader(shards, verify=False).encoded(0)


def test_a_shard_whose_images_lie_elsewhere_than_the_index_says_is_refused(shards):
    change_metadata(shards / "index.h5", lambda metadata: metadata["shards"][0].update(bytes_start=0))
    with pytest.raises(ShardError, match="its images lie elsewhere than the index says"):
        ShardReader(shards).encoded(0)


def test_images_far_beyond_the_end_of_their_shard_are_damage_that_check_finds_at_once(shards):
    start = 2**52

    def far_away(metadata):
        for shard in metadata["shards"]:
            shard.update(bytes_start=start, bytes_end=start + 10**6, size_bytes=start + 10**6)

    change_metadata(shards / "index.h5", far_away)
    change(shards / "index.h5", lambda file: file["picture_start"].write_direct(np.full(12, start)))
    index, began = read_index(shards), time.process_time()
    assert [damage.part for damage in check_shards(shards, index).damages] == ["shard"] * 6
    assert time.process_time() - began < 5


def test_a_shard_on_another_disk_may_be_linked(shards, tmp_path):
    path = shards / "shard-00000.h5"
    path.rename(tmp_path / "elsewhere.h5")
    path.symlink_to(tmp_path / "elsewhere.h5")
    assert len(ShardReader(shards).encoded(0))


@pytest.mark.parametrize("name", ["label_class", "label_flags", "boxes_xyxy_unit", "image_source"])
def test_rows_that_are_nowhere_on_disk_are_refused_without_memory(shards, name):
    def bomb(file):
        dtype = file[name].dtype
        del file[name]
        file.create_dataset(
            name, (3 * 10**8, *((4,) if "xyxy" in name else ())), dtype, chunks=True, compression="gzip"
        )

    change(shards / "index.h5", bomb)
    assert f"{name} is no plain dataset" in problem(shards)


ODD_VALUES = [
    ("shards.0.images", -1),
    ("shards.0.images", 10**30),
    ("shards.0.images", "3"),
    ("shards.0.images", 1.5),
    ("shards.0.images", 0),
    ("shards.0.bytes_end", 10**12),
    ("shards.0.bytes_end", 0),
    ("shards.0.sha256", "x"),
    ("shards.0.counts", {"0": {"a": -1}}),
    ("shards.0.counts", {"9": {"a": 1}}),
    ("shards.0.counts", {"x": {}}),
    ("shards.0.left_out", [[0, "a"]]),
    ("shards.0.left_out", [[9, "a", "b"]]),
    ("shards.0", []),
    ("sources.0.repeat", float("nan")),
    ("sources.0.repeat", float("inf")),
    ("sources.0.repeat", 0),
    ("sources.0.name", ["coco"]),
    ("sources.0.name", {}),
    ("sources.0.exhaustive", [10**6]),
    ("sources.0.exhaustive", [-1]),
    ("sources.0.exhaustive", "abc"),
    ("classes.0.source", 9),
    ("classes.0.source", -1),
    ("classes.0.node", 10**6),
    ("classes.0.node", -2),
    ("classes.0.name", None),
    ("classes", {}),
    ("splits", [1]),
    ("splits", "train"),
    ("plan_counts", [{}, {}, {}]),
    ("plan_counts", [{"a": 1e300}]),
    ("tree", []),
    ("tree.nodes", [[]]),
    ("tree.nodes", 5),
    ("provenance", "x"),
]


@pytest.mark.parametrize(("position", "value"), ODD_VALUES, ids=str)
def test_odd_values_in_the_metadata_are_refused(shards, position, value):
    def spoil(metadata):
        *keys, last = (int(key) if key.isdigit() else key for key in position.split("."))
        for key in keys:
            metadata = metadata[key]
        metadata[last] = value

    change_metadata(shards / "index.h5", spoil)
    problem(shards)


@pytest.mark.parametrize("text", ["", "[", "null", "[" * 10**6, '{"tree":' * 10**5, "1" * 10**5, '"\\ud800"'])
def test_metadata_that_is_no_json_object_is_refused(shards, text):
    def replace(file):
        del file["metadata"]
        file["metadata"] = np.frombuffer(text.encode(), np.uint8)

    change(shards / "index.h5", replace)
    problem(shards)


def test_deep_provenance_is_refused_or_harmless(shards):
    deep = "[" * 5000 + "]" * 5000

    def replace(file):
        text = (
            file["metadata"][:]
            .tobytes()
            .decode()
            .replace('"provenance": {', f'"provenance": {{"deep": {deep}, ')
        )
        del file["metadata"]
        file["metadata"] = np.frombuffer(text.encode(), np.uint8)

    change(shards / "index.h5", replace)
    problem(shards)


ODD_COLUMNS = [
    ("boxes_xyxy_unit", np.nan),
    ("boxes_xyxy_unit", np.inf),
    ("boxes_xyxy_unit", -5),
    ("image_width", 0),
    ("image_height", -3),
    ("picture_start", 2**63 - 10),
    ("picture_start", -(2**63)),
    ("picture_size", -1),
    ("picture_size", 2**31 - 1),
    ("box_offsets", -1),
    ("box_offsets", 2**63 - 1),
    ("image_place", -1),
    ("image_place", 2**31 - 1),
    ("image_split", -2),
    ("image_split", 99),
]


@pytest.mark.parametrize(("name", "value"), ODD_COLUMNS, ids=str)
@pytest.mark.parametrize("row", [0, -1])
def test_odd_values_in_the_columns_are_refused(shards, name, value, row):
    def spoil(file):
        column = file[name][:]
        column.reshape(-1)[row] = value
        file[name][:] = column

    change(shards / "index.h5", spoil)
    problem(shards)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("boxes_xyxy_unit", np.zeros((1, 2, 2, 4), np.float32)),
        ("boxes_xyxy_unit", np.zeros(16, np.float32)),
        ("image_width", np.zeros((4, 3), np.int32)),
        ("image_width", np.zeros((), np.int32)),
        ("image_source", np.zeros(12, np.int64)),
        ("box_offsets", np.zeros(13, np.float64)),
        ("box_offsets", np.zeros((0,), np.int64)),
    ],
    ids=str,
)
def test_columns_of_another_shape_or_type_are_refused(shards, name, column):
    def spoil(file):
        del file[name]
        file[name] = column

    change(shards / "index.h5", spoil)
    problem(shards)


def test_a_changed_byte_under_a_right_checksum_is_refused_or_harmless(shards):
    """No exception but ShardError, whichever byte a stranger changes."""
    path = shards / "index.h5"
    whole = path.read_bytes()
    rng, outcomes = random.Random(0), set()
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            content[rng.randrange(512, len(content))] = rng.choice(
                [0, 1, 8, 16, 127, 128, 255, rng.randrange(256)]
            )
        path.write_bytes(content)
        write_checksum(path)
        try:
            reader = ShardReader(shards)
            for image in range(len(reader)):
                reader.encoded(image)
                reader.source_id(image)
            outcomes.add("read")
        except ShardError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.slow
def test_every_changed_byte_under_a_right_checksum_is_refused_or_harmless(shards):
    path = shards / "index.h5"
    whole = path.read_bytes()
    for position in range(512, len(whole)):
        content = bytearray(whole)
        content[position] ^= 0xFF if position % 2 else 1
        path.write_bytes(content)
        write_checksum(path)
        try:
            reader = ShardReader(shards)
            reader.encoded(0)
        except ShardError:
            continue
