"""Darknet's files to a checkpoint and back: byte for byte, or with new files for new classes."""

from __future__ import annotations

import json
import shutil
import struct
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import LabelCounts, ShardReader
from tests.yolo9000.darknet_nets import OWN_NETS, GoldenNet, golden_nets
from tests.yolo9000.made import made_config, random_tree
from wordtree import WordTree, WordTreeError
from wordtree.errors import ConfigError
from yolo9000 import Predictor
from yolo9000.checkpoints.checkpoint import (
    Checkpoint,
    DetectorCheckpoint,
    load_checkpoint,
    load_classifier,
    load_detector,
    save_checkpoint,
)
from yolo9000.checkpoints.darknet_export import write_darknet
from yolo9000.checkpoints.darknet_import import DarknetFiles, read_darknet
from yolo9000.cli import main
from yolo9000.config import Config, ModelConfig, PretrainConfig
from yolo9000.darknet.cfg import read_cfg
from yolo9000.darknet.options import DarknetError
from yolo9000.darknet.plan import output_layer_of
from yolo9000.errors import Yolo9000Error
from yolo9000.evaluation.evaluate import evaluate_detector
from yolo9000.models.classifier import Classifier, build_classifier
from yolo9000.models.darknet_network import read_network
from yolo9000.models.detector import Detector, build_detector
from yolo9000.models.grid import Locations
from yolo9000.training.pretrain import pretrain
from yolo9000.training.train import train

CFG, WEIGHTS, TREE = (
    OWN_NETS / name for name in ("tree_detector.cfg", "tree_detector.weights", "kinds.tree")
)
FLAT_CFG, FLAT_WEIGHTS = OWN_NETS / "flat_detector.cfg", OWN_NETS / "flat_detector.weights"


def converted(*paths: Path, **options: object) -> Any:
    return read_darknet(DarknetFiles.of(paths), **options)[0]  # type: ignore[arg-type]


def raw_output(model: Detector, images: torch.Tensor) -> torch.Tensor:
    """Input of Darknet's region layer, shape (B, A × (5 + N), H, W)."""
    with torch.no_grad():
        output = model(images)
        entries = torch.cat([output.box_logits, output.dense_class_logits()], dim=-1)
    return entries.permute(0, 1, 4, 2, 3).flatten(1, 2)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder in Darknet's usual layout: cfg, weights, tree in data/."""
    folder = tmp_path / "darknet"
    (folder / "cfg").mkdir(parents=True)
    (folder / "data").mkdir()
    text = CFG.read_text().replace("tree=kinds.tree", "tree = data/kinds.tree")
    (folder / "cfg" / "net.cfg").write_text(text)
    shutil.copy(TREE, folder / "data")
    shutil.copy(WEIGHTS, folder / "net.weights")
    return folder


def convertible(*folders: str) -> list[Any]:
    nets = golden_nets(*folders)
    return [net for net in nets if net.values[0] is None or net.values[0].is_detector_or_classifier]


# --- round trips


@pytest.mark.parametrize("net", convertible("nets", "sgd", "valid"))
def test_a_network_survives_a_round_trip_through_a_checkpoint_byte_for_byte(
    net: GoldenNet, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "net.pt", converted(net.cfg, net.weights))
    files = write_darknet(load_checkpoint(tmp_path / "net.pt"), tmp_path / "back.weights")
    assert files == [tmp_path / "back.weights", tmp_path / "back.cfg"]
    assert (tmp_path / "back.weights").read_bytes() == net.weights.read_bytes()
    assert (tmp_path / "back.cfg").read_bytes() == net.cfg.read_bytes()


