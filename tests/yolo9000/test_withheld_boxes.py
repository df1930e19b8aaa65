"""benchmarks/withheld_boxes.py: which boxes and image labels the joint and the oracle's data keep."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from PIL import Image

from data_prep import MergeConfig, ShardReader, load_config, merge

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "withheld_boxes.py"
FISH, SHARK, BIRD = "n02512053", "n01482330", "n01503061"
OBJECTS = {  # classes of the objects in each image of the training split
    "fish": [FISH],
    "both": [FISH, SHARK],
    "shark": [SHARK],
    "birds": [BIRD, BIRD],
    "empty": [],
}


@pytest.fixture(scope="module")
def withheld_boxes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("withheld_boxes", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["withheld_boxes"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def merge_file(tmp_path: Path) -> Path:
    """A MERGE.yaml of five training images and a test image with boxes of fish, sharks (fish, too) and birds."""
    images = tmp_path / "photos"
    images.mkdir()
    for split, objects in (("train", OBJECTS), ("test", {"all": [FISH, SHARK, BIRD]})):
        for number, name in enumerate(objects):
            Image.new("RGB", (40, 30), (9 * number, 90 if split == "train" else 0, 200)).save(
                images / f"{split}_{name}.png"
            )
        listed = [
            {"id": k, "file_name": f"{split}_{name}.png", "width": 40, "height": 30}
            for k, name in enumerate(objects)
        ]
        boxes = [
            {
                "id": 10 * k + j,
                "image_id": k,
                "category_id": int(wnid[1:]),
                "bbox": [4 * j, 2, 12, 10],
                "iscrowd": 0,
            }
            for k, wnids in enumerate(objects.values())
            for j, wnid in enumerate(wnids)
        ]
        categories = [{"id": int(wnid[1:]), "name": wnid} for wnid in (FISH, SHARK, BIRD)]
        annotations = {"images": listed, "annotations": boxes, "categories": categories}
        (tmp_path / f"{split}.json").write_text(json.dumps(annotations))
    sources = [
        {"name": s, "format": "coco", "images": "photos", "annotations": f"{s}.json", "split": s}
        for s in ("train", "test")
    ]
    path = tmp_path / "merge.yaml"
    path.write_text(yaml.safe_dump({"sources": sources}))
    return path


def test_label_only_classes_keep_image_labels_and_the_oracle_all_boxes(
    withheld_boxes: ModuleType, merge_file: Path, tmp_path: Path
) -> None:
    setting = withheld_boxes.Withheld(merge_file, ("fish.n.01",))
    reader = withheld_boxes.merged(setting, tmp_path / "runs", 1)
    world = tmp_path / "runs" / "seed0" / "world"
    withheld_boxes.withhold(setting, reader, world, seed=0, test_split="test")
    joint, oracle = (
        merged(world / name, tmp_path / "runs" / name) for name in ("merge.yaml", "merge_oracle.yaml")
    )
    assert labels(joint, "boxes") == {"fish": [FISH], "both": [FISH], "empty": []}
    assert labels(joint, "labels") == {"shark": [SHARK], "birds": [BIRD]}
    assert labels(oracle, "boxes") == {"fish": [FISH], "both": [FISH, SHARK], "empty": []}
    assert labels(oracle, "labels") == {"shark": [SHARK], "birds": [BIRD, BIRD]}
    assert [joint.label_counts.supervision(joint.tree.node(wnid)) for wnid in (FISH, SHARK, BIRD)] == [
        "boxes", "image labels", "image labels",
    ]  # fmt: skip
    for shards in (joint, oracle):
        assert labels(shards, "test") == {"all": [FISH, SHARK, BIRD]}
    # Sharks are fish and have no boxes, so fish without a box may be in a scene.
    assert not joint.exhaustive_by_source[0].any()
    assert oracle.exhaustive_by_source[0, oracle.tree.node(SHARK)]


def test_half_of_the_classes_keep_their_boxes_and_the_seed_draws_them(
    withheld_boxes: ModuleType, merge_file: Path, tmp_path: Path
) -> None:
    setting = withheld_boxes.Withheld(merge_file)
    reader = withheld_boxes.merged(setting, tmp_path / "runs", 1)
    drawn = [withheld_boxes.boxed_nodes(setting, reader, seed) for seed in range(8)]
    assert all(len(nodes) == 1 for nodes in drawn)
    assert drawn[3] == withheld_boxes.boxed_nodes(setting, reader, 3)
    assert set().union(*drawn) == {reader.tree.node(wnid) for wnid in (FISH, SHARK, BIRD)}


@pytest.mark.parametrize(
    ("boxed", "expected"),
    [
        pytest.param(("vertebrate",), "--boxed .*no boxes in training; classes with boxes: .*shark", id="none"),
        pytest.param((FISH, SHARK, BIRD), "--boxed names all classes with boxes", id="all"),
    ],
)  # fmt: skip
def test_classes_that_cannot_be_withheld_are_refused(
    withheld_boxes: ModuleType, merge_file: Path, tmp_path: Path, boxed: tuple[str, ...], expected: str
) -> None:
    setting = withheld_boxes.Withheld(merge_file, boxed)
    reader = withheld_boxes.merged(setting, tmp_path / "runs", 1)
    with pytest.raises(withheld_boxes.WithheldError, match=expected):
        withheld_boxes.withhold(setting, reader, tmp_path / "world", seed=0, test_split="test")
    assert not (tmp_path / "world").exists()


def merged(config: Path, folder: Path) -> ShardReader:
    merge(load_config(config, MergeConfig), folder, workers=1)
    return ShardReader(folder)


def labels(reader: ShardReader, source: str) -> dict[str, list[str]]:
    """Ids of the boxes and image labels of each image of a source, by the original name of the image."""
    number = [one.name for one in reader.sources].index(source)
    names = [*OBJECTS] if source != "test" else ["all"]
    found = {}
    for image in range(len(reader)):
        if reader.image_source[image] == number:
            boxes = slice(reader.box_offsets[image], reader.box_offsets[image + 1])
            named = slice(reader.label_offsets[image], reader.label_offsets[image + 1])
            nodes = [*reader.box_nodes[boxes], *reader.label_nodes[named]]
            position = int(Path(reader.source_id(image)).stem) - (0 if source != "test" else len(OBJECTS))
            found[names[position]] = [reader.tree.ids[node] for node in nodes]
    return found
