"""Every layer of Darknet's networks against Darknet and a slow twin, and the laws of single layers."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests import darknet_net_twin as twin
from tests.golden import make_darknet_nets
from tests.yolo9000.darknet_golden import NOT_AT_HAND, ORIGINAL
from tests.yolo9000.darknet_nets import OWN_NETS, GoldenNet, golden_nets
from yolo9000.darknet.cfg import plan_cfg
from yolo9000.darknet.plan import Convolution
from yolo9000.darknet.weights import read_weights
from yolo9000.models.darknet_layers import DarknetCpuBatchNorm
from yolo9000.models.darknet_network import DarknetNetwork, read_network


def largest_deviation(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest error, relative to the layer's largest value."""
    return float(abs(found.reshape(expected.shape) - expected).max() / abs(expected).max())


def network_of(*layers: str, width: int = 12, height: int = 8, channels: int = 4) -> DarknetNetwork:
    text = f"[net]\nwidth={width}\nheight={height}\nchannels={channels}\n" + "\n".join(layers)
    torch.manual_seed(0)
    return DarknetNetwork(plan_cfg(text, "made.cfg").layers)


# --- whole networks


@pytest.mark.parametrize("net", golden_nets("nets"))
def test_every_layer_agrees_with_darknet_to_1e_5(net: GoldenNet) -> None:
    golden = net.arrays()
    network = read_network(net.cfg, net.weights, batch_norm="darknet_cpu")
    outputs = network.all_outputs(torch.from_numpy(golden["input"])[None])
    assert len(outputs) == len(golden) - 1
    found = [
        largest_deviation(output.detach().numpy(), golden[f"layer_{k:02d}"])
        for k, output in enumerate(outputs)
    ]
    assert max(found) < 1e-5
    assert [tuple(output.shape[1:]) for output in outputs] == [plan.out for plan in network.plans]


@pytest.mark.parametrize("net", golden_nets("nets"))
def test_pytorchs_batch_norm_is_close_to_darknets_but_not_equal(net: GoldenNet) -> None:
    golden = net.arrays()
    outputs = read_network(net.cfg, net.weights).all_outputs(torch.from_numpy(golden["input"])[None])
    found = [
        largest_deviation(output.detach().numpy(), golden[f"layer_{k:02d}"])
        for k, output in enumerate(outputs)
    ]
    assert max(found) < 1e-3
    assert max(found) > 1e-7


@pytest.mark.parametrize("net", golden_nets("nets"))
def test_the_forward_pass_gives_the_last_output(net: GoldenNet) -> None:
    network = read_network(net.cfg, net.weights)
    images = torch.from_numpy(net.arrays()["input"])[None].repeat(2, 1, 1, 1)
    images[1] = images[1].flip(-1)
    with torch.no_grad():
        together = network(images)
        assert torch.equal(together, network.all_outputs(images)[-1])
        assert torch.allclose(together[:1], network(images[:1]), atol=1e-5)


@pytest.mark.parametrize("net", golden_nets("nets"))
def test_the_twin_agrees_with_darknet(net: GoldenNet) -> None:
    golden, tree = net.arrays(), net.tree()
    parents = tree.parent.tolist() if tree else None
    if golden["input"].shape[1] * golden["input"].shape[2] > 1500:
        pytest.skip("too large for a program of loops")
    outputs = twin.all_outputs(net.cfg.read_text(), net.weights.read_bytes(), golden["input"], parents)
    for k, output in enumerate(outputs):
        assert largest_deviation(output, golden[f"layer_{k:02d}"]) < 1e-5


