"""Generated images whose colour encodes their index, and a small world of them to merge."""

import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from data_prep import cli, merge
from data_prep.config import MergeConfig
from wordtree.support.config_files import load_config

CAT, DOG, CAR, TABBY = "n02121808", "n02084071", "n02958343", "n02123045"


def colour_of(index: int) -> tuple[int, int, int]:
    """The colour of an image; colours of neighbours differ so much that JPEG cannot confuse them."""
    return (index * 40 % 250, index * 90 % 250, index * 160 % 250)


def encoded_image(
    index: int, size: tuple[int, int] = (40, 30), kind: str = "JPEG", mode: str = "RGB", **options: Any
) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour_of(index)).convert(mode).save(file, kind, **options)
    return file.getvalue()


def write_coco(
    folder: Path, images: Sequence[dict[str, Any]], boxes: Sequence[dict[str, Any]], names: Sequence[str]
) -> None:
    """Write an instances file; category ids are 10, 20, …"""
    categories = [{"id": 10 * (number + 1), "name": name} for number, name in enumerate(names)]
    document = {"images": list(images), "annotations": list(boxes), "categories": categories}
    (folder / "instances.json").write_text(json.dumps(document), encoding="utf-8")


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A new world for each test."""
    return make_world(tmp_path / "world")


@pytest.fixture(scope="session")
def _merged_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("merged")
    config = load_config(make_world(folder / "world") / "merge.yaml", MergeConfig, ["shard_mb=0.001"])
    merge(config, folder / "shards")
    return folder / "shards"


@pytest.fixture
def shards(_merged_once: Path, tmp_path: Path) -> Path:
    """A copy of the merged world, in more than three shards, that a test may damage."""
    assert len(list(_merged_once.glob("shard-*.h5"))) > 3
    return shutil.copytree(_merged_once, tmp_path / "shards")


def make_world(folder: Path) -> Path:
    """Write six COCO images with four boxes in total, two wnid folders of three images each, and merge.yaml."""
    (folder / "photos").mkdir(parents=True)
    images, boxes = [], []
    for index in range(6):
        name = f"{index:03d}.jpg"
        (folder / "photos" / name).write_bytes(encoded_image(index))
        images.append({"id": index, "file_name": name, "width": 40, "height": 30})
        for number in range(index % 3 if index < 5 else 0):
            bbox = [4 * number, 3, 20, 15]
            boxes.append(
                {"id": len(boxes), "image_id": index, "category_id": 10 * (number + 1), "bbox": bbox}
            )
    boxes[0]["iscrowd"] = 1
    write_coco(folder, images, boxes, ["cat", "dog", "car"])
    for class_index, wnid in enumerate((TABBY, CAR)):
        (folder / "labelled" / wnid).mkdir(parents=True)
        for number in range(3):
            index = 6 + 3 * class_index + number
            (folder / "labelled" / wnid / f"{number}.jpg").write_bytes(encoded_image(index, (30, 30)))
    sources = [
        {"name": "coco", "format": "coco", "annotations": "instances.json", "images": "photos"},
        {"name": "labels", "format": "imagenet", "images": "labelled"},
    ]
    (folder / "merge.yaml").write_text(yaml.safe_dump({"sources": sources}), encoding="utf-8")
    return folder


@pytest.fixture
def config_of() -> Callable[..., MergeConfig]:
    """A function that loads the configuration of a world, with overrides."""

    def load(world: Path, *overrides: str) -> MergeConfig:
        return load_config(world / "merge.yaml", MergeConfig, overrides)

    return load


Outcome = tuple[int, str, str]  # exit code, stdout and stderr of a command


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """A function that runs `data-prep` with arguments in this process."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["data-prep", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capfd.readouterr()
        code = caught.value.code
        return code if isinstance(code, int) else 0, out, err

    return run


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images; skips the test if there is none."""
    folder = os.environ.get("YOLO9000_TEST_DATA")
    if not folder:
        pytest.skip("YOLO9000_TEST_DATA names no folder of real images")
    return Path(folder)
