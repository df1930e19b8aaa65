"""Fixtures that several tests of the detector share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.yolo9000.made import made_config, made_shards
from wordtree.tree.tree import WordTree
from yolo9000.training.train import train


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


@pytest.fixture(scope="session")
def made_detector(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """best.pt of a short training on `shards`."""
    folder = tmp_path_factory.mktemp("made_detector")
    train(made_config(shards), folder)
    return folder / "best.pt"


@pytest.fixture
def scene(shards: Path) -> Image.Image:
    """A test scene: a square on noise, 64 × 64."""
    with Image.open(shards.parent / "test" / "images" / "0.png") as opened:
        return opened.convert("RGB")


@pytest.fixture
def photos(scene: Image.Image, tmp_path: Path) -> Path:
    """A folder with five images of several formats, a text and a folder."""
    folder = tmp_path / "photos"
    (folder / "more.png").mkdir(parents=True)
    (folder / "notes.txt").write_text("no image")
    for name in ("e.jpg", "d.PNG", "c.webp", "b.bmp", "a.jpeg"):
        scene.save(folder / name)
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread, as in the processes that a test starts: with more, some last digits are rounded otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
