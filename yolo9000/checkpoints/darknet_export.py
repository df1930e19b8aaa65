"""Export to Darknet: `.weights` and `.cfg`, and also `.tree` and `.names` if the classes changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from wordtree import WordTree
from wordtree.hierarchies.darknet_classes import lines_text
from wordtree.support.arrays import Float32Array
from wordtree.support.files import is_own_output, write_atomically
from wordtree.tree.tree_files import notice_beside, tree_text
from yolo9000.checkpoints.checkpoint import Checkpoint
from yolo9000.checkpoints.darknet_units import backbone_sections, unit_section, unit_weights
from yolo9000.config import ModelConfig, NetworkConfig
from yolo9000.darknet.cfg import plan_cfg
from yolo9000.darknet.options import DarknetError
from yolo9000.darknet.plan import NetworkPlan, Region, SpaceToDepth, output_layer_of
from yolo9000.darknet.text import section, with_option
from yolo9000.darknet.weights import Header, LayerWeights, Weights, write_weights
from yolo9000.models.backbone import ConvBackbone, ConvUnit
from yolo9000.models.classifier import Classifier, FlatSoftmax
from yolo9000.models.darknet_network import DarknetNetwork
from yolo9000.models.detector import Detector, PassthroughNeck, UpsamplingNeck

COMMENT = "# Written by yolo9000. Training options have Darknet's defaults.\n"


def write_darknet(checkpoint: Checkpoint[Any], path: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the `.weights` and, beside it, the `.cfg`; returns all files written.

    A converted network without further training is written as its original files, byte for byte. If its classes
    changed, or if it is a network of this project, the cfg is new, and tree and names are written too.
    overwrite: replace files with other content that none of our commands wrote.
    Raises DarknetError if Darknet cannot express the network, or if a file with other content would be overwritten.
    """
    model: Detector | Classifier = checkpoint.build_model()
    if isinstance(model, Detector) and model.roi_head:
        raise DarknetError(
            "Darknet has no RoI head (model.roi_head), so this network cannot be written as its files."
        )
    contents = _file_contents(checkpoint, model, path)
    for file, content in contents.items():
        if file.exists() and not (overwrite or is_own_output(file)) and file.read_bytes() != content:
            raise DarknetError(
                f"{file}: the file exists with other content. Choose another name for {path.name}, or add --overwrite."
            )
    plan = plan_cfg(contents[path.with_suffix(".cfg")].decode("latin-1"), str(path.with_suffix(".cfg")))
    major, minor, revision = checkpoint.darknet.version if checkpoint.darknet else (0, 2, 0)
    header = Header(major, minor, revision, checkpoint.images_seen)
    write_weights(path, plan, Weights(header, _layer_weights(model, plan)))
    for file, content in contents.items():
        write_atomically(file, content)
    return [path, *contents]


@dataclass(frozen=True)
class _Classes:
    """Names of a network's outputs, and their tree if it has more than one level."""

    names: tuple[str, ...]
    tree: WordTree | None

    @classmethod
    def of(cls, model: Detector | Classifier, tree: WordTree) -> _Classes:
        if isinstance(model, Classifier) and isinstance(model.softmax, FlatSoftmax):
            return cls(tuple(tree.names[node] for node in model.softmax.classes.tolist()), None)
        return cls(tree.names, tree if len(tree.group_start) > 1 else None)

    def files(self, path: Path) -> dict[Path, bytes]:
        """Content of the names and tree files by path; path: of the tree file."""
        texts = {path.with_suffix(".names"): lines_text(self.names)}
        if self.tree:
            texts |= {
                path: tree_text(self.tree.ids, self.tree.parent.tolist()),
                **notice_beside(path, self.tree.ids),
            }
        return {file: text.encode() for file, text in texts.items()}


def _file_contents(
    checkpoint: Checkpoint[Any], model: Detector | Classifier, path: Path
) -> dict[Path, bytes]:
    """Content of the cfg by path, and of new files that the cfg names."""
    cfg, cfg_path, tree_path = checkpoint.config.model, path.with_suffix(".cfg"), path.with_suffix(".tree")
    classes = _Classes.of(model, checkpoint.tree)
    if classes.tree and isinstance(cfg, ModelConfig) and cfg.siblings == "sigmoid":
        raise DarknetError(
            f"{path}: Darknet has no tree with model.siblings sigmoid, only with softmax, so this detector has no cfg."
        )
    if cfg.darknet_cfg is not None and _fits_original_cfg(checkpoint, classes):
        return {cfg_path: cfg.darknet_cfg.encode("latin-1")}
    named = tree_path.name if classes.tree else None
    if named and "".join(named.split()) != named:
        raise DarknetError(f"{tree_path}: Darknet cannot read file names with blanks. Choose another name.")
    if cfg.darknet_cfg is None:
        text = _network_text(cfg, model, len(classes.names), named)
    else:
        text = _with_output_layer(cfg, len(classes.names), named)
    return {cfg_path: text.encode("latin-1"), **classes.files(tree_path)}


def _fits_original_cfg(checkpoint: Checkpoint[Any], classes: _Classes) -> bool:
    """Whether classes and anchors are unchanged since the conversion."""
    cfg, origin = checkpoint.config.model, checkpoint.darknet
    output_layer = output_layer_of(plan_cfg(cfg.darknet_cfg, "the cfg"))
    same_anchors = not isinstance(output_layer, Region) or output_layer.anchors == cfg.anchors
    same_tree = origin is not None and origin.tree == checkpoint.tree.fingerprint
    return same_tree and same_anchors and output_layer.classes == len(classes.names)


