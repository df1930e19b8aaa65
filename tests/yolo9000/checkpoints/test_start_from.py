"""What a run begins with: the network of a detector, its weights for other nodes, a backbone file of Darknet."""

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
from yolo9000.checkpoints.checkpoint import Checkpoint, CheckpointError, save_checkpoint
from yolo9000.checkpoints.darknet_export import write_darknet
from yolo9000.checkpoints.darknet_import import DarknetFiles, read_darknet
from yolo9000.checkpoints.darknet_units import unit_numbers
from yolo9000.checkpoints.start_from import Start, class_rows
from yolo9000.config import Config, ModelConfig
from yolo9000.darknet.options import DarknetError
from yolo9000.darknet.weights import Header
from yolo9000.models.detector import Detector, build_model

OLD = WordTree(["animal", "vehicle", "dog", "cat", "car", "boat"], [-1, -1, 0, 0, 1, 1])
# Cut (no cat), grown (terrier, kayak, sea kayak, plant, rose), and hung elsewhere (dog under pet).
NEW = WordTree(
    ["vehicle", "animal", "plant", "car", "boat", "pet", "rose", "kayak", "dog", "sea_kayak", "terrier"],
    [-1, -1, -1, 0, 0, 1, 2, 4, 5, 7, 8],
)


def checkpoint_of(architecture: str = "tiny", tree: WordTree = OLD, **settings: object) -> Checkpoint:
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
    network = build_model(config.model, tree)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    label_counts = LabelCounts(tree, [0] * len(tree), [0] * len(tree))
    return Checkpoint(config, tree, label_counts, 3, network.state_dict(), None, 0.0, seen_before=1000)


def model_for(tree: WordTree, cfg: ModelConfig) -> Detector:
    torch.manual_seed(2)
    return build_model(cfg, tree)


@pytest.fixture
def start(tmp_path: Path) -> Start:
    save_checkpoint(tmp_path / "start.pt", checkpoint_of())
    return Start.read(tmp_path / "start.pt")


# --- rows of the class head


def test_each_node_begins_with_its_own_weights_else_with_those_of_the_nearest_known_node_above() -> None:
    found = {id_: int(row) for id_, row in zip(NEW.ids, class_rows(OLD, NEW), strict=True)}
    assert found == {
        "vehicle": 1, "animal": 0, "plant": -1, "car": 4, "boat": 5, "pet": 0, "rose": -1, "kayak": 5, "dog": 2,
        "sea_kayak": 5, "terrier": 2,
    }  # fmt: skip


@given(st.integers(0, 10**6), st.integers(5, 60), st.integers(5, 60))
def test_rows_are_those_of_an_obvious_search(seed: int, old_nodes: int, new_nodes: int) -> None:
    old, new = random_tree(old_nodes, seed=seed), random_tree(new_nodes, seed=seed + 1)
    for node, row in enumerate(class_rows(old, new)):
        way_up = [node, *new.ancestors(node)]
        known = [old.node(new.ids[above]) for above in way_up if new.ids[above] in old]
        assert row == (known[0] if known else -1)


def test_the_same_tree_gives_the_same_weights(start: Start) -> None:
    assert start.found is not None
    model = model_for(OLD, start.found.config.model)
    assert start.give(model, OLD) == ("backbone", "head")
    assert all(torch.equal(value, start.found.weights[name]) for name, value in model.state_dict().items())
    assert start.carried(("backbone", "head")) == (1000 + 3 * 64, None)
    assert start.carried(("backbone",)) == (0, None)


def test_known_nodes_answer_as_before_and_new_ones_as_the_node_above(start: Start) -> None:
    assert start.found is not None
    before = start.found.build_model()
    model = model_for(NEW, start.found.config.model).eval()
    random = model.head.classes.weight.detach().clone()
    assert start.give(model, NEW) == ("backbone", "head")
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
    assert start.in_words(("backbone", "head"), NEW).endswith(
        "its backbone, head; of 11 nodes 5 keep their weights, 4 begin with those of the node above, 2 at random; "
        "old nodes left out: 1."
    )


def test_anchors_of_ones_own_stay_and_another_number_of_them_leaves_the_head_out(start: Start) -> None:
    assert start.found is not None
    cfg = start.found.config.model
    same_number = model_for(OLD, cfg.model_copy(update={"anchors": ((5.0, 5.0), (6.0, 6.0))}))
    assert start.give(same_number, OLD) == ("backbone", "head")
    assert same_number.head.anchors_cell.tolist() == [[5, 5], [6, 6]]
    more = model_for(OLD, cfg.model_copy(update={"anchors": ((1.0, 1.0),) * 3}))
    assert start.give(more, OLD) == ("backbone",)


