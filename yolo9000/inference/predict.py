"""`Predictor`: images in, `Detections` out, as a stream that decodes ahead of the network."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from wordtree.errors import ConfigError
from wordtree.support.arrays import Float64Array, UInt8Array
from wordtree.support.config_files import validate, with_present_names
from wordtree.support.lines import one_line
from wordtree.tree.query import parse
from yolo9000.checkpoints.checkpoint import load_detector
from yolo9000.config import PredictConfig
from yolo9000.data.image import resized_to_fit
from yolo9000.data.letterbox import canvases
from yolo9000.distributed import default_device
from yolo9000.engines.engine import build_engine
from yolo9000.inference.calibrated import at_calibrated_depth, refuse_other_settings
from yolo9000.inference.detections import Detections
from yolo9000.inference.onnx_predict import OnnxPredictor
from yolo9000.inference.postprocess import NodeSet, detect
from yolo9000.inference.sources import ImageItem, ImageLike, image_items
from yolo9000.inference.stream import Fitted, ImageStream, OnUnreadable, Predicted, detections_of
from yolo9000.inference.top_locations import BatchOutput
from yolo9000.inference.vocabulary import Vocabulary, VocabularyChoice


class Predictor:
    """A trained detector: `for detections in Predictor("best.pt")("photos/"): …`

    changes: fields of `PredictConfig` that differ from the checkpoint's configuration, such as {"min_score": 0.1}.
    device: where the network runs; None: on the GPU if there is one, else on the CPU.
    engine: torch, torch_compile, onnxruntime, openvino, or auto for the fastest that is installed (docs/predicting.md).
    classes: the classes that may be predicted: an expression, `depth:3`, `coco`, or a file (docs/predicting.md).
    accuracy: the share of correct classes that the checkpoint is calibrated for (docs/calibration.md).
    Raises CheckpointError, CalibrationError, ConfigError, EngineError; while predicting NoImages, UnreadableImage.
    """

    def __init__(
        self,
        checkpoint: Path | str,
        *,
        changes: Mapping[str, Any] | None = None,
        device: str | None = None,
        engine: str = "torch",
        classes: str | VocabularyChoice | None = None,
        accuracy: float | None = None,
    ) -> None:
        self.checkpoint = Path(checkpoint)
        loaded = load_detector(checkpoint)
        self.tree, self.config, self.label_counts = loaded.tree, loaded.config, loaded.label_counts
        changed = with_present_names(changes or {}, PredictConfig, source="changes")
        settings = {**loaded.config.predict.model_dump(), **changed}
        self.settings = validate(settings, PredictConfig, where="changes")
        runs_on_cpu = device is None and engine in ("onnxruntime", "openvino")
        self.device = torch.device("cpu") if runs_on_cpu else _device(device)
        self.model = loaded.build_model().to(self.device)
        self.size_px = self.settings.input_size_px or self.config.model.input_size_px
        self._check_size()
        choice = VocabularyChoice(classes) if isinstance(classes, str) else classes
        self.vocabulary: Vocabulary | None = None if choice is None else choice.of(self.tree)
        self.accuracy = accuracy
        self._threshold_of_leaf: Float64Array | None = None
        if accuracy is not None:
            calibration = loaded.calibration_of_weights(checkpoint)
            self._threshold_of_leaf = calibration.thresholds_of_leaves(accuracy, self.tree, self.label_counts)
            refuse_other_settings(calibration, self.settings, self.size_px)
            self.model.tree_tensors.set_temperatures(calibration.temperatures)
        self.engine = build_engine(self.model, engine, precision=self.settings.precision)

    def __call__(
        self,
        images: ImageLike | Iterable[ImageLike],
        *,
        query: str | None = None,
        on_unreadable: OnUnreadable | None = None,
    ) -> Iterator[Detections]:
        """Detections of each image, in order, one after the other; an iterable may be endless.

        images: paths, folders, patterns, addresses or videos (`find_images`), PIL images, arrays of shape (H, W, 3)
        and tensors of shape (3, H, W), integers in 0..255 or floating-point numbers in 0..1.
        query: an expression for nodes, such as "fruit & !apple" (docs/queries.md). The score of a detection is then
        objectness × P(one of these nodes), even where its own class is another node. Raises QueryError.
        on_unreadable: called with the error of an image that cannot be read, which is then left out; None: raise the
        error.
        """
        return detections_of(self.stream(image_items(images), query=query), on_unreadable)

    def stream(
        self,
        items: Iterable[ImageItem],
        *,
        query: str | None = None,
        keep_pixels: bool = False,
    ) -> Generator[Predicted, None, None]:
        """The result of each image, in order; see `ImageStream.results`."""
        node_set = None if query is None else NodeSet.of(self.tree, parse(query, self.tree).nodes())
        stream = ImageStream(
            self._fit,
            partial(self._detect, query=node_set),
            self.settings.batch_size,
            keep_pixels,
        )
        return stream.results(items)

    @torch.inference_mode()
    def detect(
        self, images: Sequence[Tensor], names: Sequence[str], query: NodeSet | None = None
    ) -> list[Detections]:
        """Detections of a batch of decoded images, each uint8, shape (3, H, W) with any H and W."""
        fitted = [self._fit(image.permute(1, 2, 0).cpu().numpy()) for image in images]
        return self._detect(fitted, names, query=query)

    @property
    def chooses_precision(self) -> bool:
        """Whether the first batch decides the precision of all others."""
        return self.engine.chooses_precision

    def without_supervision(self, query: str) -> list[str]:
        """Names of the topmost queried nodes for which training had neither boxes nor image labels."""
        nodes = parse(query, self.tree).nodes()
        topmost = nodes[~np.isin(self.tree.parent[nodes], nodes)]
        return [
            self.tree.names[node] for node in topmost if self.label_counts.supervision(int(node)) == "none"
        ]

    def _fit(self, pixels: UInt8Array) -> Fitted:
        image = torch.from_numpy(pixels).permute(2, 0, 1)
        content, position = resized_to_fit(image, self.size_px, geometry=self.settings.geometry)
        return Fitted(content.numpy(), position)

    @torch.inference_mode()
    def _detect(
        self, images: Sequence[Fitted], names: Sequence[str], *, query: NodeSet | None
    ) -> list[Detections]:
        letterboxes = [image.position for image in images]
        batch_of_canvases = torch.from_numpy(canvases([image.content for image in images], letterboxes))
        grid = self.engine(batch_of_canvases.to(self.device))
        batch = BatchOutput(grid, self.model.tree_tensors, letterboxes)
        found = detect(batch, names, self.settings, query, self.vocabulary)
        if self._threshold_of_leaf is None:
            return found
        return [at_calibrated_depth(detections, self._threshold_of_leaf) for detections in found]

    def _check_size(self) -> None:
        """Raise ConfigError if a side of the input is not a whole number of grid cells."""
        stride = self.model.backbone.stride
        sides = (self.size_px, self.size_px) if isinstance(self.size_px, int) else self.size_px
        if any(side % stride for side in sides):
            raise ConfigError(
                f"predict.input_size_px: expected multiples of {stride} for this network, found {self.size_px}."
            )


AnyPredictor: TypeAlias = Predictor | OnnxPredictor


def _device(name: str | None) -> torch.device:
    """The device of this name, such as cuda:1; None: the default one. Raises ConfigError."""
    if name is None:
        return default_device()
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (
        RuntimeError,
        AssertionError,
        NotImplementedError,
    ) as reason:  # AssertionError: torch without CUDA
        raise ConfigError(
            f"device: expected cpu, cuda or cuda:N with that GPU present, found '{name}' "
            f"({one_line(reason).split('. ')[0][:120]})."
        ) from None
    return device
