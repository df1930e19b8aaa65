"""`Predictor`: images in, `Detections` out, as a stream that decodes ahead of the network."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from wordtree.errors import ConfigError
from wordtree.support.arrays import Float64Array
from wordtree.support.config_files import validate, with_present_names
from wordtree.support.lines import one_line
from wordtree.tree.query import parse
from yolo9000.checkpoints.checkpoint import load_detector
from yolo9000.config import PredictConfig
from yolo9000.data.image import Letterbox, UnreadableImage, letterbox
from yolo9000.distributed import default_device
from yolo9000.engines.engine import build_engine
from yolo9000.inference.calibrated import at_calibrated_depth, refuse_other_settings
from yolo9000.inference.detections import Detections
from yolo9000.inference.postprocess import BatchOutput, NodeSet, detect
from yolo9000.inference.sources import ImageItem, ImageLike, image_items
from yolo9000.inference.vocabulary import Vocabulary, VocabularyChoice

OnUnreadable: TypeAlias = Callable[[Exception], None]
DECODE_THREADS = min(8, max(2, os.cpu_count() or 2))


@dataclass(frozen=True)
class Predicted:
    """The result for one image: detections, or the reason why there are none.

    pixels: uint8, shape (3, H, W), where the caller wanted them.
    """

    item: ImageItem
    detections: Detections | None = None
    failure: str = ""
    pixels: Tensor | None = None


@dataclass(frozen=True)
class _Fitted:
    """A decoded image on the network's canvas, float32, shape (3, height, width)."""

    canvas: Tensor
    position: Letterbox
    pixels: Tensor | None


class Predictor:
    """A trained detector: `for detections in Predictor("best.pt")("photos/"): …`

    changes: fields of `PredictConfig` that differ from the checkpoint's configuration, such as {"min_score": 0.1}.
    device: where the network runs; None: on the GPU if there is one, else on the CPU.
    engine: torch, torch_compile, onnxruntime, openvino, or auto for the fastest that is installed (docs/speed.md).
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
        self.settings = validate(settings, PredictConfig, place="changes")
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
        for result in self.stream(image_items(images), query=query):
            if result.detections is not None:
                yield result.detections
            elif on_unreadable is None:
                raise UnreadableImage(result.failure)
            else:
                on_unreadable(UnreadableImage(result.failure))

    def stream(
        self,
        items: Iterable[ImageItem],
        *,
        query: str | None = None,
        keep_pixels: bool = False,
        fill_batches: bool = False,
    ) -> Generator[Predicted, None, None]:
        """The result of each image, in order. Threads decode the next images while the network runs.

        fill_batches: give the network full batches only, the last one filled with grey images. The result of an image
        then does not depend on the other images at all; otherwise it may differ in the seventh digit.
        """
        node_set = None if query is None else NodeSet.of(self.tree, parse(query, self.tree).nodes())
        batch: list[tuple[ImageItem, _Fitted | str]] = []
        for entry in self._decoded(items, keep_pixels=keep_pixels):
            batch.append(entry)
            if len(batch) == self.settings.batch_size:
                yield from self._predicted(batch, node_set, fill=fill_batches)
                batch = []
        yield from self._predicted(batch, node_set, fill=fill_batches)

    @torch.inference_mode()
    def detect(
        self, images: Sequence[Tensor], names: Sequence[str], query: NodeSet | None = None
    ) -> list[Detections]:
        """Detections of a batch of decoded images, each uint8, shape (3, H, W) with any H and W."""
        return self._detect([self._fit(image, keep_pixels=False) for image in images], names, query)

    def without_supervision(self, query: str) -> list[str]:
        """Names of the topmost queried nodes for which training had neither boxes nor image labels."""
        nodes = parse(query, self.tree).nodes()
        topmost = nodes[~np.isin(self.tree.parent[nodes], nodes)]
        return [
            self.tree.names[node] for node in topmost if self.label_counts.supervision(int(node)) == "none"
        ]

    def _decoded(
        self, items: Iterable[ImageItem], *, keep_pixels: bool
    ) -> Iterator[tuple[ImageItem, _Fitted | str]]:
        """Each image on its canvas, or the reason why it cannot be read; two batches are decoded ahead."""
        ahead = 2 * self.settings.batch_size + DECODE_THREADS
        waiting: deque[tuple[ImageItem, Future[_Fitted | str]]] = deque()
        pool = ThreadPoolExecutor(DECODE_THREADS, "decode")
        try:
            for item in items:
                waiting.append((item, pool.submit(self._read, item, keep_pixels=keep_pixels)))
                if len(waiting) > ahead:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, item: ImageItem, *, keep_pixels: bool) -> _Fitted | str:
        try:
            return self._fit(item.read(), keep_pixels=keep_pixels)
        except UnreadableImage as error:
            return one_line(error)
        except OSError as error:
            return f"{item.name}: cannot be read: {error.strerror or one_line(error)}."
        except MemoryError:
            return f"{item.name}: does not fit into memory."

    def _fit(self, image: Tensor, *, keep_pixels: bool) -> _Fitted:
        canvas, position = letterbox(image, self.size_px, geometry=self.settings.geometry)
        return _Fitted(canvas, position, image if keep_pixels else None)

    def _predicted(
        self, batch: Sequence[tuple[ImageItem, _Fitted | str]], query: NodeSet | None, *, fill: bool
    ) -> Iterator[Predicted]:
        fitted = [image for _, image in batch if isinstance(image, _Fitted)]
        names = [item.name for item, image in batch if isinstance(image, _Fitted)]
        if fitted and fill:
            missing = self.settings.batch_size - len(fitted)
            grey = _Fitted(torch.full_like(fitted[0].canvas, 0.5), fitted[0].position, None)
            fitted, names = [*fitted, *[grey] * missing], [*names, *[""] * missing]
        found = iter(self._detect(fitted, names, query) if fitted else ())
        for item, image in batch:
            if isinstance(image, str):
                yield Predicted(item, failure=image)
            else:
                detections = replace(next(found), frame=item.frame, time_s=item.time_s)
                yield Predicted(item, detections, pixels=image.pixels)

    @torch.inference_mode()
    def _detect(
        self, images: Sequence[_Fitted], names: Sequence[str], query: NodeSet | None
    ) -> list[Detections]:
        canvases = torch.stack([image.canvas for image in images]).to(self.device)
        batch = BatchOutput(
            self.engine(canvases), self.model.tree_tensors, [image.position for image in images]
        )
        found = detect(batch, names, self.settings, query, self.vocabulary)
        if self._threshold_of_leaf is None:
            return found
        return [at_calibrated_depth(detections, self._threshold_of_leaf) for detections in found]

    def _check_size(self) -> None:
        """ConfigError where a side of the input is not a whole number of grid cells."""
        stride = self.model.backbone.stride
        sides = (self.size_px, self.size_px) if isinstance(self.size_px, int) else self.size_px
        if any(side % stride for side in sides):
            raise ConfigError(
                f"predict.input_size_px: expected multiples of {stride} for this network, found {self.size_px}."
            )


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