def test_a_head_that_would_see_other_features_is_left_out(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "start.pt", checkpoint_of("yolo9000"))
    start = Start.read(tmp_path / "start.pt")
    assert start.found is not None
    with_neck = model_for(OLD, start.found.config.model.model_copy(update={"architecture": "yolov2"}))
    assert start.give(with_neck, OLD) == ("backbone",)
    save_checkpoint(tmp_path / "with_neck.pt", checkpoint_of("yolov2"))
    start = Start.read(tmp_path / "with_neck.pt")
    assert start.found is not None
    without = model_for(OLD, start.found.config.model.model_copy(update={"architecture": "yolo9000"}))
    assert start.give(without, OLD) == ("backbone",)


def test_another_backbone_is_reported(start: Start) -> None:
    assert start.found is not None
    wider = model_for(OLD, start.found.config.model.model_copy(update={"width": 0.5}))
    with pytest.raises(CheckpointError, match=r"its backbone .* is not that of this run"):
        start.give(wider, OLD)


# --- the network


def test_what_a_run_leaves_open_about_its_network_is_as_in_the_detector(start: Start) -> None:
    assert start.found is not None
    made = start.found.config.model
    for open_, expected in (
        ({}, {"architecture": "tiny", "width": 0.25, "anchors": made.anchors, "input_size_px": 64}),
        ({"architecture": "tiny"}, {"architecture": "tiny", "width": 0.25, "anchors": made.anchors}),
        ({"input_size_px": 96}, {"architecture": "tiny", "input_size_px": 96}),
        ({"anchors": [[1, 1]]}, {"architecture": "tiny", "anchors": ((1, 1),)}),
        ({"architecture": "yolov2"}, {"architecture": "yolov2", "width": 1.0, "anchors": None}),
    ):
        cfg = start.network_for(ModelConfig.model_validate({**open_, "start_from": start.path}))
        assert {name: getattr(cfg, name) for name in expected} == expected
        assert cfg.start_from == start.path


def test_sizes_are_not_judged_before_the_network_is_known() -> None:
    assert ModelConfig.model_validate({"start_from": "x.pt", "input_size_px": 80}).input_size_px == 80
    with pytest.raises(ValueError, match="multiple of 32"):
        ModelConfig.model_validate({"start_from": "x.pt", "architecture": "yolov2", "input_size_px": 80})


# --- a converted detector


def converted_from(architecture: str, folder: Path) -> tuple[Start, Checkpoint]:
    """A network of our own that went to Darknet and back, and the network itself."""
    made = checkpoint_of(architecture)
    files = write_darknet(made, folder / "net.weights")
    back, _ = read_darknet(DarknetFiles.of(files[:2]))
    save_checkpoint(folder / "back.pt", back)
    return Start.read(folder / "back.pt"), made


@pytest.mark.parametrize("architecture", ["yolo9000", "tiny"])
def test_a_network_of_the_same_layers_begins_with_all_of_it(architecture: str, tmp_path: Path) -> None:
    start, made = converted_from(architecture, tmp_path)
    model = model_for(OLD, made.config.model)
    assert start.give(model, OLD) == ("backbone", "head")
    state = model.state_dict()
    assert all(
        torch.equal(value, made.weights[name]) for name, value in state.items() if "num_batches" not in name
    )


@pytest.mark.parametrize(
    ("converted", "asked"), [("yolov2", "yolov2"), ("yolov2", "yolo9000"), ("yolo9000", "yolov2")]
)
def test_a_network_that_begins_with_the_same_layers_has_its_backbone(
    converted: str, asked: str, tmp_path: Path
) -> None:
    start, made = converted_from(converted, tmp_path)
    model = model_for(OLD, made.config.model.model_copy(update={"architecture": asked}))
    assert start.give(model, OLD) == ("backbone",)
    name = "backbone.stages.5.5.0.weight"
    assert torch.equal(model.state_dict()[name], made.weights[name])


def test_a_network_of_other_layers_is_reported(tmp_path: Path) -> None:
    start, made = converted_from("yolo9000", tmp_path)
    for changes in ({"width": 0.5}, {"architecture": "tiny"}):
        with pytest.raises(
            CheckpointError, match=r"its backbone \(darknet, input 64 px\) is not that of this run"
        ):
            start.give(model_for(OLD, made.config.model.model_copy(update=changes)), OLD)


def test_architecture_darknet_without_its_text_is_that_of_the_start(tmp_path: Path) -> None:
    start, _ = converted_from("tiny", tmp_path)
    asked = ModelConfig.model_validate({"architecture": "darknet", "start_from": start.path})
    assert start.found is not None
    assert start.network_for(asked).darknet_cfg == start.found.config.model.darknet_cfg
    with pytest.raises(ConfigError, match="was not converted from Darknet"):
        model_for(OLD, asked.model_copy(update={"anchors": ((1.0, 1.0),)}))


