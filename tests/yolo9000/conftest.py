"""Fixtures that several tests of the detector share."""

from pathlib import Path

import pytest

from tests.yolo9000.made import made_shards
from wordtree.tree.tree import WordTree


@pytest.fixture(scope="session")
def toy_tree() -> WordTree:
    """Seven nodes:

    0 animal ── 2 dog ── 6 terrier        1 vehicle ── 4 car
             └─ 3 cat                               └─ 5 boat
    """
    names = ["animal", "vehicle", "dog", "cat", "car", "boat", "terrier"]
    return WordTree(ids=[f"n{node:08d}" for node in range(7)], parents=[-1, -1, 0, 0, 1, 1, 2], names=names)


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small merged data set of coloured squares; see `made_shards`."""
    return made_shards(tmp_path_factory.mktemp("made"))