def test_the_script_makes_the_committed_networks(tmp_path: Path) -> None:
    make_darknet_nets.main(tmp_path)
    files = sorted(path.name for path in OWN_NETS.iterdir())
    assert len(files) == 3 * len(make_darknet_nets.NETS) + 1
    assert files == sorted(path.name for path in tmp_path.iterdir())
    for name in files:
        if not name.endswith(".npz"):
            assert (tmp_path / name).read_bytes() == (OWN_NETS / name).read_bytes()
            continue
        with np.load(tmp_path / name) as made, np.load(OWN_NETS / name) as committed:
            assert made.files == committed.files
            for layer in made.files:
                np.testing.assert_allclose(made[layer], committed[layer], rtol=1e-5, atol=1e-6)


def test_outputs_that_no_route_uses_are_freed() -> None:
    """Layer 0 is kept for the route; of the others only the input and the output of the current layer."""
    network = network_of(*["[maxpool]\nsize=2\nstride=1\n"] * 5, "[route]\nlayers=-1,0\n")
    outputs: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    def count(_: nn.Module, __: object, output: Tensor) -> None:
        outputs.append(weakref.ref(output))
        alive.append(sum(reference() is not None for reference in outputs))

    for layer in network.layers:
        layer.register_forward_hook(count)
    network(torch.rand(1, 4, 8, 12))
    assert alive == [1, 2, 3, 3, 3, 3]


# --- reorg


@pytest.mark.skipif(ORIGINAL is None, reason=NOT_AT_HAND)
def test_reorg_orders_memory_as_darknet_does() -> None:
    assert ORIGINAL is not None
    golden = dict(np.load(ORIGINAL / "reorg.npz"))
    names = [name.removeprefix("in_") for name in golden if name.startswith("in_")]
    assert names
    for name in names:
        images, step = torch.from_numpy(golden[f"in_{name}"]), int(golden[f"stride_{name}"])
        shape = {"channels": images.shape[1], "height": images.shape[2], "width": images.shape[3]}
        for key, options in (("out", ""), ("rev_out", "reverse=1\n")):
            found = network_of(f"[reorg]\nstride={step}\n{options}", **shape)(images)
            assert np.array_equal(found.numpy(), golden[f"{key}_{name}"]), (key, name)


@pytest.mark.parametrize("height", [4, 8, 26])
def test_reorg_is_no_space_to_depth_whatever_the_order_of_channels(height: int) -> None:
    """Cell row 0 gets image rows 0 and 2, which no permutation of channels can correct (decision 18)."""
    rows = (
        torch.arange(height, dtype=torch.float32).view(1, 1, height, 1).expand(1, 4, height, 4).contiguous()
    )
    found = network_of("[reorg]\nstride=2\n", width=4, height=height)(rows)
    assert {0.0, 2.0} <= set(found[0, :, 0].flatten().tolist())
    assert set(F.pixel_unshuffle(rows, 2)[0, :, 0].flatten().tolist()) == {0.0, 1.0}


def test_reorg_loses_nothing_and_its_reverse_undoes_it_on_the_same_memory() -> None:
    images = torch.rand(2, 8, 6, 4)
    there = network_of("[reorg]\nstride=2\n", width=4, height=6, channels=8)(images)
    assert there.shape == (2, 32, 3, 2)
    back = network_of("[reorg]\nstride=2\nreverse=1\n", width=4, height=6, channels=8)(there.view_as(images))
    assert torch.equal(back.view_as(images), images)


def test_reorg3d_is_space_to_depth_with_its_own_order_of_channels() -> None:
    images = torch.rand(2, 5, 6, 4)
    found = network_of("[reorg3d]\nstride=2\n", width=4, height=6, channels=5)(images)
    ours = F.pixel_unshuffle(images, 2).unflatten(1, (5, 4)).transpose(1, 2).flatten(1, 2)
    assert torch.equal(found, ours)


