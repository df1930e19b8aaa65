"""What several tests of the detector share."""

import pytest

from wordtree.tree import WordTree


@pytest.fixture(scope="session")
def toy_tree() -> WordTree:
    """Seven nodes:

    0 animal ── 2 dog ── 6 terrier        1 vehicle ── 4 car
             └─ 3 cat                               └─ 5 boat
    """
    names = ["animal", "vehicle", "dog", "cat", "car", "boat", "terrier"]
    return WordTree(ids=[f"n{node:08d}" for node in range(7)], parents=[-1, -1, 0, 0, 1, 1, 2], names=names)