@pytest.mark.parametrize("net", convertible("nets", "valid"))
def test_the_model_computes_the_same_as_darknets_layers(net: GoldenNet) -> None:
    """Compared after the last convolution of a detector and the average pool of a classifier."""
    model = converted(net.cfg, net.weights, batch_norm="darknet_cpu").build_model()
    network = read_network(net.cfg, net.weights, batch_norm="darknet_cpu")
    image = torch.rand(2, *read_cfg(net.cfg).input)
    with torch.no_grad():
        expected = network.all_outputs(image)[output_layer_of(read_cfg(net.cfg)).index - 1]
        found = model(image)[:, :, None, None] if isinstance(model, Classifier) else raw_output(model, image)
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5


def test_any_bytes_and_line_ends_of_the_cfg_are_kept(tmp_path: Path) -> None:
    content = b"# caf\xe9 \xff\r\n" + CFG.read_bytes().replace(b"\n", b"\r\n")
    (tmp_path / "net.cfg").write_bytes(content)
    save_checkpoint(tmp_path / "net.pt", converted(tmp_path / "net.cfg", WEIGHTS, TREE))
    write_darknet(load_detector(tmp_path / "net.pt"), tmp_path / "back.weights")
    assert (tmp_path / "back.cfg").read_bytes() == content
    assert (tmp_path / "back.weights").read_bytes() == WEIGHTS.read_bytes()


@pytest.mark.parametrize("seen", [0, 2**31, 2**63, 2**64 - 1])
def test_the_number_of_images_seen_is_kept_up_to_64_bits(tmp_path: Path, seen: int) -> None:
    content = struct.pack("<iiiQ", 0, 2, 7, seen) + WEIGHTS.read_bytes()[20:]
    (tmp_path / "net.weights").write_bytes(content)
    save_checkpoint(tmp_path / "net.pt", converted(CFG, tmp_path / "net.weights"))
    found = load_detector(tmp_path / "net.pt")
    assert found.images_seen == found.facts()["images_seen"] == seen
    write_darknet(found, tmp_path / "back.weights")
    assert (tmp_path / "back.weights").read_bytes() == content


# --- the files of a network


def test_files_are_sorted_by_their_suffixes() -> None:
    files = DarknetFiles.of(
        map(Path, ["a.data", "yolo.cfg", "x.names", "9k.tree", "darknet19_448.conv.23", "c.map"])
    )
    assert files == DarknetFiles(
        cfg=Path("yolo.cfg"), weights=Path("darknet19_448.conv.23"), tree=Path("9k.tree"),
        names=Path("x.names"), map=Path("c.map"), data=Path("a.data"),
    )  # fmt: skip
    with pytest.raises(DarknetError, match=r"b.backup: expected one weights file, found another, a.weights"):
        DarknetFiles.of(map(Path, ["a.cfg", "a.weights", "b.backup"]))
    capitals = DarknetFiles.of(map(Path, ["A.CFG", "A.WEIGHTS"]))
    assert (capitals.cfg, capitals.weights) == (Path("A.CFG"), Path("A.WEIGHTS"))
    with pytest.raises(DarknetError, match=r"Expected a \.cfg among the files"):
        DarknetFiles.of([Path("a.weights")])


def test_a_given_tree_takes_precedence_over_the_one_that_the_cfg_names(files: Path) -> None:
    found = converted(files / "cfg" / "net.cfg", files / "net.weights")
    assert found.tree == WordTree.load(TREE)
    own = WordTree([f"own{k}" for k in range(len(found.tree))], found.tree.parent)
    own.save(files / "own.tree")
    assert converted(files / "cfg" / "net.cfg", files / "own.tree").tree.ids == own.ids
    (files / "data" / "kinds.tree").unlink()
    with pytest.raises(
        DarknetError, match=r"net.cfg: tree=.* is neither .* Give the named file on the command line"
    ):
        converted(files / "cfg" / "net.cfg", files / "net.weights")
    (files / "my.data").write_text("tree = own.tree\n")
    assert converted(files / "cfg" / "net.cfg", files / "my.data").tree.ids == own.ids