# --- pooling and convolution


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", ["", "padding=0\n", "padding=1\n"])
@pytest.mark.parametrize(("width", "height"), [(5, 6), (9, 7), (12, 8)])
def test_maxpool_agrees_with_the_twin(size: int, stride: int, padding: str, width: int, height: int) -> None:
    if padding == "padding=1\n" and size == 1:
        pytest.skip("a window beside the image, which is refused")
    text = f"[maxpool]\nsize={size}\nstride={stride}\n{padding}"
    network = network_of(text, width=width, height=height, channels=2)
    images = torch.randn(1, 2, height, width)
    ((_, options),) = twin.read_cfg(text)
    assert np.array_equal(
        network(images)[0].numpy(), twin.maxpool(images[0].numpy(), options).astype(np.float32)
    )
    assert network(images).shape[1:] == network.plans[0].out


def test_half_padding_of_an_even_kernel_makes_the_output_larger() -> None:
    network = network_of("[convolutional]\nfilters=3\nsize=2\npad=1\nactivation=linear\n")
    assert network(torch.rand(1, 4, 8, 12)).shape == (1, 3, 9, 13)


# --- batch norm by Darknet's rule on CPUs


def slow_gradient(images: Tensor, scale: Tensor, delta: Tensor) -> Tensor:
    """batchnorm_layer.c, step by step, with 1e-5 under the root where the forward pass has 1e-6 beside it."""
    count = images[:, 0].numel()
    gradient = torch.empty_like(images)
    for c in range(images.shape[1]):
        x, d = images[:, c], delta[:, c] * scale[c]
        mean = x.sum() / count
        variance = ((x - mean) ** 2).sum() / (count - 1)
        mean_delta = -d.sum() / (variance + 1e-5).sqrt()
        variance_delta = (d * (x - mean)).sum() * -0.5 * (variance + 1e-5) ** -1.5
        gradient[:, c] = (
            d / (variance + 1e-5).sqrt() + variance_delta * 2 * (x - mean) / count + mean_delta / count
        )
    return gradient


def test_batch_norm_by_the_cpu_rule_trains_as_darknet_does() -> None:
    torch.manual_seed(0)
    norm = DarknetCpuBatchNorm(3).double()
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.normal_(norm.bias)
    images = (torch.randn(4, 3, 5, 2, dtype=torch.float64) * 0.01).requires_grad_()
    delta = torch.randn(4, 3, 5, 2, dtype=torch.float64)
    output = norm(images)
    output.backward(delta)

    variance, mean = torch.var_mean(images.detach(), (0, 2, 3), unbiased=True)
    normal = (images.detach() - mean[:, None, None]) / (variance.sqrt() + 1e-6)[:, None, None]
    expected = normal * norm.weight[:, None, None] + norm.bias[:, None, None]
    assert torch.allclose(output, expected)
    assert images.grad is not None
    assert torch.allclose(images.grad, slow_gradient(images.detach(), norm.weight.detach(), delta))
    assert norm.weight.grad is not None
    assert torch.allclose(norm.weight.grad, (delta * normal).sum((0, 2, 3)))
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert torch.allclose(norm.running_mean, 0.01 * mean)
    assert torch.allclose(norm.running_var, 0.99 + 0.01 * variance)


def test_batch_norm_by_the_cpu_rule_survives_a_channel_that_never_varies() -> None:
    norm = DarknetCpuBatchNorm(2).eval()
    assert norm.running_var is not None
    norm.running_var.zero_()
    assert norm(torch.full((1, 2, 3, 3), 1e-3)).isfinite().all()


# --- weights


@pytest.mark.parametrize("net", golden_nets("nets", "sgd", "valid"))
def test_a_network_returns_the_weights_that_it_loaded(net: GoldenNet) -> None:
    network = read_network(net.cfg, net.weights)
    loaded = read_weights(net.weights, plan_cfg(net.cfg.read_text(), "net")).layers
    returned = network.layer_weights()
    assert set(returned) == set(loaded)
    assert sum(part.size for parts in returned.values() for part in parts.values()) == sum(
        plan.weight_count for plan in network.plans if isinstance(plan, Convolution)
    )
    for index, parts in loaded.items():
        assert set(parts) == set(returned[index])
        for name, numbers in parts.items():
            assert numbers.tobytes() == returned[index][name].tobytes()
