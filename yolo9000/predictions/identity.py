"""run.json: the model and the settings of a run, which must be the same when it is resumed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wordtree.support.files import write_atomically
from yolo9000.predictions.result_log import ResultsError, file_name

if TYPE_CHECKING:
    from yolo9000.inference.predict import AnyPredictor

_NOT_COMPARED = ("batch_size",)  # has no effect on the detections


def run_identity(predictor: AnyPredictor, model: Path, query: str | None) -> dict[str, Any]:
    """The facts that determine the detections of an image: model, settings, query, classes."""
    settings = predictor.settings.model_dump(mode="json")
    vocabulary = predictor.vocabulary
    with model.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    allowed = None if vocabulary is None else hashlib.sha256(vocabulary.allowed.tobytes()).hexdigest()
    return {
        "model_sha256": digest,
        **{name: value for name, value in settings.items() if name not in _NOT_COMPARED},
        "query": query,
        "classes_sha256": allowed,
        "accuracy": predictor.accuracy,
        "engine": predictor.engine.name,
    }


def refuse_other_run(stored: dict[str, Any], wanted: dict[str, Any], where: Path) -> None:
    """ResultsError, in one line, where the model or a setting differs."""
    stored, wanted = ({"engine": "torch", **one} for one in (stored, wanted))  # earlier versions had no other
    different = [
        f"{name} was {_shown(stored.get(name))}, is {_shown(wanted.get(name))}"
        for name in {**stored, **wanted}
        if stored.get(name) != wanted.get(name)
    ]
    if different:
        raise ResultsError(
            f"{where}: holds results of another model or other settings: {'; '.join(different[:4])}. Repeat the "
            "command with the same ones, choose another folder or file, or replace the results with --overwrite."
        )


def read_run(path: Path) -> dict[str, Any]:
    """The content of run.json. Raises ResultsError."""
    try:
        content: dict[str, Any] = dict(json.loads(path.read_bytes()))
        kept = content.get("kept_files", [])
        is_run = isinstance(content["identity"], dict) and kept == [file_name(name) for name in kept]
    except (ValueError, TypeError, KeyError, RecursionError):
        is_run = False
    if not is_run:
        raise ResultsError(f"{path}: damaged; replace the results with --overwrite.")
    return content


def write_run(path: Path, content: dict[str, Any]) -> None:
    """Write run.json."""
    write_atomically(path, json.dumps(content, indent=1) + "\n")


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= 16 else f"{text[:12]}…"
