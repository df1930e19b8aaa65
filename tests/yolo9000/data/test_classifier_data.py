"""The images and labels of a classifier's batches."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data_prep import MergeConfig, ShardReader, merge
from tests.yolo9000.made import COLOURS
from yolo9000.config import PretrainConfig
from yolo9000.data.classifier_data import (
    ClassifierBatch,
    ClassifierData,
    ClassifierTestData,
    labelled_images,
    labels_of_images,
    read_example,
    training_images,
    training_nodes,
)
from yolo9000.data.sampler import DataMismatch

DOG, CAT, CAR, BOAT = COLOURS
TABLE = {  # image: its positive and (-) negative labels; its colour is that of the first label
    "a": [DOG],
    "b": [CAT, CAR],
    "c": [BOAT, "-" + CAT],
    "d": ["-" + DOG],
    "e": [CAR],
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of TABLE, and two with boxes only."""
    folder = tmp_path_factory.mktemp("labelled")
    for name in ("labels", "boxes"):
        (folder / name).mkdir()
    lines = ["image,class,positive"]
    for image, labels in TABLE.items():
        colour = COLOURS[labels[0].removeprefix("-")]
        Image.new("RGB", (40, 30), colour).save(folder / "labels" / f"{image}.png")
        lines += [f"{image}.png,{one.removeprefix('-')},{int(one[0] != '-')}" for one in labels]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    lines = ["image,class,xmin,ymin,xmax,ymax"]
    for number in range(2):
        Image.new("RGB", (40, 30), (9, 9, number)).save(folder / "boxes" / f"{number}.png")
        lines.append(f"{number}.png,{DOG},5,5,20,20")
    (folder / "boxes.csv").write_text("\n".join(lines) + "\n")
    sources = [
        {
            "name": name,
            "format": "csv",
            "images": str(folder / name),
            "annotations": str(folder / f"{name}.csv"),
        }
        for name in ("boxes", "labels")
    ]
    merge(MergeConfig.model_validate({"sources": sources}), folder / "shards")
    return folder / "shards"


def config(shards: Path, **changes: object) -> PretrainConfig:
    values = {
        "model": {"architecture": "tiny", "width": 0.25, "input_size_px": 32},
        "data": {"shards": shards, "batch_size": 4},
        "augment": {"hue": 0, "saturation": 1, "exposure": 1, "shorter_side": [1, 1.5]},
        "schedule": {"max_steps": 4},
        "evaluate": {"split": "train", "batch_size": 3},
    }
    return PretrainConfig.model_validate(json.loads(json.dumps({**values, **changes}, default=str)))


def names_of(reader: ShardReader, images: np.ndarray) -> list[str]:
    return [Path(reader.source_id(image)).stem for image in images.tolist()]


def test_images_with_positive_labels_are_used(shards: Path) -> None:
    reader = ShardReader(shards)
    assert len(reader) == 7
    assert names_of(reader, labelled_images(reader, "train")) == ["a", "b", "c", "e"]


def test_an_image_has_all_its_positive_labels(shards: Path) -> None:
    reader = ShardReader(shards)
    images = labelled_images(reader, "train")
    image, node = labels_of_images(reader, images[::-1])
    found = [
        (names_of(reader, images[::-1])[k], reader.tree.ids[n]) for k, n in zip(image, node, strict=True)
    ]
    assert found == [("e", CAR), ("c", BOAT), ("b", CAT), ("b", CAR), ("a", DOG)]


def test_the_classes_are_the_nodes_with_positive_labels(shards: Path) -> None:
    reader = ShardReader(shards)
    nodes = training_nodes(reader, config(shards))
    assert nodes.tolist() == sorted(nodes.tolist())
    assert {reader.tree.ids[node] for node in nodes} == set(COLOURS)


def test_a_split_without_image_labels_is_reported(shards: Path) -> None:
    with pytest.raises(DataMismatch, match=r"split 'val' is not in the shards; they have: train"):
        labelled_images(ShardReader(shards), "val")


def test_every_labelled_image_is_drawn_once_in_each_epoch_with_its_colour(shards: Path) -> None:
    reader = ShardReader(shards)
    data, seen = ClassifierData(reader, config(shards)), Counter[str]()
    for batch in data.batches(1, 3):
        assert batch.images.shape == (4, 3, 32, 32)
        assert batch.images.dtype == torch.float32
        assert batch.image.unique().tolist() == [0, 1, 2, 3]
        first = [int((batch.image == k).nonzero()[0]) for k in range(4)]
        for image, row in zip(batch.images, first, strict=True):
            wnid = reader.tree.ids[int(batch.node[row])]
            seen[wnid] += 1
            middle = 255 * image[:, 14:18, 14:18].mean((1, 2))
            torch.testing.assert_close(middle, torch.tensor(COLOURS[wnid]).float(), atol=1, rtol=0)
    assert seen == Counter({DOG: 3, CAT: 3, BOAT: 3, CAR: 3})


def test_batches_depend_on_seed_and_step_alone(shards: Path) -> None:
    def columns(batch: ClassifierBatch) -> list[torch.Tensor]:
        return [batch.images, batch.image, batch.node]

    reader = ShardReader(shards)
    augment = {"hue": 0.1}
    straight = list(ClassifierData(reader, config(shards, augment=augment)).batches(1, 4))
    resumed = list(ClassifierData(reader, config(shards, augment=augment)).batches(3, 4))
    for a, b in zip(straight[2:], resumed, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(columns(a), columns(b), strict=True))
    other = ClassifierData(reader, config(shards, augment=augment, seed=1)).batch(1)
    assert not torch.equal(other.images, straight[0].images)


