"""Initial weights of a run: a detector's network, its weights for other nodes, a backbone file of Darknet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_prep import LabelCounts
from tests.yolo9000.darknet_nets import OWN_NETS
from tests.yolo9000.made import random_tree
from wordtree import WordTree
from wordtree.errors import ConfigError
from yolo9000.checkpoints.checkpoint import CheckpointError, DetectorCheckpoint, save_checkpoint
from yolo9000.checkpoints.darknet_export import write_darknet
from yolo9000.checkpoints.darknet_import import DarknetFiles, read_darknet
from yolo9000.checkpoints.darknet_units import unit_weights
from yolo9000.checkpoints.start_from import InitialWeights, class_rows
from yolo9000.config import Config, ModelConfig
from yolo9000.darknet.options import DarknetError
from yolo9000.darknet.weights import Header
from yolo9000.models.detector import Detector, build_detector

OLD = WordTree(["animal", "vehicle", "dog", "cat", "car", "boat"], [-1, -1, 0, 0, 1, 1])
# Without cat; with terrier, kayak, sea kayak, plant and rose; dog moved under pet.
NEW = WordTree(
    ["vehicle", "animal", "plant", "car", "boat", "pet", "rose", "kayak", "dog", "sea_kayak", "terrier"],
    [-1, -1, -1, 0, 0, 1, 2, 4, 5, 7, 8],
)


def checkpoint_of(architecture: str = "tiny", tree: WordTree = OLD, **settings: object) -> DetectorCheckpoint:
    model = {
        "architecture": architecture,
        "width": 0.25,
        "anchors": [[1, 2], [3, 1]],
        "input_size_px": 64,
        **settings,
    }
    config = Config.model_validate(
        {"model": model, "data": {"shards": "none"}, "schedule": {"max_steps": 10}}
    )
    torch.manual_seed(1)
    network = build_detector(config.model, tree)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    label_counts = LabelCounts(tree, [0] * len(tree), [0] * len(tree))
    return DetectorCheckpoint(
        config, tree, label_counts, 3, network.state_dict(), None, 0.0, seen_before=1000
    )


def model_for(tree: WordTree, cfg: ModelConfig) -> Detector:
    torch.manual_seed(2)
    return build_detector(cfg, tree)


@pytest.fixture
def start(tmp_path: Path) -> InitialWeights:
    save_checkpoint(tmp_path / "start.pt", checkpoint_of())
    return InitialWeights.read(tmp_path / "start.pt")


# --- rows of the class head


def test_each_node_takes_its_own_weights_or_those_of_its_nearest_known_ancestor() -> None:
    found = {id_: int(row) for id_, row in zip(NEW.ids, class_rows(OLD, NEW), strict=True)}
    assert found == {
        "vehicle": 1, "animal": 0, "plant": -1, "car": 4, "boat": 5, "pet": 0, "rose": -1, "kayak": 5, "dog": 2,
        "sea_kayak": 5, "terrier": 2,
    }  # fmt: skip


@given(st.integers(0, 10**6), st.integers(5, 60), st.integers(5, 60))
def test_class_rows_agree_with_an_obvious_search(seed: int, old_nodes: int, new_nodes: int) -> None:
    old, new = random_tree(old_nodes, seed=seed), random_tree(new_nodes, seed=seed + 1)
    for node, row in enumerate(class_rows(old, new)):
        path_up = [node, *new.ancestors(node)]
        known = [old.node(new.ids[ancestor]) for ancestor in path_up if new.ids[ancestor] in old]
        assert row == (known[0] if known else -1)


def test_the_same_tree_gives_the_same_weights(start: InitialWeights) -> None:
    assert start.checkpoint is not None
    model = model_for(OLD, start.checkpoint.config.model)
    assert start.load_into(model, OLD) == ("backbone", "head")
    assert all(
        torch.equal(value, start.checkpoint.weights[name]) for name, value in model.state_dict().items()
    )
    assert start.inherited(("backbone", "head")) == (1000 + 3 * 64, None)
    assert start.inherited(("backbone",)) == (0, None)


def test_known_nodes_keep_their_logits_and_new_nodes_have_their_ancestors(start: InitialWeights) -> None:
    assert start.checkpoint is not None
    before = start.checkpoint.build_model()
    model = model_for(NEW, start.checkpoint.config.model).eval()
    random = model.head.classes.weight.detach().clone()
    assert start.load_into(model, NEW) == ("backbone", "head")
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        old, new = before(images), model(images)
    assert torch.equal(old.box_logits, new.box_logits)
    old_logits, new_logits = old.dense_class_logits(), new.dense_class_logits()
    for node, row in enumerate(class_rows(OLD, NEW).tolist()):
        if row >= 0:
            assert torch.allclose(new_logits[..., node], old_logits[..., row], atol=1e-4)
        else:
            assert torch.equal(model.head.classes.weight[:, node], random[:, node])
    assert start.summary(("backbone", "head"), NEW).endswith(
        "its backbone, head; of 11 nodes 5 keep their weights, 4 start with their nearest ancestor's, 2 at random; "
        "1 nodes of the old tree are dropped."
    )


def test_the_runs_anchors_are_kept_and_another_number_of_anchors_drops_the_head(
    start: InitialWeights,
) -> None:
    assert start.checkpoint is not None
    cfg = start.checkpoint.config.model
    same_number = model_for(OLD, cfg.model_copy(update={"anchors": ((5.0, 5.0), (6.0, 6.0))}))
    assert start.load_into(same_number, OLD) == ("backbone", "head")
    assert same_number.head.anchors_cell.tolist() == [[5, 5], [6, 6]]
    more = model_for(OLD, cfg.model_copy(update={"anchors": ((1.0, 1.0),) * 3}))
    assert start.load_into(more, OLD) == ("backbone",)


def test_a_head_with_other_input_features_is_not_loaded(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "start.pt", checkpoint_of("yolo9000"))
    start = InitialWeights.read(tmp_path / "start.pt")
    assert start.checkpoint is not None
    with_neck = model_for(OLD, start.checkpoint.config.model.model_copy(update={"architecture": "yolov2"}))
    assert start.load_into(with_neck, OLD) == ("backbone",)
    save_checkpoint(tmp_path / "with_neck.pt", checkpoint_of("yolov2"))
    start = InitialWeights.read(tmp_path / "with_neck.pt")
    assert start.checkpoint is not None
    without = model_for(OLD, start.checkpoint.config.model.model_copy(update={"architecture": "yolo9000"}))
    assert start.load_into(without, OLD) == ("backbone",)


def test_another_backbone_is_refused(start: InitialWeights) -> None:
    assert start.checkpoint is not None
    wider = model_for(OLD, start.checkpoint.config.model.model_copy(update={"width": 0.5}))
    with pytest.raises(CheckpointError, match=r"its backbone .* is not the backbone of this run"):
        start.load_into(wider, OLD)


# --- the network


def test_unset_network_settings_are_taken_from_the_detector(start: InitialWeights) -> None:
    assert start.checkpoint is not None
    made = start.checkpoint.config.model
    for given_settings, expected in (
        ({}, {"architecture": "tiny", "width": 0.25, "anchors": made.anchors, "input_size_px": 64}),
        ({"architecture": "tiny"}, {"architecture": "tiny", "width": 0.25, "anchors": made.anchors}),
        ({"input_size_px": 96}, {"architecture": "tiny", "input_size_px": 96}),
        ({"anchors": [[1, 1]]}, {"architecture": "tiny", "anchors": ((1, 1),)}),
        ({"architecture": "yolov2"}, {"architecture": "yolov2", "width": 1.0, "anchors": None}),
    ):
        cfg = start.network_settings(ModelConfig.model_validate({**given_settings, "start_from": start.path}))
        assert {name: getattr(cfg, name) for name in expected} == expected
        assert cfg.start_from == start.path


def test_input_sizes_are_not_checked_before_the_network_is_known() -> None:
    assert ModelConfig.model_validate({"start_from": "x.pt", "input_size_px": 80}).input_size_px == 80
    with pytest.raises(ValueError, match="multiple of 32"):
        ModelConfig.model_validate({"start_from": "x.pt", "architecture": "yolov2", "input_size_px": 80})


# --- a converted detector


def converted_from(architecture: str, folder: Path) -> tuple[InitialWeights, DetectorCheckpoint]:
    """A network of this project exported to Darknet and imported again, and the original network."""
    made = checkpoint_of(architecture)
    files = write_darknet(made, folder / "net.weights")
    back, _ = read_darknet(DarknetFiles.of(files[:2]))
    save_checkpoint(folder / "back.pt", back)
    return InitialWeights.read(folder / "back.pt"), made


@pytest.mark.parametrize("architecture", ["yolo9000", "tiny"])
def test_a_network_with_the_same_layers_loads_all_weights(architecture: str, tmp_path: Path) -> None:
    start, made = converted_from(architecture, tmp_path)
    model = model_for(OLD, made.config.model)
    assert start.load_into(model, OLD) == ("backbone", "head")
    state = model.state_dict()
    assert all(
        torch.equal(value, made.weights[name]) for name, value in state.items() if "num_batches" not in name
    )


@pytest.mark.parametrize(
    ("converted", "asked"), [("yolov2", "yolov2"), ("yolov2", "yolo9000"), ("yolo9000", "yolov2")]
)
def test_a_network_with_the_same_first_layers_loads_the_backbone(
    converted: str, asked: str, tmp_path: Path
) -> None:
    start, made = converted_from(converted, tmp_path)
    model = model_for(OLD, made.config.model.model_copy(update={"architecture": asked}))
    assert start.load_into(model, OLD) == ("backbone",)
    name = "backbone.stages.5.5.0.weight"
    assert torch.equal(model.state_dict()[name], made.weights[name])


def test_a_network_with_other_layers_is_refused(tmp_path: Path) -> None:
    start, made = converted_from("yolo9000", tmp_path)
    for changes in ({"width": 0.5}, {"architecture": "tiny"}):
        with pytest.raises(
            CheckpointError, match=r"its backbone \(darknet, input 64 px\) is not the backbone of this run"
        ):
            start.load_into(model_for(OLD, made.config.model.model_copy(update=changes)), OLD)


def test_architecture_darknet_takes_its_cfg_from_the_checkpoint(tmp_path: Path) -> None:
    start, _ = converted_from("tiny", tmp_path)
    asked = ModelConfig.model_validate({"architecture": "darknet", "start_from": start.path})
    assert start.checkpoint is not None
    assert start.network_settings(asked).darknet_cfg == start.checkpoint.config.model.darknet_cfg
    with pytest.raises(ConfigError, match="was not converted from Darknet"):
        model_for(OLD, asked.model_copy(update={"anchors": ((1.0, 1.0),)}))


# --- Darknet's backbone files


def backbone_file(
    tmp_path: Path, layers: int, *, header: Header | None = None
) -> tuple[Path, DetectorCheckpoint]:
    """The first layers of a network of this project, as Darknet's `partial` would write them."""
    made = checkpoint_of("yolo9000")
    write_darknet(made, tmp_path / "whole.weights")
    content = (tmp_path / "whole.weights").read_bytes()
    head = 4 * (2 * (5 + len(OLD)) * (256 + 1))
    path = tmp_path / f"whole.conv.{layers}"
    path.write_bytes((header or Header(seen=5)).to_bytes() + content[20 : len(content) - head])
    return path, made