def test_given_names_take_precedence_over_the_data_files_and_the_trees(files: Path) -> None:
    cfg, count = files / "cfg" / "net.cfg", 11
    (files / "data" / "kinds.names").write_text("".join(f"beside {k}\n" for k in range(count)))
    assert converted(cfg).tree.names[3] == "beside 3"
    (files / "data" / "of.names").write_text("".join(f"data {k}\n" for k in range(count)))
    (files / "my.data").write_text("classes=11\nnames = data/of.names\n")
    assert converted(cfg, files / "my.data").tree.names[3] == "data 3"
    (files / "given.names").write_text("".join(f"given {k}\n" for k in range(count)))
    assert converted(cfg, files / "my.data", files / "given.names").tree.names[3] == "given 3"
    (files / "given.names").write_text("one\ntwo\n")
    with pytest.raises(DarknetError, match=r"given.names: expected 11 lines, one for each class, found 2"):
        converted(cfg, files / "given.names")


def test_classes_without_a_tree_are_roots_named_by_their_file(tmp_path: Path) -> None:
    assert converted(FLAT_CFG).tree.ids == ("class0", "class1", "class2")
    (tmp_path / "my.names").write_text("traffic light\nbird\nbird\n")
    found = converted(FLAT_CFG, tmp_path / "my.names")
    assert found.tree.ids == ("traffic_light", "bird", "bird_2")
    assert found.tree.names == ("traffic light", "bird", "bird")
    assert found.tree.parent.tolist() == [-1, -1, -1]
    (tmp_path / "my.labels").write_text("n1\nn2\nn3\n")
    assert converted(FLAT_CFG, tmp_path / "my.names", tmp_path / "my.labels").tree.ids == ("n1", "n2", "n3")


def test_a_tree_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    random_tree(12).save(tmp_path / "other.tree")
    with pytest.raises(
        DarknetError, match=r"expected a tree of 11 nodes, one for each class; .*other.tree has 12"
    ):
        converted(CFG, tmp_path / "other.tree")
    WordTree(["a", "b", "c"], [-1, -1, 0]).save(tmp_path / "levels.tree")
    with pytest.raises(DarknetError, match=r"names no tree .* Give a tree without levels, or none"):
        converted(FLAT_CFG, tmp_path / "levels.tree")


def test_mapped_nodes_had_boxes_and_the_other_leaves_had_image_labels(files: Path) -> None:
    cfg = files / "cfg" / "net.cfg"
    unknown = converted(cfg)
    assert {unknown.label_counts.supervision(node) for node in range(11)} == {"none"}
    (files / "data" / "my.map").write_text("7\n2\n")
    cfg.write_text(cfg.read_text() + "map = data/my.map\n")
    found = converted(cfg)
    supervision = {node: found.label_counts.supervision(node) for node in range(11)}
    boxed = {2, 7, *found.tree.ancestors(7)}
    assert {node for node, kind in supervision.items() if kind == "boxes"} == boxed
    assert {kind for node, kind in supervision.items() if node not in boxed} == {"image labels"}
    (files / "data" / "my.map").unlink()
    checkpoint, notes = read_darknet(DarknetFiles.of([cfg]))
    assert {checkpoint.label_counts.supervision(node) for node in range(11)} == {"none"}
    assert "map='data/my.map' is neither" in notes[-1]
    (files / "other.map").write_text("7\n99\n")
    with pytest.raises(Exception, match=r"other.map: line 2: expected a node, 0 to 10, found '99'"):
        converted(cfg, files / "other.map")
    assert {converted(FLAT_CFG).label_counts.supervision(node) for node in range(3)} == {"boxes"}


