"""Checkpoints: their content, prediction without other files, and refusal of other or damaged files."""

from __future__ import annotations

import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep import LabelCounts, ShardReader
from tests.yolo9000.made import made_config, made_shards, random_tree
from yolo9000 import Predictor
from yolo9000.checkpoints.checkpoint import (
    Checkpoint,
    CheckpointError,
    DetectorCheckpoint,
    load_detector,
    refuse_other_tree,
    save_checkpoint,
)
from yolo9000.config import Config, PretrainConfig
from yolo9000.models.classifier import build_classifier
from yolo9000.models.detector import build_detector
from yolo9000.training.train import train


@pytest.fixture(scope="module")
def last(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """last.pt of a short training."""
    folder = tmp_path_factory.mktemp("run")
    train(made_config(shards), folder)
    return folder / "last.pt"


@pytest.fixture(scope="module")
def checkpoint(last: Path) -> DetectorCheckpoint:
    return load_detector(last)


def content_of(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def refusal(path: Path) -> str:
    """The one-line error for a file."""
    with pytest.raises(CheckpointError) as caught:
        load_detector(path)
    text = str(caught.value)
    assert str(path) in text
    assert len(text.splitlines()) == 1
    assert len(text) < 400
    return text


def test_a_loaded_checkpoint_equals_the_saved_one(checkpoint: DetectorCheckpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "copy.pt", checkpoint)
    copy = load_detector(tmp_path / "copy.pt")
    assert copy.config == checkpoint.config
    assert copy.tree.to_json() == checkpoint.tree.to_json()
    assert copy.tree.fingerprint == checkpoint.tree.fingerprint
    assert (copy.step, copy.best_metric) == (checkpoint.step, checkpoint.best_metric)
    for mine, theirs in ((copy.label_counts, checkpoint.label_counts),):
        assert np.array_equal(mine.boxes, theirs.boxes)
        assert np.array_equal(mine.image_labels, theirs.image_labels)
    assert list(copy.weights) == list(checkpoint.weights)
    assert all(torch.equal(copy.weights[name], value) for name, value in checkpoint.weights.items())
    assert copy.training is not None
    assert set(copy.training) == {"weights", "optimizer", "average"}


def test_the_label_counts_are_those_of_the_shards(checkpoint: DetectorCheckpoint, shards: Path) -> None:
    label_counts = ShardReader(shards).label_counts
    assert np.array_equal(checkpoint.label_counts.boxes, label_counts.boxes)
    assert np.array_equal(checkpoint.label_counts.image_labels, label_counts.image_labels)
    assert label_counts.boxes.sum() == 8
    assert label_counts.image_labels.sum() == 8


def test_a_checkpoint_alone_suffices_to_predict(tmp_path: Path) -> None:
    shards = made_shards(tmp_path / "data")
    train(made_config(shards), tmp_path / "run")
    image = tmp_path / "0.png"
    shutil.copy(tmp_path / "data" / "test" / "images" / "0.png", image)
    expected = list(Predictor(tmp_path / "run" / "best.pt", changes={"min_score": 0.01})(image))
    (tmp_path / "run" / "best.pt").rename(tmp_path / "alone.pt")
    shutil.rmtree(tmp_path / "data")
    shutil.rmtree(tmp_path / "run")
    found = list(Predictor(tmp_path / "alone.pt", changes={"min_score": 0.01})(image))
    assert [d.to_dict() for d in found] == [d.to_dict() for d in expected]
    assert len(found[0]) > 0


def test_best_holds_no_training_state_and_last_does(last: Path) -> None:
    assert load_detector(last).training is not None
    assert load_detector(last.with_name("best.pt")).training is None


def test_facts_are_plain_values(checkpoint: DetectorCheckpoint) -> None:
    facts = checkpoint.facts()
    assert facts["run"] == "made"
    assert (facts["steps"], facts["images_seen"]) == (4, 32)
    assert facts["tree"].endswith(checkpoint.tree.fingerprint[:12])
    assert facts["can_resume"] is True
    assert facts["parameters"] == sum(p.numel() for p in checkpoint.build_model().parameters())
    assert all(isinstance(value, str | int | float | None) for value in facts.values())


# --- other files


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "no such checkpoint" in refusal(tmp_path / "none.pt")
    assert "no such checkpoint" in refusal(tmp_path)  # a folder


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"name: made\n", id="text"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(100), id="image"),
        pytest.param(b"PK\x03\x04" + bytes(100), id="start of a zip"),
        pytest.param(pickle.dumps({"format": "yolo9000 checkpoint"}), id="pickle of a dict"),
        pytest.param(pickle.dumps([1, 2, 3], protocol=0), id="old pickle"),
    ],
)
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "best.pt"
    path.write_bytes(content)
    assert "checkpoint" in refusal(path)