def test_the_input_size_follows_the_schedule(shards: Path) -> None:
    schedule = {"max_steps": 30, "sizes_px": [32, 64], "size_every": 1}
    data = ClassifierData(ShardReader(shards), config(shards, schedule=schedule))
    assert {batch.images.shape[-1] for batch in data.batches(1, 20)} == {32, 64}


def test_for_scoring_each_image_is_used_once_as_a_centre_crop(shards: Path) -> None:
    reader = ShardReader(shards)
    data = ClassifierTestData(reader, config(shards).evaluate, size_px=32)
    batches = list(data)
    assert [len(batch.images) for batch in batches] == [3, 1]
    assert len(data) == 2
    assert [batch.image.tolist() for batch in batches] == [[0, 1, 1, 2], [0]]
    colour = 255 * batches[1].images[0].mean((1, 2))
    torch.testing.assert_close(colour, torch.tensor(COLOURS[CAR]).float(), atol=1e-3, rtol=0)
    limited = config(shards).evaluate.model_copy(update={"limit": 2})
    assert len(ClassifierTestData(reader, limited, size_px=32).images) == 2


# --- crops around boxes

WHERE = {0: (2, 3, 12, 9), 1: (20, 10, 38, 28)}  # the boxes of the two images, x y x y in px


@pytest.fixture(scope="module")
def boxed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled car; a dog and a boat, each in a box of its colour and beside a crowd; an image of nothing."""
    folder = tmp_path_factory.mktemp("boxed")
    (folder / "labels" / CAR).mkdir(parents=True)
    Image.new("RGB", (40, 30), COLOURS[CAR]).save(folder / "labels" / CAR / "a.png")
    (folder / "boxes").mkdir()
    annotations = []
    for number, wnid in enumerate((DOG, BOAT)):
        image = Image.new("RGB", (40, 30), (9, 9, 9))
        image.paste(COLOURS[wnid], WHERE[number])
        image.save(folder / "boxes" / f"{number}.png")
        left, top, right, bottom = WHERE[number]
        for box, crowd in (([left, top, right - left, bottom - top], 0), ([0, 0, 1, 1], 1)):
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": number,
                    "category_id": number,
                    "bbox": box,
                    "iscrowd": crowd,
                }
            )
    Image.new("RGB", (40, 30), (9, 9, 9)).save(folder / "boxes" / "2.png")
    names = [{"id": k, "name": wnid} for k, wnid in enumerate((DOG, BOAT))]
    images = [{"id": k, "file_name": f"{k}.png", "width": 40, "height": 30} for k in range(3)]
    (folder / "boxes.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": names})
    )
    coco = {"format": "coco", "annotations": str(folder / "boxes.json")}
    sources = [
        {"name": "boxes", "images": str(folder / "boxes"), **coco},
        {"name": "labels", "format": "imagenet", "images": str(folder / "labels")},
    ]
    merge(MergeConfig.model_validate({"sources": sources}), folder / "shards")
    return folder / "shards"


CROPPING = {"crop_boxes": True, "hue": 0, "saturation": 1, "exposure": 1, "shorter_side": [1, 1]}


def test_images_with_boxes_are_used_with_crop_boxes(boxed: Path) -> None:
    reader = ShardReader(boxed)
    cropping = config(boxed, augment=CROPPING)
    assert names_of(reader, training_images(reader, cropping)) == ["0", "1", "a"]
    assert names_of(reader, training_images(reader, config(boxed))) == ["a"]
    assert {reader.tree.ids[node] for node in training_nodes(reader, cropping)} == {DOG, BOAT, CAR}
    assert {reader.tree.ids[node] for node in training_nodes(reader, config(boxed))} == {CAR}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("number", WHERE)
def test_a_crop_contains_the_box_and_has_its_node(boxed: Path, number: int, seed: int) -> None:
    reader = ShardReader(boxed)
    (image,) = [k for k in range(len(reader)) if Path(reader.source_id(k)).stem == str(number)]
    example = read_example(reader, image, rng=np.random.default_rng(seed))
    wnid = (DOG, BOAT)[number]
    assert [reader.tree.ids[node] for node in example.nodes] == [wnid]
    is_object = (example.pixels == torch.tensor(COLOURS[wnid])[:, None, None]).all(0)
    left, top, right, bottom = WHERE[number]
    assert int(is_object.sum()) == (right - left) * (bottom - top)  # all of it, never the crowd
    assert max(example.pixels.shape[1:]) <= (right - left) / 0.6 + 1


def test_batches_mix_labelled_images_and_cropped_boxes(boxed: Path) -> None:
    cfg = config(
        boxed, augment=CROPPING, data={"shards": boxed, "batch_size": 4, "ratio": {"boxes": 1, "labels": 1}}
    )
    reader = ShardReader(boxed)
    batch = ClassifierData(reader, cfg).batch(1)
    assert batch.image.tolist() == [0, 1, 2, 3]
    found = Counter(reader.tree.ids[int(node)] for node in batch.node)
    assert found == Counter({DOG: 1, BOAT: 1, CAR: 2})
    for image, node in zip(batch.images, batch.node, strict=True):
        colour = torch.tensor(COLOURS[reader.tree.ids[int(node)]])[:, None, None]
        assert ((255 * image - colour).abs() < 2).all(0).sum() > 30  # of 1024 pixels


def test_repeat_factors_include_cropped_boxes(boxed: Path) -> None:
    data = {"shards": boxed, "batch_size": 4, "repeat_factor_power": 1}
    sampler = ClassifierData(ShardReader(boxed), config(boxed, augment=CROPPING, data=data)).sampler
    assert sampler.repeats is not None
    assert {name: len(images) for name, images in zip(sampler.names, sampler.images, strict=True)} == {
        "boxes": 2,
        "labels": 1,
    }
