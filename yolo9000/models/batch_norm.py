"""The statistics that batch norm uses in training (`batch_statistics`).

per_process   mean and variance of one micro-batch; the running statistics are averaged over all processes
frozen        the running statistics, which do not change
synchronised  mean and variance of the micro-batches that all processes compute at the same time
"""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from yolo9000.config import BatchStatistics
from yolo9000.distributed import ProcessError, world_size

Model = TypeVar("Model", bound=nn.Module)


def set_training(model: nn.Module, statistics: BatchStatistics) -> None:
    """Set training mode; batch norm that is frozen, or belongs to frozen layers, stays in evaluation mode."""
    model.train()
    for norm in _batch_norms(model):
        if statistics == "frozen" or not norm.weight.requires_grad:
            norm.eval()


def synchronised(model: Model) -> Model:
    """The model with synchronised batch norm; ProcessError if PyTorch does not support it."""
    if world_size() == 1:
        return model
    types = {type(norm) for norm in _batch_norms(model)}
    devices = {parameter.device.type for parameter in model.parameters()}
    if devices != {"cuda"} or not types <= {nn.BatchNorm2d}:
        raise ProcessError(
            "batch_statistics: synchronised needs GPUs and the standard batch norm, found "
            f"{' and '.join(sorted(devices))} and {', '.join(sorted(type_.__name__ for type_ in types))}. "
            "Set it to per_process or frozen."
        )
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-any-return]


def running_statistics(model: nn.Module) -> list[Tensor]:
    """The running means and variances that each process updates from its own images."""
    own = [norm for norm in _batch_norms(model) if norm.training and not isinstance(norm, nn.SyncBatchNorm)]
    return [value for norm in own for value in (norm.running_mean, norm.running_var) if value is not None]


def _batch_norms(model: nn.Module) -> list[_BatchNorm]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]