@pytest.mark.parametrize("header", [Header(0, 1, 0), Header(0, 2, 5)], ids=["32 bits", "64 bits"])
@pytest.mark.parametrize("architecture", ["yolo9000", "yolov2"])
def test_a_backbone_file_is_loaded_into_the_backbone(
    tmp_path: Path, architecture: str, header: Header
) -> None:
    path, made = backbone_file(tmp_path, 23, header=header)
    model = model_for(OLD, made.config.model.model_copy(update={"architecture": architecture}))
    assert InitialWeights.read(path).load_into(model, OLD) == ("backbone",)
    backbone = {name: value for name, value in model.state_dict().items() if name.startswith("backbone.")}
    learnt = [name for name in backbone if "num_batches" not in name]
    assert len(learnt) == 18 * 5
    assert all(torch.equal(backbone[name], made.weights[name]) for name in learnt)


def test_a_whole_weights_file_serves_as_a_backbone_file(tmp_path: Path) -> None:
    _, made = backbone_file(tmp_path, 23)
    model = model_for(OLD, made.config.model)
    assert InitialWeights.read(tmp_path / "whole.weights").load_into(model, OLD) == ("backbone",)
    assert torch.equal(
        model.state_dict()["backbone.stages.0.0.0.weight"], made.weights["backbone.stages.0.0.0.weight"]
    )


