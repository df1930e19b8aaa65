"""`Predictor`: images in, `Detections` out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from wordtree.support.config_files import validate
from wordtree.support.files import write_atomically
from wordtree.tree.query import parse
from yolo9000.checkpoints.checkpoint import load_detector
from yolo9000.config import PredictConfig
from yolo9000.data.image import UnreadableImage, letterbox, read_image
from yolo9000.distributed import default_device
from yolo9000.errors import Yolo9000Error
from yolo9000.inference.detections import Detections
from yolo9000.inference.postprocess import BatchOutput, NodeSet, detect

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
OnUnreadable: TypeAlias = Callable[[Exception], None]
MIN_DRAWN_PX = 480  # smaller images are enlarged before names are written on them


class NoImages(Yolo9000Error):
    """A path is neither an image nor a folder with images."""


class Predictor:
    """A trained detector: `for detections in Predictor("best.pt")("photos/"): …`

    changes: fields of `PredictConfig` that differ from the checkpoint's configuration, such as {"min_score": 0.1}.
    device: where the network runs; None: on the GPU if there is one, else on the CPU.
    Raises CheckpointError, ConfigError; while predicting NoImages, UnreadableImage.
    """

    def __init__(
        self, checkpoint: Path | str, *, changes: Mapping[str, Any] | None = None, device: str | None = None
    ) -> None:
        loaded = load_detector(checkpoint)
        self.tree, self.config, self.label_counts = loaded.tree, loaded.config, loaded.label_counts
        settings = {**loaded.config.predict.model_dump(), **(changes or {})}
        self.settings = validate(settings, PredictConfig, place="changes")
        self.device = default_device() if device is None else torch.device(device)
        self.model = loaded.build_model().to(self.device)

    def __call__(
        self,
        images: Path | str | Iterable[Path | str],
        *,
        query: str | None = None,
        on_unreadable: OnUnreadable | None = None,
    ) -> Iterator[Detections]:
        """Detections of each image, in order. A folder stands for the images in it.

        query: an expression for nodes, such as "fruit & !apple" (docs/queries.md). The score of a detection is then
        objectness × P(one of these nodes), even where its own class is another node. Raises QueryError.
        on_unreadable: called with the error of an image that cannot be read, which is then left out; None: raise the
        error.
        """
        for _, detections in self.with_pixels(images, query=query, on_unreadable=on_unreadable):
            yield detections

    def with_pixels(
        self,
        images: Path | str | Iterable[Path | str],
        *,
        query: str | None = None,
        on_unreadable: OnUnreadable | None = None,
    ) -> Iterator[tuple[Tensor, Detections]]:
        """The pixels of each image, uint8, shape (3, H, W), and its detections; arguments as in `__call__`."""
        node_set = None if query is None else NodeSet.of(self.tree, parse(query, self.tree).nodes())
        paths = find_images([images] if isinstance(images, Path | str) else images)
        for start in range(0, len(paths), self.settings.batch_size):
            batch = paths[start : start + self.settings.batch_size]
            readable = [
                (str(path), pixels) for path in batch if (pixels := _read(path, on_unreadable)) is not None
            ]
            if readable:
                names, decoded = zip(*readable, strict=True)
                yield from zip(decoded, self.detect(decoded, names, node_set), strict=True)

    @torch.inference_mode()
    def detect(
        self, images: Sequence[Tensor], names: Sequence[str], query: NodeSet | None = None
    ) -> list[Detections]:
        """Detections of a batch of decoded images, each uint8, shape (3, H, W) with any H and W."""
        size_px, geometry = self.config.model.input_size_px, self.settings.geometry
        fitted = [letterbox(image, size_px, geometry=geometry) for image in images]
        batch = torch.stack([canvas for canvas, _ in fitted]).to(self.device)
        output = self.model(batch.contiguous(memory_format=torch.channels_last))
        letterboxes = [position for _, position in fitted]
        return detect(BatchOutput(output, self.model.tree_tensors, letterboxes), names, self.settings, query)

    def without_supervision(self, query: str) -> list[str]:
        """Names of the topmost queried nodes for which training had neither boxes nor image labels."""
        nodes = parse(query, self.tree).nodes()
        topmost = nodes[~np.isin(self.tree.parent[nodes], nodes)]
        return [
            self.tree.names[node] for node in topmost if self.label_counts.supervision(int(node)) == "none"
        ]


def _read(path: Path, on_unreadable: OnUnreadable | None) -> Tensor | None:
    try:
        return read_image(path)
    except (UnreadableImage, OSError) as error:
        if on_unreadable is None:
            raise
        on_unreadable(error)
        return None


def predict_to_folder(
    predictor: Predictor,
    images: Iterable[Path],
    out: Path,
    *,
    query: str | None = None,
    on_unreadable: OnUnreadable | None = None,
) -> list[Detections]:
    """Predict, and write each image with its detections to `out`/NAME.png and all detections to `out`/detections.json.

    An input image is never overwritten. Of several images with one name, the later ones become NAME-2.png, …
    """
    from yolo9000.inference.draw import draw_detections, save_png, to_pillow

    paths = find_images(images)
    out.mkdir(parents=True, exist_ok=True)
    targets = {str(path): target for path, target in zip(paths, _targets(paths, out), strict=True)}
    found = []
    for pixels, detections in predictor.with_pixels(paths, query=query, on_unreadable=on_unreadable):
        drawn = draw_detections(to_pillow(pixels), detections, min_side_px=MIN_DRAWN_PX)
        save_png(drawn, targets[detections.image])
        found.append(detections)
    content = json.dumps([detections.to_dict() for detections in found], indent=1)
    write_atomically(out / "detections.json", content)
    return found


def _targets(paths: Sequence[Path], out: Path) -> list[Path]:
    """A file in `out` for each image, all different, none of them an input image."""
    taken, targets = {path.resolve() for path in paths}, []
    for path in paths:
        names = (f"{path.stem}{f'-{number}' if number > 1 else ''}.png" for number in count(1))
        target = next(out / name for name in names if (out / name).resolve() not in taken)
        taken.add(target.resolve())
        targets.append(target)
    return targets


def find_images(paths: Iterable[Path | str]) -> list[Path]:
    """The given files, and in place of a folder the images directly in it, sorted by name. Raises NoImages."""
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
            if not inside:
                raise NoImages(
                    f"{path}: expected images in this folder, found none with a suffix among "
                    f"{', '.join(sorted(SUFFIXES))}."
                )
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise NoImages(f"{path}: no such image or folder.")
    return found
