"""Anchors for a training configuration: what of it decides them, and where they are written."""

from pathlib import Path
from typing import Any

from data_prep.anchors import AnchorClusters, AnchorError
from data_prep.yaml_config import ConfigError, read_yaml
from data_prep.yaml_edit import with_setting
from wordtree.files import write_atomically

STRIDES = {"tiny": 16}  # px in a grid cell, of the architectures that do not have 32
COUNT, SIZE_PX, STRIDE_PX = 5, 416, 32


def grid_of(config: Path | None) -> tuple[int, int, int]:
    """How many anchors, the side of the input and that of a grid cell in px, as a configuration says or by default."""
    model: Any = read_yaml(config).get("model") if config is not None else None
    if not isinstance(model, dict):
        return COUNT, SIZE_PX, STRIDE_PX
    size = model.get("input_size_px", SIZE_PX)
    if not isinstance(size, int):
        raise AnchorError(f"{config}: model.input_size_px is no side of a square; give --size.")
    if model.get("architecture") == "darknet":
        raise AnchorError(f"{config}: the anchors of a Darknet network stand in its own cfg.")
    return model.get("anchor_count", COUNT), size, STRIDES.get(str(model.get("architecture")), STRIDE_PX)


def rounded(anchors: AnchorClusters) -> list[list[float]]:
    """Widths and heights in cells to three digits, as they are shown and written."""
    return [[round(float(width), 3), round(float(height), 3)] for width, height in anchors.anchors]


def write_anchors(config: Path, anchors: AnchorClusters) -> None:
    """Set `model.anchors` of a training configuration (and `model.anchor_count` where it says another number)."""
    text = config.read_text(encoding="utf-8")
    pairs = rounded(anchors)
    model = read_yaml(config).get("model") or {}
    try:
        text = with_setting(text, "model", "anchors", str(pairs))
        if isinstance(model, dict) and model.get("anchor_count", len(pairs)) != len(pairs):
            text = with_setting(text, "model", "anchor_count", str(len(pairs)))
    except ConfigError as reason:
        raise ConfigError(f"{config}: {reason}") from None
    write_atomically(config, text)
