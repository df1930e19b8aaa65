"""Classes without boxes lifted to what training had boxes of: is a beagle at least found as a dog?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from data_prep.ledger import Ledger
from yolo9000.scorecard.inputs import GroundTruth


def nearest_boxed(node: int, ledger: Ledger) -> int:
    """The lowest node at or above this one with boxes at or under it; the node itself where none has any."""
    if ledger.boxes_rolled_up[node]:
        return node
    above = ledger.nearest_boxed_ancestor(node)
    return node if above is None else above


def lift_to_boxed(truth: GroundTruth, ledger: Ledger) -> GroundTruth:
    """The same boxes, each named by its `nearest_boxed` node: classes that had boxes keep their name.

    An answer for a lifted class is right wherever one of its lifted boxes is. On a box of a boxed class under it the
    answer is neither right nor wrong (`yolo9000.evaluate.ignoring_kinds_below`): that class has its own row.
    """
    lifted = [nearest_boxed(int(node), ledger) for node in truth.node]
    return replace(truth, node=np.array(lifted, np.int64))
