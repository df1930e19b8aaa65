"""One file that suffices to predict and to go on training: weights, tree, configuration, ledger.

Read with `weights_only=True`: a file cannot run code. Configuration and tree are JSON texts in it.
"""

from __future__ import annotations

import io
import json
import math
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar, overload

import numpy as np
import torch
from torch import Tensor

from data_prep import DataPrepError, LabelCounts, ShardReader
from wordtree import WordTree, WordTreeError
from wordtree.support.config_files import validated
from wordtree.support.files import write_atomically
from yolo9000.checkpoints.sealed_zip import sealed, trouble_of
from yolo9000.config import Config, PretrainConfig
from yolo9000.distributed import by_first_process
from yolo9000.errors import Yolo9000Error
from yolo9000.models.classifier import Classifier, build_classifier
from yolo9000.models.detector import Detector, build_model

FORMATS: dict[str, type[Any]] = {"yolo9000 checkpoint": Config, "yolo9000 classifier": PretrainConfig}
KINDS: dict[type[Any], str] = {
    Config: "a detector of `yolo9000 train`",
    PretrainConfig: "a classifier of `yolo9000 pretrain`",
}
VERSION = 2
READABLE_VERSIONS = (1, VERSION)  # 1: the backbone's weights were named `trunk.…`
PARTS: dict[str, tuple[type, ...]] = {
    "config": (str,),
    "tree": (str,),
    "boxes": (Tensor,),
    "image_labels": (Tensor,),
    "step": (int,),
    "score": (float,),
    "weights": (dict,),
    "training": (dict, type(None)),
}
LATER_PARTS: dict[str, tuple[type, ...]] = {
    "seen_before": (int,),
    "darknet": (dict, type(None)),
}  # may be absent
Settings = TypeVar("Settings", bound=Config | PretrainConfig)


class CheckpointError(Yolo9000Error):
    """A file that is no checkpoint of this project, is damaged, or belongs to another tree or network."""


class DamagedCheckpoint(CheckpointError):
    """A file that cannot be read as a checkpoint: it changed since it was written, or never was one."""


@dataclass(frozen=True)
class DarknetOrigin:
    """What is left of the `.weights` file that a detector was converted from, beside its numbers."""

    version: tuple[int, int, int]  # major, minor, revision of its header
    tree: str  # fingerprint of the tree that its outputs were nodes of


@dataclass(frozen=True)
class SavedRun(Generic[Settings]):
    """A detector (`Checkpoint`) or a classifier (`ClassifierCheckpoint`), by its configuration."""

    config: Settings
    tree: WordTree
    label_counts: LabelCounts  # what stood behind each node in training
    step: int
    weights: dict[str, Any]  # what evaluation uses: the average where there is one
    training: dict[str, Any] | None  # live weights, optimizer and average, to go on; None in best.pt
    score: float  # of the evaluation that chose it: AP50 or top-1, in percent; NaN before the first
    seen_before: int = 0  # images that its weights had seen before the first step
    darknet: DarknetOrigin | None = None

    @property
    def images_seen(self) -> int:
        return self.seen_before + self.step * self.config.data.batch_size

    @overload
    def build_model(self: SavedRun[Config]) -> Detector: ...
    @overload
    def build_model(self: SavedRun[PretrainConfig]) -> Classifier: ...
    def build_model(self) -> Detector | Classifier:
        """The network with these weights, in evaluation mode."""
        self.refuse_unfit(self.weights)
        model = self._random_model()
        model.load_state_dict(self.weights)
        return model.eval()

    def refuse_unfit(self, weights: dict[str, Any]) -> None:
        """CheckpointError unless these are tensors of the network's names, shapes and types."""
        expected, found = _kinds(self._hollow_model().state_dict()), _kinds(weights)
        wrong = sorted(name for name in {**expected, **found} if expected.get(name) != found.get(name))
        if wrong:
            raise CheckpointError(
                f"The checkpoint's weights do not fit its own configuration in {len(wrong)} places: {wrong[0]:.80} "
                f"should be {expected.get(wrong[0], 'absent')}, found {found.get(wrong[0], 'nothing')}."
            )

    def facts(self) -> dict[str, Any]:
        """What people ask of a checkpoint, as plain values."""
        model = self.config.model
        score = "ap50_boxed" if isinstance(self.config, Config) else "top1"
        return {
            "run": self.config.name,
            "kind": KINDS[type(self.config)],
            "architecture": model.network,
            "parameters": sum(p.numel() for p in self._hollow_model().parameters()),
            "steps": self.step,
            "images_seen": self.images_seen,
            score: None if math.isnan(self.score) else round(self.score, 2),
            "tree": f"{len(self.tree)} nodes, {len(self.tree.leaves)} leaves, fingerprint {self.tree.fingerprint[:12]}",
            "nodes_with_boxes": int((self.label_counts.boxes_rolled_up > 0).sum()),
            "nodes_with_image_labels_only": int(
                (
                    (self.label_counts.boxes_rolled_up == 0) & (self.label_counts.image_labels_rolled_up > 0)
                ).sum()
            ),
            "can_go_on_training": self.training is not None,
        }

    def _hollow_model(self) -> Detector | Classifier:
        """Names, shapes and types without numbers: a file may describe a network larger than the memory."""
        with torch.device("meta"):
            return self._random_model()

    def _random_model(self) -> Detector | Classifier:
        if isinstance(self.config, Config):
            return build_model(self.config.model, self.tree)
        return build_classifier(self.config.model, self.tree, _classes(self.weights, self.tree))


