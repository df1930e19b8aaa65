"""Operations at which the host would wait for a GPU, counted on a CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# Operations whose result has a size or a value that the host must read.
WAITING = {"_local_scalar_dense", "nonzero", "_unique2", "unique_dim", "bincount", "masked_select", "equal"}
# Methods that copy between host and device; on a CPU, no operation shows them.
COPYING = {Tensor.tolist: "tolist", Tensor.cpu: "cpu", Tensor.new_tensor: "new_tensor"}


def counted_waits(work: Callable[[], object]) -> Counter[str]:
    """How often `work` calls each operation that would make the host wait if its tensors were on a GPU."""
    with _Operations() as operations, _Methods() as methods:
        work()
    return operations.found + methods.found


class _Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        has_mask = name in {"index", "index_put", "index_put_"} and _has_mask(args[1])
        has_no_size = name == "repeat_interleave" and (kwargs or {}).get("output_size") is None
        if name in WAITING or has_mask or has_no_size:
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


class _Methods(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in COPYING:
            self.found[COPYING[func]] += 1
        return func(*args, **(kwargs or {}))


def _has_mask(indices: Sequence[Tensor | None]) -> bool:
    return any(index is not None and index.dtype == torch.bool for index in indices)
