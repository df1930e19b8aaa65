"""Class weights that are updated row by row equal weights that are updated as a whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import yolo9000.training.lazy_rows as lazy_rows
from tests.yolo9000.made import made_config
from tests.yolo9000.training.runs import assert_equal_checkpoints, interrupt_after
from yolo9000.checkpoints.checkpoint import load_detector
from yolo9000.config import OptimizerConfig, ScheduleConfig
from yolo9000.models.head import ClassHead
from yolo9000.training.gradients import clip_gradients, compute_gradients
from yolo9000.training.lazy_rows import LazyRows, build_lazy_rows
from yolo9000.training.optim import ModelEma, build_optimizer, learning_rate_at, set_learning_rate
from yolo9000.training.resume import start_or_resume
from yolo9000.training.train import DetectorTask, train

ANCHORS, NODES, CHANNELS = 2, 30, 5
SCHEDULE = ScheduleConfig(
    max_steps=400, burn_in_steps=40, policy="steps", steps=(150, 300), scales=(0.1, 0.5)
)

Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""Feature vectors (P, C), their anchors (P,), and Q pairs of a vector (Q,) and a node (Q,)."""


class Trainee:
    """A class head that is trained lazily or densely; its loss is convex, so that rounding errors do not grow."""

    def __init__(self, cfg: OptimizerConfig, class_rows: str) -> None:
        torch.manual_seed(0)
        self.head = ClassHead(CHANNELS, anchors=ANCHORS, nodes=NODES)
        self.model = nn.ModuleDict({"head": self.head}).double()
        self.cfg = cfg.model_copy(update={"class_rows": class_rows})
        self.optimizer = build_optimizer(self.model, self.cfg)
        self.ema = ModelEma(self.model, decay=cfg.ema) if cfg.ema else None
        self.lazy = build_lazy_rows(self.model, self.optimizer, self.ema, self.cfg)

    def step(self, number: int, micro_batches: list[Batch]) -> None:
        set_learning_rate(self.optimizer, learning_rate_at(number, self.cfg.learning_rate, SCHEDULE))
        compute_gradients(self.model, micro_batches, self.terms, self.lazy)
        if self.cfg.clip_norm:
            clip_gradients(self.model, self.cfg.clip_norm, self.lazy)
        self.optimizer.step()
        if self.ema:
            self.ema.update()
        if self.lazy:
            self.lazy.update()

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        features, anchor, index, nodes = batch
        logits = self.head.pair_logits(features, anchor, index, nodes)
        everywhere = self.head.logits(features, anchor, nodes[:1])  # rows are read twice
        return {"total": (logits - 1).square().sum() + (everywhere + 2).square().sum()}

    def state(self) -> dict[str, Any]:
        if self.lazy:
            self.lazy.flush()
        return {
            "weights": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict()["state"],
            "ema": self.ema.state_dict() if self.ema else None,
        }


def batches(steps: int, nodes: Callable[[int], Tensor], parts: int = 1) -> list[list[Batch]]:
    torch.manual_seed(1)

    def batch(step: int) -> Batch:
        pairs = nodes(step)
        features = torch.randn(6, CHANNELS, dtype=torch.float64)
        return features, torch.randint(0, ANCHORS, (6,)), torch.randint(0, 6, (len(pairs),)), pairs

    return [[batch(step) for _ in range(parts)] for step in range(steps)]


def few_nodes(step: int) -> Tensor:
    """Nodes 0 to 19, seldom the high ones; 20 to 24 in the first steps only, and 25 to 29 never."""
    seldom = (20 * torch.rand(3) ** 4).long()
    return torch.cat([seldom, torch.tensor([20 + step])]) if step < 5 else seldom


SGD = {
    "SGD": {},
    "no momentum": {"momentum": 0.0},
    "no weight decay": {"weight_decay": 0.0},
    "EMA": {"ema": 0.99},
    "clipped": {"clip_norm": 0.5},
    "all": {"ema": 0.999, "clip_norm": 0.5, "backbone_lr_scale": 0.5},
}


def sgd(changes: dict[str, Any]) -> OptimizerConfig:
    return OptimizerConfig(**{"learning_rate": 0.01, "momentum": 0.9, "weight_decay": 0.02, **changes})


def assert_close(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "parts"), [*((name, 1) for name in SGD), ("all", 3)])
def test_after_a_flush_lazy_sgd_equals_dense_sgd(
    name: str, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lazy_rows, "ROWS_AT_ONCE", 7)
    cfg = sgd(SGD[name])
    lazy, dense = Trainee(cfg, "lazy"), Trainee(cfg, "dense")
    assert lazy.lazy
    assert dense.lazy is None
    start = lazy.head.weight.detach().clone()
    for number, micro_batches in enumerate(batches(400, few_nodes, parts), 1):
        lazy.step(number, micro_batches)
        dense.step(number, micro_batches)
    stale = lazy.head.weight.detach()[:, 25:].clone()
    assert torch.equal(stale, start[:, 25:]), "rows without a gradient are left alone until the flush"
    assert_close(lazy.state(), dense.state())