Checkpoint: TypeAlias = SavedRun[Config]
ClassifierCheckpoint: TypeAlias = SavedRun[PretrainConfig]


def refuse_other_tree(checkpoint: SavedRun[Any], path: Path, reader: ShardReader) -> None:
    """CheckpointError unless the shards speak of the nodes that the checkpoint knows."""
    trained, found = checkpoint.tree.fingerprint, reader.tree.fingerprint
    if trained != found:
        raise CheckpointError(
            f"{path} knows tree {trained[:12]} ({len(checkpoint.tree)} nodes), but the index in {reader.folder} has "
            f"tree {found[:12]} ({len(reader.tree)} nodes). Use the shards of that tree."
        )


@by_first_process
def save_checkpoint(path: Path, checkpoint: SavedRun[Any]) -> None:
    """Write the whole file or nothing."""
    content = {
        "format": next(name for name, kind in FORMATS.items() if isinstance(checkpoint.config, kind)),
        "version": VERSION,
        "config": checkpoint.config.model_dump_json(),
        "tree": checkpoint.tree.to_json(),
        "boxes": torch.from_numpy(np.ascontiguousarray(checkpoint.label_counts.boxes)),
        "image_labels": torch.from_numpy(np.ascontiguousarray(checkpoint.label_counts.image_labels)),
        "step": checkpoint.step,
        "score": checkpoint.score,
        "weights": checkpoint.weights,
        "training": checkpoint.training,
        "seen_before": checkpoint.seen_before,
        "darknet": asdict(checkpoint.darknet) if checkpoint.darknet else None,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, sealed(buffer))


def load_checkpoint(path: Path | str) -> Checkpoint:
    """Read a detector on the CPU; CheckpointError says what is wrong with the file."""
    return _of_kind(path, Config, advice="A detector starts from it by model.start_from.")


def load_classifier(path: Path | str) -> ClassifierCheckpoint:
    """Read a classifier on the CPU; CheckpointError says what is wrong with the file."""
    return _of_kind(path, PretrainConfig, advice="Give a checkpoint of `yolo9000 pretrain`.")


def _of_kind(path: Path | str, kind: type[Settings], *, advice: str) -> SavedRun[Settings]:
    found = load_any(path)
    if not isinstance(found.config, kind):
        raise CheckpointError(f"{path}: expected {KINDS[kind]}, found {KINDS[type(found.config)]}. {advice}")
    return found