def test_the_settings_of_the_cfg_become_a_configuration(tmp_path: Path) -> None:
    text = CFG.read_text().replace(
        "channels=3\n",
        "channels=3\nbatch=64\nlearning_rate=.002\nmomentum=.8\ndecay=.001\npolicy=steps\nsteps=10,20\nscales=.1,.2\n"
        "max_batches=30\nburn_in=5\nhue=.1\nsaturation=.75\nexposure=1.5\n",
    )
    text += (
        "rescore=1\nobject_scale=5\nnoobject_scale=.5\nclass_scale=2\ncoord_scale=3\njitter=.3\nrandom=1\n"
    )
    (tmp_path / "net.cfg").write_text(text)
    cfg = converted(tmp_path / "net.cfg", TREE).config
    assert (cfg.data.batch_size, cfg.optimizer.learning_rate, cfg.optimizer.momentum) == (64, 0.002, 0.8)
    assert (cfg.optimizer.weight_decay, cfg.schedule.max_steps, cfg.schedule.burn_in_steps) == (0.001, 30, 5)
    assert (cfg.schedule.policy, cfg.schedule.steps, cfg.schedule.scales) == ("steps", (10, 20), (0.1, 0.2))
    assert cfg.schedule.sizes_px == (320, 352, 384, 416, 448, 480, 512, 544, 576, 608)
    assert (cfg.augment.hue, round(cfg.augment.saturation, 6), cfg.augment.exposure) == (0.1, 1.333333, 1.5)
    assert (cfg.augment.jitter, cfg.loss.object_weight, cfg.loss.no_object_weight) == (0.3, 5, 0.5)
    assert (cfg.loss.class_weight, cfg.loss.coordinate_weight, cfg.loss.ignore_iou) == (2, 3, 0.6)
    assert (cfg.loss.box_assignment, cfg.loss.objectness_target) == ("anchor", "iou")
    assert cfg.model.anchors == ((0.8, 1.1), (2.5, 1.75))
    assert cfg.model.input_size_px == (32, 16)
    assert cfg.model.siblings == "softmax"
    assert converted(FLAT_CFG).config.model.siblings == "sigmoid"
    ours, theirs = (converted(CFG, rules=kind).config.predict for kind in ("ours", "darknet"))
    assert (ours.descent, ours.nms, ours.geometry) == ("paper", "by_objectness", "exact")
    assert (theirs.descent, theirs.nms, theirs.geometry, theirs.min_score) == (
        "darknet",
        "by_node",
        "darknet",
        0.5,
    )


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("thresh=7", "ignore_iou"),
        ("object_scale=-1", "object_weight"),
        ("jitter=2", "jitter"),
        ("class_scale=x", "expected a number, found 'x'"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path: Path, option: str, expected: str) -> None:
    key = option.partition("=")[0]
    lines = [line for line in CFG.read_text().splitlines() if not line.startswith(f"{key}=")]
    (tmp_path / "net.cfg").write_text("\n".join([*lines, option]) + "\n")
    with pytest.raises(DarknetError) as caught:
        converted(tmp_path / "net.cfg", TREE)
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_the_first_layers_of_a_classifier_can_start_a_detector() -> None:
    weights = OWN_NETS / "tree_classifier.weights"  # its first convolution has the detector's shape
    layers = read_network(OWN_NETS / "tree_classifier.cfg", weights).layer_weights()
    found, again = (converted(CFG, weights, layers=2).weights for _ in range(2))
    assert np.array_equal(found["backbone.layers.0.convolution.weight"].numpy(), layers[0]["weights"])
    assert all(
        torch.equal(found[name], again[name]) for name in found
    )  # the random weights are always the same


LINES = st.sampled_from(
    ["0", "10", "11", "-1", "n00000000", "n00000000 -1", "own 0", "", " ", "x y z", "\xff", "\0", "9" * 5000]
)


@settings(max_examples=60)
@given(
    suffix=st.sampled_from([".map", ".names", ".labels", ".tree", ".data"]),
    content=st.one_of(
        st.binary(max_size=60),
        st.lists(LINES, max_size=12).map(lambda lines: "\n".join(lines).encode("latin-1")),
    ),
)
def test_any_file_beside_the_cfg_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, content: bytes
) -> None:
    corrupted = tmp_path_factory.mktemp("corrupted") / f"corrupted{suffix}"
    corrupted.write_bytes(content)
    for cfg in (CFG, FLAT_CFG):
        message = ""
        try:
            converted(cfg, corrupted)
        except (Yolo9000Error, WordTreeError) as mistake:
            message = str(mistake)
        assert len(message.splitlines()) <= 1


