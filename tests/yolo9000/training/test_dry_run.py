"""`--check`, `--overfit`, `--limit`, and the line about changed settings of a resumed run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from data_prep import ShardReader
from tests.yolo9000.made import made_config, metrics_of
from tests.yolo9000.training.runs import flat, made_classifier_config
from yolo9000.checkpoints.checkpoint import load_detector
from yolo9000.cli import main
from yolo9000.config import Config, PretrainConfig, overfit_overrides, read_config, read_pretrain_config
from yolo9000.data.classifier_data import ClassifierData, ClassifierTestData
from yolo9000.data.sampler import Sampler
from yolo9000.evaluation.evaluation_set import EvaluationSet
from yolo9000.training.dry_run import check_run
from yolo9000.training.run_folder import TrainingError
from yolo9000.training.train import DetectorTask, train

Run = Callable[..., tuple[object, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run_with(*arguments: object) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["yolo9000", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code, *capsys.readouterr()

    return run_with


def file_of(cfg: Config | PretrainConfig, shards: Path, folder: Path) -> Path:
    """The file that a made configuration was read from."""
    return shards.parent / "made.yaml" if isinstance(cfg, Config) else folder / "pretrain.yaml"


# --- --check


def test_the_first_loss_is_that_of_the_whole_batch_however_it_is_computed(
    shards: Path, tmp_path: Path
) -> None:
    found = [
        check_run(
            DetectorTask(), made_config(shards, data__accumulate=parts, batch_statistics="frozen"), tmp_path
        )["first loss"]
        for parts in (1, 2)
    ]
    losses = [
        {name: float(value) for name, value in (one.rsplit(" ", 1) for one in message.split(", "))}
        for message in found
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_a_check_reports_the_run_and_writes_nothing(run: Run, shards: Path, tmp_path: Path) -> None:
    file = file_of(made_config(shards), shards, tmp_path)
    given = (
        "--set",
        f"data.shards={shards}",
        "--set",
        "schedule.sizes_px=[32, 64]",
        "--runs",
        tmp_path / "runs",
    )
    code, out, _ = run("train", file, *given, "--check")
    message = dict(line.strip().split("  ", 1) for line in out.splitlines())
    assert code == 0
    assert message["source scenes"].strip() == "8 images, 50% of each batch, seen 2 times"
    assert (
        message["nodes"].strip().startswith("4 with boxes, ") or " with image labels only" in message["nodes"]
    )
    assert message["evaluated on"].strip() == "4 images with boxes of split 'test'"
    assert message["steps"].strip() == "4 with 8 images each, at 32, 64 px"
    assert message["first loss"].strip().startswith("total ")
    assert message["memory"].strip().endswith("with one batch of 64 px")
    assert not (tmp_path / "runs").exists()


def test_a_check_reports_the_run_of_a_classifier(run: Run, shards: Path, tmp_path: Path) -> None:
    file = file_of(made_classifier_config(shards, tmp_path), shards, tmp_path)
    given = ("--set", f"data.shards={shards}", "--runs", tmp_path / "runs")
    code, out, _ = run("pretrain", file, *given, "--check")
    assert code == 0
    assert "source labels  8 images, 100% of each batch, seen 4 times" in out
    assert "8 images with image labels of split 'train'" in out
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.ratio={coco: 1}", "data.ratio names coco"),
        ("evaluate.split=val", "split 'val'"),
        ("model.start_from=none.pt", "none.pt"),
        ("model.anchor_count=50", "too few to find 50 anchors"),
        ("data.attribution=none.txt", "there is no file"),
        ("loss.label_wieght=1", "did you mean 'label_weight'"),
    ],
)
def test_a_check_reports_a_mistake_in_one_line(
    run: Run, shards: Path, tmp_path: Path, override: str, message: str
) -> None:
    file = file_of(made_config(shards), shards, tmp_path)
    code, out, err = run("train", file, "--set", f"data.shards={shards}", "--set", override, "--check")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert message in err


def test_a_check_finds_a_gradient_that_is_not_finite(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        torch.optim.AdamW, "step", lambda self: self.param_groups[0]["params"][0].data.fill_(torch.nan)
    )
    with pytest.raises(TrainingError, match="weights are not finite"):
        check_run(DetectorTask(), made_config(shards), tmp_path / "run")


def test_a_check_finds_that_tensorboard_is_required_and_not_installed(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(TrainingError, match="TensorBoard is not installed"):
        check_run(DetectorTask(), made_config(shards, log__tensorboard=True), tmp_path / "run")


def test_a_check_of_a_resumed_run_has_the_loss_of_its_next_step_with_its_pseudo_boxes(
    shards: Path, tmp_path: Path
) -> None:
    drawn = {"pseudo_boxes": {"at_steps": [2], "min_agreement": 0}, "loss__anchor_warm_up_images": 1000}
    cfg = made_config(shards, precision="float32", **drawn)
    train(cfg.model_copy(update={"schedule": cfg.schedule.model_copy(update={"max_steps": 2})}), tmp_path)
    message = check_run(DetectorTask(), cfg, tmp_path, resume=True)["first loss"]
    train(cfg, tmp_path, resume=True)
    (row,) = [row for row in metrics_of(tmp_path) if row["step"] == "3"]
    assert message.startswith(f"total {float(row['total']):.3g}, ")
    assert "label_class" not in message


def test_a_check_of_a_resumed_run_reports_no_changed_settings(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = made_config(shards, schedule__sizes_px=[32, 64], schedule__max_steps=1)
    train(cfg, tmp_path)
    capsys.readouterr()
    check_run(DetectorTask(), cfg, tmp_path, resume=True)
    assert "Resuming" not in capsys.readouterr().err


# --- --overfit and --limit


def test_overfitting_scores_the_images_that_it_learns(shards: Path, tmp_path: Path) -> None:
    cfg = made_config(shards)
    settings = [f"data.shards={shards}", *overfit_overrides(cfg, 3)]
    cfg = read_config(file_of(cfg, shards, tmp_path), settings)
    reader = ShardReader(shards)
    learnt = {int(image) for images in Sampler(reader, cfg).images for image in images}
    scored = set(EvaluationSet.of(reader, cfg.evaluate).images.tolist())
    assert len(learnt) == 6
    assert scored == {image for image in learnt if reader.image_boxed[image]}
    assert len(scored) == 3
    assert cfg.name == "made-overfit"


def test_overfitting_a_classifier_scores_the_images_that_it_learns(shards: Path, tmp_path: Path) -> None:
    plain = made_classifier_config(shards, tmp_path)
    cfg = read_pretrain_config(
        file_of(plain, shards, tmp_path), [f"data.shards={shards}", *overfit_overrides(plain, 3)]
    )
    reader = ShardReader(shards)
    learnt = ClassifierData(reader, cfg).sampler.images
    scored = ClassifierTestData(reader, cfg.evaluate, size_px=32).images
    assert learnt[0].tolist() == scored.tolist()
    assert len(scored) == 3


def test_overfitting_draws_nothing_at_random(shards: Path, tmp_path: Path) -> None:
    """With one image, all pixels and targets are equal in every slot and step."""
    cfg = made_config(shards)
    cfg = read_config(
        file_of(cfg, shards, tmp_path),
        [f"data.shards={shards}", "data.ratio={labels: 1}", *overfit_overrides(cfg, 1)],
    )
    from yolo9000.data.detector_data import DetectorData

    first, second = DetectorData(ShardReader(shards), cfg).batches(1, 2)
    assert all(torch.equal(first.images[0], image) for batch in (first, second) for image in batch.images)


def test_the_flags_reach_the_run(run: Run, shards: Path, tmp_path: Path) -> None:
    file = file_of(made_config(shards), shards, tmp_path)
    given = ("--set", f"data.shards={shards}", "--set", "schedule.max_steps=1", "--runs", tmp_path)
    assert run("train", file, *given, "--overfit", "2")[0] == 0
    cfg = read_config(tmp_path / "made-overfit" / "config.yaml")
    assert (cfg.data.limit, cfg.evaluate.limit, cfg.evaluate.split, cfg.augment.jitter) == (2, 2, "train", 0)
    assert run("train", file, *given, "--limit", "5")[0] == 0
    assert read_config(tmp_path / "made" / "config.yaml").data.limit == 5


# --- seeds, and the line of a resumed run


def test_the_seed_decides_the_run(shards: Path, tmp_path: Path) -> None:
    anchors = {"model__anchors": [[1, 1], [2, 2]], "schedule__max_steps": 2}
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        train(made_config(shards, seed=seed, **anchors), tmp_path / name)
    one, same, other = (
        flat(load_detector(tmp_path / n / "last.pt").weights) for n in ("one", "same", "other")
    )
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert not torch.equal(one["/head.box.weight"], other["/head.box.weight"])
    assert metrics_of(tmp_path / "one") == metrics_of(tmp_path / "same") != metrics_of(tmp_path / "other")


def test_a_run_resumed_with_more_steps_follows_the_new_schedule_and_says_so(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(made_config(shards, schedule__max_steps=3), tmp_path / "run")
    capsys.readouterr()
    longer = made_config(shards, schedule__max_steps=6, optimizer__weight_decay=0.25)
    train(longer, tmp_path / "run", resume=True)
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "Resuming after step 3, with optimizer.weight_decay 0.0005 → 0.25, schedule.max_steps 3 → 6. "
        "The learning rate is that of the new schedule."
    )
    train(made_config(shards, schedule__max_steps=6), tmp_path / "straight")
    rates = [
        [row["learning_rate"] for row in metrics_of(tmp_path / name) if row["learning_rate"]][3:]
        for name in ("run", "straight")
    ]
    assert rates[0] == rates[1]
    assert len(rates[0]) == 3
    capsys.readouterr()
    train(longer, tmp_path / "run", resume=True)
    assert "Resuming" not in capsys.readouterr().err
