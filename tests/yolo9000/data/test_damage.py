"""Damaged images in mid-training are reported, left out and replaced, the same way in every run, up to a limit."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from data_prep import ShardReader
from data_prep.dataset.index_file import read_index
from tests.yolo9000.made import made_config
from tests.yolo9000.training.runs import made_classifier_config
from yolo9000.data.classifier_data import ClassifierData
from yolo9000.data.damage import DamagedImages, TooManyDamaged
from yolo9000.data.detector_data import DetectorData
from yolo9000.data.pixels import UnreadableImage
from yolo9000.data.sampler import Sampler
from yolo9000.training.pretrain import pretrain
from yolo9000.training.train import train

PLAIN = {"augment__mosaic": 0, "augment__paste": 0, "augment__zoom_out": 0}


def spoilt(shards: Path, folder: Path, images: Iterable[int]) -> Path:
    """A copy of the shards with a byte of each of the images changed."""
    copy = shutil.copytree(shards, folder / "spoilt")
    index = read_index(copy)
    for image in images:
        path = copy / index.shards[int(index.columns["image_shard"][image])].name
        with path.open("r+b") as file:
            file.seek(int(index.columns["picture_start"][image]) + 20)
            byte = file.read(1)
            file.seek(-1, 1)
            file.write(bytes([byte[0] ^ 255]))
    return copy


def images_of(data: DetectorData | ClassifierData, first: int, last: int) -> list[torch.Tensor]:
    return [batch.images for batch in data.batches(first, last)]


def test_a_damaged_image_is_reported_once_by_name_and_replaced_by_another_of_its_source(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = made_config(shards, **PLAIN)
    reader = ShardReader(spoilt(shards, tmp_path, [3]))
    source = reader.sources[int(reader.image_source[3])].name
    sampler, data = Sampler(reader, cfg), DetectorData(reader, cfg)
    whole = DetectorData(ShardReader(shards), cfg)
    replaced = 0
    for step in range(1, 7):
        drawn, expected, found = sampler.batch(step)[0], whole.batch(step), data.batch(step)
        for slot, image in enumerate(drawn.tolist()):
            is_equal = torch.equal(expected.images[slot], found.images[slot])
            assert is_equal == (image != 3)
            replaced += image == 3
        assert torch.equal(expected.targets.source, found.targets.source)
        for columns in (expected.targets.boxes, found.targets.boxes):  # a box still lies on what has a box
            assert len(columns.image.unique()) == int((found.targets.source == 0).sum())
    assert replaced >= 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"Image {reader.source_id(3)} of {source} cannot be read and is left out: ")
    assert "do not fit their checksum" in line


@pytest.mark.parametrize("data_class", [DetectorData, ClassifierData])
def test_replacements_depend_on_seed_and_step_alone(
    shards: Path, tmp_path: Path, data_class: type[DetectorData] | type[ClassifierData]
) -> None:
    folder = spoilt(shards, tmp_path, [1, 3, 9, 12])

    def made(threads: int) -> DetectorData | ClassifierData:
        if data_class is DetectorData:
            return DetectorData(ShardReader(folder), made_config(folder, data__loader_threads=threads))
        return ClassifierData(
            ShardReader(folder), made_classifier_config(folder, tmp_path, data__loader_threads=threads)
        )

    straight = images_of(made(1), 1, 8)
    resumed = images_of(made(3), 5, 8)
    assert all(torch.equal(a, b) for a, b in zip(straight[4:], resumed, strict=True))


def test_a_classifier_gets_the_label_of_the_replacement(shards: Path, tmp_path: Path) -> None:
    reader = ShardReader(spoilt(shards, tmp_path, [9]))
    data = ClassifierData(reader, made_classifier_config(reader.folder, tmp_path))  # type: ignore[arg-type]
    other = ClassifierData(ShardReader(shards), data.cfg)
    changed = 0
    for step in range(1, 5):
        found, whole = data.batch(step), other.batch(step)
        for slot in range(len(found.images)):
            node = reader.tree.ids[int(found.node[found.image == slot][0])]
            colour = {"n02958343": 1, "n02858304": 0}[node]  # the car is green; the boat is yellow: red too
            lit = found.images[slot].flatten(1).quantile(0.95, dim=1)
            assert (lit[0] > lit[1] * 0.9) == (colour == 0)
            changed += not torch.equal(found.images[slot], whole.images[slot])
    assert changed


@pytest.mark.parametrize("at_most", [0, 2])
def test_more_damaged_images_than_allowed_stop_the_run_with_one_line(
    shards: Path, tmp_path: Path, at_most: int
) -> None:
    folder = spoilt(shards, tmp_path, range(1, 4))
    cfg = made_config(folder, data__max_damaged=at_most)
    with pytest.raises(TooManyDamaged) as caught:
        train(cfg, tmp_path / "run")
    text = str(caught.value)
    assert f"cannot be read, and data.max_damaged allows {at_most} such images" in text
    assert f"Run `data-prep check {folder} --repair`, then continue the run with --resume." in text
    assert len(text.splitlines()) == 1


def test_a_lost_shard_stops_the_run_with_one_line(shards: Path, tmp_path: Path) -> None:
    folder = spoilt(shards, tmp_path, [])
    for shard in folder.glob("*.h5"):
        if shard.name != "index.h5":
            shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(TooManyDamaged, match=r"Image \d+ of .* cannot be read, .*--repair`"):
        train(made_config(folder, data__max_damaged=5), tmp_path / "run")


def test_every_thread_stops_once_there_are_too_many_damaged_images(shards: Path) -> None:
    def unreadable(image: int) -> None:
        raise UnreadableImage("no image")

    damaged = DamagedImages(ShardReader(shards), max_count=1)
    assert damaged.read_or_none(3, unreadable) is None
    for image in (5, 5, 3):  # whichever it meets next
        with pytest.raises(TooManyDamaged, match=r"data\.max_damaged allows 1"):
            damaged.read_or_none(image, unreadable)


def test_a_source_without_a_readable_image_ends_the_search(shards: Path, tmp_path: Path) -> None:
    folder = spoilt(shards, tmp_path, range(8))
    cfg = made_config(folder, data__ratio={"scenes": 1}, data__max_damaged=1000, **PLAIN)
    with pytest.raises(TooManyDamaged, match="none of 100 images drawn for one slot of a batch can be read"):
        DetectorData(ShardReader(folder), cfg).batch(1)


def test_the_number_of_damaged_images_is_reported_at_the_end(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = spoilt(shards, tmp_path, [2, 10])
    train(made_config(folder, schedule__max_steps=3, data__batch_size=16), tmp_path / "run")
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"Left out 2 damaged images. Run `data-prep check {folder} --repair`")
    pretrain(
        made_classifier_config(folder, tmp_path, data__max_damaged=1, evaluate__limit=1),
        tmp_path / "classifier",
    )
    assert "Left out 1 damaged image. Run" in capsys.readouterr().err.splitlines()[-1]
    train(made_config(shards, schedule__max_steps=1), tmp_path / "sound")
    assert "Left out" not in capsys.readouterr().err
