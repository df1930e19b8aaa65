"""A slow twin of Darknet's region layer and detections, in plain NumPy.

Written from Darknet's documented behaviour including its surprises, as loops over locations, without code of the
packages. `tests/golden/make_darknet_cases.py` makes the committed cases with this twin;
`tests/yolo9000/darknet/test_twin.py` compares it with Darknet's own numbers if they are available. A case is a dict as
in params.json there.

Letters: b image, a anchor, j row, i column. A box is centre and size; a *delta* is target minus output.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[Any]
Case = dict[str, Any]
Box = tuple[float, float, float, float]

WARM_UP_IMAGES = 12800
NO_BOX = 100000  # x and y above this: an image label without a box


class Groups:
    """The sibling groups of a tree given by its parents: runs of nodes with the same parent."""

    def __init__(self, parents: list[int]) -> None:
        self.parents = parents
        self.members: list[list[int]] = []
        self.group_of: list[int] = []
        self.children: dict[int, int] = {}
        for node, parent in enumerate(parents):
            if not node or parent != parents[node - 1]:
                self.members.append([])
                self.children[parent] = len(self.members) - 1
            self.members[-1].append(node)
            self.group_of.append(len(self.members) - 1)

    def up(self, node: int) -> Iterator[int]:
        """The node and its ancestors."""
        while node >= 0:
            yield node
            node = self.parents[node]

    def probability(self, conditional: Floats, node: int) -> float:
        return math.prod(float(conditional[step]) for step in self.up(node))

    def absolute(self, conditional: Floats) -> Floats:
        return np.array([self.probability(conditional, node) for node in range(len(self.parents))])

    def top(self, probability: Floats, threshold: float) -> int:
        """The descent: multiplies the given numbers while the product exceeds the threshold."""
        product, group, parent = 1.0, 0, -1
        while True:
            best = max(self.members[group], key=lambda node: probability[node])  # the first of equals
            if not product * probability[best] > threshold:
                return best if parent < 0 else parent
            product *= probability[best]
            if best not in self.children:
                return best
            group, parent = self.children[best], best


def read_parents(text: str) -> list[int]:
    """The parents of a `.tree` file."""
    return [int(line.split()[1]) for line in text.splitlines() if line.strip()]


def logistic(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def softmax(x: Floats) -> Floats:
    exponents = np.exp(x - x.max())
    return exponents / exponents.sum()


# --- the layer


def activated(raw: Floats, case: Case, groups: Groups | None) -> Floats:
    """(B, A, 5 + C, H, W): logistic of x, y and objectness; softmax by group or over all classes, or logistic."""
    output = np.asarray(raw, np.float64).reshape(
        len(raw), case["num"], 5 + case["classes"], case["grid_h"], case["grid_w"]
    )
    output = output.copy()
    for entry in (0, 1, 4):
        output[:, :, entry] = logistic(output[:, :, entry])
    all_classes = list(range(case["classes"]))
    for b, a, j, i in _locations(output):
        classes = output[b, a, 5:, j, i]
        if not groups and not case["softmax"]:
            classes[:] = logistic(classes)
            continue
        for members in groups.members if groups else [all_classes]:
            classes[members] = softmax(classes[members])
    return output


def _locations(output: Floats) -> Iterator[tuple[int, ...]]:
    images, anchors, _, rows, columns = output.shape
    return np.ndindex(images, anchors, rows, columns)


def box_at(output: Floats, case: Case, b: int, a: int, j: int, i: int) -> Box:
    """The predicted box in the unit square of the network's input."""
    x, y, w, h = output[b, a, :4, j, i]
    width, height = case["anchors"][2 * a : 2 * a + 2]
    columns, rows = case["grid_w"], case["grid_h"]
    return (i + x) / columns, (j + y) / rows, math.exp(w) * width / columns, math.exp(h) * height / rows


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    sides = []
    for axis in (0, 1):
        left = max(a[axis] - a[axis + 2] / 2, b[axis] - b[axis + 2] / 2)
        right = min(a[axis] + a[axis + 2] / 2, b[axis] + b[axis + 2] / 2)
        sides.append(right - left)
    shared = 0.0 if min(sides) < 0 else sides[0] * sides[1]
    union = a[2] * a[3] + b[2] * b[3] - shared
    return shared / union if union else 0.0


def region(
    raw: Floats, truth: Floats, case: Case, groups: Groups | None = None
) -> tuple[Floats, Floats, Floats]:
    """Output, delta and gradient with respect to the layer's input, each (B, A, 5 + C, H, W)."""
    output = activated(raw, case, groups)
    delta = np.zeros_like(output)
    for b in range(len(output)):
        rows = []
        for row in np.asarray(truth[b], np.float64):
            if row[0] == 0:
                break
            rows.append(row)
        labels = [int(row[4]) for row in rows if groups and row[0] > NO_BOX and row[1] > NO_BOX]
        if labels:
            _label_only(output, delta, case, groups, b, labels[0])
        else:
            _with_boxes(output, delta, case, groups, b, rows)
    gradient = delta.copy()
    for entry in (0, 1, 4):
        gradient[:, :, entry] *= output[:, :, entry] * (1 - output[:, :, entry])
    return output, delta, gradient


