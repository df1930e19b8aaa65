"""A step in parts: one after the other, or side by side in processes, it is the step of the whole batch."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_prep import ShardReader
from tests.yolo9000.made import made_config
from tests.yolo9000.made_runs import classifier_config, detector_config, predictions, two_slots
from tests.yolo9000.training.runs import interrupt_after
from yolo9000.checkpoints.checkpoint import load_checkpoint
from yolo9000.cli import main
from yolo9000.data.detector_data import DetectorData
from yolo9000.data.prefetch import slots_of_process
from yolo9000.data.sampler import DataMismatch
from yolo9000.distributed import (
    ProcessError,
    all_gather,
    broadcast,
    buckets_of,
    is_first,
    joined_processes,
    own_share,
    rank,
    world_size,
)
from yolo9000.models import batch_norm
from yolo9000.models.batch_norm import running_statistics, set_training, synchronised
from yolo9000.models.detector import build_detector
from yolo9000.training.pretrain import pretrain
from yolo9000.training.run_folder import prepare_folder, read_metrics
from yolo9000.training.train import train, with_anchors

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
SCRIPT = Path(__file__).with_name("two_processes.py")
MEASURED = {"images_per_second", "memory_mib"}  # columns of metrics.csv that are of the machine


def assert_same_run(one: Path, other: Path, *, steps: int) -> None:
    """The same losses at every step, scores and weights, to float rounding."""
    rows, expected = (read_metrics(folder / "metrics.csv") for folder in (one, other))
    assert [row["step"] for row in rows] == [row["step"] for row in expected]
    assert len(rows) >= steps
    for row, right in zip(rows, expected, strict=True):
        for name in right.keys() - MEASURED:
            assert (row[name] == "") == (right[name] == "")
            assert float(row[name] or 0) == pytest.approx(float(right[name] or 0), rel=2e-4, abs=1e-6), name
    weights, right_weights = (load_checkpoint(folder / "last.pt") for folder in (one, other))
    assert weights.training is not None
    assert right_weights.training is not None
    for kind in ("weights", "average"):
        found, right = (flat(saved.training[kind]) for saved in (weights, right_weights))
        assert found.keys() == right.keys()
        for name, value in right.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)


def flat(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The floating-point tensors of nested dicts by name."""
    named = {}
    for name, value in state.items():
        inner = flat(value) if isinstance(value, dict) else {"": value}
        named |= {f"{name}.{key}": leaf for key, leaf in inner.items() if isinstance(leaf, torch.Tensor)}
    return named


# --- the parts of a batch


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 40))
def test_the_parts_of_all_processes_cover_every_slot_once_and_none_is_empty(
    processes: int, accumulate: int, more: int
) -> None:
    slots = processes * accumulate + more
    of_processes = [
        slots_of_process(process, processes=processes, slots=slots, accumulate=accumulate)
        for process in range(processes)
    ]
    assert all(len(parts) == accumulate for parts in of_processes)
    sizes = [len(part) for parts in of_processes for part in parts]
    assert 1 <= min(sizes) <= max(sizes) <= min(sizes) + 1
    assert sorted(slot for parts in of_processes for part in parts for slot in part) == list(range(slots))


def test_more_parts_than_images_are_refused() -> None:
    with pytest.raises(
        DataMismatch, match=r"batch_size 3 cannot be split into 4 parts, 2 .* in each of 2 processes"
    ):
        slots_of_process(0, processes=2, slots=3, accumulate=2)


def test_a_slot_has_the_same_image_whatever_part_it_is_in(shards: Path) -> None:
    whole = DetectorData(ShardReader(shards), made_config(shards, augment__hue=0.1)).batch(2)
    split = DetectorData(ShardReader(shards), made_config(shards, augment__hue=0.1, data__accumulate=3))
    _, parts = split.micro_batches(1, 2)
    assert [len(part.images) for part in parts] == [3, 3, 2]
    for number, part in enumerate(parts):
        torch.testing.assert_close(part.images, whole.images[number::3])
        assert part.targets.source.tolist() == whole.targets.source[number::3].tolist()
        boxes = whole.targets.boxes
        mine = boxes.image % 3 == number
        assert torch.equal(part.targets.boxes.xyxy_unit, boxes.xyxy_unit[mine])
        assert torch.equal(3 * part.targets.boxes.image + number, boxes.image[mine])


@given(st.lists(st.integers(0, 9), max_size=12))
def test_buckets_hold_every_tensor_in_order_and_close_once_they_are_full(lengths: list[int]) -> None:
    tensors = [torch.full((length,), float(number)) for number, length in enumerate(lengths)]
    buckets = list(buckets_of(tensors, elements=10))
    assert [id(tensor) for bucket in buckets for tensor in bucket] == [id(tensor) for tensor in tensors]
    filled = [sum(len(tensor) for tensor in bucket) for bucket in buckets]
    assert all(10 <= total < 20 for total in filled[:-1])
    assert all(buckets)