# --- prediction


def test_a_converted_detector_predicts_and_gives_logits_for_single_nodes(files: Path, tmp_path: Path) -> None:
    from PIL import Image

    save_checkpoint(tmp_path / "net.pt", converted(files / "cfg" / "net.cfg", files / "net.weights"))
    pixels = np.random.default_rng(0).integers(0, 255, (40, 70, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    predictor = Predictor(tmp_path / "net.pt", changes={"min_score": 0.01})
    (found,) = predictor([tmp_path / "image.png"])
    assert len(found) > 0
    assert set(found.node.tolist()) <= set(range(11))
    output = predictor.model(torch.rand(1, 3, 16, 32))
    location = Locations(*(torch.tensor([k]) for k in (0, 1, 1, 2)))
    nodes = torch.tensor([10, 0, 4])
    assert torch.allclose(
        output.class_logits(location, nodes), output.dense_class_logits()[0, 1, 1, 2, nodes][None], atol=1e-6
    )


def test_facts_of_a_converted_detector_are_plain_values() -> None:
    facts = converted(CFG, WEIGHTS).facts()
    assert facts["architecture"] == "darknet, input 32×16 px"
    assert facts["images_seen"] == 32013312
    assert facts["ap50_boxed"] is None
    json.dumps(facts)


# --- this project's networks as Darknet's files


@pytest.mark.parametrize("architecture", ["yolov2", "yolov2_paper", "yolo9000", "tiny"])
@pytest.mark.parametrize("flat", [False, True], ids=["tree", "flat"])
def test_this_projects_networks_survive_a_round_trip_through_darknets_files(
    architecture: str, flat: bool, tmp_path: Path
) -> None:
    tree = WordTree([f"k{k}" for k in range(30)], [-1] * 30) if flat else random_tree(30)
    checkpoint = made_checkpoint(architecture, tree)
    files = write_darknet(checkpoint, tmp_path / "net.weights")
    assert sorted(file.name for file in files) == sorted(
        ["net.weights", "net.cfg", "net.names", *([] if flat else ["net.tree"])]
    )
    back = converted(tmp_path / "net.weights", tmp_path / "net.cfg", tmp_path / "net.names")
    assert back.images_seen == checkpoint.images_seen
    assert (back.tree.parent == tree.parent).all()
    assert back.tree.names == tree.names
    images = torch.rand(2, 3, 96, 64)
    mine, theirs = (raw_output(made.build_model(), images) for made in (checkpoint, back))
    assert torch.allclose(mine, theirs, atol=1e-6)


def made_checkpoint(architecture: str, tree: WordTree) -> DetectorCheckpoint:
    """A network with trained batch-norm statistics."""
    model = {"architecture": architecture, "width": 0.25, "anchors": [[1, 2], [3.123456789, 1]]}
    settings = {
        "model": {**model, "input_size_px": [64, 96]},
        "data": {"shards": "none", "batch_size": 8},
        "schedule": {"max_steps": 10},
    }
    config = Config.model_validate(settings)
    torch.manual_seed(0)
    network = build_detector(config.model, tree).train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(4, 3, 64, 64))
    label_counts = LabelCounts(tree, [0] * len(tree), [0] * len(tree))
    return DetectorCheckpoint(config, tree, label_counts, 7, network.state_dict(), None, 0.0)


def test_networks_that_darknet_cannot_express_are_refused(tmp_path: Path) -> None:
    checkpoint = made_checkpoint("tiny", random_tree(30))
    model = checkpoint.config.model.model_copy(update={"siblings": "sigmoid"})
    other = replace(checkpoint, config=checkpoint.config.model_copy(update={"model": model}))
    with pytest.raises(DarknetError, match=r"Darknet has no tree with model\.siblings sigmoid"):
        write_darknet(other, tmp_path / "net.weights")
    with pytest.raises(DarknetError, match="names with blanks"):
        write_darknet(checkpoint, tmp_path / "my net.weights")
    assert not list(tmp_path.iterdir())


def test_files_with_other_content_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "net.cfg").write_text("mine")
    with pytest.raises(DarknetError, match=r"net.cfg: the file exists with other content"):
        write_darknet(converted(CFG, WEIGHTS), tmp_path / "net.weights")
    assert [file.name for file in tmp_path.iterdir()] == ["net.cfg"]
    shutil.copy(CFG, tmp_path / "net.cfg")
    write_darknet(converted(CFG, WEIGHTS), tmp_path / "net.weights")
    write_darknet(converted(CFG, WEIGHTS), tmp_path / "net.weights")


