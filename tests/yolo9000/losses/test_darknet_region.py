"""The joint loss against Darknet's region layer, by autograd."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.yolo9000.darknet_golden import GoldenCase, golden_cases, targets_of
from yolo9000.config import LossConfig
from yolo9000.losses.joint import JointLoss
from yolo9000.models.grid import GridOutput
from yolo9000.models.tree_tensors import TreeTensors

WARM_UP_IMAGES = 12800


def loss_config(params: dict[str, Any]) -> LossConfig:
    """The settings of Darknet's region layer under our names."""
    return LossConfig(
        object_weight=params["object_scale"],
        no_object_weight=params["noobject_scale"],
        class_weight=params["class_scale"],
        label_weight=params["class_scale"],
        coordinate_weight=params["coord_scale"],
        ignore_iou=params["thresh"],
        box_assignment="anchor" if params["bias_match"] else "prediction",
        objectness_target="iou" if params["rescore"] else "one",
        objectness_loss="squared",
        anchor_warm_up_images=WARM_UP_IMAGES,
        label_assignment="max_score",
        label_objectness="darknet",
    )


@dataclass(frozen=True)
class Activated:
    """Our activated output in Darknet's order, (B, A × (5 + C), H, W), and the slope of each activation there.

    The slope of classes and sizes is 1, since Darknet's backward pass leaves their deltas unchanged.
    """

    output: np.ndarray
    slope: np.ndarray

    @classmethod
    def of(cls, output: GridOutput, tree_tensors: TreeTensors) -> Activated:
        nodes = torch.arange(len(tree_tensors))
        groups = torch.repeat_interleave(torch.arange(len(tree_tensors.group_size)), tree_tensors.group_size)
        members = tree_tensors.path_members(nodes[:0])
        members = type(members)(nodes, nodes, groups, nodes < 0, nodes[:0], len(tree_tensors.group_size))
        conditional = tree_tensors.log_conditional(members, output.dense_class_logits()).exp()
        logistic = output.box_logits.sigmoid()
        size = output.box_logits[..., 2:4]
        entries = torch.cat([logistic[..., :2], size, logistic[..., 4:], conditional], dim=-1)
        slope = torch.ones_like(entries)
        for entry in (0, 1, 4):
            slope[..., entry] = entries[..., entry] * (1 - entries[..., entry])
        return cls(_in_darknet_order(entries), _in_darknet_order(slope))


def _in_darknet_order(entries: Tensor) -> np.ndarray:
    found: np.ndarray = entries.detach().permute(0, 1, 4, 2, 3).flatten(1, 2).numpy()
    return found


@pytest.mark.parametrize("case", golden_cases("region"))
def test_outputs_and_gradients_of_the_joint_loss_agree_with_darknets_region_layer(case: GoldenCase) -> None:
    golden, params, tree_tensors = case.arrays(), case.params, case.tree_tensors()
    assert not params["background"], "a class of its own for the background is not supported"
    raw = torch.from_numpy(golden["raw"]).double().requires_grad_()
    output = case.grid_output(raw)
    loss = JointLoss(loss_config(params), tree_tensors)

    terms = loss(
        output,
        targets_of(golden["truth"], params["map"], in_a_tree=bool(params["tree"])),
        images_seen=params["seen"],
    )
    (terms.total * len(raw)).backward()

    assert raw.grad is not None
    gradient, ours = -raw.grad.numpy(), Activated.of(output, tree_tensors)
    np.testing.assert_allclose(ours.output, golden["output"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, golden["grad"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradient, golden["delta"] * ours.slope, rtol=1e-5, atol=1e-5)
    delta = gradient / ours.slope
    is_zero = delta.reshape(len(raw), params["num"], -1, *raw.shape[2:])[:, :, 4] == 0
    assert is_zero.sum() == params["objectness_deltas_exactly_zero"]
    assert (delta**2).sum() == pytest.approx(float(golden["cost"][0]), rel=1e-4)
