"""`Predictor`: pictures in, `Detections` out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from yolo9000 import Yolo9000Error
from yolo9000.checkpoint import load_checkpoint
from yolo9000.config import PredictConfig
from yolo9000.detections import Detections
from yolo9000.image import letterbox, read_image
from yolo9000.postprocess import answers

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


class NoPictures(Yolo9000Error):
    """A path that holds no pictures."""


class Predictor:
    """A trained detector: `for detections in Predictor("best.pt")("photos/"): …`

    changes: fields of `PredictConfig` that differ from the checkpoint's configuration, such as {"min_score": 0.1}.
    """

    def __init__(
        self, checkpoint: Path | str, *, changes: Mapping[str, Any] | None = None, device: str = "cpu"
    ) -> None:
        found = load_checkpoint(checkpoint)
        self.tree, self.config, self.ledger = found.tree, found.config, found.ledger
        self.settings = PredictConfig(**{**found.config.predict.model_dump(), **(changes or {})})
        self.device = device
        self.model = found.build_model().to(device)

    def __call__(self, pictures: Path | str | Iterable[Path | str]) -> Iterator[Detections]:
        """The detections of each picture, in order; a folder stands for the pictures in it."""
        paths = find_pictures([pictures] if isinstance(pictures, Path | str) else pictures)
        size = self.settings.batch_size
        for start in range(0, len(paths), size):
            yield from self._batch(paths[start : start + size])

    @torch.inference_mode()
    def _batch(self, paths: list[Path]) -> list[Detections]:
        fitted = [letterbox(read_image(path), self.config.model.input_size_px) for path in paths]
        images = torch.stack([image for image, _ in fitted]).to(self.device)
        output = self.model(images.contiguous(memory_format=torch.channels_last))
        boxes = [box for _, box in fitted]
        return answers(output, self.model.hierarchy, boxes, [str(path) for path in paths], self.settings)


def find_pictures(paths: Iterable[Path | str]) -> list[Path]:
    """The named files, and for a folder the pictures directly in it by name; NoPictures where there is none."""
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise NoPictures(
                    f"{path}: no picture in this folder (looked for {', '.join(sorted(SUFFIXES))})."
                )
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise NoPictures(f"{path}: no such picture or folder.")
    return found