def test_the_table_of_missed_updates_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy_rows, "MAX_UPDATES", 8)
    cfg = sgd({"ema": 0.99})
    lazy, dense = Trainee(cfg, "lazy"), Trainee(cfg, "dense")
    for number, micro_batches in enumerate(batches(30, few_nodes), 1):
        lazy.step(number, micro_batches)
        dense.step(number, micro_batches)
        assert lazy.lazy
        assert len(lazy.lazy._missed) <= 8
    assert_close(lazy.state(), dense.state())


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_where_every_row_has_a_gradient_lazy_equals_dense(name: str) -> None:
    every = torch.arange(NODES).repeat(12)
    cfg = OptimizerConfig(name=name, learning_rate=0.01, weight_decay=0.1, ema=0.9)
    lazy, dense = Trainee(cfg, "lazy"), Trainee(cfg, "dense")
    torch.manual_seed(0)
    steps = batches(30, lambda _: every)
    for number, ((features, _, _, nodes),) in enumerate(steps, 1):
        anchor = torch.arange(6) % ANCHORS
        batch = (features, anchor, torch.arange(6).repeat_interleave(NODES).repeat(2), nodes)
        lazy.step(number, [batch])
        dense.step(number, [batch])
        assert lazy.lazy
        assert len(lazy.lazy.gradient) == ANCHORS * NODES
    assert_close(lazy.state(), dense.state())


def test_without_a_gradient_adamw_decays_rows_and_moments_and_moves_nothing() -> None:
    cfg = OptimizerConfig(name="adamw", learning_rate=0.01, weight_decay=0.1)
    trainee = Trainee(cfg, "lazy")
    (first,), (second,) = batches(2, lambda step: torch.tensor([[3, 4], [5, 6]][step]))
    trainee.step(1, [first])
    before = {name: value.clone() for name, value in trainee.state()["optimizer"][_position(trainee)].items()}
    weight = trainee.head.weight.detach().clone()
    rates = [learning_rate_at(number, 0.01, SCHEDULE) for number in range(2, 12)]
    for number in range(2, 12):
        trainee.step(number, [second])
    after = trainee.state()["optimizer"][_position(trainee)]
    found = trainee.head.weight.detach()
    decay = torch.prod(1 - 0.1 * torch.tensor(rates, dtype=torch.float64))
    assert_close(found[:, 3], decay * weight[:, 3])
    assert_close(after["exp_avg"][:, 3], 0.9**10 * before["exp_avg"][:, 3])
    assert_close(after["exp_avg_sq"][:, 3], 0.999**10 * before["exp_avg_sq"][:, 3])
    assert before["exp_avg"][:, 3].any()
    assert after["step"] == 11


def _position(trainee: Trainee) -> int:
    """Number of the class weights among the parameters of the optimizer."""
    parameters = [p for group in trainee.optimizer.param_groups for p in group["params"]]
    return next(k for k, p in enumerate(parameters) if p is trainee.head.weight)


def test_every_read_of_stale_rows_returns_their_present_weights() -> None:
    cfg = sgd({})
    lazy, dense = Trainee(cfg, "lazy"), Trainee(cfg, "dense")
    for number, micro_batches in enumerate(batches(20, few_nodes), 1):
        lazy.step(number, micro_batches)
        dense.step(number, micro_batches)
    head, expected = (trainee.head for trainee in (lazy, dense))
    assert not torch.allclose(head.weight, expected.weight)
    vectors, maps = torch.randn(6, CHANNELS).double(), torch.randn(2, CHANNELS, 3, 4).double()
    anchor, index, nodes = torch.arange(6) % ANCHORS, torch.tensor([0, 5, 3]), torch.tensor([0, 22, 29])
    with torch.no_grad():
        assert_close(head.logits(vectors, anchor, nodes), expected.logits(vectors, anchor, nodes))
        assert_close(
            head.pair_logits(vectors, anchor, index, nodes),
            expected.pair_logits(vectors, anchor, index, nodes),
        )
        image = torch.tensor([0, 1, 1])
        assert_close(head.image_logits(maps, image, nodes), expected.image_logits(maps, image, nodes))
        assert_close(head.dense_logits(maps), expected.dense_logits(maps))


