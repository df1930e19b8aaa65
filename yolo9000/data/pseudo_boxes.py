"""Pseudo-boxes: boxes that the model predicts for image labels during training (decision 27)."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch

from data_prep import ShardReader
from wordtree.support.arrays import Float32Array, Int64Array


@dataclass(frozen=True)
class PseudoBoxes:
    """One box for each of L image labels; training/draw_pseudo_boxes.py draws them."""

    label: Int64Array  # (L,) rows of the index's image labels, ascending
    key: Int64Array  # (L,) the same labels in any index of the same images (`label_keys`)
    xyxy_unit: Float32Array  # (L, 4)

    @classmethod
    def none(cls) -> PseudoBoxes:
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4), np.float32))

    @classmethod
    def for_labels(cls, reader: ShardReader, label: Int64Array, xyxy_unit: Float32Array) -> PseudoBoxes:
        """Boxes (L, 4) for the image labels in rows `label` (L,) of the index."""
        return cls(label, label_keys(reader, label), xyxy_unit)

    def transferred_to(self, reader: ShardReader) -> PseudoBoxes:
        """The boxes for the labels that another index still has, for instance after a repair or relabelling."""
        if not len(self.label):
            return self
        all_keys = label_keys(reader, np.arange(len(reader.label_nodes)))
        label = np.flatnonzero(np.isin(all_keys, self.key))
        order = np.argsort(self.key)
        kept = order[np.searchsorted(self.key, all_keys[label], sorter=order)]
        return PseudoBoxes(label, all_keys[label], self.xyxy_unit[kept])

    def in_rows(self, labels: slice) -> tuple[Int64Array, Float32Array]:
        """The boxes of the image labels in a range of rows: positions within the range, and boxes (…, 4)."""
        rows = slice(*np.searchsorted(self.label, [labels.start, labels.stop]))
        return self.label[rows] - labels.start, self.xyxy_unit[rows]

    def state_dict(self) -> dict[str, torch.Tensor]:
        columns = {"label": self.label, "key": self.key, "xyxy_unit": self.xyxy_unit}
        return {name: torch.from_numpy(column) for name, column in columns.items()}

    @classmethod
    def from_state_dict(cls, state: dict[str, torch.Tensor]) -> PseudoBoxes:
        return cls(*(state[name].numpy() for name in ("label", "key", "xyxy_unit")))


def label_keys(reader: ShardReader, rows: Int64Array) -> Int64Array:
    """A hash of source, image and node for each image label, independent of its row in the index, (L,)."""
    images = np.searchsorted(reader.label_offsets, rows, side="right") - 1
    nodes = reader.label_nodes[rows]
    names = [source.name for source in reader.sources]
    keys = np.zeros(len(rows), np.int64)
    for row, (image, node) in enumerate(zip(images.tolist(), nodes.tolist(), strict=True)):
        parts = (names[reader.image_source[image]], reader.source_id(image), reader.tree.ids[node])
        digest = blake2b("\0".join(parts).encode(), digest_size=8).digest()
        keys[row] = int.from_bytes(digest, "little", signed=True)
    return keys