@pytest.mark.parametrize("content", ["random", "text"])
def test_any_other_file_of_sufficient_length_is_refused(tmp_path: Path, content: str) -> None:
    path, made = backbone_file(tmp_path, 23)
    length = path.stat().st_size
    other = np.random.default_rng(0).bytes(length) if content == "random" else b"<html>\n" * length
    path.write_bytes(other[:length])
    with pytest.raises(DarknetError, match="expected a checkpoint or a Darknet weights file"):
        InitialWeights.read(path).load_into(model_for(OLD, made.config.model), OLD)


def test_the_error_for_a_short_backbone_file_names_the_layer(tmp_path: Path) -> None:
    path, made = backbone_file(tmp_path, 23)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DarknetError, match=r"ends inside layer 22 \(\[convolutional\]"):
        InitialWeights.read(path).load_into(model_for(OLD, made.config.model), OLD)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        InitialWeights.read(tmp_path / "none.conv.23").load_into(model_for(OLD, made.config.model), OLD)


def test_a_converted_network_loads_a_backbone_file() -> None:
    files = DarknetFiles.of([OWN_NETS / "tree_detector.cfg", OWN_NETS / "tree_detector.weights"])
    made, _ = read_darknet(files)
    model = model_for(made.tree, made.config.model)
    assert InitialWeights.read(OWN_NETS / "tree_detector.weights").load_into(model, made.tree) == (
        "backbone",
    )
    for name in ("backbone.layers.4.convolution.weight", "backbone.layers.6.norm.running_var"):
        assert torch.equal(model.state_dict()[name], made.weights[name])


def test_units_export_their_arrays() -> None:
    from yolo9000.models.backbone import ConvUnit

    arrays = unit_weights(ConvUnit(2, 3, 3))
    assert {name: array.shape for name, array in arrays.items()} == {
        "biases": (3,), "scales": (3,), "means": (3,), "variances": (3,), "weights": (3, 2, 3, 3),
    }  # fmt: skip
    assert np.array_equal(arrays["variances"], [1, 1, 1])


def test_a_converted_detectors_origin_is_inherited(tmp_path: Path) -> None:
    made, _ = read_darknet(
        DarknetFiles.of([OWN_NETS / "tree_detector.cfg", OWN_NETS / "tree_detector.weights"])
    )
    save_checkpoint(tmp_path / "start.pt", replace(made, step=0))
    start = InitialWeights.read(tmp_path / "start.pt")
    assert start.inherited(("backbone", "head")) == (32013312, made.darknet)