# --- one process, several parts


@pytest.mark.parametrize("accumulate", [2, 8])
def test_an_accumulated_step_equals_the_step_of_the_whole_batch(
    shards: Path, tmp_path: Path, accumulate: int
) -> None:
    train(detector_config(shards), tmp_path / "whole")
    train(detector_config(shards, data__accumulate=accumulate), tmp_path / "parts")
    assert_same_run(tmp_path / "parts", tmp_path / "whole", steps=4)


def test_a_classifiers_accumulated_step_equals_the_step_of_the_whole_batch(
    shards: Path, tmp_path: Path
) -> None:
    pretrain(classifier_config(shards), tmp_path / "whole")
    pretrain(classifier_config(shards, accumulate=3), tmp_path / "parts")
    assert_same_run(tmp_path / "parts", tmp_path / "whole", steps=3)


# --- batch norm


def test_frozen_statistics_stay_and_per_process_statistics_change(shards: Path, tmp_path: Path) -> None:
    for choice in ("frozen", "per_process"):
        cfg = detector_config(shards, batch_statistics=choice, schedule__max_steps=2, evaluate__every=1)
        train(cfg, tmp_path / choice)
        weights = load_checkpoint(tmp_path / choice / "best.pt").weights
        means = [value for name, value in weights.items() if name.endswith("running_mean")]
        assert len(means) == 6
        assert all(bool(mean.any()) == (choice == "per_process") for mean in means)


def test_frozen_batch_norm_normalises_by_its_running_statistics_in_training(shards: Path) -> None:
    cfg = made_config(shards)
    reader = ShardReader(shards)
    model = build_detector(with_anchors(cfg, reader).model, reader.tree)
    images = torch.rand(3, 3, 64, 64)
    expected = model.eval()(images).box_logits
    set_training(model, "frozen")
    assert model.training
    assert running_statistics(model) == []
    assert torch.equal(model(images).box_logits, expected)
    set_training(model, "per_process")
    assert len(running_statistics(model)) == 12
    assert not torch.equal(model(images).box_logits, expected)


def test_one_process_has_nothing_to_synchronise(shards: Path) -> None:
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    assert synchronised(model) is model
    assert type(model[0]) is torch.nn.BatchNorm2d


def test_on_cpus_several_processes_cannot_synchronise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_norm, "world_size", lambda: 2)
    with pytest.raises(
        ProcessError, match=r"needs GPUs .*, found cpu and BatchNorm2d\. Set it to per_process or frozen"
    ):
        synchronised(torch.nn.Sequential(torch.nn.BatchNorm2d(3)))


# --- processes that cannot start together


def test_processes_that_torchrun_did_not_start_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with (
        pytest.raises(ProcessError, match=r"start them with torchrun.*MASTER_ADDR"),
        joined_processes(),
    ):
        pass


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "3", "RANK": "2", "LOCAL_RANK": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with (
        pytest.raises(ProcessError, match=r"found 2 for process .* --nproc_per_node 2"),
        joined_processes(),
    ):
        pass


def test_a_single_process_needs_no_group() -> None:
    with joined_processes():
        assert not torch.distributed.is_initialized()
        assert (rank(), world_size(), is_first()) == (0, 1, True)
        assert all_gather(list(own_share(range(3)))) == [0, 1, 2]
        assert broadcast(lambda: 5) == 5


# --- two processes