def load_any(path: Path | str) -> SavedRun[Any]:
    """Read a detector or a classifier on the CPU; CheckpointError says what is wrong with the file."""
    path = Path(path)
    content = _read(path)
    kind = FORMATS.get(str(content.get("format"))) if isinstance(content, dict) else None
    if kind is None:
        raise CheckpointError(
            f"{path}: expected a checkpoint that `yolo9000 train` wrote, found another file."
        )
    if content.get("version") not in READABLE_VERSIONS:
        raise CheckpointError(
            f"{path}: expected checkpoint version {VERSION}, found {content.get('version')}. "
            "Use the release of yolo9000 that wrote it."
        )
    if content["version"] == 1:
        content = _with_new_names(content)
    wrong = [name for name, kinds in PARTS.items() if not isinstance(content.get(name, ...), kinds)]
    wrong += [
        name
        for name, kinds in LATER_PARTS.items()
        if name in content and not isinstance(content[name], kinds)
    ]
    if wrong:
        raise DamagedCheckpoint(
            f"{path}: the checkpoint is damaged (no {', '.join(wrong)} of the right type)."
        )
    try:
        tree = WordTree.from_json(content["tree"])
        if not len(content["boxes"]) == len(content["image_labels"]) == len(tree):
            raise ValueError(f"its ledger is not of its tree, which has {len(tree)} nodes")
        config = validated(
            json.loads(content["config"]), kind, place="its configuration", error=CheckpointError
        )
        if kind is PretrainConfig:
            _classes(content["weights"], tree)
        return SavedRun(
            config=config,
            tree=tree,
            label_counts=LabelCounts(tree, content["boxes"].numpy(), content["image_labels"].numpy()),
            **{name: content[name] for name in ("step", "score", "weights", "training")},
            seen_before=content.get("seen_before", 0),
            darknet=_origin(content.get("darknet")),
        )
    except (ValueError, DataPrepError, WordTreeError, CheckpointError) as reason:
        raise DamagedCheckpoint(f"{path}: the checkpoint is damaged ({str(reason).rstrip('.')}).") from None


def _with_new_names(content: Any) -> Any:
    """The parts of a version 1 file with the weights of the backbone under their present names."""
    if not isinstance(content, dict):
        return content
    return {
        f"backbone.{name.removeprefix('trunk.')}"
        if str(name).startswith("trunk.")
        else name: _with_new_names(value)
        for name, value in content.items()
    }


def _read(path: Path) -> Any:
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such checkpoint. `yolo9000 train` writes runs/NAME/best.pt and last.pt."
        )
    trouble = trouble_of(path)
    try:
        if trouble is None:  # else torch would try, and warn about pickles and archives of other kinds
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError):
        trouble = (
            "no file of torch with nothing but tensors and plain values"  # torch's many words for one thing
        )
    raise DamagedCheckpoint(
        f"{path}: expected a checkpoint that `yolo9000 train` wrote; this file is damaged or something else: {trouble}."
    )


def _origin(content: dict[str, Any] | None) -> DarknetOrigin | None:
    if content is None:
        return None
    version, tree = content.get("version"), content.get("tree")
    match version:
        case (int(major), int(minor), int(revision)) if isinstance(tree, str):
            return DarknetOrigin((major, minor, revision), tree)
    raise CheckpointError("what it says of its Darknet file is no version and tree")


def _classes(weights: dict[str, Any], tree: WordTree) -> Tensor:
    """The classes of a classifier, which are kept among its weights."""
    classes = weights.get("softmax.classes")
    if isinstance(classes, Tensor) and classes.dtype == torch.int64 and classes.ndim == 1:
        inside = bool(((classes >= 0) & (classes < len(tree))).all())
        if inside and len(classes.unique()) == len(classes) > 0:
            return classes
    raise CheckpointError(f"The classes of the classifier are not nodes of its tree of {len(tree)} nodes.")


def _kinds(weights: dict[str, Any]) -> dict[str, str]:
    """The shape and type of each, in words; of what is no tensor, or larger than its memory, that."""
    return {str(name): _kind(value) for name, value in weights.items()}


def _kind(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    if value.layout != torch.strided:
        return "a sparse tensor"
    if not value.is_meta and value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return "a tensor that repeats itself"
    return f"{tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