def _network_text(cfg: NetworkConfig, model: Detector | Classifier, classes: int, tree: str | None) -> str:
    """The cfg of a named architecture. yolov2 and yolov2_paper need [reorg3d], which only AlexeyAB's Darknet has."""
    neck = model.neck if isinstance(model, Detector) else None
    if (
        not isinstance(model.backbone, ConvBackbone)
        or isinstance(neck, UpsamplingNeck)
        or (isinstance(cfg, ModelConfig) and cfg.has_fine_grid)
    ):
        raise DarknetError(
            f"Darknet has no layers for {cfg.network}; only its own backbones on their coarse grid."
        )
    width, height = cfg.wh_px
    sections = [section("net", width=width, height=height, channels=3), *backbone_sections(model.backbone)]
    if neck is not None:
        pools = [k for k, text in enumerate(sections) if text.startswith("[maxpool]")]
        sections += _neck_sections(neck, fine=pools[-1] - 2)  # [net] is not a layer
    named: dict[str, str | float] = {"tree": tree} if tree else {}
    if isinstance(cfg, ModelConfig):
        assert cfg.anchors is not None
        filters = len(cfg.anchors) * (5 + classes)
        region: dict[str, str | float] = {
            "anchors": _anchors_text(cfg.anchors),
            "num": len(cfg.anchors),
            "classes": classes,
            "coords": 4,
        }
        last = [section("region", **region, bias_match=1, softmax=int(cfg.siblings == "softmax"), **named)]
    else:
        filters, last = classes, [section("avgpool"), section("softmax", groups=1, **named)]
    head = section("convolutional", filters=filters, size=1, stride=1, activation="linear")
    return COMMENT + "\n".join([*sections, head, *last])


def _neck_sections(neck: PassthroughNeck, *, fine: int) -> list[str]:
    """The deep convolutions, then the passthrough from layer `fine`: squeezed or not, re-ordered, concatenated."""
    deep = [unit_section(unit) for unit in neck.deep if isinstance(unit, ConvUnit)]
    squeeze = [unit_section(neck.squeeze)] if isinstance(neck.squeeze, ConvUnit) else []
    passed = [section("route", layers=fine), *squeeze, section("reorg3d", stride=2)]
    return [*deep, *passed, section("route", layers=f"-1,{-1 - len(passed)}"), unit_section(neck.join)]


def _with_output_layer(cfg: NetworkConfig, classes: int, tree: str | None) -> str:
    """The original cfg with other classes or anchors, and without `map`, whose numbers mean the old classes."""
    assert cfg.darknet_cfg is not None
    plan = plan_cfg(cfg.darknet_cfg, "the cfg")
    output_layer, options, filters = output_layer_of(plan), dict[str, str | int | None](tree=tree), classes
    if isinstance(cfg, ModelConfig) and isinstance(output_layer, Region):
        assert cfg.anchors is not None
        filters = len(cfg.anchors) * (5 + classes)
        options |= {"classes": classes, "map": None}
        if tree is None and output_layer.tree is not None:
            options["softmax"] = 1
        if cfg.anchors != output_layer.anchors:
            options |= {"anchors": _anchors_text(cfg.anchors), "num": len(cfg.anchors)}
    text = with_option(cfg.darknet_cfg, plan.convolutions[-1].index, "filters", filters)
    for key, value in options.items():
        text = with_option(text, output_layer.index, key, value)
    return text


def _anchors_text(anchors: tuple[tuple[float, float], ...]) -> str:
    return ", ".join(f"{side!r}" for anchor in anchors for side in anchor)


def _layer_weights(model: Detector | Classifier, plan: NetworkPlan) -> dict[int, LayerWeights]:
    """Weights of every convolution of the plan, by layer index."""
    *backbone, head = plan.convolutions
    if isinstance(model, Classifier):
        weight, bias = model.head.weight[:, :, None, None], model.head.bias.detach()
    else:
        weight, bias = model.head.darknet_layer()
    if isinstance(model.backbone, DarknetNetwork):
        weights = model.backbone.layer_weights()
    else:
        units = [module for module in model.modules() if isinstance(module, ConvUnit)]
        weights = {layer.index: unit_weights(unit) for layer, unit in zip(backbone, units, strict=True)}
        _reorder_passed_channels(weights, plan)
    return {**weights, head.index: {"biases": _array(bias), "weights": _array(weight)}}


def _reorder_passed_channels(layer_weights: dict[int, LayerWeights], plan: NetworkPlan) -> None:
    """Permute in place: our passthrough orders channels by (channel, block position), [reorg3d] the other way."""
    for layer in plan.layers:
        if isinstance(layer, SpaceToDepth):
            join = next(after for after in plan.convolutions if after.index > layer.index)
            weights = layer_weights[join.index]["weights"]
            ours = np.arange(layer.out.channels).reshape(-1, layer.stride**2)  # channel, position
            passed = weights[:, ours.T.reshape(-1)]
            rest = weights[:, layer.out.channels :]
            layer_weights[join.index]["weights"] = np.concatenate([passed, rest], axis=1)


def _array(tensor: Tensor) -> Float32Array:
    return tensor.detach().cpu().contiguous().numpy()
