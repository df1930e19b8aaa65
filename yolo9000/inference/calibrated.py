"""Predictions as specific as a calibration allows (`predict --accuracy`; docs/calibration.md)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wordtree.support.arrays import Float64Array
from yolo9000.checkpoints.calibration import Calibration, CalibrationError
from yolo9000.config import PredictConfig
from yolo9000.inference.detections import Detections, StopReason


def refuse_other_settings(
    calibration: Calibration, cfg: PredictConfig, size_px: int | tuple[int, int]
) -> None:
    """Raise CalibrationError if settings differ from those that were calibrated."""
    expected = {
        "min_score": calibration.min_score,
        "nms_iou": calibration.nms_iou,
        "input_size_px": calibration.input_size_px,
    }
    found = {"min_score": cfg.min_score, "nms_iou": cfg.nms_iou, "input_size_px": size_px}
    wrong = [
        f"{name} {found[name]} instead of {value}" for name, value in expected.items() if found[name] != value
    ]
    if wrong:
        raise CalibrationError(
            f"The requested accuracy holds for the settings that were calibrated; found {', '.join(wrong)}. Leave "
            "these settings as they are, or change them in the checkpoint's configuration and calibrate again."
        )


def at_calibrated_depth(detections: Detections, threshold_of_leaf: Float64Array) -> Detections:
    """The detections with the deepest class on their path to `best_leaf` whose P exceeds the leaf's threshold.

    threshold_of_leaf: (N,). If no class exceeds it, the root of the path is predicted. The best score comes first.
    """
    assert detections.best_leaf is not None and detections.conditional_below is not None  # noqa: PT018 from detect
    nodes, conditional, below, reasons = [], [], [], []
    for row, leaf in enumerate(detections.best_leaf.tolist()):
        path = np.concatenate([detections.conditional[row], detections.conditional_below[row]])
        absolute = np.cumprod(path, dtype=np.float64)
        above = int((absolute > threshold_of_leaf[leaf]).sum())
        count = max(1, above)
        nodes.append(detections.tree.path(leaf)[count - 1])
        conditional.append(path[:count])
        below.append(path[count:])
        reason: StopReason = "leaf" if count == len(path) else "threshold" if above else "root"
        reasons.append(reason)
    absolute_of = np.array([np.prod(path, dtype=np.float32) for path in conditional], np.float32)
    score = detections.objectness * absolute_of
    found = replace(
        detections,
        node=np.array(nodes, np.int64),
        absolute=absolute_of,
        score=np.full(len(score), 1, np.float32),  # in order until they are sorted
        conditional=tuple(conditional),
        conditional_below=tuple(below),
        stopped=tuple(reasons),
    )
    order = np.argsort(-score, kind="stable")
    return replace(found[order], score=score[order])