def _label_only(output: Floats, delta: Floats, case: Case, groups: Groups | None, b: int, label: int) -> None:
    assert groups
    best, best_score = (0, 0, 0), -1.0
    for _, a, j, i in _locations(output[b : b + 1]):
        objectness = output[b, a, 4, j, i]
        delta[b, a, 4, j, i] = case["noobject_scale"] * (0 - objectness)
        score = objectness * groups.probability(output[b, a, 5:, j, i], label)
        if score > best_score:
            best, best_score = (a, j, i), score
    a, j, i = best
    _class_delta(output, delta, case, groups, (b, a, j, i), label)
    delta[b, a, 4, j, i] = 0


def _with_boxes(
    output: Floats, delta: Floats, case: Case, groups: Groups | None, b: int, rows: list[Floats]
) -> None:
    for _, a, j, i in _locations(output[b : b + 1]):
        here = box_at(output, case, b, a, j, i)
        best = max((iou(here, tuple(row[:4])) for row in rows), default=0.0)
        delta[b, a, 4, j, i] = (
            0 if best > case["thresh"] else case["noobject_scale"] * (0 - output[b, a, 4, j, i])
        )
        if case["seen"] < WARM_UP_IMAGES:
            delta[b, a, :2, j, i] = 0.01 * (0.5 - output[b, a, :2, j, i])
            delta[b, a, 2:4, j, i] = 0.01 * (0 - output[b, a, 2:4, j, i])
    for row in rows:
        _one_box(output, delta, case, groups, b, row)


def _one_box(output: Floats, delta: Floats, case: Case, groups: Groups | None, b: int, row: Floats) -> None:
    columns, rows = case["grid_w"], case["grid_h"]
    x, y, w, h, class_ = row.tolist()
    i, j = int(x * columns), int(y * rows)
    best, best_iou = 0, 0.0
    for a in range(case["num"]):
        shape = box_at(output, case, b, a, j, i)[2:]
        if case["bias_match"]:
            shape = case["anchors"][2 * a] / columns, case["anchors"][2 * a + 1] / rows
        shape_iou = iou((0, 0, *shape), (0, 0, w, h))
        if shape_iou > best_iou:
            best, best_iou = a, shape_iou
    a = best
    location = b, a, slice(None), j, i
    width, height = case["anchors"][2 * a : 2 * a + 2]
    target = x * columns - i, y * rows - j, math.log(w * columns / width), math.log(h * rows / height)
    delta[location][:4] = case["coord_scale"] * (2 - w * h) * (np.array(target) - output[location][:4])
    objectness = output[location][4]
    objectness_target = iou(box_at(output, case, b, a, j, i), (x, y, w, h)) if case["rescore"] else 1
    delta[location][4] = case["object_scale"] * (objectness_target - objectness)
    label = case["map"][int(class_)] if case["map"] else int(class_)
    _class_delta(output, delta, case, groups, (b, a, j, i), label)


def _class_delta(
    output: Floats, delta: Floats, case: Case, groups: Groups | None, location: tuple[int, ...], label: int
) -> None:
    b, a, j, i = location
    p, d = output[b, a, 5:, j, i], delta[b, a, 5:, j, i]
    scale = case["class_scale"]
    if groups:
        for node in groups.up(label):
            members = groups.members[groups.group_of[node]]
            d[members] = scale * (0 - p[members])
            d[node] = scale * (1 - p[node])
        return
    if case["softmax"] or d[0] == 0:  # logistic classes: a second box at the location only adds its own class
        d[:] = scale * (0 - p)
    d[label] = scale * (1 - p[label])


# --- detections of one image


def detections(output: Floats, case: Case, groups: Groups | None = None) -> tuple[Floats, Floats, Floats]:
    """Boxes (D, 4) on the image, objectness (D,) and scores (D, C), in the order anchor, row, column."""
    boxes, objectness, scores = [], [], []
    for b, a, j, i in _locations(output[:1]):
        o = float(output[b, a, 4, j, i])
        boxes.append(_on_image(box_at(output, case, b, a, j, i), case))
        objectness.append(o if o > case["thresh"] else 0.0)
        scores.append(_scores(o, output[b, a, 5:, j, i], case, groups))
    return np.array(boxes), np.array(objectness), np.array(scores)


def _scores(o: float, classes: Floats, case: Case, groups: Groups | None) -> Floats:
    threshold = case["thresh"]
    if groups and not case["map"]:
        found = np.zeros(len(classes))
        found[groups.top(groups.absolute(classes), case["tree_thresh"])] = o if o > threshold else 0
        return found
    if groups:
        absolute = groups.absolute(classes)
        found = np.zeros(max(len(classes), 200))
        found[: len(case["map"])] = [o * absolute[node] for node in case["map"]]
    else:
        found = o * classes if o > threshold else np.zeros(len(classes))
    return np.where(found > threshold, found, 0)


