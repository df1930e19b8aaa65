"""Fixtures of several tests of wordtree: a drawn tree, WordNet, lists of labels, reference folders."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from wordtree.tree.tree import WordTree
from wordtree.wordnet.graph import WordNet


@pytest.fixture(scope="session")
def toy_tree() -> WordTree:
    """A tree of seven nodes and two roots; by a relation, a terrier is also a hunter:

    0 animal ── 2 dog ── 6 terrier        1 hunter ── 4 falconer
             └─ 3 cat                              └─ 5 angler
    """
    names = ["animal", "hunter", "dog", "cat", "falconer", "angler", "terrier"]
    return WordTree([f"id{node}" for node in range(7)], [-1, -1, 0, 0, 1, 1, 2], names, [(6, 1)])


@pytest.fixture(scope="session")
def wordnet() -> WordNet:
    return WordNet.shipped()


@pytest.fixture(scope="session")
def installed_wordnet() -> Path:
    """The folder of an installed WordNet: WNSEARCHDIR, or the folder of Debian's wordnet-base."""
    folder = Path(os.environ.get("WNSEARCHDIR", "/usr/share/wordnet"))
    if not (folder / "data.noun").exists():
        pytest.skip("no installed WordNet 3.0: install Debian's wordnet-base or set WNSEARCHDIR")
    return folder


@pytest.fixture(scope="session")
def golden_trees() -> Path:
    return _folder("DARKNET_GOLDEN", "trees")


@pytest.fixture(scope="session")
def published() -> Path:
    """The folder with the published 9418-node tree."""
    return _folder("YOLO9000_TEST_DATA", "wordtree-9k")


@pytest.fixture(scope="session")
def imagenet_wnids() -> dict[str, list[str]]:
    """timm's lists of ImageNet's classes: "1k", "21k" and "22k"."""
    spec = find_spec("timm")
    if spec is None or spec.origin is None:
        pytest.skip("timm, with ImageNet's wnid lists, is not installed (extra 'test')")
    folder = Path(spec.origin).parent / "data" / "_info"
    files = {
        "1k": "imagenet_synsets.txt",
        "21k": "imagenet21k_goog_synsets.txt",
        "22k": "imagenet22k_ms_synsets.txt",
    }
    return {name: (folder / file).read_text().split() for name, file in files.items()}


def _folder(variable: str, name: str) -> Path:
    if not os.environ.get(variable):
        pytest.skip(f"{variable} is not set")
    return Path(os.environ[variable]) / name
