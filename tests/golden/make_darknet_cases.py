"""Make tests/golden/darknet: small cases of the region layer and of inference, computed by tests/darknet_twin.py.

    python -m tests.golden.make_darknet_cases [FOLDER]

The layout is the same as in the folder of `DARKNET_GOLDEN`. A case in which the last bit decides (near a threshold, or
with two anchors or locations of almost equal score) is drawn anew.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests import darknet_twin as twin

FOLDER = Path(__file__).parent / "darknet"
TREE = "trees/kinds.tree"
PARENTS = [-1, -1, -1, 0, 0, 1, 3, 3, 3, 5, 5, 9, 9]  # an only child (5), four levels
FLAT_CLASSES = 4
ANCHORS = [0.7, 1.1, 1.5, 0.8, 2.5, 2.25]  # in cells
NO_BOX = 999999.0

GRID = {"num": 2, "coords": 4, "grid_w": 4, "grid_h": 3, "background": 0}
REGION = {
    **GRID,
    "batch": 2,
    "seen": 20000,
    "softmax": 1,
    "rescore": 1,
    "bias_match": 1,
    "object_scale": 5,
    "noobject_scale": 1,
    "class_scale": 1,
    "coord_scale": 1,
    "thresh": 0.6,
}
OF_TREE = {"tree": TREE, "classes": len(PARENTS), "map": None}
FLAT = {"tree": None, "classes": FLAT_CLASSES, "map": None}
ODD_SCALES = {"object_scale": 3, "noobject_scale": 0.5, "class_scale": 2, "coord_scale": 1.5, "thresh": 0.4}
REGION_CASES: dict[str, dict[str, Any]] = {
    "tree": OF_TREE,
    "tree_warm_up": {**OF_TREE, "seen": 12799},
    "tree_warm_up_is_over": {**OF_TREE, "seen": 12800},
    "tree_map": {**OF_TREE, "map": [12, 6, 4, 10]},
    "tree_odd_scales": {**OF_TREE, **ODD_SCALES},
    "tree_target_one_matched_by_prediction": {**OF_TREE, "rescore": 0, "bias_match": 0},
    "flat": FLAT,
    "flat_warm_up": {**FLAT, "seen": 0},
    "flat_matched_by_prediction": {**FLAT, "bias_match": 0},
    "flat_independent": {**FLAT, "softmax": 0},
    "flat_thirty_boxes": {**FLAT, "num": 1, "grid_w": 3, "grid_h": 5},
}
DETECT = {**GRID, "net_w": 128, "net_h": 96, "nms_thresh": 0.45, "tree_thresh": 0.5}
DETECT_CASES: dict[str, dict[str, Any]] = {
    "tree": {**OF_TREE, "image_w": 64, "image_h": 48, "thresh": 0.24, "relative": 0},
    "tree_odd_margin": {**OF_TREE, "image_w": 50, "image_h": 17, "thresh": 0.005, "relative": 1},
    "tree_low_level": {
        **OF_TREE,
        "image_w": 30,
        "image_h": 50,
        "thresh": 0.1,
        "tree_thresh": 0.1,
        "relative": 0,
    },
    "tree_map": {
        **OF_TREE,
        "map": [12, 6, 4, 10, 0],
        "image_w": 31,
        "image_h": 77,
        "thresh": 0.02,
        "relative": 0,
    },
    "flat": {**FLAT, "image_w": 50, "image_h": 17, "thresh": 0.02, "relative": 0},
}
NET_OPTIONS = {
    "constant": "learning_rate=.002",
    "steps_burn": "learning_rate=.01 burn_in=30 power=2 policy=steps steps=100,200 scales=.1,.5",
    "step": "learning_rate=.05 policy=step step=40 scale=.3",
    "exp": "learning_rate=.01 policy=exp gamma=.99",
    "poly_burn": "learning_rate=.1 burn_in=20 policy=poly power=4 max_batches=300",
    "sigmoid": "learning_rate=.01 policy=sigmoid gamma=.1 step=70",
}
UPDATES = (1, 2, 19, 20, 29, 30, 39, 40, 69, 70, 71, 99, 100, 150, 199, 200, 250, 300)
SIZES = ((32, 32), (33, 20), (17, 40))  # width, height


def main(folder: Path = FOLDER) -> None:
    groups = twin.Groups(PARENTS)
    (folder / "trees").mkdir(parents=True, exist_ok=True)
    (folder / TREE).write_text("".join(f"kind{node} {parent}\n" for node, parent in enumerate(PARENTS)))
    region = {name: {**REGION, **changes} for name, changes in REGION_CASES.items()}
    detect = {name: {**DETECT, **changes} for name, changes in DETECT_CASES.items()}
    for number, (name, case) in enumerate(region.items()):
        _write(
            folder / "region" / f"{name}.npz", _region_arrays(case, groups if case["tree"] else None, number)
        )
    for number, (name, case) in enumerate(detect.items()):
        _write(
            folder / "detect" / f"{name}.npz", _detect_arrays(case, groups if case["tree"] else None, number)
        )
    _write(folder / "trees" / "hier_kinds.npz", _descents(groups))
    _write(folder / "images.npz", _images())
    (folder / "region" / "params.json").write_text(json.dumps(region, indent=1) + "\n")
    (folder / "detect" / "params.json").write_text(json.dumps(detect, indent=1) + "\n")
    (folder / "learning_rates.json").write_text(json.dumps(_learning_rates(), indent=1) + "\n")


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(exist_ok=True)
    small = {np.dtype(np.int64): np.int32, np.dtype(np.float64): np.float32}
    kept = {name: array.astype(small.get(array.dtype, array.dtype)) for name, array in arrays.items()}
    np.savez_compressed(path, **kept)  # type: ignore[arg-type]


def _rounded(value: float) -> float:
    """The value without the last digits, which differ between machines."""
    return float(f"{value:.7g}")


# --- the region layer


def _region_arrays(case: dict[str, Any], groups: twin.Groups | None, seed: int) -> dict[str, np.ndarray]:
    """Arrays of the case; adds anchors, cost and the number of zero objectness deltas to `case`."""
    case["anchors"] = ANCHORS[: 2 * case["num"]]
    rng = np.random.default_rng(seed)
    while True:
        raw = _raw(case, rng, spread=1.0)
        truth = _truth(raw, case, groups, rng)
        output, delta, gradient = twin.region(raw, truth, case, groups)
        nudged = raw + rng.normal(scale=1e-6, size=raw.shape)
        if np.abs(twin.region(nudged, truth, case, groups)[1] - delta).max() < 1e-4:
            break
    case["cost"] = _rounded((delta**2).sum())
    case["objectness_deltas_exactly_zero"] = int((delta[:, :, 4] == 0).sum())
    arrays = {"output": output, "delta": delta, "grad": gradient}
    flat = {name: array.reshape(raw.shape) for name, array in arrays.items()}
    return {"raw": raw, "truth": truth, **flat, "cost": np.array([case["cost"]])}


def _raw(case: dict[str, Any], rng: np.random.Generator, *, spread: float) -> np.ndarray:
    shape = (case.get("batch", 1), case["num"], 5 + case["classes"], case["grid_h"], case["grid_w"])
    raw = rng.normal(scale=spread, size=shape)
    raw[:, :, 2:4] *= 0.4
    return raw.astype(np.float32).reshape(shape[0], -1, *shape[3:])


def _truth(
    raw: np.ndarray, case: dict[str, Any], groups: twin.Groups | None, rng: np.random.Generator
) -> np.ndarray:
    """Boxes of the first image, one equal to a prediction and two at one location; a label or boxes of the second."""
    output = twin.activated(raw, case, groups)
    truth = np.zeros((len(raw), 30, 5), np.float32)
    classes = len(case["map"]) if case["map"] else case["classes"]
    for image in truth:
        count = 30 if case["num"] == 1 else int(rng.integers(4, 7))
        image[:count, :2] = rng.uniform(0.02, 0.98, (count, 2))
        image[:count, 2:4] = rng.uniform(0.05, 0.7, (count, 2))
        image[:count, 4] = rng.integers(0, classes, count)
        image[2, :4] = image[1, :4] * [1, 1, 1.02, 0.99]
    row, column = int(rng.integers(0, case["grid_h"])), int(rng.integers(0, case["grid_w"]))
    truth[0, 0, :4] = twin.box_at(output, case, 0, 0, row, column)
    if groups:  # after an ordinary box; any node of the tree, since image labels are not mapped
        truth[1, 1] = [NO_BOX, NO_BOX, NO_BOX, NO_BOX, rng.integers(0, len(groups.parents))]
        truth[1, 2:] = 0
    return truth


# --- detections


def _detect_arrays(case: dict[str, Any], groups: twin.Groups | None, seed: int) -> dict[str, np.ndarray]:
    case["anchors"] = ANCHORS[: 2 * case["num"]]
    case["nms_classes"] = 200 if case["map"] else case["classes"]
    rng = np.random.default_rng(1000 + seed)
    while True:
        raw = _raw(case, rng, spread=2.0)
        arrays = _detected(raw, case, groups)
        nudged = _detected(raw + rng.normal(scale=1e-6, size=raw.shape), case, groups)
        stable = all(np.allclose(arrays[name], nudged[name], rtol=1e-4, atol=1e-4) for name in arrays)
        counts = [int((arrays[name] > 0).sum()) for name in ("prob", "prob_nms_sort", "prob_nms_obj")]
        if stable and counts[0] > counts[1] and counts[0] > counts[2]:
            break
    output = twin.activated(raw, {"softmax": 1, **case}, groups)
    case["nonzero_probs_plain_sort_obj"] = counts
    return {"raw": raw, "output": output.reshape(raw.shape), **arrays}


def _detected(raw: np.ndarray, case: dict[str, Any], groups: twin.Groups | None) -> dict[str, np.ndarray]:
    output = twin.activated(raw, {"softmax": 1, **case}, groups)
    boxes, objectness, scores = twin.detections(output, case, groups)
    limit = case["nms_thresh"]
    left, by_objectness = twin.suppressed_by_objectness(boxes, objectness, scores, limit)
    return {
        "bbox": boxes,
        "objectness": objectness,
        "prob": scores,
        "prob_nms_sort": twin.suppressed_by_class(boxes, objectness, scores, limit),
        "objectness_nms_sort": objectness,
        "prob_nms_obj": by_objectness,
        "objectness_nms_obj": left,
    }


def _descents(groups: twin.Groups) -> dict[str, np.ndarray]:
    """Probabilities and descents for random logits; `top_after_predictions` descends by absolute probabilities."""
    logits = np.random.default_rng(7).normal(scale=2, size=(16, len(PARENTS))).astype(np.float32)
    thresholds = [0.02, 0.1, 0.3, 0.5]
    softmax = np.zeros(logits.shape)
    for members in groups.members:
        softmax[:, members] = [twin.softmax(row) for row in logits[:, members].astype(np.float64)]
    absolute = np.array([groups.absolute(row) for row in softmax])
    return {
        "logits": logits,
        "softmax": softmax,
        "node_prob": absolute,
        "thresholds": np.array(thresholds),
        "top_conditional": np.array([[groups.top(row, t) for t in thresholds] for row in softmax]),
        "top_after_predictions": np.array([[groups.top(row, t) for t in thresholds] for row in absolute]),
    }


# --- images and rates


def _images() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = {}
    for number, (width, height) in enumerate([(23, 15), (9, 31), (32, 32)]):
        image = rng.random((3, height, width), np.float32)
        arrays[f"in_{number}"] = image
        for w, h in SIZES:
            arrays[f"resize_{number}_{w}x{h}"] = twin.resized(image, w, h)
            arrays[f"letterbox_{number}_{w}x{h}"] = twin.letterboxed(image, w, h)
    height, black = _heights_of_a_black_row()
    arrays["in_black"] = rng.random((3, height, 5), np.float32)
    arrays[f"resize_black_4x{black}"] = twin.resized(arrays["in_black"], 4, black)
    return arrays


def _heights_of_a_black_row() -> tuple[int, int]:
    """The first pair of old and new heights for which rounding makes the last row black."""
    pairs = [(old, new) for old in range(5, 30) for new in range(5, 40)]
    one = np.float32(1)
    return next((o, n) for o, n in pairs if one * (n - 1) * (np.float32(o - 1) / np.float32(n - 1)) < o - 1)


def _learning_rates() -> dict[str, Any]:
    """Learning rates of some updates; for sigmoid only after its middle, since Darknet is wrong before it."""
    found = {}
    for name, text in NET_OPTIONS.items():
        options = dict(line.split("=") for line in text.split())
        first = int(options["step"]) if name == "sigmoid" else 1
        rates = [[t, _rounded(twin.learning_rate(options, t))] for t in UPDATES if t >= first]
        found[name] = {"net_options": text.replace(" ", "\n") + "\n", "batch": 4, "rates": rates}
    return found


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