def test_reading_changes_nothing() -> None:
    """Processes that read different rows keep the same weights, bit for bit."""
    one, other = (Trainee(sgd({"ema": 0.9}), "lazy") for _ in range(2))
    for number, micro_batches in enumerate(batches(20, few_nodes), 1):
        with torch.no_grad():
            one.terms(micro_batches[0])
            one.terms((*micro_batches[0][:3], torch.full((len(micro_batches[0][3]),), 27)))
        one.step(number, micro_batches)
        other.step(number, micro_batches)
    for key, value in one.state()["weights"].items():
        assert torch.equal(value, other.state()["weights"][key]), key


# --- runs


@pytest.mark.parametrize(
    ("nodes", "setting", "is_lazy"),
    [
        (lazy_rows.LAZY_FROM_NODES - 1, "auto", False),
        (lazy_rows.LAZY_FROM_NODES, "auto", True),
        (8, "lazy", True),
        (lazy_rows.LAZY_FROM_NODES, "dense", False),
    ],
)
def test_large_heads_are_lazy_by_default(nodes: int, setting: str, is_lazy: bool) -> None:
    head = ClassHead(1, anchors=1, nodes=nodes)
    cfg = OptimizerConfig.model_validate({"class_rows": setting})
    found = build_lazy_rows(head, build_optimizer(head, cfg), None, cfg)
    assert isinstance(found, LazyRows) is is_lazy


RUNS = [
    pytest.param({}, id="AdamW with EMA"),
    pytest.param({"optimizer__name": "sgd", "optimizer__clip_norm": 1.0}, id="SGD with EMA, clipped"),
    pytest.param(
        {"optimizer__name": "sgd", "optimizer__ema": 0, "precision": "bfloat16"}, id="SGD, bfloat16"
    ),
]


@pytest.mark.parametrize("changes", RUNS)
def test_a_resumed_lazy_run_equals_an_uninterrupted_one_bit_for_bit(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    changes = {"optimizer__class_rows": "lazy", "data__accumulate": 2, **changes}
    cfg = made_config(shards, schedule__max_steps=6, evaluate__every=3, **changes)
    train(cfg, tmp_path / "straight")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5)  # the last checkpoint is that of step 4
        with pytest.raises(KeyboardInterrupt):
            train(cfg, tmp_path / "resumed")
    train(cfg, tmp_path / "resumed", resume=True)
    assert_equal_checkpoints(tmp_path / "resumed" / "last.pt", tmp_path / "straight" / "last.pt")
    assert_equal_checkpoints(tmp_path / "resumed" / "best.pt", tmp_path / "straight" / "best.pt")


def test_a_lazy_run_equals_a_dense_one_and_each_resumes_the_other(shards: Path, tmp_path: Path) -> None:
    changes = {"optimizer__name": "sgd", "precision": "float32", "evaluate__every": 2}
    dense = made_config(shards, schedule__max_steps=4, optimizer__class_rows="dense", **changes)
    lazy = made_config(shards, schedule__max_steps=4, optimizer__class_rows="lazy", **changes)
    train(dense, tmp_path / "dense")
    train(lazy, tmp_path / "lazy")
    a, b = (load_detector(tmp_path / name / "last.pt") for name in ("dense", "lazy"))
    assert a.training
    assert b.training
    for part in ("weights", "average"):
        torch.testing.assert_close(a.training[part], b.training[part], rtol=1e-5, atol=1e-6)
    states = [saved.training["optimizer"] for saved in (a, b) if saved.training]
    torch.testing.assert_close(states[0]["state"], states[1]["state"], rtol=1e-4, atol=1e-5)
    assert states[0]["param_groups"] == states[1]["param_groups"]
    for cfg, name in ((lazy, "dense"), (dense, "lazy")):
        run = start_or_resume(DetectorTask(), cfg, tmp_path / name, resume=True)
        assert (run.lazy_rows is None) == (cfg is dense)
        assert run.step == 4


def test_evaluation_and_checkpoint_see_flushed_weights(shards: Path, tmp_path: Path) -> None:
    cfg = made_config(shards, optimizer__class_rows="lazy", optimizer__name="sgd", optimizer__ema=0)
    run = start_or_resume(DetectorTask(), cfg, tmp_path, resume=False)
    assert run.lazy_rows
    head = run.model.head.classes
    run.lazy_rows.update()
    set_learning_rate(run.optimizer, 0.5)
    run.lazy_rows.update()
    before = head.weight.detach().clone()
    copy = run.ema_copy()
    assert copy.head.classes.lazy_rows is None
    assert head.lazy_rows is run.lazy_rows
    assert torch.equal(copy.head.classes.weight, head.weight)
    assert not torch.equal(head.weight, before)
    run.lazy_rows.update()
    saved = run.checkpoint()
    assert saved.training
    assert torch.equal(saved.training["weights"]["head.classes.weight"], head.weight.detach())
