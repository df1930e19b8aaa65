"""The result files that `darknet detector valid` writes, for the evaluation servers of VOC, COCO and ImageNet DET.

`eval` in the `.data` file chooses the format: `voc` is one text file for each class, `coco` one JSON file, `imagenet`
one text file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from wordtree import WordTree
from wordtree.hierarchies.darknet_classes import read_classes, read_map
from wordtree.support.arrays import FloatArray, Int64Array
from wordtree.support.lines import numbered_lines
from wordtree.support.outputs import write_outputs
from yolo9000.checkpoints.checkpoint import DetectorCheckpoint
from yolo9000.config import Config
from yolo9000.darknet.data_file import DataFile, find_named
from yolo9000.darknet.options import DarknetError
from yolo9000.data.image import letterbox, read_stored_image
from yolo9000.distributed import track_progress
from yolo9000.inference.node_scores import node_scores
from yolo9000.inference.postprocess import detect
from yolo9000.inference.top_locations import BatchOutput

# detector.c: every detection above this score counts, and NMS is by class.
_MIN_SCORE, _MIN_ABSOLUTE = 0.005, 0.5
_SHARED = {"nms": "by_node", "nms_iou": 0.45, "max_locations": 10**6, "max_detections": 10**6}
_COCO_UNUSED_IDS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
_COCO_CATEGORIES = sorted({*range(1, 91)} - _COCO_UNUSED_IDS)  # ids of COCO's 80 classes


@dataclass(frozen=True)
class ImageResults:
    """K detections in one image.

    size_px     width and height of the image
    class_index (K,) the class, counted from 0: a line of the map or of the names file
    score       (K,) 0..1
    xyxy_px     (K, 4) image pixels; with the model's geometry `darknet` not yet clipped to the image
    """

    path: Path
    size_px: tuple[int, int]
    class_index: Int64Array
    score: FloatArray
    xyxy_px: FloatArray


def write_results(
    checkpoint: DetectorCheckpoint, data: DataFile, folder: Path, *, overwrite: bool = False
) -> list[Path]:
    """Write the files of `eval` for the images of the list `valid` into `folder`; returns their paths.

    With a `map` every location is scored for each node of the map, and with a flat tree for each class. With any other
    tree every location gives one detection. The model's own descent and geometry apply (decisions 11, 13).
    Raises DarknetError, TreeFileError, UnreadableImage.
    """
    images, nodes = _images(data), _scored_nodes(data, checkpoint.tree)
    names = _names(data, checkpoint.tree, nodes) if data.eval not in ("coco", "imagenet") else []
    results = list(results_of(checkpoint, images, nodes))
    if data.eval == "coco":
        contents = {"coco_results.json": coco_json(results)}
    elif data.eval == "imagenet":
        contents = {"imagenet-detection.txt": imagenet_lines(results)}
    else:
        contents = {
            f"comp4_det_test_{_in_file_name(name)}.txt": voc_lines(results, k) for k, name in enumerate(names)
        }
    if len(contents) < len(set(names)):
        raise DarknetError(f"{data.path}: two class names give the same file name. Rename a class.")
    folder.mkdir(parents=True, exist_ok=True)
    write_outputs({folder / name: content for name, content in contents.items()}, overwrite=overwrite)
    return [folder / name for name in contents]


def _in_file_name(name: str) -> str:
    """A class name as part of a file name, which must not lead into another folder."""
    return name.replace("/", "_").replace("\\", "_").replace("\0", "_")


def results_of(
    checkpoint: DetectorCheckpoint, images: Sequence[Path], nodes: Sequence[int] | None
) -> Iterator[ImageResults]:
    """The results of each image.

    nodes: every location is scored for each of these nodes; None: every location gives one detection.
    """
    model, cfg = checkpoint.build_model(), checkpoint.config
    geometry = cfg.predict.geometry if nodes is None else cfg.evaluate.geometry
    for path in track_progress(images, "images", total=len(images)):
        pixels = read_stored_image(path)
        canvas, fitted = letterbox(pixels, cfg.model.input_size_px, geometry=geometry)
        with torch.inference_mode():
            output = model(canvas[None].contiguous(memory_format=torch.channels_last))
            batch = BatchOutput(output, model.tree_tensors, [fitted])
            if nodes is None:
                yield _one_per_location(batch, path, cfg)
            else:
                yield _scores_of(batch, path, nodes, cfg)


def _one_per_location(batch: BatchOutput, path: Path, cfg: Config) -> ImageResults:
    """One detection for each location, as deep in the tree as `min_absolute` allows."""
    settings = cfg.predict.model_copy(
        update={**_SHARED, "min_score": _MIN_SCORE, "min_absolute": _MIN_ABSOLUTE}
    )
    (found,) = detect(batch, [str(path)], settings)
    return ImageResults(path, found.image_size_px, found.node, found.score, found.xyxy_px)


def _scores_of(batch: BatchOutput, path: Path, nodes: Sequence[int], cfg: Config) -> ImageResults:
    """A detection for each location and given node."""
    settings = cfg.evaluate.model_copy(update={**_SHARED, "min_objectness": _MIN_SCORE})
    (found,) = node_scores(batch, torch.tensor(nodes), settings)
    index_of = {node: index for index, node in enumerate(nodes)}
    class_index = np.array([index_of[node] for node in found.node.tolist()], np.int64)
    (fitted,) = batch.letterboxes
    size_px = (fitted.image_width_px, fitted.image_height_px)
    return ImageResults(path, size_px, class_index, found.score.numpy(), found.xyxy_px.numpy())


# --- the `.data` file


def _images(data: DataFile) -> list[Path]:
    listing = data.find("valid")
    if listing is None:
        raise DarknetError(
            f"{data.path}: expected valid=FILE, a list of images with one path on each line, found none."
        )
    lines = [line.strip() for _, line in numbered_lines(listing)]
    images = [find_named(line.encode().decode("latin-1"), "image", listing) for line in lines if line]
    if not images:
        raise DarknetError(f"{listing}: expected the path of an image on each line, found none.")
    return images


def _scored_nodes(data: DataFile, tree: WordTree) -> list[int] | None:
    path = data.find("map")
    if path is not None:
        return read_map(path, tree)
    return list(range(len(tree))) if len(tree.group_start) == 1 else None


def _names(data: DataFile, tree: WordTree, nodes: Sequence[int] | None) -> list[str]:
    """The name of each class; DarknetError for names that cannot be file names."""
    classes = range(len(tree)) if nodes is None else nodes
    path = data.find("names")
    names = read_classes(path) if path else [tree.names[node] for node in classes]
    count_of = Counter(names)
    invalid = next((name for name in names if "/" in name or count_of[name] > 1), None)
    if len(names) != len(classes) or invalid is not None:
        raise DarknetError(
            f"{path or data.path}: eval=voc writes a file for each of {len(classes)} classes, named after the class; "
            f"found {len(names)} names{f', {invalid!r} among them' if invalid is not None else ''}. "
            "Names must differ and contain no slash."
        )
    return names


# --- formats


def voc_lines(results: Sequence[ImageResults], class_index: int) -> str:
    """Lines of one class: image name up to its first dot, score, box with pixels counted from 1."""
    lines = []
    for result in results:
        boxes = _clipped(result.xyxy_px + 1, result.size_px, lowest=1)
        for row in np.flatnonzero(result.class_index == class_index):
            lines.append(f"{result.path.name.split('.')[0]} {_numbers(result.score[row], *boxes[row])}\n")
    return "".join(lines)


def imagenet_lines(results: Sequence[ImageResults]) -> str:
    """Lines of all classes: image number and class number, both counted from 1, score, box."""
    lines = []
    for number, result in enumerate(results, start=1):
        boxes = _clipped(result.xyxy_px, result.size_px, lowest=0)
        for index, score, box in zip(result.class_index, result.score, boxes, strict=True):
            lines.append(f"{number} {index + 1} {_numbers(score, *box)}\n")
    return "".join(lines)


def coco_json(results: Sequence[ImageResults]) -> str:
    """COCO's result format. Raises DarknetError for an image name without an id and a class beyond COCO's 80."""
    rows = []
    for result in results:
        image_id = _coco_image_id(result.path)
        boxes = _clipped(result.xyxy_px, result.size_px, lowest=0)
        for index, score, (left, top, right, bottom) in zip(
            result.class_index, result.score, boxes, strict=True
        ):
            if index >= len(_COCO_CATEGORIES):
                raise DarknetError(
                    f"eval=coco: expected at most {len(_COCO_CATEGORIES)} classes, counted from 0, found a detection "
                    f"of class {index}. Write another format, with eval=voc or eval=imagenet."
                )
            box = _numbers(left, top, right - left, bottom - top).replace(" ", ", ")
            rows.append(
                f'{{"image_id": {image_id}, "category_id": {_COCO_CATEGORIES[index]}, "bbox": [{box}], '
                f'"score": {_numbers(score)}}}'
            )
    return "[\n" + ",\n".join(rows) + "\n]\n"


def _coco_image_id(path: Path) -> int:
    digits = re.match(r"\d+", path.name.rpartition("_")[2])
    if not digits:
        raise DarknetError(
            f"{path}: eval=coco: expected a file name with the image's id, such as val_000000000139.jpg."
        )
    return int(digits[0])


def _clipped(xyxy_px: FloatArray, size_px: tuple[int, int], *, lowest: int) -> FloatArray:
    """Boxes clipped as Darknet does it: left and top from below, right and bottom from above, nothing else."""
    return np.concatenate([np.maximum(xyxy_px[:, :2], lowest), np.minimum(xyxy_px[:, 2:], size_px)], axis=1)


def _numbers(*values: float) -> str:
    return " ".join(f"{value:.6f}" for value in values)
