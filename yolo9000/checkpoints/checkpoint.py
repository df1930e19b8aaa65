"""One file with all that prediction and further training need: weights, tree, configuration, label counts.

It is read with `weights_only=True`, so a file cannot run code. Configuration and tree are stored as JSON texts.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar, overload

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from data_prep import DataPrepError, LabelCounts, ShardReader
from wordtree import WordTree, WordTreeError
from wordtree.support.config_files import validate
from wordtree.support.files import write_atomically
from wordtree.support.lines import one_line
from yolo9000.checkpoints.calibration import Calibration, CalibrationError, weights_sha256
from yolo9000.checkpoints.contents import (
    LOAD_ERRORS,
    MAX_CONFIG_CHARACTERS,
    check_values,
    foreign_pickle,
    wrong_entries,
)
from yolo9000.checkpoints.sealed_zip import problem_of, sealed
from yolo9000.config import Config, PretrainConfig
from yolo9000.distributed import on_first_process
from yolo9000.errors import Yolo9000Error
from yolo9000.models.classifier import Classifier, build_classifier
from yolo9000.models.detector import Detector, build_detector

FORMATS: dict[str, type[Any]] = {"yolo9000 checkpoint": Config, "yolo9000 classifier": PretrainConfig}
DESCRIPTIONS: dict[type[Any], str] = {
    Config: "a detector of `yolo9000 train`",
    PretrainConfig: "a classifier of `yolo9000 pretrain`",
}
VERSION = 2
READABLE_VERSIONS = (1, VERSION)  # version 1 named the backbone's weights `trunk.…`
SettingsT = TypeVar("SettingsT", bound=Config | PretrainConfig)


class CheckpointError(Yolo9000Error):
    """A file is not a checkpoint of this project, is damaged, or belongs to another tree or network."""


class DamagedCheckpoint(CheckpointError):
    """A file cannot be read as a checkpoint: it changed since it was written, or is another type of file."""


@dataclass(frozen=True)
class DarknetOrigin:
    """Header version and tree of the `.weights` file that a detector was converted from."""

    version: tuple[int, int, int]  # major, minor, revision
    tree: str  # fingerprint


@dataclass(frozen=True)
class Checkpoint(Generic[SettingsT]):
    """A detector (`DetectorCheckpoint`) or a classifier (`ClassifierCheckpoint`), depending on its configuration."""

    config: SettingsT
    tree: WordTree
    label_counts: LabelCounts  # of the training split
    step: int
    weights: dict[str, Any]  # for evaluation: the EMA where the run keeps one
    training: dict[str, Any] | None  # live weights, optimizer state and EMA, to resume; None in best.pt
    # AP50 of boxed classes, or top-1, in percent, of the evaluation that selected the weights; NaN before the first.
    best_metric: float
    seen_before: int = 0  # images that the weights had seen before step 1
    darknet: DarknetOrigin | None = None
    calibration: Calibration | None = None
    where: str = "the checkpoint"  # its file, for messages

    def calibration_of_weights(self, path: Path | str) -> Calibration:
        """The calibration. Raises CalibrationError if there is none, or if it was made with other weights."""
        if self.calibration is None:
            raise CalibrationError(
                f"{path} is not calibrated, so no accuracy can be guaranteed. `yolo9000 calibrate {path} SHARDS` "
                "calibrates it with images that training never saw."
            )
        if self.calibration.weights_sha256 != weights_sha256(self.weights):
            raise CalibrationError(
                f"{path} has other weights than those that were calibrated. Calibrate it again: `yolo9000 calibrate "
                f"{path} SHARDS`."
            )
        return self.calibration

    @property
    def images_seen(self) -> int:
        return self.seen_before + self.step * self.config.data.batch_size

    @overload
    def build_model(self: Checkpoint[Config]) -> Detector: ...
    @overload
    def build_model(self: Checkpoint[PretrainConfig]) -> Classifier: ...
    def build_model(self) -> Detector | Classifier:
        """The network in evaluation mode; its tensors share the memory of `weights`."""
        self._refuse_unfit_weights()
        with _ParametersWithoutMemory():
            model = self._new_model()
        model.load_state_dict(self.weights, assign=True)
        return model.to(memory_format=torch.channels_last).eval()

    def facts(self) -> dict[str, Any]:
        """Summary of the checkpoint as plain values, for `yolo9000 info`."""
        model, counts = self.config.model, self.label_counts
        has_boxes, has_labels = counts.boxes_rolled_up > 0, counts.image_labels_rolled_up > 0
        metric = "ap50_boxed" if isinstance(self.config, Config) else "top1"
        return {
            "run": self.config.name,
            "kind": DESCRIPTIONS[type(self.config)],
            "architecture": model.network,
            "parameters": sum(p.numel() for p in self._meta_model().parameters()),
            "steps": self.step,
            "images_seen": self.images_seen,
            metric: None if math.isnan(self.best_metric) else round(self.best_metric, 2),
            "tree": f"{len(self.tree)} nodes, {len(self.tree.leaves)} leaves, fingerprint {self.tree.fingerprint[:12]}",
            "nodes_with_boxes": int(has_boxes.sum()),
            "nodes_with_image_labels_only": int((has_labels & ~has_boxes).sum()),
            "calibrated_for": ", ".join(f"{100 * target.accuracy:g} %" for target in self.calibration.targets)
            if self.calibration
            else None,
            "can_resume": self.training is not None,
        }

    def _refuse_unfit_weights(self) -> None:
        """Raise CheckpointError unless names, shapes and types of the weights are those of the network."""
        expected, found = _descriptions(self._meta_model().state_dict()), _descriptions(self.weights)
        wrong = sorted(name for name in {**expected, **found} if expected.get(name) != found.get(name))
        if wrong:
            raise CheckpointError(
                f"{self.where}: {len(wrong)} weights do not fit its own configuration: {wrong[0]:.80} "
                f"should be {expected.get(wrong[0], 'absent')}, found {found.get(wrong[0], 'nothing')}."
            )

    def _meta_model(self) -> Detector | Classifier:
        """The network on the meta device, because a file may describe a network that does not fit into memory."""
        with torch.device("meta"), _ParametersWithoutMemory():
            return self._new_model()

    def _new_model(self) -> Detector | Classifier:
        try:
            return self._network()
        except (
            RuntimeError,
            OverflowError,
            ZeroDivisionError,
            MemoryError,
        ) as reason:  # sizes beyond torch's limits
            message = one_line(reason)[:200]
            raise CheckpointError(
                f"{self.where}: the configuration describes a network that cannot be built ({message})."
            ) from None

    def _network(self) -> Detector | Classifier:
        if isinstance(self.config, Config):
            return build_detector(self.config.model, self.tree)
        return build_classifier(self.config.model, self.tree, _class_nodes(self.weights, self.tree))


DetectorCheckpoint: TypeAlias = Checkpoint[Config]
ClassifierCheckpoint: TypeAlias = Checkpoint[PretrainConfig]


class _ParametersWithoutMemory(TorchFunctionMode):
    """A mode in which new modules have parameters on the meta device, without random values, and real buffers.

    Modules allocate parameters by `torch.empty` and buffers by other functions. So buffers that are not in the state
    dict keep their values. Random functions are skipped because on the meta device they import torch._dynamo (1.5 s).
    """

    _RANDOM: ClassVar = {
        Tensor.normal_,
        Tensor.uniform_,
        nn.init.normal_,
        nn.init.uniform_,
        nn.init.kaiming_uniform_,
    }

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if func in self._RANDOM:
            return args[0] if args else options["tensor"]
        if func is torch.empty:
            options["device"] = "meta"
        return func(*args, **options)


def refuse_other_tree(checkpoint: Checkpoint[Any], path: Path, reader: ShardReader) -> None:
    """Raise CheckpointError unless checkpoint and shards have the same tree."""
    trained, found = checkpoint.tree.fingerprint, reader.tree.fingerprint
    if trained != found:
        raise CheckpointError(
            f"{path} was trained on tree {trained[:12]} ({len(checkpoint.tree)} nodes), but the index in "
            f"{reader.folder} has tree {found[:12]} ({len(reader.tree)} nodes). Use shards with the checkpoint's tree."
        )


@on_first_process
def save_checkpoint(path: Path, checkpoint: Checkpoint[Any]) -> None:
    """Write the file atomically."""
    content = {
        "format": next(name for name, config in FORMATS.items() if isinstance(checkpoint.config, config)),
        "version": VERSION,
        "config": checkpoint.config.model_dump_json(),
        "tree": checkpoint.tree.to_json(),
        "boxes": torch.from_numpy(np.ascontiguousarray(checkpoint.label_counts.boxes)),
        "image_labels": torch.from_numpy(np.ascontiguousarray(checkpoint.label_counts.image_labels)),
        "step": checkpoint.step,
        "score": checkpoint.best_metric,  # its name in files of all versions
        "weights": checkpoint.weights,
        "training": checkpoint.training,
        "seen_before": checkpoint.seen_before,
        "darknet": asdict(checkpoint.darknet) if checkpoint.darknet else None,
        "calibration": checkpoint.calibration.model_dump_json() if checkpoint.calibration else None,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, sealed(buffer))


def load_detector(path: Path | str) -> DetectorCheckpoint:
    """Read a detector onto the CPU. Raises CheckpointError."""
    return _load_of_type(path, Config, advice="A detector can start from it with model.start_from.")


def load_classifier(path: Path | str) -> ClassifierCheckpoint:
    """Read a classifier onto the CPU. Raises CheckpointError."""
    return _load_of_type(path, PretrainConfig, advice="Give a checkpoint of `yolo9000 pretrain`.")


def _load_of_type(path: Path | str, config_type: type[SettingsT], *, advice: str) -> Checkpoint[SettingsT]:
    found = load_checkpoint(path)
    if not isinstance(found.config, config_type):
        expected, actual = DESCRIPTIONS[config_type], DESCRIPTIONS[type(found.config)]
        raise CheckpointError(f"{path}: expected {expected}, found {actual}. {advice}")
    return found


def load_checkpoint(path: Path | str) -> Checkpoint[Any]:
    """Read a detector or a classifier onto the CPU. Raises CheckpointError."""
    path = Path(path)
    content = _read(path)
    format_name = content.get("format") if isinstance(content, dict) else None
    config_type = FORMATS.get(format_name) if isinstance(format_name, str) else None
    if config_type is None:
        raise CheckpointError(f"{path}: expected a checkpoint of `yolo9000 train`, found another torch file.")
    version = content.get("version")
    if type(version) is not int or version not in READABLE_VERSIONS:
        found = version if type(version) is int and 0 <= version < 1000 else "another value"
        raise CheckpointError(
            f"{path}: expected checkpoint version {VERSION} or lower, found {found}. "
            "Use the yolo9000 release that wrote it."
        )
    if wrong := wrong_entries(content):
        raise DamagedCheckpoint(
            f"{path}: the checkpoint is damaged: {', '.join(wrong[:10])} absent, unknown or of the wrong type."
        )
    try:
        content = _with_new_names(content) if version == 1 else content
        return replace(_checkpoint_of(content, config_type), where=str(path))
    except RecursionError:
        raise DamagedCheckpoint(f"{path}: the checkpoint is damaged (it is nested too deeply).") from None
    except (ValueError, DataPrepError, WordTreeError, CheckpointError) as reason:
        message = one_line(reason)[:300].rstrip(".")
        raise DamagedCheckpoint(f"{path}: the checkpoint is damaged ({message}).") from None


def _read(path: Path) -> Any:
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such checkpoint. `yolo9000 train` writes runs/NAME/best.pt and last.pt."
        )
    problem = problem_of(path)
    if problem is None and foreign_pickle(path):
        problem = "it holds more than dense tensors and plain values"
    try:
        if problem is None:  # otherwise torch would warn about pickles and other archives
            return torch.load(path, map_location="cpu", weights_only=True)
    except LOAD_ERRORS:
        problem = "torch cannot read it as tensors and plain values"  # torch has many messages for this
    raise DamagedCheckpoint(
        f"{path}: expected a checkpoint of `yolo9000 train`; this file is damaged or something else: {problem}."
    )


def _with_new_names(content: Any) -> Any:
    """The content of a version 1 file with the present names of the backbone's weights."""
    if not isinstance(content, dict):
        return content
    return {
        f"backbone.{name.removeprefix('trunk.')}"
        if str(name).startswith("trunk.")
        else name: _with_new_names(part)
        for name, part in content.items()
    }