def test_random_bytes_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(200):
        path = tmp_path / "best.pt"
        opening = (b"", b"\x80\x02", b"\x80\x04", b"PK\x03\x04")[number % 4]
        path.write_bytes(opening + rng.bytes(int(rng.integers(1, 400))))
        refusal(path)


def test_a_file_cut_short_is_refused(last: Path, tmp_path: Path) -> None:
    whole = last.read_bytes()
    lengths = [1, 30, 100, 1000, len(whole) // 2, len(whole) - 1000, len(whole) - 1]
    for length in lengths:
        (tmp_path / "cut.pt").write_bytes(whole[:length])
        assert "damaged" in refusal(tmp_path / "cut.pt")


class Bomb:
    """Creates a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.target),)


@given(st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_byte_anywhere_is_refused(last: Path, tmp_path: Path, data: st.DataObject) -> None:
    whole = last.read_bytes()
    ends = st.integers(0, 2000) | st.integers(len(whole) - 2000, len(whole) - 1)  # the zip's own records
    location = data.draw(ends | st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[location] ^= data.draw(st.integers(1, 255))
    (tmp_path / "last.pt").write_bytes(changed)
    assert "damaged" in refusal(tmp_path / "last.pt")


def test_bytes_after_a_checkpoint_are_refused(last: Path, tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(last.read_bytes() + b"\0")
    assert "changed since it was written" in refusal(tmp_path / "last.pt")


def test_a_file_without_a_checksum_is_read(last: Path, tmp_path: Path) -> None:
    """As torch.save writes it, and as earlier versions did."""
    torch.save(content_of(last), tmp_path / "plain.pt")
    assert load_detector(tmp_path / "plain.pt").step == 4


def test_code_in_a_file_does_not_run(tmp_path: Path) -> None:
    target = tmp_path / "made by a checkpoint"
    path = tmp_path / "best.pt"
    torch.save({"format": "yolo9000 checkpoint", "version": 1, "weights": Bomb(target)}, path)
    refusal(path)
    path.write_bytes(pickle.dumps(Bomb(target)))
    refusal(path)
    assert not target.exists()


def zipped_anew(path: Path, target: Path, *, compression: int) -> None:
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", compression) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))


def test_a_file_that_unpacks_to_more_than_it_holds_is_refused(last: Path, tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    zipped_anew(last, path, compression=zipfile.ZIP_STORED)
    load_detector(path)
    zipped_anew(last, path, compression=zipfile.ZIP_DEFLATED)
    assert "compressed or overlapping" in refusal(path)
    with zipfile.ZipFile(path, "w") as bomb:  # a thousand names for the same bytes
        bomb.writestr("archive/data/0", bytes(1000))
        for number in range(1, 1000):
            bomb.filelist.append(copy(bomb.filelist[0]))
            bomb.filelist[-1].filename = f"archive/data/{number}"
    assert "compressed or overlapping" in refusal(path)


def test_another_torch_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    for content in ({"conv.weight": torch.zeros(3)}, torch.zeros(3), [1, 2], "text"):
        torch.save(content, path)
        assert "found another torch file" in refusal(path)


def test_another_version_is_refused(last: Path, tmp_path: Path) -> None:
    torch.save({**content_of(last), "version": 3}, tmp_path / "best.pt")
    assert "expected checkpoint version 2 or lower, found 3" in refusal(tmp_path / "best.pt")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("tree", "{}", id="empty tree"),
        pytest.param("tree", None, id="tree of None"),
        pytest.param("config", "{", id="config is not JSON"),
        pytest.param("config", '{"seeed": 1}', id="unknown key in config"),
        pytest.param("config", "[]", id="config is a list"),
        pytest.param("boxes", torch.zeros(2, dtype=torch.int64), id="label counts of another tree"),
        pytest.param("boxes", [1, 2], id="label counts are a list"),
        pytest.param("step", "four", id="step is text"),
        pytest.param("weights", None, id="no weights"),
    ],
)
def test_damaged_content_is_refused(last: Path, tmp_path: Path, key: str, value: object) -> None:
    torch.save({**content_of(last), key: value}, tmp_path / "best.pt")
    refusal(tmp_path / "best.pt")


@pytest.mark.parametrize(
    "key", ["config", "tree", "boxes", "image_labels", "step", "weights", "training", "score"]
)
def test_a_missing_part_is_refused_by_name(last: Path, tmp_path: Path, key: str) -> None:
    content = content_of(last)
    del content[key]
    torch.save(content, tmp_path / "best.pt")
    assert key in refusal(tmp_path / "best.pt")


def test_weights_of_another_network_are_refused_in_one_short_line(checkpoint: DetectorCheckpoint) -> None:
    wider = checkpoint.config.model.model_copy(update={"width": 1.0})
    other = replace(checkpoint, config=checkpoint.config.model_copy(update={"model": wider}))
    with pytest.raises(CheckpointError) as caught:
        other.build_model()
    assert str(caught.value).startswith(f"{checkpoint.where}: ")
    assert checkpoint.where.endswith(".pt")
    assert "do not fit its own configuration" in str(caught.value)
    assert len(str(caught.value)) < 400
    assert len(str(caught.value).splitlines()) == 1


def test_a_network_larger_than_any_memory_is_refused_before_it_is_built(
    checkpoint: DetectorCheckpoint,
) -> None:
    endless = checkpoint.config.model.model_copy(update={"width": 1e6})
    other = replace(checkpoint, config=checkpoint.config.model_copy(update={"model": endless}))
    with pytest.raises(CheckpointError, match="do not fit its own configuration"):
        other.build_model()
    assert other.facts()["parameters"] > 1e15


NAME = "head.box.weight"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(lambda t: t.double(), "found .* of float64", id="another type"),
        pytest.param(lambda t: t.long(), "found .* of int64", id="integers"),
        pytest.param(lambda t: t[:1], "found .* of float32", id="another shape"),
        pytest.param(
            lambda t: torch.zeros(1).expand(t.shape), "found a tensor that repeats", id="one number repeated"
        ),
        pytest.param(lambda t: t.to_sparse(), "found a sparse tensor", id="sparse"),
        pytest.param(lambda t: t.tolist(), "found a list", id="a list"),
        pytest.param(lambda t: None, "found a NoneType", id="nothing"),
    ],
)
def test_weights_of_other_types_are_refused(
    checkpoint: DetectorCheckpoint, value: Callable[[torch.Tensor], Any], expected: str
) -> None:
    weights = {**checkpoint.weights, NAME: value(checkpoint.weights[NAME])}
    with pytest.raises(CheckpointError, match=f"1 weights .*: {NAME} should be .* of float32, {expected}"):
        replace(checkpoint, weights=weights).build_model()


def test_weight_names_that_are_not_text_are_refused(checkpoint: DetectorCheckpoint) -> None:
    other = replace(checkpoint, weights={**checkpoint.weights, 7: torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"1 weights .* configuration: 7 should be absent"):
        other.build_model()


# --- building the model


def test_building_a_model_draws_no_random_numbers(checkpoint: DetectorCheckpoint) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    checkpoint.build_model()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", ["detector", "tree classifier", "flat classifier"])
def test_a_built_model_equals_a_new_model_with_the_same_weights(kind: str) -> None:
    """Also the buffers that are not in the state dict, and the memory format."""
    tree, settings = random_tree(30), {"architecture": "tiny", "width": 0.25, "input_size_px": 64}
    shared = {"data": {"shards": "none"}, "schedule": {"max_steps": 1}}
    config: Config | PretrainConfig
    torch.manual_seed(0)
    if kind == "detector":
        config = Config.model_validate({"model": {**settings, "anchors": [[1, 2], [3, 1]]}, **shared})
        made: torch.nn.Module = build_detector(config.model, tree)
    else:
        softmax = kind.removesuffix(" classifier")
        config = PretrainConfig.model_validate({"model": {**settings, "softmax": softmax}, **shared})
        made = build_classifier(config.model, tree, torch.tensor([3, 7, 21]))
    counts = LabelCounts(tree, [0] * len(tree), [0] * len(tree))
    weights = {name: value.clone() for name, value in made.state_dict().items()}
    built = Checkpoint(config, tree, counts, 0, weights, None, 0.0).build_model()
    for mine, theirs in (
        (built.named_parameters, made.named_parameters),
        (built.named_buffers, made.named_buffers),
    ):
        found, expected = dict(mine()), dict(theirs())
        assert list(found) == list(expected)
        for name, value in found.items():
            assert torch.equal(value, expected[name]), name
            assert value.stride() == expected[name].stride(), name
            assert value.requires_grad == expected[name].requires_grad
    assert not built.training


def test_contiguous_weights_get_the_memory_format_of_a_new_model(checkpoint: DetectorCheckpoint) -> None:
    weights = {name: value.contiguous() for name, value in checkpoint.weights.items()}
    model = replace(checkpoint, weights=weights).build_model()
    for name, value in checkpoint.build_model().named_parameters():
        other = model.get_parameter(name)
        assert torch.equal(other, value)
        assert value.ndim != 4 or other.is_contiguous(memory_format=torch.channels_last), name


# --- other trees


def test_shards_of_another_tree_are_refused(checkpoint: DetectorCheckpoint, last: Path, shards: Path) -> None:
    refuse_other_tree(checkpoint, last, ShardReader(shards))
    other = replace(checkpoint, tree=random_tree(30))
    with pytest.raises(
        CheckpointError, match=r"was trained on tree .* \(30 nodes\), but the index in .* has tree .* nodes"
    ):
        refuse_other_tree(other, last, ShardReader(shards))


# --- writing


def test_an_interrupted_save_leaves_the_old_file(
    checkpoint: DetectorCheckpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, checkpoint)
    before = path.read_bytes()

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wordtree.support.files.os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, replace(checkpoint, step=5))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]