# --- Darknet's backbone files


def backbone_file(tmp_path: Path, layers: int, *, header: Header | None = None) -> tuple[Path, Checkpoint]:
    """The first layers of a network of our own as Darknet's `partial` would cut them."""
    made = checkpoint_of("yolo9000")
    write_darknet(made, tmp_path / "whole.weights")
    content = (tmp_path / "whole.weights").read_bytes()
    head = 4 * (2 * (5 + len(OLD)) * (256 + 1))
    path = tmp_path / f"whole.conv.{layers}"
    path.write_bytes((header or Header(seen=5)).to_bytes() + content[20 : len(content) - head])
    return path, made


@pytest.mark.parametrize("header", [Header(0, 1, 0), Header(0, 2, 5)], ids=["32 bits", "64 bits"])
@pytest.mark.parametrize("architecture", ["yolo9000", "yolov2"])
def test_a_backbone_file_gives_the_backbone(tmp_path: Path, architecture: str, header: Header) -> None:
    path, made = backbone_file(tmp_path, 23, header=header)
    model = model_for(OLD, made.config.model.model_copy(update={"architecture": architecture}))
    assert Start.read(path).give(model, OLD) == ("backbone",)
    backbone = {name: value for name, value in model.state_dict().items() if name.startswith("backbone.")}
    learnt = [name for name in backbone if "num_batches" not in name]
    assert len(learnt) == 18 * 5
    assert all(torch.equal(backbone[name], made.weights[name]) for name in learnt)


def test_a_whole_weights_file_gives_its_first_layers_too(tmp_path: Path) -> None:
    _, made = backbone_file(tmp_path, 23)
    model = model_for(OLD, made.config.model)
    assert Start.read(tmp_path / "whole.weights").give(model, OLD) == ("backbone",)
    assert torch.equal(
        model.state_dict()["backbone.stages.0.0.0.weight"], made.weights["backbone.stages.0.0.0.weight"]
    )


@pytest.mark.parametrize("content", ["random", "text"])
def test_any_other_file_that_is_long_enough_is_no_backbone(tmp_path: Path, content: str) -> None:
    path, made = backbone_file(tmp_path, 23)
    length = path.stat().st_size
    other = np.random.default_rng(0).bytes(length) if content == "random" else b"<html>\n" * length
    path.write_bytes(other[:length])
    with pytest.raises(DarknetError, match="neither a checkpoint nor a file of Darknet's weights"):
        Start.read(path).give(model_for(OLD, made.config.model), OLD)


def test_a_backbone_that_is_too_short_names_the_layer(tmp_path: Path) -> None:
    path, made = backbone_file(tmp_path, 23)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DarknetError, match=r"ends inside layer 22 \(\[convolutional\]"):
        Start.read(path).give(model_for(OLD, made.config.model), OLD)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        Start.read(tmp_path / "none.conv.23").give(model_for(OLD, made.config.model), OLD)


def test_a_converted_network_takes_a_backbone_file_too() -> None:
    files = DarknetFiles.of([OWN_NETS / "tree_detector.cfg", OWN_NETS / "tree_detector.weights"])
    made, _ = read_darknet(files)
    model = model_for(made.tree, made.config.model)
    assert Start.read(OWN_NETS / "tree_detector.weights").give(model, made.tree) == ("backbone",)
    for name in ("backbone.layers.4.convolution.weight", "backbone.layers.6.norm.running_var"):
        assert torch.equal(model.state_dict()[name], made.weights[name])


def test_units_know_their_numbers() -> None:
    from yolo9000.models.backbone import ConvUnit

    numbers = unit_numbers(ConvUnit(2, 3, 3))
    assert {name: part.shape for name, part in numbers.items()} == {
        "biases": (3,), "scales": (3,), "means": (3,), "variances": (3,), "weights": (3, 2, 3, 3),
    }  # fmt: skip
    assert np.array_equal(numbers["variances"], [1, 1, 1])


def test_a_detector_with_a_darknet_file_carries_it_on(tmp_path: Path) -> None:
    made, _ = read_darknet(
        DarknetFiles.of([OWN_NETS / "tree_detector.cfg", OWN_NETS / "tree_detector.weights"])
    )
    save_checkpoint(tmp_path / "start.pt", replace(made, step=0))
    start = Start.read(tmp_path / "start.pt")
    assert start.carried(("backbone", "head")) == (32013312, made.darknet)
