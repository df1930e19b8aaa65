"""A detector as Darknet's files: `.weights` and `.cfg`, and its tree or names where Darknet does not have them yet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from wordtree import WordTree
from wordtree.darknet_classes import lines_text
from wordtree.files import write_atomically
from wordtree.formats import notice_beside
from wordtree.tree import tree_text
from yolo9000.backbone import ConvUnit, Trunk
from yolo9000.checkpoint import Checkpoint
from yolo9000.config import ModelConfig
from yolo9000.darknet.cfg import plan_cfg
from yolo9000.darknet.network import DarknetNetwork
from yolo9000.darknet.options import DarknetError
from yolo9000.darknet.plan import DetectorPlan, NetworkPlan, SpaceToDepth
from yolo9000.darknet.text import section, with_option
from yolo9000.darknet.units import trunk_sections, unit_numbers, unit_section
from yolo9000.darknet.weights import Floats, Header, Numbers, Weights, write_weights
from yolo9000.model import Detector, PassthroughNeck

REMARK = "# Written by yolo9000. What is about training has Darknet's defaults.\n"


def write_darknet(checkpoint: Checkpoint, path: Path) -> list[Path]:
    """Write the `.weights` and, beside it, the `.cfg`; returns all files written.

    A converted detector that was not trained since gives back the files that it came from, byte for byte. With
    another tree than it came with, the cfg says so, and the tree is written too; likewise for our own networks.
    Raises DarknetError for what Darknet cannot express, and where a file of other content would be overwritten.
    """
    model = checkpoint.build_model()
    texts = _texts(checkpoint, model, path)
    for file, content in texts.items():
        if file.exists() and file.read_bytes() != content:
            raise DarknetError(
                f"{file}: is there already, with other content; choose another name for {path.name}."
            )
    plan = plan_cfg(texts[path.with_suffix(".cfg")].decode("latin-1"), str(path.with_suffix(".cfg")))
    write_weights(path, plan, Weights(_header(checkpoint), _numbers(model, plan)))
    for file, content in texts.items():
        write_atomically(file, content)
    return [path, *texts]


def _texts(checkpoint: Checkpoint, model: Detector, path: Path) -> dict[Path, bytes]:
    """The content of the cfg, and of what it names that is new."""
    cfg, tree, origin = checkpoint.config.model, checkpoint.tree, checkpoint.darknet
    cfg_path, tree_path = path.with_suffix(".cfg"), path.with_suffix(".tree")
    has_levels = len(tree.group_start) > 1
    if has_levels and cfg.siblings == "independent":
        raise DarknetError(f"{path}: Darknet has no tree whose siblings do not exclude each other.")
    if cfg.darknet_cfg is not None and origin is not None and origin.tree == tree.fingerprint:
        return {cfg_path: cfg.darknet_cfg.encode("latin-1")}
    named = tree_path.name if has_levels else None
    if named and "".join(named.split()) != named:
        raise DarknetError(f"{tree_path}: Darknet cannot read names with blanks; choose another one.")
    if cfg.darknet_cfg is None:
        text = _network_text(cfg, model, tree=named)
    else:
        text = _with_classes(cfg.darknet_cfg, len(tree), named)
    return {cfg_path: text.encode("latin-1"), **_class_files(tree, tree_path, has_levels=has_levels)}


def _network_text(cfg: ModelConfig, model: Detector, *, tree: str | None) -> str:
    """The cfg of a named architecture. yolov2 and yolov2_paper need [reorg3d], which only AlexeyAB's Darknet has."""
    assert isinstance(model.trunk, Trunk)
    assert cfg.anchors is not None
    nodes, anchors = len(model.tree), len(cfg.anchors)
    width, height = (cfg.input_size_px,) * 2 if isinstance(cfg.input_size_px, int) else cfg.input_size_px
    sections = [section("net", width=width, height=height, channels=3), *trunk_sections(model.trunk)]
    if model.neck is not None:
        fine = (
            max(k for k, text in enumerate(sections) if text.startswith("[maxpool]")) - 2
        )  # [net] is no layer
        sections += _neck_sections(model.neck, fine)
    sections += [
        section("convolutional", filters=anchors * (5 + nodes), size=1, stride=1, activation="linear"),
        section(
            "region",
            anchors=", ".join(f"{side!r}" for anchor in cfg.anchors for side in anchor),
            num=anchors,
            classes=nodes,
            coords=4,
            bias_match=1,
            softmax=int(cfg.siblings == "exclusive"),
            **({"tree": tree} if tree else {}),
        ),
    ]
    return REMARK + "\n".join(sections)


