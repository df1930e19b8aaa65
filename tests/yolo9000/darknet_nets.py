"""Networks with the output of every layer: our own (tests/golden/darknet_nets) and Darknet's (`DARKNET_GOLDEN`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.yolo9000.darknet_golden import NOT_AT_HAND, ORIGINAL
from wordtree import WordTree
from yolo9000.darknet.cfg import read_cfg
from yolo9000.darknet.data_file import find_named
from yolo9000.darknet.options import DarknetError
from yolo9000.darknet.plan import output_layer_of

OWN_NETS = Path(__file__).parents[1] / "golden" / "darknet_nets"


@dataclass(frozen=True)
class GoldenNet:
    cfg: Path
    weights: Path  # a cfg may have several: with other headers, or after other training steps

    @property
    def is_detector_or_classifier(self) -> bool:
        try:
            return output_layer_of(read_cfg(self.cfg)) is not None
        except DarknetError:
            return False

    def arrays(self) -> dict[str, np.ndarray]:
        """`input` and the outputs of the layers in order."""
        with np.load(self.cfg.with_suffix(".npz")) as archive:
            return dict(archive)

    def tree(self) -> WordTree | None:
        named = read_cfg(self.cfg).tree
        return WordTree.load(find_named(named, "tree", self.cfg)) if named else None


def golden_nets(*folders: str) -> list[Any]:
    """Our own networks and those in folders of `DARKNET_GOLDEN`, as parameters of a test."""
    locations = [("own", OWN_NETS)]
    locations += [("original", ORIGINAL / folder) for folder in folders] if ORIGINAL else []
    found = [
        pytest.param(GoldenNet(_cfg_of(weights), weights), id=f"{whose}-{weights.stem}")
        for whose, folder in locations
        for weights in sorted(folder.glob("*.weights"))
    ]
    if not ORIGINAL:
        found.append(pytest.param(None, id="original", marks=pytest.mark.skip(reason=NOT_AT_HAND)))
    return found


def _cfg_of(weights: Path) -> Path:
    """The cfg with the longest name that the weights' name begins with."""
    fitting = [cfg for cfg in weights.parent.glob("*.cfg") if weights.stem.startswith(cfg.stem)]
    return max(fitting, key=lambda cfg: len(cfg.stem))
