"""Training steps agree with darknet: gradients, momentum, decay, subdivisions, rates, running statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.yolo9000.darknet_golden import GoldenCase, golden_cases, targets_of
from wordtree.hierarchies.darknet_classes import read_map
from yolo9000.checkpoints.darknet_import import DarknetFiles, read_darknet
from yolo9000.config import OptimizerConfig
from yolo9000.darknet.cfg import read_cfg
from yolo9000.darknet.data_file import find_named
from yolo9000.darknet.plan import Cost, DetectorPlan, NetworkPlan, Softmax
from yolo9000.darknet.weights import read_weights
from yolo9000.losses.joint import JointLoss
from yolo9000.models.darknet_layers import ConvolutionLayer
from yolo9000.models.darknet_network import DarknetNetwork
from yolo9000.training.optim import build_optimizer, learning_rate_at, set_learning_rate

UPDATED = {"weight_updates": "weights", "bias_updates": "biases", "scale_updates": "scales"}
Parts = Mapping[int, Mapping[str, Tensor]]


@dataclass(frozen=True)
class Trainee:
    """A network in float64 and in training mode, with its optimizer, loss and parameters."""

    plan: NetworkPlan
    network: nn.Module
    optimizer: torch.optim.Optimizer
    momentum: float
    loss: Callable[[Tensor, np.ndarray, int], Tensor]  # images, truth, images seen -> sum over the images
    rate: Callable[[int], float]
    parts: Callable[[Callable[[Tensor], Tensor]], Parts]  # a function of the parameters, by layer and name


def detector_of(case: GoldenCase, plan: NetworkPlan) -> Trainee:
    """A converted detector and the joint loss, with the settings of the cfg."""
    folder = case.folder / case.kind
    files = DarknetFiles(cfg=folder / f"{case.name}.cfg", weights=folder / f"{case.name}_step0.weights")
    checkpoint, _ = read_darknet(files, batch_norm="darknet_cpu", rules="darknet")
    model, cfg = checkpoint.build_model().double().train(), checkpoint.config
    criterion, region = JointLoss(cfg.loss, model.tree_tensors), DetectorPlan.of(plan).output_layer
    nodes = read_map(find_named(region.map, "map", files.cfg), checkpoint.tree) if region.map else None

    def loss(images: Tensor, truth: np.ndarray, seen: int) -> Tensor:
        targets = targets_of(truth, nodes, in_a_tree=region.tree is not None)
        total: Tensor = criterion(model(images), targets, images_seen=seen).total * len(images)
        return total

    def parts(value: Callable[[Tensor], Tensor]) -> Parts:
        backbone = model.backbone
        assert isinstance(backbone, DarknetNetwork)
        head, classes = model.head, model.head.classes
        anchors, _, channels = classes.weight.shape
        assert head.box.bias is not None
        weight = torch.cat([value(head.box.weight).view(anchors, 5, channels), value(classes.weight)], dim=1)
        bias = torch.cat([value(head.box.bias).view(anchors, 5), value(classes.bias)], dim=1)
        dense = {"weights": weight.reshape(-1, channels, 1, 1), "biases": bias.flatten()}
        return {**backbone_parts(backbone, value), DetectorPlan.of(plan).head.index: dense}

    optimizer = build_optimizer(model, cfg.optimizer)
    return Trainee(
        plan,
        model,
        optimizer,
        cfg.optimizer.momentum,
        loss,
        lambda step: learning_rate_at(step, cfg.optimizer.learning_rate, cfg.schedule),
        parts,
    )


def classifier_of(case: GoldenCase, plan: NetworkPlan) -> Trainee:
    """The layers before the softmax, and its cross-entropy."""
    end = next(layer.index for layer in plan.layers if isinstance(layer, Softmax))
    network = DarknetNetwork(plan.layers[:end], batch_norm="darknet_cpu")
    network.load_weights(read_weights(case.folder / case.kind / f"{case.name}_step0.weights", plan).layers)
    net = plan.net
    cfg = OptimizerConfig(
        learning_rate=net.number("learning_rate", 0.001),
        momentum=net.number("momentum", 0.9),
        weight_decay=net.number("decay", 0.0001),
    )

    def loss(images: Tensor, truth: np.ndarray, seen: int) -> Tensor:
        logits: Tensor = network(images).flatten(1)
        return F.cross_entropy(logits, torch.from_numpy(truth).double(), reduction="sum")

    network.double().train()
    optimizer = build_optimizer(network, cfg)
    return Trainee(
        plan,
        network,
        optimizer,
        cfg.momentum,
        loss,
        lambda step: cfg.learning_rate,
        lambda value: backbone_parts(network, value),
    )


def backbone_parts(
    network: DarknetNetwork, value: Callable[[Tensor], Tensor]
) -> dict[int, dict[str, Tensor]]:
    layers = {k: layer for k, layer in enumerate(network.layers) if isinstance(layer, ConvolutionLayer)}
    return {
        k: {name: value(tensor) for name, tensor in layer.tensors().items()} for k, layer in layers.items()
    }


def one_step(
    trainee: Trainee, golden: dict[str, np.ndarray], step: int, minibatches: list[dict[str, Any]], batch: int
) -> None:
    """Set the learning rate and the gradient over all subdivisions of the batch, without the update."""
    trainee.optimizer.zero_grad()
    update = minibatches[-1]["seen_after"] // batch  # the first of a network that has seen nothing is 1
    set_learning_rate(trainee.optimizer, trainee.rate(update))
    assert trainee.rate(update) == pytest.approx(minibatches[-1]["rate"], rel=1e-6)
    for info in minibatches:
        name = f"s{step}_m{info['minibatch']}"
        images = torch.from_numpy(golden[f"{name}_input"]).double()
        loss = trainee.loss(images, golden[f"{name}_truth"], info["seen_after"])
        (loss / batch).backward()


@pytest.mark.parametrize("case", golden_cases("sgd", only_original=True))
def test_training_steps_agree_with_darknet(case: GoldenCase) -> None:
    golden, params, folder = case.arrays(), case.params, case.folder / case.kind
    plan = read_cfg(folder / f"{case.name}.cfg")
    softmax = [layer for layer in plan.layers if isinstance(layer, Softmax)]
    if softmax and (softmax[0].tree or isinstance(plan.layers[-1], Cost)):
        pytest.skip(
            "the original trains a tree's softmax on its marks, and with [cost] on its gradient twice"
        )
    trainee = classifier_of(case, plan) if softmax else detector_of(case, plan)

    def accumulated(parameter: Tensor) -> Tensor:
        """Darknet's accumulator before an update: minus the sum of the gradients, plus the momentum."""
        if parameter.grad is None:
            return torch.zeros_like(parameter)  # running statistics
        before = trainee.optimizer.state[parameter].get("momentum_buffer", torch.zeros_like(parameter))
        return -params["batch"] * (parameter.grad + trainee.momentum * before)

    compared = 0
    for step in range(1, params["steps"] + 1):
        minibatches = [info for info in params["info"] if info["step"] == step]
        assert len(minibatches) == params["subdivisions"]
        one_step(trainee, golden, step, minibatches, params["batch"])
        ours = trainee.parts(accumulated)
        for name in (name for name in golden if name.startswith(f"s{step}_accum_")):
            layer, _, part = name.removeprefix(f"s{step}_accum_").partition("_")
            assert_close(ours[int(layer)][UPDATED[part]], golden[name], name)
            compared += 1
        trainee.optimizer.step()
        before, after = (
            read_weights(folder / f"{case.name}_step{number}.weights", plan).layers
            for number in (step - 1, step)
        )
        for index, parts in trainee.parts(Tensor.detach).items():
            for part, found in parts.items():
                rounding = 5e-7 * np.abs(after[index][part]).max()  # theirs are float32, before and after
                update = after[index][part].astype(np.float64) - before[index][part]
                assert_close(
                    found - torch.from_numpy(before[index][part].astype(np.float64)), update, part, rounding
                )
    assert compared >= 2 * len(plan.convolutions)


def assert_close(ours: Tensor, theirs: np.ndarray, name: str, rounding: float = 0) -> None:
    """Within a thousandth of the tensor's largest value."""
    difference = np.abs(ours.numpy() - theirs.reshape(ours.shape)).max()
    assert difference <= 1e-3 * np.abs(theirs).max() + rounding, (
        f"{name}: {difference:.2g} of {np.abs(theirs).max():.2g}"
    )
