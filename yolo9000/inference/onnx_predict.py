"""`OnnxPredictor`: predictions with a file of `yolo9000 export`, without torch."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wordtree import WordTree
from wordtree.errors import ConfigError
from wordtree.support.arrays import BoolArray, Float32Array, Int64Array, UInt8Array
from wordtree.support.config_files import validate
from yolo9000.config import PredictConfig
from yolo9000.data.letterbox import Letterbox, array_resized_to_fit, canvases
from yolo9000.engines.names import AUTO, EngineError, chosen_engine
from yolo9000.engines.sessions import open_session
from yolo9000.export.onnx_metadata import read_onnx_detector
from yolo9000.inference.detections import Detections, StopReason
from yolo9000.inference.sources import ImageItem, ImageLike, image_items
from yolo9000.inference.stream import Fitted, ImageStream, OnUnreadable, Predicted, detections_of

OUTPUTS = ("boxes", "objectness", "leaf", "path_conditional")
_TOLERANCE = 0.01  # of probabilities in bfloat16


class OnnxPredictor:
    """A detector in an ONNX file: `for detections in OnnxPredictor("model.onnx")("photos/"): …`

    The parameters are those of `Predictor`. The file computes neither the probabilities of other classes than those on
    the most probable path nor queries, so there are no `classes`, `accuracy` and queries.
    Raises OnnxFileError, EngineError, ConfigError; while predicting NoImages, UnreadableImage.
    """

    vocabulary = None
    accuracy = None

    def __init__(
        self, path: Path | str, *, changes: Mapping[str, Any] | None = None, engine: str = AUTO
    ) -> None:
        self.checkpoint = Path(path)
        found = read_onnx_detector(self.checkpoint)
        self.tree, self.label_counts = found.tree, found.label_counts
        settings = {**found.settings.model_dump(), **(changes or {})}
        self.settings = validate(settings, PredictConfig, where="changes")
        self.size_px = self.settings.input_size_px or found.size_px
        self._check(found.multiple_px)
        self.engine = open_session(
            chosen_engine(engine, from_file=True),
            found.content,
            OUTPUTS,
            precision=self.settings.precision,
            where=str(path),
        )

    def __call__(
        self, images: ImageLike | Iterable[ImageLike], *, on_unreadable: OnUnreadable | None = None
    ) -> Iterator[Detections]:
        """Detections of each image, in order; the parameters are those of `Predictor`."""
        return detections_of(self.stream(image_items(images)), on_unreadable)

    def stream(
        self,
        items: Iterable[ImageItem],
        *,
        query: str | None = None,
        keep_pixels: bool = False,
    ) -> Generator[Predicted, None, None]:
        """The result of each image, in order, as of `Predictor.stream`. Raises EngineError for a query."""
        if query is not None:
            raise EngineError(
                "A query needs the checkpoint: an ONNX file computes no probabilities of other classes."
            )
        stream = ImageStream(self._fit, self._detect, self.settings.batch_size, keep_pixels)
        return stream.results(items)

    @property
    def chooses_precision(self) -> bool:
        """Whether the first batch decides the precision of all others: never."""
        return False

    def _fit(self, pixels: UInt8Array) -> Fitted:
        return Fitted(*array_resized_to_fit(pixels, self.size_px, geometry=self.settings.geometry))

    def _detect(self, images: Sequence[Fitted], names: Sequence[str]) -> list[Detections]:
        outputs = self.engine(
            canvases([image.content for image in images], [image.position for image in images])
        )
        if problem := problem_of_outputs(outputs, len(images), self.tree):
            raise EngineError(
                f"{self.checkpoint}: expected the outputs of a detector with {len(self.tree)} classes, found {problem}."
            )
        return [
            detections_in_image(
                {key: column[row] for key, column in outputs.items()},
                image.position,
                name,
                self.tree,
                self.settings,
            )
            for row, (image, name) in enumerate(zip(images, names, strict=True))
        ]

    def _check(self, multiple_px: int) -> None:
        sides = (self.size_px, self.size_px) if isinstance(self.size_px, int) else self.size_px
        if any(side % multiple_px or side < 2 * multiple_px for side in sides):
            raise ConfigError(
                f"predict.input_size_px: expected multiples of {multiple_px} from {2 * multiple_px} on for this "
                f"network, found {self.size_px}."
            )
        if self.settings.descent == "darknet" and not self.tree.depth.any():
            raise EngineError(
                f"{self.checkpoint}: Darknet's rules without a tree need the probabilities of all classes, which an "
                "ONNX file does not compute. Predict with the checkpoint."
            )


def problem_of_outputs(outputs: Mapping[str, Any], images: int, tree: WordTree) -> str | None:
    """Reason in a few words why arrays are not the outputs of an exported graph for B images; None if they are."""
    locations = np.shape(outputs["objectness"])[1:2]
    depth = int(tree.depth.max()) + 1
    kinds = {"boxes": "f", "objectness": "f", "leaf": "i", "path_conditional": "f"}
    ends = {"boxes": (4,), "path_conditional": (depth,)}
    for name, kind in kinds.items():
        column = np.asarray(outputs[name])
        expected = (images, *locations, *ends.get(name, ()))
        if column.shape != expected or column.dtype.kind != kind:
            return f"{name} of type {column.dtype} and shape {column.shape} instead of {expected}"
    for name in ("objectness", "path_conditional"):
        if not ((outputs[name] >= -_TOLERANCE) & (outputs[name] <= 1 + _TOLERANCE)).all():  # NaN too
            return f"{name} outside 0..1"
    leaf = outputs["leaf"]
    if leaf.size and not 0 <= leaf.min() <= leaf.max() < len(tree):
        return "a class that is not in its tree"
    return None


def detections_in_image(
    outputs: Mapping[str, Any], letterbox: Letterbox, name: str, tree: WordTree, cfg: PredictConfig
) -> Detections:
    """The detections of one image by the rules of `predict`; outputs: of the exported graph for this image."""
    top = outputs["objectness"] > cfg.min_score
    top &= np.arange(len(top)) < cfg.max_locations
    objectness, leaf = outputs["objectness"][top], outputs["leaf"][top]
    conditional = outputs["path_conditional"][top]  # (K, levels)
    xyxy_px = _boxes_in_image(outputs["boxes"][top], letterbox, cfg)
    absolute_on_path = np.cumprod(conditional, axis=1, dtype=np.float32)
    length = _nodes_to_prediction(absolute_on_path, tree.depth[leaf] + 1, cfg)
    rows = np.arange(len(leaf))
    absolute = absolute_on_path[rows, length - 1]
    paths = [tree.path(node) for node in leaf.tolist()]
    node = np.array([path[count - 1] for path, count in zip(paths, length, strict=True)], np.int64)
    if cfg.descent == "darknet":
        score = compared = objectness
    else:
        score, compared = objectness * absolute, objectness * absolute_on_path[:, 0]
    kept = _kept(xyxy_px, objectness, score, node, cfg)
    kept = kept[compared[kept] > cfg.min_score]
    kept = kept[np.argsort(-score[kept], kind="stable")][: cfg.max_detections]
    return Detections(
        tree=tree,
        image=name,
        image_size_px=(letterbox.image_width_px, letterbox.image_height_px),
        xyxy_px=_clipped(xyxy_px[kept], letterbox),
        node=node[kept],
        objectness=objectness[kept],
        absolute=absolute[kept],
        score=score[kept],
        conditional=tuple(conditional[row, : length[row]] for row in kept),
        best_leaf=leaf[kept],
        conditional_below=tuple(conditional[row, length[row] : len(paths[row])] for row in kept),
        stopped=tuple(_reason(length[row], len(paths[row]), absolute[row], cfg) for row in kept),
    )


def _nodes_to_prediction(absolute: Float32Array, length: Int64Array, cfg: PredictConfig) -> Int64Array:
    """The number of nodes from the root to the predicted one, at least 1, (K,); absolute: (K, levels) along paths."""
    compared = np.cumprod(absolute, axis=1, dtype=np.float32) if cfg.descent == "darknet" else absolute
    goes_on = (compared > cfg.min_absolute) & (np.arange(absolute.shape[1]) < length[:, None])
    count: Int64Array = np.maximum(1, np.logical_and.accumulate(goes_on, axis=1).sum(axis=1))
    return count


def _reason(count: int, length: int, absolute: float, cfg: PredictConfig) -> StopReason:
    if count == length:
        return "leaf"
    return "root" if absolute <= cfg.min_absolute else "threshold"


def _boxes_in_image(xyxy_unit: Float32Array, letterbox: Letterbox, cfg: PredictConfig) -> Float32Array:
    """Boxes in pixels of the image, (K, 4), clipped unless the geometry is `darknet`."""
    network = np.array([letterbox.network_width_px, letterbox.network_height_px] * 2, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # `Detections` refuses infinity and NaN
        if cfg.geometry == "darknet":
            return letterbox.to_image_by_darknet(xyxy_unit * network)
        return _clipped(letterbox.to_image(xyxy_unit * network), letterbox)


def _clipped(xyxy_px: Float32Array, letterbox: Letterbox) -> Float32Array:
    limit = np.array([letterbox.image_width_px, letterbox.image_height_px] * 2, np.float32)
    return np.minimum(np.maximum(xyxy_px, np.float32(0)), limit)


def _kept(
    xyxy_px: Float32Array, objectness: Float32Array, score: Float32Array, node: Int64Array, cfg: PredictConfig
) -> Int64Array:
    """The rows that suppression keeps, best first."""
    if cfg.nms == "by_objectness":
        return np.sort(suppressed(xyxy_px, objectness, np.zeros_like(node), cfg.nms_iou))  # decision 8
    return suppressed(xyxy_px, score, node, cfg.nms_iou)


def suppressed(xyxy: Float32Array, score: Float32Array, group: Int64Array, max_iou: float) -> Int64Array:
    """Rows, best first, whose IoU with each better row of the same group is at most `max_iou`."""
    order = np.argsort(-score, kind="stable")
    boxes = xyxy[order].astype(np.float64)
    left_top = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    right_bottom = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = (right_bottom - left_top).clip(0).prod(axis=2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    with np.errstate(invalid="ignore"):
        overlap = shared / (area[:, None] + area[None] - shared) > max_iou  # False for 0/0, as in torchvision
    overlap &= group[order][:, None] == group[order][None]
    is_kept: BoolArray = np.ones(len(order), np.bool_)
    for row in range(len(order)):
        if is_kept[row]:
            is_kept[row + 1 :] &= ~overlap[row, row + 1 :]
    kept: Int64Array = order[is_kept]
    return kept
