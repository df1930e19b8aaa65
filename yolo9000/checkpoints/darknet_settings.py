"""Settings of a `.cfg` as a configuration, for prediction and training."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from wordtree.support.config_files import validate
from yolo9000.config import BatchNormRule, Config, PretrainConfig
from yolo9000.darknet.options import DarknetError, Section
from yolo9000.darknet.plan import ClassifierPlan, DetectorPlan, NetworkPlan

# Not a folder; a run that starts from the checkpoint names its own shards.
NO_SHARDS = "what Darknet was trained on"
Rules = Literal["ours", "darknet"]

_POLICIES = ("constant", "steps", "step", "exp", "poly", "sigmoid")
_SIZES_PX = tuple(range(320, 609, 32))  # detector.c: random=1
_ANY = {"low": -(2**31), "high": 2**31 - 1}


def detector_config_of(plan: NetworkPlan, *, batch_norm: BatchNormRule, rules: Rules) -> Config:
    """The configuration of a converted detector.

    rules: `darknet` selects its thresholds and rules for descent, score, overlap and geometry (decisions 8, 11, 13).
    Raises DarknetError if the plan is not a detector or a setting is out of range.
    """
    net, region = plan.net, DetectorPlan.of(plan).output_layer
    settings: dict[str, Any] = {
        **_common(plan),
        "model": {
            **_network(plan, batch_norm),
            "anchors": region.anchors,
            "anchor_count": len(region.anchors),
            "siblings": "softmax" if region.tree or region.softmax else "sigmoid",
        },
        "augment": {**_colours(net), "jitter": region.jitter},
        "loss": {
            "object_weight": region.object_scale,
            "no_object_weight": region.noobject_scale,
            "class_weight": region.class_scale,
            "label_weight": region.class_scale,
            "coordinate_weight": region.coord_scale,
            "box_assignment": "anchor" if region.bias_match else "prediction",
            "ignore_iou": region.thresh,
            "objectness_target": "iou" if region.rescore else "one",
            "label_assignment": "max_score",
            "label_objectness": "darknet",
            "unannotated_objectness": None,
        },
        "schedule": {**_schedule(net), "sizes_px": _SIZES_PX if region.random else ()},
    }
    if rules == "darknet":
        settings["predict"] = {
            "min_score": 0.5,
            "descent": "darknet",
            "nms": "by_node",
            "geometry": "darknet",
        }
        settings["evaluate"] = {"geometry": "darknet"}
    return validate(settings, Config, where=plan.source, error=DarknetError)


def classifier_config_of(plan: NetworkPlan, *, batch_norm: BatchNormRule) -> PretrainConfig:
    """The configuration of a converted classifier. Raises DarknetError."""
    net, softmax, width = plan.net, ClassifierPlan.of(plan).output_layer, plan.input.width
    crops = [
        net.integer(key, sides * width, **_ANY) / width for key, sides in (("min_crop", 1), ("max_crop", 2))
    ]
    settings: dict[str, Any] = {
        **_common(plan),
        "model": {**_network(plan, batch_norm), "softmax": "tree" if softmax.tree else "flat"},
        "augment": {
            **_colours(net),
            "shorter_side": crops,
            "aspect": _factor(net, "aspect"),
            "angle": net.number("angle", 0),
        },
        "schedule": _schedule(net),
    }
    return validate(settings, PretrainConfig, where=plan.source, error=DarknetError)


def _common(plan: NetworkPlan) -> dict[str, Any]:
    net = plan.net
    return {
        "name": re.sub(r"[^\w.-]|^[.-]", "_", Path(plan.source).stem) or "darknet",
        "data": {"shards": NO_SHARDS, "batch_size": net.integer("batch", 1, low=1, high=1 << 20)},
        "optimizer": {
            "learning_rate": net.number("learning_rate", 0.001),
            "momentum": net.number("momentum", 0.9),
            "weight_decay": net.number("decay", 0.0001),
        },
    }


def _network(plan: NetworkPlan, batch_norm: BatchNormRule) -> dict[str, Any]:
    width, height = plan.input.width, plan.input.height
    return {
        "architecture": "darknet",
        "darknet_cfg": plan.text,
        "batch_norm": batch_norm,
        "input_size_px": width if width == height else [width, height],
    }


def _colours(net: Section) -> dict[str, float]:
    return {
        "hue": net.number("hue", 0),
        "saturation": _factor(net, "saturation"),
        "exposure": _factor(net, "exposure"),
    }


def _schedule(net: Section) -> dict[str, Any]:
    """Schedule settings. Darknet uses `power` for burn-in and for poly; an unknown policy means a constant rate."""
    policy = net.text("policy") or "constant"
    power = net.number("power", 4)
    settings: dict[str, Any] = {
        "max_steps": max(1, net.integer("max_batches", 0, **_ANY)),
        "burn_in_steps": max(0, net.integer("burn_in", 0, **_ANY)),
        "burn_in_power": power,
        "power": power,
        "policy": policy if policy in _POLICIES else "constant",
    }
    if policy == "steps":
        settings |= {"steps": net.integers("steps", **_ANY), "scales": net.numbers("scales")}
    elif policy == "step":
        settings |= {"step_every": net.integer("step", 1, **_ANY), "step_scale": net.number("scale", 1)}
    elif policy in ("exp", "sigmoid"):
        settings |= {"gamma": net.number("gamma", 1), "middle": net.integer("step", 1, **_ANY)}
    return settings


def _factor(net: Section, key: str) -> float:
    """The larger of a factor and its inverse: Darknet's .75 and 1.33 both mean a factor between .75 and 1.33."""
    value = net.number(key, 1)
    return 1 / value if 0 < value < 1 else value
