"""docs/shard_format.md and the files agree."""

import re
from pathlib import Path

import h5py
import numpy as np

from data_prep import ShardReader
from data_prep.shards.format import SHARD_DATASETS

ROOT = Path(__file__).parents[3]


def test_the_documented_example_reads_with_h5py_alone(shards):
    text = (ROOT / "docs" / "shard_format.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    names = {}
    exec(example[1], names)
    reader = ShardReader(shards)
    ids = reader.tree.ids
    for image in range(len(reader)):
        encoded, boxes, labels = names["read_image"](shards, image)
        assert encoded == reader.encoded(image).tobytes()
        box_rows = np.arange(len(reader.box_nodes))[rows(reader.box_offsets, image)]
        box_rows = box_rows[~reader.box_ignored[box_rows]]
        assert [box[0] for box in boxes] == [ids[node] for node in reader.box_nodes[box_rows]]
        corners = np.array([box[1:] for box in boxes], dtype=np.float32).reshape(-1, 4)
        assert np.array_equal(corners, reader.boxes_xyxy_unit[box_rows])
        label_rows = np.arange(len(reader.label_nodes))[rows(reader.label_offsets, image)]
        label_rows = label_rows[reader.label_positive[label_rows]]
        assert labels == [ids[node] for node in reader.label_nodes[label_rows]]


def rows(offsets, image):
    return slice(offsets[image], offsets[image + 1])


def test_the_documentation_names_every_dataset(shards):
    text = (ROOT / "docs" / "shard_format.md").read_text(encoding="utf-8")
    with h5py.File(shards / "index.h5") as index, h5py.File(shards / "shard-00000.h5") as shard:
        assert set(shard) == set(SHARD_DATASETS)
        missing = {name for name in (*index, *shard) if f"`{name}`" not in text}
    assert missing == set()


def test_shards_are_flat_contiguous_and_of_the_documented_types(shards):
    with h5py.File(shards / "shard-00000.h5") as file:
        for name, dtype in SHARD_DATASETS.items():
            assert (file[name].dtype, file[name].chunks, file[name].compression) == (dtype, None, None)
        assert dict(file.attrs) == {"format": b"yolo9000 shard", "version": 2}
