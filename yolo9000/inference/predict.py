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

from wordtree.support.config_files import validated
from wordtree.support.files import write_atomically
from wordtree.tree.query import parse
from yolo9000.checkpoints.checkpoint import load_checkpoint
from yolo9000.config import PredictConfig
from yolo9000.data.image import UnreadableImage, letterbox, read_image
from yolo9000.distributed import usual_device
from yolo9000.errors import Yolo9000Error
from yolo9000.inference.detections import Detections
from yolo9000.inference.postprocess import NodeSet, answers

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
Trouble: TypeAlias = Callable[[Exception], None]
MIN_DRAWN_PX = 480  # smaller images are enlarged before names are written on them


class NoImages(Yolo9000Error):
    """A path that holds no images."""


class Predictor:
    """A trained detector: `for detections in Predictor("best.pt")("photos/"): …`

    device: where it computes; None: on the GPU, if there is one.
    changes: fields of `PredictConfig` that differ from the checkpoint's configuration, such as {"min_score": 0.1}.
    Raises CheckpointError, ConfigError; while predicting, NoPictures, UnreadablePicture.
    """

    def __init__(
        self, checkpoint: Path | str, *, changes: Mapping[str, Any] | None = None, device: str | None = None
    ) -> None:
        found = load_checkpoint(checkpoint)
        self.tree, self.config, self.label_counts = found.tree, found.config, found.label_counts
        wanted = {**found.config.predict.model_dump(), **(changes or {})}
        self.settings = validated(wanted, PredictConfig, place="changes")
        self.device = usual_device() if device is None else torch.device(device)
        self.model = found.build_model().to(self.device)

    def __call__(
        self,
        pictures: Path | str | Iterable[Path | str],
        *,
        query: str | None = None,
        unreadable: Trouble | None = None,
    ) -> Iterator[Detections]:
        """The detections of each image, in order; a folder stands for the images in it.

        unreadable: called with what is wrong with an image that cannot be read, which is then left out; None: it is
        raised.
        query: nodes such as "fruit & !apple" (docs/queries.md). Every place is then scored by objectness × P(one of
        these), though its name be vaguer or another. Raises QueryError.
        """
        asked = None if query is None else NodeSet.of(self.tree, parse(query, self.tree).nodes())
        paths = find_images([pictures] if isinstance(pictures, Path | str) else pictures)
        for start in range(0, len(paths), self.settings.batch_size):
            batch = paths[start : start + self.settings.batch_size]
            read = [(str(path), image) for path in batch if (image := _read(path, unreadable)) is not None]
            if read:
                names, images = zip(*read, strict=True)
                yield from self.detect(images, names, asked)

    @torch.inference_mode()
    def detect(
        self, images: Sequence[Tensor], names: Sequence[str], asked: NodeSet | None = None
    ) -> list[Detections]:
        """The detections of a batch of decoded images, each (3, H, W) uint8 of any size."""
        size_px, geometry = self.config.model.input_size_px, self.settings.geometry
        fitted = [letterbox(image, size_px, geometry=geometry) for image in images]
        batch = torch.stack([canvas for canvas, _ in fitted]).to(self.device)
        output = self.model(batch.contiguous(memory_format=torch.channels_last))
        boxes = [box for _, box in fitted]
        return answers(output, self.model.tree_tensors, boxes, list(names), self.settings, asked)

    def without_supervision(self, query: str) -> list[str]:
        """The names of the uppermost asked nodes for which training had neither boxes nor image labels."""
        nodes = parse(query, self.tree).nodes()
        uppermost = nodes[~np.isin(self.tree.parent[nodes], nodes)]
        return [
            self.tree.names[node] for node in uppermost if self.label_counts.supervision(int(node)) == "none"
        ]


def _read(path: Path, unreadable: Trouble | None) -> Tensor | None:
    try:
        return read_image(path)
    except (UnreadableImage, OSError) as trouble:
        if unreadable is None:
            raise
        unreadable(trouble)
        return None


def predict_to_folder(
    predictor: Predictor,
    pictures: Iterable[Path],
    out: Path,
    *,
    query: str | None = None,
    unreadable: Trouble | None = None,
) -> list[Detections]:
    """The detections of all images, drawn on them in `out`/NAME.png, and as `out`/detections.json.

    No given image is written over, and of images of one name the later ones become NAME-2.png and so on.
    """
    from yolo9000.inference.draw import draw_detections, save_png, to_pillow

    paths = find_images(pictures)
    out.mkdir(parents=True, exist_ok=True)
    found = []
    targets = {str(path): target for path, target in zip(paths, _targets(paths, out), strict=True)}
    for detections in predictor(paths, query=query, unreadable=unreadable):
        image = to_pillow(read_image(Path(detections.image)))
        drawn = draw_detections(image, detections, min_side_px=MIN_DRAWN_PX)
        save_png(drawn, targets[detections.image])
        found.append(detections)
    write_atomically(
        out / "detections.json", json.dumps([detections.to_dict() for detections in found], indent=1)
    )
    return found


def _targets(paths: Sequence[Path], out: Path) -> list[Path]:
    """A file in `out` for each image, all different, none of them a given image."""
    taken, targets = {path.resolve() for path in paths}, []
    for path in paths:
        names = (f"{path.stem}{f'-{number}' if number > 1 else ''}.png" for number in count(1))
        target = next(out / name for name in names if (out / name).resolve() not in taken)
        taken.add(target.resolve())
        targets.append(target)
    return targets


def find_images(paths: Iterable[Path | str]) -> list[Path]:
    """The named files, and for a folder the images directly in it by name; NoPictures where there is none."""
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
            if not inside:
                raise NoImages(f"{path}: no image in this folder (looked for {', '.join(sorted(SUFFIXES))}).")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise NoImages(f"{path}: no such image or folder.")
    return found
