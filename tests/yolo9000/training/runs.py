"""Helpers for tests of training runs: configurations, interruptions, comparisons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import yolo9000.training.loop as loop
from tests.yolo9000.made import COLOURS, random_tree
from wordtree import WordTree
from yolo9000.checkpoints.checkpoint import load_checkpoint
from yolo9000.config import PretrainConfig, read_pretrain_config

CLASSIFIER_YAML = """
name: made
model: {architecture: tiny, width: 0.5, input_size_px: 32}
data: {shards: shards, batch_size: 8}
augment: {hue: 0, saturation: 1, exposure: 1, shorter_side: [0.9, 1.2]}
optimizer: {name: adamw, learning_rate: 0.003, ema: 0.9}
schedule: {max_steps: 4, burn_in_steps: 2, policy: cosine}
evaluate: {split: train}
log: {every: 1, checkpoint_every: 2, tensorboard: false}
"""


def random_tree_with_made_classes(nodes: int) -> WordTree:
    """A random tree, four of whose nodes have the ids of the made classes."""
    tree = random_tree(nodes)
    ids = list(tree.ids)
    for node, wnid in zip((nodes // 9, nodes // 3, nodes // 2, nodes - 1), COLOURS, strict=True):
        ids[node] = wnid
    return WordTree(ids, tree.parent.tolist())


def made_classifier_config(shards: Path, folder: Path, **changes: object) -> PretrainConfig:
    """A pre-training of seconds, written to `folder`/pretrain.yaml; changes are dotted keys with `__`."""
    (folder / "pretrain.yaml").write_text(CLASSIFIER_YAML)
    overrides = [f"{key.replace('__', '.')}={json.dumps(value)}" for key, value in changes.items()]
    return read_pretrain_config(folder / "pretrain.yaml", [f"data.shards={shards}", *overrides])


def interrupt_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Raise KeyboardInterrupt in the middle of the step after `step`."""
    usual = loop.learning_rate_at

    def interrupted(at: int, *rest: Any) -> float:
        if at > step:
            raise KeyboardInterrupt
        return usual(at, *rest)

    monkeypatch.setattr(loop, "learning_rate_at", interrupted)


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).weights


def assert_equal_checkpoints(one: Path, other: Path) -> None:
    """Configuration, step, score, weights, optimizer state and average are equal, bit for bit."""
    a, b = load_checkpoint(one), load_checkpoint(other)
    assert (a.step, a.config) == (b.step, b.config)
    assert a.best_metric == pytest.approx(b.best_metric, nan_ok=True, abs=0)
    found, expected = flat([a.weights, a.training]), flat([b.weights, b.training])
    assert found.keys() == expected.keys()
    for name, value in found.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, expected[name]), name
        else:
            assert value == expected[name], name


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """The leaves of nested dicts and lists by their path."""
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list | tuple):
        items = list(enumerate(value))
    else:
        return {name: value}
    return {key: leaf for k, inner in items for key, leaf in flat(inner, f"{name}/{k}").items()}
