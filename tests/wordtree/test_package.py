"""The public names and the cost of importing them."""

import subprocess
import sys
from pathlib import Path

import pytest

import wordtree

ROOT = Path(wordtree.__file__).parent


def test_every_error_is_a_wordtree_error() -> None:
    errors = [getattr(wordtree, name) for name in wordtree.__all__ if name.endswith(("Error", "Node"))]
    assert len(errors) >= 10
    assert all(issubclass(error, wordtree.WordTreeError) for error in errors)
    for error in errors:
        assert error is wordtree.WordTreeError or error.__name__ in str(wordtree.WordTreeError.__doc__)


@pytest.mark.parametrize("module", ["wordtree", "wordtree.cli"])
def test_importing_is_quick_and_loads_no_heavy_library(module: str) -> None:
    program = (
        "import sys; from time import process_time as now; before = set(sys.modules); start = now();"
        f"import {module}; seconds = now() - start;"
        "print(seconds, *{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    seconds, *modules = done.stdout.split()
    assert not {"torch", "h5py", "numpy", "nltk", "networkx"} & set(modules)
    assert module != "wordtree" or float(seconds) < 0.2


def test_wordnets_notice_is_the_same_in_the_package_and_with_the_licences() -> None:
    notice = (ROOT / "assets" / "WordNet-3.0.txt").read_text()
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in notice
    licences = ROOT.parent / "LICENSES"
    if licences.exists():  # a checkout, not an installed wheel
        assert (licences / "WordNet-3.0.txt").read_text() == notice
