"""What a run writes for TensorBoard, where that is installed: `tensorboard --logdir runs` shows all runs together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo9000.run_folder import TrainingError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Board:
    """The event files in `folder`/tensorboard, begun with the first number.

    first_step: of an interrupted run, TensorBoard forgets what an earlier file holds of this step and later ones.
    """

    def __init__(self, folder: Path, *, first_step: int) -> None:
        self._folder, self._first_step = folder / "tensorboard", first_step
        self._open: SummaryWriter | None = None

    def numbers(self, group: str, values: Mapping[str, float], *, step: int) -> None:
        """A point of each curve `group`/NAME; on disk when this returns."""
        writer = self._writer()
        for name, value in values.items():
            writer.add_scalar(f"{group}/{name}", value, step)
        writer.flush()

    def close(self) -> None:
        if self._open:
            self._open.close()

    def _writer(self) -> Any:
        if self._open is None:
            from torch.utils.tensorboard import SummaryWriter

            self._open = SummaryWriter(self._folder, purge_step=self._first_step)
        return self._open


def board_for(folder: Path, *, asked: bool | None, first_step: int) -> Board | None:
    """None where TensorBoard is not installed, or not wanted; TrainingError where it is asked for in vain."""
    if asked is False:
        return None
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        if asked:
            raise TrainingError(
                "log.tensorboard is true, but TensorBoard is not installed: pip install tensorboard, "
                "or set log.tensorboard to null."
            ) from None
        return None
    return Board(folder, first_step=first_step)