# --- classifiers

CLASSIFIER = (OWN_NETS / "tree_classifier.cfg", OWN_NETS / "tree_classifier.weights")


def test_the_settings_of_a_classifiers_cfg_become_a_configuration(tmp_path: Path) -> None:
    options = "min_crop=6\nmax_crop=24\nangle=7\naspect=.75\nhue=.1\npolicy=poly\npower=4\nmax_batches=9\n"
    text = CLASSIFIER[0].read_text().replace("channels=3\n", f"channels=3\n{options}")
    (tmp_path / "net.cfg").write_text(text)
    cfg = converted(tmp_path / "net.cfg", TREE).config
    assert isinstance(cfg, PretrainConfig)
    assert (cfg.model.architecture, cfg.model.softmax, cfg.model.input_size_px) == ("darknet", "tree", 8)
    assert (cfg.augment.shorter_side, cfg.augment.angle, cfg.augment.hue) == ((0.75, 3), 7, 0.1)
    assert round(cfg.augment.aspect, 6) == 1.333333
    assert (cfg.schedule.policy, cfg.schedule.power, cfg.schedule.max_steps) == ("poly", 4, 9)
    flat = "\n".join(line for line in text.splitlines() if not line.startswith("tree="))
    (tmp_path / "flat.cfg").write_text(flat)
    found = converted(tmp_path / "flat.cfg")
    assert found.config.model.softmax == "flat"
    assert found.weights["softmax.classes"].tolist() == list(range(11))


def test_the_leaves_of_a_classifier_had_image_labels() -> None:
    found = converted(*CLASSIFIER)
    assert found.weights["softmax.classes"].tolist() == found.tree.leaves.tolist()
    assert {found.label_counts.supervision(node) for node in range(len(found.tree))} == {"image labels"}
    assert found.facts()["top1"] is None


@pytest.mark.parametrize("softmax", ["tree", "flat"])
def test_this_projects_classifiers_survive_a_round_trip_through_darknets_files(
    softmax: str, tmp_path: Path
) -> None:
    tree, classes = random_tree(30), torch.tensor([3, 7, 21, 29])
    model = {"architecture": "tiny", "width": 0.25, "softmax": softmax, "input_size_px": 64}
    config = PretrainConfig.model_validate(
        {"model": model, "data": {"shards": "none"}, "schedule": {"max_steps": 2}}
    )
    torch.manual_seed(0)
    network = build_classifier(config.model, tree, classes)
    label_counts = LabelCounts(tree, [0] * 30, [1] * 30)
    made = Checkpoint(config, tree, label_counts, 2, network.state_dict(), None, 0.0)
    files = write_darknet(made, tmp_path / "net.weights")
    assert ((tmp_path / "net.tree") in files) == (softmax == "tree")
    back = converted(*[file for file in files if file.suffix in (".cfg", ".weights", ".names")])
    assert back.tree.names == (tree.names if softmax == "tree" else tuple(tree.names[k] for k in classes))
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(back.build_model()(images), made.build_model()(images), atol=1e-6)