def _checkpoint_of(content: dict[str, Any], config_type: type[Any]) -> Checkpoint[Any]:
    tree = WordTree.from_json(content["tree"])
    check_values(content, nodes=len(tree))
    if len(content["config"]) > MAX_CONFIG_CHARACTERS:
        raise ValueError("its configuration is too long")
    settings = json.loads(content["config"], parse_constant=_refuse_constant)
    if config_type is Config and isinstance(settings, dict):
        predict = settings.get("predict", {})
        if isinstance(predict, dict):  # older checkpoints lack the precision, and had no other
            settings["predict"] = {"precision": "float32", **predict}
    config = validate(settings, config_type, where="its configuration", error=CheckpointError)
    if config_type is PretrainConfig:
        _class_nodes(content["weights"], tree)
    checkpoint: Checkpoint[Any] = Checkpoint(
        config=config,
        tree=tree,
        label_counts=LabelCounts(tree, content["boxes"].numpy(), content["image_labels"].numpy()),
        **{name: content[name] for name in ("step", "weights", "training")},
        best_metric=content["score"],
        seen_before=content.get("seen_before", 0),
        darknet=_darknet_origin(content.get("darknet")),
        calibration=_calibration(content.get("calibration")),
    )
    if checkpoint.images_seen < 0:
        raise ValueError("its seen_before is not a number of images")
    return checkpoint


