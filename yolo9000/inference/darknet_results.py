"""The files of Darknet's `detector valid`: answers for a list of images, for the servers of VOC, COCO and ILSVRC DET.

By `eval` in the `.data` file: `voc` one text file for each class, `coco` one JSON file, `imagenet` one text file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from wordtree import WordTree
from wordtree.hierarchies.darknet_classes import read_classes, read_map
from wordtree.support.arrays import FloatArray, Int64Array
from wordtree.support.files import write_atomically
from wordtree.support.lines import numbered_lines
from wordtree.support.progress import track
from yolo9000.checkpoints.checkpoint import Checkpoint
from yolo9000.config import Config
from yolo9000.darknet.data_file import DataFile, find_named
from yolo9000.darknet.options import DarknetError
from yolo9000.data.image import Letterbox, decode_image, letterbox
from yolo9000.inference.postprocess import answers, node_scores
from yolo9000.models.grid import GridOutput
from yolo9000.models.tree_tensors import TreeTensors

# detector.c: every answer above this counts, and suppression is by class.
_MIN_SCORE, _MIN_ABSOLUTE = 0.005, 0.5
_SHARED = {"nms": "by_node", "nms_iou": 0.45, "max_locations": 10**6, "max_detections": 10**6}
_COCO_SKIPS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
_COCO_CATEGORIES = [number for number in range(1, 91) if number not in _COCO_SKIPS]  # of its 80 classes


@dataclass(frozen=True)
class ImageResults:
    """K answers for one image."""

    path: Path
    size_px: tuple[int, int]  # width, height
    kind: Int64Array  # (K,) the class, counted from 0: a line of the map or of the names
    score: FloatArray  # (K,)
    xyxy_px: (
        FloatArray  # (K, 4), with the model's geometry `darknet` as they are before they are cut to the image
    )


def write_results(checkpoint: Checkpoint, data: DataFile, folder: Path) -> list[Path]:
    """Answer for the images of the list `valid` and write the files of `eval` into `folder`; their paths.

    With a `map` every place is scored for each of its nodes; a model without levels is asked for all its classes; of
    any other each place gives one answer. Level and geometry are the model's own (decisions 11, 13).
    Raises DarknetError, TreeFileError, UnreadablePicture.
    """
    images, asked = _images(data), _asked_nodes(data, checkpoint.tree)
    names = _names(data, checkpoint.tree, asked) if data.eval not in ("coco", "imagenet") else []
    results = list(results_of(checkpoint, images, asked))
    if data.eval == "coco":
        contents = {"coco_results.json": coco_json(results)}
    elif data.eval == "imagenet":
        contents = {"imagenet-detection.txt": imagenet_lines(results)}
    else:
        contents = {f"comp4_det_test_{name}.txt": voc_lines(results, k) for k, name in enumerate(names)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return [folder / name for name in contents]


def results_of(
    checkpoint: Checkpoint, pictures: Sequence[Path], asked: Sequence[int] | None
) -> Iterator[ImageResults]:
    """The answers for each image; asked: nodes that every place is scored for, None for one answer a place."""
    model, cfg = checkpoint.build_model(), checkpoint.config
    find = _one_answer_each(cfg) if asked is None else _scores_of(asked, cfg)
    geometry = cfg.predict.geometry if asked is None else cfg.evaluate.geometry
    for path in track(pictures, "predicting"):
        image = decode_image(np.fromfile(path, np.uint8), name=str(path))
        canvas, box = letterbox(image, cfg.model.input_size_px, geometry=geometry)
        with torch.inference_mode():
            output = model(canvas[None].contiguous(memory_format=torch.channels_last))
            kind, score, xyxy_px = find(output, model.tree_tensors, box)
        size_px = (box.image_width_px, box.image_height_px)
        yield ImageResults(path, size_px, np.asarray(kind), np.asarray(score), np.asarray(xyxy_px))


_Columns = tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]  # kind, score, xyxy_px
_Find = Callable[[GridOutput, TreeTensors, Letterbox], _Columns]


def _scores_of(asked: Sequence[int], cfg: Config) -> _Find:
    settings = cfg.evaluate.model_copy(update={**_SHARED, "min_objectness": _MIN_SCORE})
    kind_of_node = {node: kind for kind, node in enumerate(asked)}

    def find(output: GridOutput, tree_tensors: TreeTensors, box: Letterbox) -> _Columns:
        found = node_scores(output, tree_tensors, 0, box, torch.tensor(asked), settings)
        return [kind_of_node[node] for node in found.node.tolist()], found.score, found.xyxy_px

    return find


def _one_answer_each(cfg: Config) -> _Find:
    settings = cfg.predict.model_copy(
        update={**_SHARED, "min_score": _MIN_SCORE, "min_absolute": _MIN_ABSOLUTE}
    )

    def find(output: GridOutput, tree_tensors: TreeTensors, box: Letterbox) -> _Columns:
        (found,) = answers(output, tree_tensors, [box], ["picture"], settings)
        return found.node, found.score, found.xyxy_px

    return find


# --- what the `.data` file names


def _images(data: DataFile) -> list[Path]:
    listing = data.find("valid")
    if listing is None:
        raise DarknetError(f"{data.path}: names no images; expected valid=FILE, a list with one path a line.")
    lines = [line.strip() for _, line in numbered_lines(listing)]
    return [find_named(line.encode().decode("latin-1"), "picture", listing) for line in lines if line]


def _asked_nodes(data: DataFile, tree: WordTree) -> list[int] | None:
    path = data.find("map")
    if path is not None:
        return read_map(path, tree)
    return list(range(len(tree))) if len(tree.group_start) == 1 else None


def _names(data: DataFile, tree: WordTree, asked: Sequence[int] | None) -> list[str]:
    """The name of each class, fit to name a file."""
    nodes = range(len(tree)) if asked is None else asked
    path = data.find("names")
    names = read_classes(path) if path else [tree.names[node] for node in nodes]
    times = Counter(names)
    unfit = next((name for name in names if "/" in name or times[name] > 1), None)
    if len(names) != len(nodes) or unfit is not None:
        raise DarknetError(
            f"{path or data.path}: eval=voc writes a file named after each of {len(nodes)} classes; found {len(names)} "
            f"names{f', {unfit!r} among them' if unfit is not None else ''}. Names must differ and have no slash."
        )
    return names


# --- formats


def voc_lines(results: Sequence[ImageResults], kind: int) -> str:
    """Of one class: name up to its first dot, score, box with pixels counted from 1."""
    lines = []
    for result in results:
        boxes = _cut(result.xyxy_px + 1, result.size_px, lowest=1)
        for row in np.flatnonzero(result.kind == kind):
            lines.append(f"{result.path.name.split('.')[0]} {_numbers(result.score[row], *boxes[row])}\n")
    return "".join(lines)


def imagenet_lines(results: Sequence[ImageResults]) -> str:
    """Number of the image and of the class, both counted from 1, score, box."""
    lines = []
    for number, result in enumerate(results, start=1):
        boxes = _cut(result.xyxy_px, result.size_px, lowest=0)
        for kind, score, box in zip(result.kind, result.score, boxes, strict=True):
            lines.append(f"{number} {kind + 1} {_numbers(score, *box)}\n")
    return "".join(lines)


def coco_json(results: Sequence[ImageResults]) -> str:
    """COCO's results; DarknetError for an image whose name has no id, and for a class beyond COCO's 80."""
    rows = []
    for result in results:
        image_id = _coco_image_id(result.path)
        boxes = _cut(result.xyxy_px, result.size_px, lowest=0)
        for kind, score, (left, top, right, bottom) in zip(result.kind, result.score, boxes, strict=True):
            if kind >= len(_COCO_CATEGORIES):
                raise DarknetError(
                    f"eval=coco knows {len(_COCO_CATEGORIES)} classes, but class {kind} is answered."
                )
            box = _numbers(left, top, right - left, bottom - top).replace(" ", ", ")
            rows.append(
                f'{{"image_id": {image_id}, "category_id": {_COCO_CATEGORIES[kind]}, "bbox": [{box}], '
                f'"score": {_numbers(score)}}}'
            )
    return "[\n" + ",\n".join(rows) + "\n]\n"


def _coco_image_id(path: Path) -> int:
    digits = re.match(r"\d+", path.name.rpartition("_")[2])
    if not digits:
        raise DarknetError(
            f"{path}: eval=coco wants the image's id in the name, such as val_000000000139.jpg."
        )
    return int(digits[0])


def _cut(xyxy_px: FloatArray, size_px: tuple[int, int], *, lowest: int) -> FloatArray:
    """As Darknet cuts: left and top from below, right and bottom from above, nothing else."""
    return np.concatenate([np.maximum(xyxy_px[:, :2], lowest), np.minimum(xyxy_px[:, 2:], size_px)], axis=1)


def _numbers(*values: float) -> str:
    return " ".join(f"{value:.6f}" for value in values)
