"""`.weights` files: both header forms, the order of arrays, byte-exact round trips, and refusals."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.yolo9000.darknet_nets import GoldenNet, golden_nets
from yolo9000.darknet.cfg import plan_cfg, read_cfg
from yolo9000.darknet.options import DarknetError
from yolo9000.darknet.plan import NetworkPlan
from yolo9000.darknet.weights import Header, Weights, read_header, read_weights, write_weights
from yolo9000.models.darknet_network import DarknetNetwork

CFG = """[net]
width=8
height=8
channels=3
[convolutional]
batch_normalize=1
filters=2
size=1
[maxpool]
size=2
[convolutional]
filters=3
size=2
"""
WIDE, NARROW = struct.pack("<iiiQ", 0, 2, 0, 2**33), struct.pack("<iiiI", 0, 1, 0, 5)
FIRST, SECOND = 2 * 4 + 2 * 3, 3 + 3 * 2 * 4


@pytest.fixture
def plan() -> NetworkPlan:
    return plan_cfg(CFG, "my.cfg")


def written(path: Path, count: int = FIRST + SECOND, *, header: bytes = WIDE) -> Path:
    """A file with the values 0, 1, 2, …"""
    path.write_bytes(header + np.arange(count, dtype="<f4").tobytes())
    return path


def refusal(path: Path, plan: NetworkPlan, layers: int | None = None) -> str:
    with pytest.raises(DarknetError) as caught:
        read_weights(path, plan, layers=layers)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert len(message.splitlines()) == 1
    return message


# --- the format


@pytest.mark.parametrize("header", [WIDE, NARROW], ids=["64 bits", "32 bits"])
def test_arrays_are_read_in_darknets_order(tmp_path: Path, plan: NetworkPlan, header: bytes) -> None:
    layers = read_weights(written(tmp_path / "my.weights", header=header), plan).layers
    assert list(layers) == [0, 2]
    assert {name: array.flatten().tolist() for name, array in layers[0].items()} == {
        "biases": [0, 1], "scales": [2, 3], "means": [4, 5], "variances": [6, 7], "weights": list(range(8, 14)),
    }  # fmt: skip
    assert layers[0]["weights"].shape == (2, 3, 1, 1)
    assert layers[2]["biases"].tolist() == [14, 15, 16]
    assert layers[2]["weights"].shape == (3, 2, 2, 2)
    assert layers[2]["weights"][1, 0, 1, 0] == 17 + 8 + 2


@pytest.mark.parametrize(
    ("version", "size"),
    [((0, 1, 0), 16), ((0, 0, 0), 16), ((0, 2, 0), 20), ((0, 2, 5), 20), ((1, 0, 0), 20), ((1000, 2, 0), 16)],
)
def test_the_version_decides_how_many_bits_count_the_images(
    tmp_path: Path, version: tuple[int, int, int], size: int
) -> None:
    header = Header(*version, seen=123456)
    assert header.size == size == len(header.to_bytes())
    (tmp_path / "my.weights").write_bytes(header.to_bytes() + bytes(4))
    assert read_header(tmp_path / "my.weights") == header


@given(st.tuples(*[st.integers(-(2**31), 2**31 - 1)] * 3), st.integers(0, 2**64 - 1))
def test_a_header_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, version: tuple[int, int, int], seen: int
) -> None:
    header = Header(*version, seen=seen if Header(*version).is_wide else seen % 2**32)
    path = tmp_path_factory.mktemp("header") / "my.weights"
    path.write_bytes(header.to_bytes() + bytes(20 - header.size))
    assert read_header(path) == header


def test_an_image_count_beyond_the_header_is_clamped() -> None:
    assert Header(0, 1, 0, seen=2**40).to_bytes()[12:] == b"\xff" * 4


def test_a_flipped_layer_is_read_and_written_transposed(tmp_path: Path) -> None:
    plan = plan_cfg(CFG + "flipped=1\n", "my.cfg")
    path = written(tmp_path / "my.weights")
    found = read_weights(path, plan)
    assert found.layers[2]["weights"][:, 0, 0, 0].tolist() == [17, 18, 19]
    write_weights(tmp_path / "back.weights", plan, found)
    assert (tmp_path / "back.weights").read_bytes() == path.read_bytes()


# --- round trips


@pytest.mark.parametrize("net", golden_nets("nets", "sgd", "valid"))
def test_a_file_survives_a_round_trip_through_a_network_byte_for_byte(net: GoldenNet, tmp_path: Path) -> None:
    plan = read_cfg(net.cfg)
    found = read_weights(net.weights, plan)
    network = DarknetNetwork(plan.layers, tree=net.tree())
    network.load_weights(found.layers)
    write_weights(tmp_path / "back.weights", plan, Weights(found.header, network.layer_weights()))
    assert (tmp_path / "back.weights").read_bytes() == net.weights.read_bytes()


@settings(max_examples=50)
@given(st.binary(min_size=4 * (FIRST + SECOND), max_size=4 * (FIRST + SECOND)))
def test_a_round_trip_keeps_every_bit_pattern_even_nan(
    tmp_path_factory: pytest.TempPathFactory, bits: bytes
) -> None:
    folder, plan = tmp_path_factory.mktemp("bits"), plan_cfg(CFG, "my.cfg")
    (folder / "my.weights").write_bytes(WIDE + bits)
    network = DarknetNetwork(plan.layers)
    found = read_weights(folder / "my.weights", plan)
    network.load_weights(found.layers)
    write_weights(folder / "back.weights", plan, Weights(found.header, network.layer_weights()))
    assert (folder / "back.weights").read_bytes() == WIDE + bits


# --- part of a file


def test_the_first_layers_can_be_read_from_a_file_that_ends_with_them(
    tmp_path: Path, plan: NetworkPlan
) -> None:
    for asked in (1, 2):
        found = read_weights(written(tmp_path / "my.conv.2", FIRST), plan, layers=asked)
        assert list(found.layers) == [0]
    assert list(read_weights(written(tmp_path / "whole.weights"), plan, layers=2).layers) == [0]
    assert list(read_weights(written(tmp_path / "whole.weights"), plan, layers=3).layers) == [0, 2]


def test_layers_that_the_file_lacks_keep_their_initial_weights(tmp_path: Path, plan: NetworkPlan) -> None:
    network, other = DarknetNetwork(plan.layers), DarknetNetwork(plan.layers)
    network.load_state_dict(other.state_dict())
    network.load_weights(read_weights(written(tmp_path / "my.conv.2", FIRST), plan, layers=2).layers)
    before, after = other.layer_weights(), network.layer_weights()
    assert after[0]["biases"].tolist() == [0, 1]
    assert all(np.array_equal(before[2][name], after[2][name]) for name in before[2])


# --- what is refused


@pytest.mark.parametrize("cut", [0, 1, 15, 16, 19])
def test_a_file_with_an_incomplete_header_is_refused(tmp_path: Path, plan: NetworkPlan, cut: int) -> None:
    (tmp_path / "my.weights").write_bytes(WIDE[:cut])
    assert f"{cut}" in refusal(tmp_path / "my.weights", plan)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path, plan: NetworkPlan) -> None:
    assert "no such file" in refusal(tmp_path / "none.weights", plan)
    assert "no such file" in refusal(tmp_path, plan)


def test_the_error_for_a_file_cut_inside_a_layer_names_layer_and_bytes(
    tmp_path: Path, plan: NetworkPlan
) -> None:
    path = written(tmp_path / "my.weights", FIRST + 5)
    message = refusal(path, plan)
    assert "ends inside layer 2 ([convolutional], my.cfg line 11)" in message
    assert (
        f"expected bytes {20 + 4 * FIRST} to {20 + 4 * (FIRST + SECOND)}, found {20 + 4 * (FIRST + 5)} bytes"
        in message
    )
    assert "ends inside layer 2" in refusal(path, plan, layers=3)


def test_the_error_for_a_file_that_ends_between_layers_says_how_to_read_it(
    tmp_path: Path, plan: NetworkPlan
) -> None:
    message = refusal(written(tmp_path / "my.conv.2", FIRST), plan)
    assert "ends before layer 2" in message
    assert "--layers 2" in message


@pytest.mark.parametrize("more", [1, 4, 4000])
def test_a_file_longer_than_the_network_is_refused(tmp_path: Path, plan: NetworkPlan, more: int) -> None:
    path = written(tmp_path / "my.weights")
    path.write_bytes(path.read_bytes() + bytes(more))
    whole = 20 + 4 * (FIRST + SECOND)
    message = refusal(path, plan)
    assert f"expected {whole} bytes for my.cfg (the end of layer 2), found {whole + more}" in message


def test_a_network_without_convolutions_expects_only_a_header(tmp_path: Path) -> None:
    plan = plan_cfg("[net]\nwidth=8\nheight=8\nchannels=3\n[maxpool]\nsize=2\n", "my.cfg")
    (tmp_path / "my.weights").write_bytes(WIDE)
    assert read_weights(tmp_path / "my.weights", plan).layers == {}
    (tmp_path / "my.weights").write_bytes(WIDE + bytes(4))
    assert "(no convolution)" in refusal(tmp_path / "my.weights", plan)


@settings(max_examples=200)
@given(content=st.binary(max_size=60), layers=st.none() | st.integers(1, 4))
def test_arbitrary_bytes_are_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, layers: int | None
) -> None:
    path = tmp_path_factory.mktemp("any") / "my.weights"
    path.write_bytes(content)
    assert refusal(path, plan_cfg(CFG, "my.cfg"), layers)


def test_the_length_is_checked_before_memory_is_allocated(tmp_path: Path) -> None:
    """The network needs 1 GB of weights; the file has a few bytes."""
    layer = "[convolutional]\nfilters={}\nsize=1\n"
    text = "[net]\nwidth=1\nheight=1\nchannels=3\n" + layer.format(500_000) + layer.format(500)
    (tmp_path / "my.weights").write_bytes(WIDE + bytes(100))
    assert "ends inside layer 0" in refusal(tmp_path / "my.weights", plan_cfg(text, "my.cfg"))
