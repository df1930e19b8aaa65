"""Writes index.h5 as format version 2, as the program did before it wrote version 3."""

import json
from pathlib import Path

import h5py
import numpy as np

from data_prep.dataset.index import Index, label_counts_of
from data_prep.dataset.index_file import CHECKSUM_BYTES, write_checksum
from data_prep.shards.format import INDEX_FORMAT
from data_prep.shards.hdf5_files import write_format

TEXT = h5py.string_dtype("utf-8")


def write_index_v2(folder: Path, index: Index) -> None:
    path = folder / "index.h5"
    path.unlink(missing_ok=True)
    with h5py.File(path, "w", userblock_size=CHECKSUM_BYTES) as file:
        write_format(file, INDEX_FORMAT, 2)
        for name, values in (index.columns | numbers(index) | texts(index)).items():
            file[name] = values
    write_checksum(path)


def numbers(index):
    sources, classes, shards, label_counts = (
        index.sources,
        index.classes,
        index.shards,
        label_counts_of(index),
    )
    return {
        "source_boxes": np.array([source.has_boxes for source in sources], np.uint8),
        "source_federated": np.array([source.is_federated for source in sources], np.uint8),
        "source_repeat": np.array([source.repeat for source in sources], np.float64),
        "vouched_offsets": np.cumsum([0, *(len(source.exhaustive) for source in sources)], dtype=np.int64),
        "vouched_nodes": np.concatenate([source.exhaustive for source in sources]).astype(np.int32),
        "class_source": np.array([row.source for row in classes], np.int32),
        "class_node": index.class_node.astype(np.int32),
        "shard_images": np.array([shard.images for shard in shards], np.int64),
        "shard_size_bytes": np.array([shard.size_bytes for shard in shards], np.int64),
        "shard_pictures_first": np.array([shard.bytes_start for shard in shards], np.int64),
        "shard_pictures_end": np.array([shard.bytes_end for shard in shards], np.int64),
        "ledger_boxes": label_counts.boxes,
        "ledger_image_labels": label_counts.image_labels,
        "count_shard": np.array([row[0] for row in count_rows(index)], np.int32),
        "count_source": np.array([row[1] for row in count_rows(index)], np.int32),
        "count_number": np.array([row[3] for row in count_rows(index)], np.int64),
        "left_out_shard": np.array([row[0] for row in left_out_rows(index)], np.int32),
        "left_out_source": np.array([row[1] for row in left_out_rows(index)], np.int32),
    }


def texts(index):
    lists = {
        "source_name": [source.name for source in index.sources],
        "split_name": index.split_names,
        "class_name": [row.name for row in index.classes],
        "class_alias": [row.alias for row in index.classes],
        "class_reason": [row.reason for row in index.classes],
        "shard_name": [shard.name for shard in index.shards],
        "shard_sha256": [shard.sha256 for shard in index.shards],
        "shard_frame_sha256": [shard.frame_sha256 for shard in index.shards],
        "shard_content_sha256": ["of no use any more" for _ in index.shards],
        "count_reason": [row[2] for row in count_rows(index)],
        "left_out_id": [row[2] for row in left_out_rows(index)],
        "left_out_reason": [row[3] for row in left_out_rows(index)],
    }
    alone = {
        "tree": index.tree.to_json(),
        "tree_fingerprint": index.tree.fingerprint,
        "provenance": json.dumps(index.provenance, sort_keys=True),
    }
    return {name: np.array([text.encode() for text in rows], TEXT) for name, rows in lists.items()} | {
        name: np.array(text.encode(), TEXT) for name, text in alone.items()
    }


def count_rows(index):
    """Number of the shard (-1: planning), number of the source, reason, count."""
    of_shards = [(-1, dict(enumerate(index.plan_counts)))]
    of_shards += [(number, dict(shard.counts)) for number, shard in enumerate(index.shards)]
    return [
        (number, source, reason, count)
        for number, counts in of_shards
        for source, by_reason in counts.items()
        for reason, count in by_reason.items()
    ]


def left_out_rows(index):
    """Number of the shard, number of the source, source id, reason."""
    return [(number, *row) for number, shard in enumerate(index.shards) for row in shard.left_out]