def fitted_size(case: Case) -> tuple[int, int]:
    """Width and height of the image on the network's canvas, whole pixels rounded down."""
    net_w, net_h, w, h = (case[key] for key in ("net_w", "net_h", "image_w", "image_h"))
    return (net_w, h * net_w // w) if net_w * h < net_h * w else (w * net_h // h, net_h)


def _on_image(box: Box, case: Case) -> Box:
    found = []
    for axis, (net, new, size) in enumerate(
        zip(
            (case["net_w"], case["net_h"]), fitted_size(case), (case["image_w"], case["image_h"]), strict=True
        )
    ):
        unit = 1 if case["relative"] else size
        centre = (box[axis] - (net - new) / 2 / net) / (new / net)
        found.append((centre * unit, box[axis + 2] * net / new * unit))
    return found[0][0], found[1][0], found[0][1], found[1][1]


def suppressed_by_class(boxes: Floats, objectness: Floats, scores: Floats, threshold: float) -> Floats:
    """The scores after NMS within each class by the IoU threshold; suppressed scores are 0."""
    scores = scores.copy()
    for class_ in range(scores.shape[1]):
        order = [d for d in np.argsort(-scores[:, class_], kind="stable") if objectness[d]]
        for rank, d in enumerate(order):
            for worse in order[rank + 1 :]:
                if scores[d, class_] and iou(tuple(boxes[d]), tuple(boxes[worse])) > threshold:
                    scores[worse, class_] = 0
    return scores


def suppressed_by_objectness(
    boxes: Floats, objectness: Floats, scores: Floats, threshold: float
) -> tuple[Floats, Floats]:
    """Objectness and scores after NMS by objectness across all classes; suppressed values are 0."""
    objectness, scores = objectness.copy(), scores.copy()
    order = [d for d in np.argsort(-objectness, kind="stable") if objectness[d]]
    for rank, d in enumerate(order):
        for worse in order[rank + 1 :]:
            if objectness[d] and iou(tuple(boxes[d]), tuple(boxes[worse])) > threshold:
                objectness[worse], scores[worse] = 0, 0
    scores[objectness == 0] = 0
    return objectness, scores


# --- images, in float32 as in Darknet


def resized(image: Floats, width: int, height: int) -> Floats:
    """(3, H, W) to (3, height, width): first columns, then rows; the last row lacks its second term."""
    _, old_height, old_width = image.shape
    one = np.float32(1)
    across = np.float32(old_width - 1) / np.float32(width - 1)
    wide = np.zeros((3, old_height, width), np.float32)
    for c in range(width):
        if c == width - 1 or old_width == 1:
            wide[:, :, c] = image[:, :, -1]
            continue
        at = np.float32(c) * across
        left, part = int(at), at - np.float32(int(at))
        wide[:, :, c] = (one - part) * image[:, :, left] + part * image[:, :, left + 1]
    down = np.float32(old_height - 1) / np.float32(height - 1)
    found = np.zeros((3, height, width), np.float32)
    for r in range(height):
        at = np.float32(r) * down
        above, part = int(at), at - np.float32(int(at))
        found[:, r] = (one - part) * wide[:, above]
        if r < height - 1 and old_height > 1:
            found[:, r] += part * wide[:, above + 1]
    return found


def letterboxed(image: Floats, width: int, height: int) -> Floats:
    """The image resized to fit, at the centre of a grey canvas."""
    case = {"net_w": width, "net_h": height, "image_w": image.shape[2], "image_h": image.shape[1]}
    new_width, new_height = fitted_size(case)
    canvas = np.full((3, height, width), 0.5, np.float32)
    left, top = (width - new_width) // 2, (height - new_height) // 2
    canvas[:, top : top + new_height, left : left + new_width] = resized(image, new_width, new_height)
    return canvas


# --- learning rates


def learning_rate(options: dict[str, str], t: int) -> float:
    """The rate of update t (the first is 1) as intended, without the wrap-around of Darknet's unsigned t."""
    rate, power = float(options["learning_rate"]), float(options.get("power", 4))
    step, scale, gamma = (float(options.get(key, 1)) for key in ("step", "scale", "gamma"))
    if t < int(options.get("burn_in", 0)):
        return rate * (t / int(options["burn_in"])) ** power
    policy = options.get("policy", "constant")
    if policy == "steps":
        for at, factor in zip(options["steps"].split(","), options["scales"].split(","), strict=True):
            rate *= float(factor) if int(at) <= t else 1
        return rate
    factors = {
        "constant": lambda: 1,
        "step": lambda: scale ** (t // step),
        "exp": lambda: gamma**t,
        "poly": lambda: (1 - t / int(options["max_batches"])) ** power,
        "sigmoid": lambda: 1 / (1 + math.exp(gamma * (t - step))),
    }
    return float(rate * factors[policy]())