def _calibration(content: str | None) -> Calibration | None:
    if content is None:
        return None
    return validate(
        json.loads(content, parse_constant=_refuse_constant),
        Calibration,
        where="its calibration",
        error=CheckpointError,
    )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"its configuration has the number {name}")


def _darknet_origin(content: dict[str, Any] | None) -> DarknetOrigin | None:
    if content is None:
        return None
    version, tree = content.get("version"), content.get("tree")
    match version:
        case (int(major), int(minor), int(revision)) if isinstance(tree, str) and len(tree) <= 64:
            return DarknetOrigin((major, minor, revision), tree)
    raise CheckpointError("its Darknet origin is not a version and a tree fingerprint")


def _class_nodes(weights: dict[str, Any], tree: WordTree) -> Tensor:
    """The nodes of a classifier's classes, shape (classes,), which are a buffer among its weights."""
    classes = weights.get("softmax.classes")
    if isinstance(classes, Tensor) and classes.dtype == torch.int64 and classes.ndim == 1:
        inside = bool(((classes >= 0) & (classes < len(tree))).all())
        if inside and len(classes.unique()) == len(classes) > 0:
            return classes
    raise CheckpointError(
        f"The classifier's classes are not distinct nodes of its tree of {len(tree)} nodes."
    )


def _descriptions(weights: dict[str, Any]) -> dict[str, str]:
    """Shape and type of each weight in words, or why a value is not a usable tensor."""
    return {str(name): _description(value) for name, value in weights.items()}


def _description(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    if value.layout != torch.strided:
        return "a sparse tensor"
    if not value.is_meta and value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return "a tensor that repeats itself"
    return f"{tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
