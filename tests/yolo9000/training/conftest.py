"""Fixtures that several tests of training share."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_prep import MergeConfig, merge
from tests.yolo9000.made import made_shards
from tests.yolo9000.training.runs import random_tree_with_made_classes


@pytest.fixture(scope="module")
def large_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made images under a random tree of 9418 nodes, as many as the paper's."""
    folder = tmp_path_factory.mktemp("large")
    made_shards(folder)
    random_tree_with_made_classes(9418).save(folder / "tree.json")
    coco = [
        {"name": name, "format": "coco", "images": str(folder / split / "images"), "split": split}
        | {"annotations": str(folder / split / "instances.json")}
        for name, split in (("scenes", "train"), ("test", "test"))
    ]
    labels = {"name": "labels", "format": "imagenet", "images": str(folder / "labels")}
    config = {"sources": [*coco, labels], "tree": str(folder / "tree.json")}
    merge(MergeConfig.model_validate(config), folder / "large")
    return folder / "large"