def test_a_converted_classifier_is_fine_tuned_and_exported_with_its_new_classes(
    shards: Path, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "start.pt", converted(*CLASSIFIER))
    settings = {
        "model": {"architecture": "darknet", "start_from": tmp_path / "start.pt", "input_size_px": 16},
        "data": {"shards": shards, "batch_size": 4},
        "schedule": {"max_steps": 2},
        "optimizer": {"learning_rate": 1e-6},
        "evaluate": {"split": "train"},
    }
    pretrain(PretrainConfig.model_validate(settings), tmp_path / "run")
    found = load_classifier(tmp_path / "run" / "best.pt")
    assert found.config.model.darknet_cfg == CLASSIFIER[0].read_text()
    assert len(found.tree) == found.weights["head.weight"].shape[0]
    files = write_darknet(found, tmp_path / "new.weights")
    assert "tree=new.tree" in (tmp_path / "new.cfg").read_text()
    assert f"filters={len(found.tree)}" in (tmp_path / "new.cfg").read_text()
    again = converted(*files[:2])
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(again.build_model()(images), found.build_model()(images))


# --- fine-tuning


@pytest.fixture(scope="module")
def fine_tuned(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that started from the converted detector, with the tree of the shards."""
    folder = tmp_path_factory.mktemp("fine tuned")
    save_checkpoint(folder / "start.pt", converted(CFG, WEIGHTS))
    train(fine_tuning(shards, folder), folder / "run")
    return folder


def fine_tuning(shards: Path, folder: Path, **changes: object) -> Config:
    """Two steps with the network settings of the checkpoint in `folder`."""
    cfg = made_config(shards, schedule__max_steps=2)
    settings = {"start_from": folder / "start.pt", "input_size_px": 64, **changes}
    return cfg.model_copy(update={"model": ModelConfig.model_validate(settings)})


def test_a_converted_detector_is_fine_tuned_on_another_tree(fine_tuned: Path, shards: Path) -> None:
    found, start = load_detector(fine_tuned / "run" / "last.pt"), load_detector(fine_tuned / "start.pt")
    assert found.config.model.architecture == "darknet"
    assert found.config.model.darknet_cfg == start.config.model.darknet_cfg
    assert found.config.model.anchors == start.config.model.anchors
    assert found.tree.fingerprint == ShardReader(shards).tree.fingerprint
    assert found.images_seen == start.images_seen + 2 * found.config.data.batch_size
    assert found.darknet == start.darknet
    card = evaluate_detector(
        found.build_model(), ShardReader(shards), found.label_counts, 64, found.config.evaluate
    )
    assert card.images == 4


def test_a_fine_tuned_run_resumes_without_its_first_checkpoint(
    fine_tuned: Path, shards: Path, tmp_path: Path
) -> None:
    shutil.copytree(fine_tuned / "run", tmp_path / "run")
    cfg = fine_tuning(shards, tmp_path / "gone")
    longer = cfg.model_copy(update={"schedule": cfg.schedule.model_copy(update={"max_steps": 3})})
    train(longer, tmp_path / "run", resume=True)
    found = load_detector(tmp_path / "run" / "last.pt")
    assert found.step == 3
    assert found.images_seen == 32013312 + 3 * found.config.data.batch_size
    assert found.darknet is not None


def test_new_anchors_are_written_into_the_cfg(tmp_path: Path) -> None:
    found = converted(CFG, WEIGHTS)
    model = found.config.model.model_copy(update={"anchors": ((1.0, 2.5), (0.1, 3.0))})
    other = replace(found, config=found.config.model_copy(update={"model": model}))
    write_darknet(other, tmp_path / "new.weights")
    assert (
        "anchors=1.0, 2.5, 0.1, 3.0\nbias_match=1\nclasses=11\ncoords=4\nnum=2"
        in (tmp_path / "new.cfg").read_text()
    )
    assert (tmp_path / "new.weights").read_bytes() == WEIGHTS.read_bytes()
    assert converted(tmp_path / "new.cfg", TREE).config.model.anchors == model.anchors


def test_a_detector_fine_tuned_on_another_tree_is_exported_with_that_tree(
    fine_tuned: Path, tmp_path: Path
) -> None:
    found = load_detector(fine_tuned / "run" / "best.pt")
    files = {file.name for file in write_darknet(found, tmp_path / "new.weights")}
    assert {"new.weights", "new.cfg", "new.tree", "new.names"} <= files
    back = converted(tmp_path / "new.cfg", tmp_path / "new.weights")
    assert back.tree.fingerprint == found.tree.fingerprint
    assert back.images_seen == found.images_seen
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(raw_output(back.build_model(), images), raw_output(found.build_model(), images))
    changed = set((tmp_path / "new.cfg").read_text().splitlines()) ^ set(CFG.read_text().splitlines())
    nodes = len(found.tree)
    assert changed == {
        *("filters=32", "classes=11", "tree=kinds.tree"),
        *(f"filters={2 * (5 + nodes)}", f"classes={nodes}", "tree=new.tree"),
    }


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ([32, 16], "expected a square input, found 32×16"),
        (66, r"darknet_cfg at 66×66 px: line 50: \[reorg\] stride=2 does not divide its input of 33×33×4"),
    ],
)
def test_training_refuses_an_input_that_is_not_square_or_does_not_fit(
    shards: Path, tmp_path: Path, size: object, expected: str
) -> None:
    save_checkpoint(tmp_path / "start.pt", converted(CFG, WEIGHTS))
    with pytest.raises((Yolo9000Error, ConfigError), match=expected):
        train(fine_tuning(shards, tmp_path, input_size_px=size), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_refuses_sizes_that_are_not_multiples_of_the_stride(shards: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "start.pt", converted(CFG, WEIGHTS))
    cfg = fine_tuning(shards, tmp_path)
    schedule = cfg.schedule.model_copy(update={"sizes_px": (64, 68, 70)})
    with pytest.raises(Yolo9000Error, match=r"multiples of 4 for this network, found \[70\]"):
        train(cfg.model_copy(update={"schedule": schedule}), tmp_path / "run")


# --- the command

Run = Callable[..., tuple[object, str, str]]


@pytest.fixture
def convert(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `yolo9000 convert` in this process: exit code, stdout, stderr."""

    def run_with(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["yolo9000", "convert", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code, *capsys.readouterr()

    return run_with


def test_the_command_converts_both_ways_and_prints_notes(
    files: Path, convert: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    cfg = files / "cfg" / "net.cfg"
    cfg.write_text(cfg.read_text() + "jitterr=.3\n")
    code, out, err = convert("cfg/net.cfg", "net.weights", "-o", "net.pt")
    assert (code, out) == (0, "net.pt: darknet, input 32×16 px, 11 nodes\n")
    assert "unknown key 'jitterr' in [region] has no effect" in err
    assert convert("net.pt", "-o", "back.weights") == (0, "back.weights\nback.cfg\n", "")
    assert (files / "back.weights").read_bytes() == WEIGHTS.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("cfg/net.cfg cut.weights -o net.pt", "ends inside layer 2"),
        ("cfg/net.cfg net.weights -o net.onnx", "Expected Darknet's files and -o NAME.pt"),
        ("none.cfg -o net.pt", "no such file"),
        ("cut.weights -o back.weights", "expected a checkpoint"),
        ("cfg/net.cfg -o net.pt --batch-norm none", "none"),
    ],
)
def test_the_command_reports_errors_in_one_line(
    files: Path, convert: Run, monkeypatch: pytest.MonkeyPatch, arguments: str, expected: str
) -> None:
    monkeypatch.chdir(files)
    (files / "cut.weights").write_bytes(WEIGHTS.read_bytes()[:1000])
    before = sorted(files.rglob("*"))
    code, out, err = convert(*arguments.split())
    assert (code, out) == (2, "")
    assert expected in err
    assert len(err.splitlines()) == 1
    assert sorted(files.rglob("*")) == before