def torchrun(*command: object) -> subprocess.CompletedProcess[str]:
    """Run a command in two processes; `torchrun` is `python -m torch.distributed.run`."""
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    return subprocess.run(
        [*program, *map(str, command)], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def of_two(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of two_processes.py, which itself checks row-wise sums and running statistics."""
    folder = tmp_path_factory.mktemp("two")
    done = torchrun(SCRIPT, "together", shards, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_one_process_with_boxes_and_one_with_image_labels_train_as_one_with_both(
    shards: Path, tmp_path: Path, of_two: Path
) -> None:
    cfg = two_slots(shards)
    for step in range(1, cfg.schedule.max_steps + 1):
        targets = DetectorData(ShardReader(shards), cfg).batch(step).targets
        assert set(targets.boxes.image.tolist()) == {0}
        assert set(targets.image_labels.image.tolist()) == {1}
    train(cfg, tmp_path)
    assert_same_run(of_two / "two slots", tmp_path, steps=4)
    assert_same_run(of_two / "lazy", tmp_path, steps=4)


def test_two_processes_that_accumulate_train_as_one(shards: Path, tmp_path: Path, of_two: Path) -> None:
    train(detector_config(shards), tmp_path)
    assert_same_run(of_two / "detector", tmp_path, steps=4)
    drawn, expected = (
        load_checkpoint(folder / "last.pt").training["pseudo_boxes"]
        for folder in (of_two / "detector", tmp_path)
    )
    assert len(expected["label"]) > 0
    assert torch.equal(drawn["label"], expected["label"])
    torch.testing.assert_close(drawn["xyxy_unit"], expected["xyxy_unit"], rtol=0, atol=1e-5)


def test_two_processes_train_a_classifier_as_one(shards: Path, tmp_path: Path, of_two: Path) -> None:
    pretrain(classifier_config(shards), tmp_path)
    assert_same_run(of_two / "classifier", tmp_path, steps=3)


@pytest.mark.usefixtures("one_thread")
def test_two_processes_predict_the_same_as_one_in_the_same_order(shards: Path, of_two: Path) -> None:
    expected = predictions(shards)
    assert len(expected) == 3
    for process in range(2):
        found = pickle.loads((of_two / f"predictions{process}").read_bytes())
        assert len(found) == 3
        for (node, score), (right_node, right_score) in zip(found, expected, strict=True):
            assert node.tolist() == right_node.tolist()
            assert score.tolist() == right_score.tolist()


def test_a_run_of_one_process_resumes_in_two_on_the_command_line(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = detector_config(shards, evaluate__every=1)
    train(cfg, tmp_path / "straight")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            train(cfg, tmp_path / "made")
    config = tmp_path / "made" / "config.yaml"
    done = torchrun("-m", "yolo9000", "train", config, "--resume", "--runs", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Detector: ") == 1
    assert done.stderr.count("step 3 of 4") == 1
    assert_same_run(tmp_path / "made", tmp_path / "straight", steps=8)


def test_an_error_that_stops_one_process_is_reported_once_and_ends_all(shards: Path, tmp_path: Path) -> None:
    cfg = two_slots(shards)
    prepare_folder(tmp_path, cfg, step=0)
    done = torchrun(SCRIPT, "raise", tmp_path / "config.yaml", tmp_path)
    assert done.returncode != 0
    assert [line for line in done.stderr.splitlines() if line.startswith("yolo9000:")] == [
        "yolo9000: The second process cannot continue."
    ]
    assert "RuntimeError" not in done.stderr


def test_an_error_in_the_configuration_is_reported_once(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("data: {shards: s}\nschedule: {max_step: 4}\n")
    done = torchrun("-m", "yolo9000", "train", tmp_path / "config.yaml", "--runs", tmp_path)
    assert done.returncode != 0
    assert done.stdout == ""
    (message,) = (line for line in done.stderr.splitlines() if line.startswith("yolo9000:"))
    assert "max_step" in message


@pytest.mark.slow
def test_two_processes_print_the_same_as_one_for_evaluate_check_and_show_targets(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = detector_config(shards)
    train(cfg, tmp_path / "made")
    commands: list[list[object]] = [
        ["evaluate", tmp_path / "made" / "best.pt", shards, "--json"],
        ["train", tmp_path / "made" / "config.yaml", "--check", "--runs", tmp_path / "none"],
        ["train", tmp_path / "made" / "config.yaml", "--show-targets", "2", "--runs", tmp_path / "drawn"],
    ]
    capsys.readouterr()
    for command in commands:
        monkeypatch.setattr(sys, "argv", ["yolo9000", *map(str, command)])
        with pytest.raises(SystemExit) as caught:
            main()
        assert caught.value.code == 0
        done = torchrun("-m", "yolo9000", *command)
        assert done.returncode == 0, done.stderr
        alone, together = (
            [line for line in text.splitlines() if "memory" not in line]
            for text in (capsys.readouterr().out, done.stdout)
        )
        assert together == alone


def test_a_killed_process_leaves_no_other_waiting_even_without_torchrun(shards: Path, tmp_path: Path) -> None:
    cfg = two_slots(shards)
    prepare_folder(tmp_path, cfg, step=0)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    command = [sys.executable, SCRIPT, "kill", tmp_path / "config.yaml", tmp_path]
    first, second = (
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**ENVIRONMENT, **meeting, "RANK": number},
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in "01"
    )
    message = first.communicate(timeout=300)[1]
    second.communicate(timeout=300)
    assert (first.returncode, second.returncode) == (2, -signal.SIGKILL)
    assert message.splitlines()[-1].startswith("yolo9000: Process 0 of 2 stops: another process is gone")
