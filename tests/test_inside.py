"""Outputs never leave their folder, whatever images and classes are called, and whatever links lie in the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from data_prep import merge
from tests.data_prep.conftest import config_of, world  # noqa: F401 - fixtures
from tests.part_names import folder_contents
from tests.yolo9000.made import made_config
from wordtree.support.outputs import OutputError, is_inside, refuse_links_out
from wordtree.tree.tree import WordTree
from yolo9000.inference.darknet_results import _in_file_name
from yolo9000.inference.sources import FoundImages, ImageItem
from yolo9000.predictions.annotated import AnnotatedFiles
from yolo9000.predictions.formats import write_format
from yolo9000.predictions.result_log import ResultLog
from yolo9000.training.run_folder import prepare_folder

ODD = (
    "../evil.jpg",
    "../../evil.jpg",
    "a/../../evil.jpg",
    "/etc/evil.jpg",
    "sub/evil.jpg",
    "..",
    "../",
    ".",
    "a/..",
)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output folder of a stranger, with a link to a folder outside, and links to files outside."""
    folder, outside = tmp_path / "deep" / "er" / "out", tmp_path / "outside"
    outside.mkdir()
    folder.mkdir(parents=True)
    (outside / "mine.txt").write_text("mine")
    (folder / "sub").symlink_to(outside)
    (folder / "evil.jpg").symlink_to(outside / "evil.jpg")
    for name in ("report.html", "detections.json", "index.h5"):
        (folder / name).symlink_to(outside / "mine.txt")
    return folder


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_not(out: Path) -> None:
    (out / "real.pt").write_text("x")
    (out / "link.pt").symlink_to("real.pt")
    refuse_links_out(out, ["absent", "real.pt", "link.pt"])
    with pytest.raises(OutputError, match=r"report\.html: is a link that leads outside its folder; remove"):
        refuse_links_out(out, ["real.pt", "report.html"])
    assert is_inside(out / "x" / "y", out)
    assert not is_inside(out / "sub" / "y", out)


def test_annotated_images_stay_in_the_folder(out: Path) -> None:
    files = AnnotatedFiles(out, FoundImages(), [])
    items = [ImageItem(name, lambda: torch.zeros(3, 1, 1), name) for name in (*ODD, "evil.jpg")]
    paths = [files.path_of(item) for item in items]
    assert len(set(paths)) == len(items)
    for path in paths:
        assert is_inside(path, out), path
        assert path.suffix == ".jpg"


@pytest.mark.parametrize("names", [ODD, ("a/b.jpg", *ODD[:3]), ("http://a/../../x.jpg", *ODD)], ids=str)
def test_label_files_stay_in_the_folder(
    tmp_path: Path, out: Path, toy_tree: WordTree, names: tuple[str, ...]
) -> None:
    (out / "labels").mkdir()
    (out / "labels" / "sub").symlink_to(tmp_path / "outside")
    with ResultLog(tmp_path / "log.jsonl") as log:
        for name in names:
            log.add({"image": name, "width_px": 4, "height_px": 4, "detections": []})
    write_format("yolo", tmp_path / "log.jsonl", [out / "labels", out / "data.yaml"], toy_tree)
    written = [path for path in tmp_path.rglob("*.txt") if path.name != "mine.txt"]
    assert len(written) == len(names)
    assert all(is_inside(path, out / "labels") for path in written)
    assert folder_contents(tmp_path / "outside") == {"mine.txt": b"mine"}


@pytest.mark.parametrize("name", ["../../evil", "a/b", "..\\evil", "x\0y"])
def test_a_class_name_is_part_of_a_file_name_only(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"comp4_det_test_{_in_file_name(name)}.txt"
    path.write_text("x")
    assert path.resolve().parent == tmp_path.resolve()


def test_a_training_run_and_a_merge_write_through_no_link(
    tmp_path: Path,
    out: Path,
    world: Path,  # noqa: F811
    config_of: Any,  # noqa: F811
) -> None:
    (out / "last.pt").write_text("x")
    with pytest.raises(OutputError, match="outside its folder"):
        prepare_folder(out, made_config(tmp_path / "shards"), step=0)
    with pytest.raises(OutputError, match="outside its folder"):
        merge(config_of(world), out)
    assert folder_contents(tmp_path / "outside") == {"mine.txt": b"mine"}


@pytest.fixture
def toy_tree() -> WordTree:
    return WordTree(["a", "b"], [-1, 0])
