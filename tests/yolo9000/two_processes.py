"""Programs that test_distributed.py runs in two processes.

two_processes.py together SHARDS FOLDER   checks, and runs in FOLDER to compare with the runs of a single process
two_processes.py raise|kill CONFIG RUNS   `yolo9000 train CONFIG`, of which one process fails or is killed in step 2
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

import yolo9000.distributed as distributed
import yolo9000.training.loop as loop
from tests.yolo9000.made_runs import classifier_config, detector_config, predictions, two_slots
from yolo9000.cli import main
from yolo9000.config import OptimizerConfig
from yolo9000.distributed import (
    all_gather,
    any_process,
    broadcast,
    is_first,
    joined_processes,
    own_share,
    rank,
    sum_over_processes,
    world_size,
)
from yolo9000.models.head import ClassHead
from yolo9000.training.gradients import clip_gradients, compute_gradients
from yolo9000.training.lazy_rows import build_lazy_rows
from yolo9000.training.optim import build_optimizer
from yolo9000.training.pretrain import pretrain
from yolo9000.training.run_folder import TrainingError
from yolo9000.training.train import train


@joined_processes()
def together(shards: Path, folder: Path) -> None:
    assert world_size() == 2
    distributed.BUCKET_ELEMENTS = (
        1000  # several buckets even for small networks, some tensors larger than one
    )
    tensors_and_objects_are_exchanged()
    rows_of_a_class_head_are_summed_like_its_dense_gradient()
    lazy_rows_of_all_processes_are_updated_alike()
    running_statistics_are_averaged_over_the_processes()
    train(broadcast(lambda: two_slots(shards, optimizer__class_rows="lazy")), folder / "lazy")
    train(broadcast(lambda: two_slots(shards)), folder / "two slots")
    train(broadcast(lambda: detector_config(shards, data__accumulate=2)), folder / "detector")
    pretrain(classifier_config(shards), folder / "classifier")
    (folder / f"predictions{rank()}").write_bytes(pickle.dumps(predictions(shards)))


def tensors_and_objects_are_exchanged() -> None:
    own = [torch.full((2, 3), float(rank() + 1)), torch.zeros(0), torch.arange(4.0).view(2, 2).t() * rank()]
    sum_over_processes(own)
    assert own[0].tolist() == [[3.0] * 3] * 2
    assert own[2].tolist() == [[0, 2], [1, 3]]
    assert any_process(torch.tensor([rank() == 0, False, rank() == 1])).tolist() == [True, False, True]
    assert all_gather([10 * k for k in own_share(range(5))]) == [0, 10, 20, 30, 40]
    assert broadcast(rank) == 0


def rows_of_a_class_head_are_summed_like_its_dense_gradient() -> None:
    torch.manual_seed(0)
    head = ClassHead(5, anchors=2, nodes=30)
    nodes = [torch.tensor([3, 4, 5, 17]), torch.tensor([4, 5, 21])][rank()]
    features = torch.randn(6, 5, generator=torch.Generator().manual_seed(rank()))
    anchor = torch.tensor([0, 1, 1, 0, 1, 0])

    def terms_of(nodes: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"total": head.logits(features, anchor, nodes).square().sum()}

    terms_of(nodes)["total"].backward()
    dense = [parameter.grad.clone() for parameter in head.parameters() if parameter.grad is not None]
    sum_over_processes(dense)
    head.take_used_nodes()
    terms = compute_gradients(head, [nodes], terms_of)
    assert not head.used_nodes.any()
    assert broadcast(lambda: float(terms["total"])) == float(terms["total"])
    for parameter, expected in zip(head.parameters(), dense, strict=True):
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, expected)
        rows = parameter.grad.flatten(2).any(2).any(0) if expected.ndim > 2 else expected.any(0)
        assert rows.nonzero()[:, 0].tolist() == [3, 4, 5, 17, 21]


def lazy_rows_of_all_processes_are_updated_alike() -> None:
    """Bit for bit, although each process reads other rows; and as dense updates would."""
    nodes = [torch.tensor([3, 4, 5, 17]), torch.tensor([4, 5, 21])][rank()]
    features = torch.randn(6, 5, generator=torch.Generator().manual_seed(rank())).double()
    found = {class_rows: trained_head(class_rows, features, nodes) for class_rows in ("lazy", "dense")}
    assert torch.equal(broadcast(lambda: found["lazy"]), found["lazy"])
    torch.testing.assert_close(found["lazy"], found["dense"], rtol=1e-12, atol=1e-12)


def trained_head(class_rows: str, features: torch.Tensor, nodes: torch.Tensor) -> torch.Tensor:
    """The class weights after eight steps, in which this process has no label at times."""
    torch.manual_seed(0)
    head, anchor = ClassHead(5, anchors=2, nodes=30).double(), torch.tensor([0, 1, 1, 0, 1, 0])
    cfg = OptimizerConfig.model_validate({"class_rows": class_rows, "learning_rate": 0.01})
    optimizer = build_optimizer(head, cfg)
    lazy_rows = build_lazy_rows(head, optimizer, None, cfg)

    def terms_of(nodes: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            head.logits(features, anchor, nodes + rank())
        return {"total": (head.logits(features, anchor, nodes) - 1).square().sum()}

    for step in range(8):
        own = nodes[: (step + rank()) % 3]
        compute_gradients(head, [own, own], terms_of, lazy_rows)
        clip_gradients(head, 1.0, lazy_rows)
        optimizer.step()
        if lazy_rows:
            lazy_rows.update()
    if lazy_rows:
        lazy_rows.flush()
    return head.weight.detach()


def running_statistics_are_averaged_over_the_processes() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3))
    model[1].eval()
    images = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(rank()))
    means = torch.stack(all_gather([images.mean((0, 2, 3))]))
    assert not torch.allclose(means[0], means[1])
    compute_gradients(model, [images], lambda part: {"total": model(part).square().sum()})
    torch.testing.assert_close(model[0].running_mean, 0.1 * means.mean(0))
    assert not model[1].running_mean.any()


def with_a_failure(kind: str, config: str, runs: str) -> None:
    usual = loop.learning_rate_at

    def fails(step: int, *rest: Any) -> float:
        if step == 2 and not is_first():
            if kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise TrainingError("The second process cannot continue.")
        return usual(step, *rest)

    loop.learning_rate_at = fails
    sys.argv = ["yolo9000", "train", config, "--runs", runs]
    main()


if __name__ == "__main__":
    kind, first, second = sys.argv[1:]
    if kind == "together":
        together(Path(first), Path(second))
    else:
        with_a_failure(kind, first, second)