def _neck_sections(neck: PassthroughNeck, fine: int) -> list[str]:
    """Deep convolutions, and beside them the output of layer `fine`, squeezed or whole, re-ordered and joined."""
    deep = [unit_section(unit) for unit in neck.deep if isinstance(unit, ConvUnit)]
    squeeze = [unit_section(neck.squeeze)] if isinstance(neck.squeeze, ConvUnit) else []
    passed = [section("route", layers=fine), *squeeze, section("reorg3d", stride=2)]
    return [*deep, *passed, section("route", layers=f"-1,{-1 - len(passed)}"), unit_section(neck.join)]


def _with_classes(text: str, classes: int, tree: str | None) -> str:
    """The cfg for other classes. The map of its old ones goes, since its numbers mean other nodes now."""
    parts = DetectorPlan.of(plan_cfg(text, "the cfg"))
    text = with_option(text, parts.head.index, "filters", len(parts.region.anchors) * (5 + classes))
    if tree is None and parts.region.tree is not None:
        text = with_option(text, parts.region.index, "softmax", 1)
    for key, value in (("classes", classes), ("tree", tree), ("map", None)):
        text = with_option(text, parts.region.index, key, value)
    return text


def _class_files(tree: WordTree, path: Path, *, has_levels: bool) -> dict[Path, bytes]:
    texts = {path.with_suffix(".names"): lines_text(tree.names)}
    if has_levels:
        texts |= {path: tree_text(tree.ids, tree.parent), **notice_beside(path, tree)}
    return {file: text.encode() for file, text in texts.items()}


def _header(checkpoint: Checkpoint) -> Header:
    major, minor, revision = checkpoint.darknet.version if checkpoint.darknet else (0, 2, 0)
    return Header(major, minor, revision, checkpoint.images_seen)


def _numbers(model: Detector, plan: NetworkPlan) -> dict[int, Numbers]:
    """The numbers of every convolution of the plan."""
    *trunk, head = plan.convolutions
    weight, bias = model.head.dense()
    if isinstance(model.trunk, DarknetNetwork):
        numbers = model.trunk.numbers()
    else:
        units = [module for module in model.modules() if isinstance(module, ConvUnit)]
        numbers = {layer.index: unit_numbers(unit) for layer, unit in zip(trunk, units, strict=True)}
        _reorder_passed_channels(numbers, plan)
    return {**numbers, head.index: {"biases": _array(bias), "weights": _array(weight)}}


def _reorder_passed_channels(numbers: dict[int, Numbers], plan: NetworkPlan) -> None:
    """Our passthrough gives channels as (channel, position in the block), [reorg3d] as (position, channel)."""
    for layer in plan.layers:
        if isinstance(layer, SpaceToDepth):
            join = next(after for after in plan.convolutions if after.index > layer.index)
            weights = numbers[join.index]["weights"]
            ours = np.arange(layer.out.channels).reshape(-1, layer.step**2)  # channel, position
            passed = weights[:, ours.T.reshape(-1)]
            rest = weights[:, layer.out.channels :]
            numbers[join.index]["weights"] = np.concatenate([passed, rest], axis=1)


def _array(tensor: Tensor) -> Floats:
    return tensor.detach().cpu().contiguous().numpy()
