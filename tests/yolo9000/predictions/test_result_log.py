"""detections.jsonl and run.json as strangers may have changed them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from yolo9000.predictions.identity import read_run
from yolo9000.predictions.result_log import ResultLog, ResultsError, result_records

FOUND = {
    "xyxy_px": [1.0, 2.0, 9.0, 8.5],
    "id": "a",
    "name": "A",
    "conditional": [0.9],
    "objectness": 0.5,
    "absolute": 0.9,
    "score": 0.45,
}
RECORD = {"image": "a.jpg", "width_px": 40, "height_px": 30, "detections": [FOUND]}
FAILURE = {"image": "b.jpg", "failure": "is no image"}


def test_results_and_failures_are_read_as_they_were_written(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [RECORD, FAILURE, {**RECORD, "frame": 3, "time_s": 0.1}]
    log = tmp_path / "x.jsonl"
    log.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert list(result_records(log)) == records


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("[" * 20_000, id="deep"),
        pytest.param("7", id="a number"),
        pytest.param(json.dumps({**RECORD, "image": 1}), id="a number as image"),
        pytest.param(json.dumps({**RECORD, "image": ""}), id="no name"),
        pytest.param(json.dumps({**RECORD, "image": "a\0.jpg"}), id="a name with NUL"),
        pytest.param(json.dumps({**RECORD, "image": "\ud800"}), id="a name with half of a surrogate pair"),
        pytest.param(json.dumps({**RECORD, "width_px": 0}), id="no width"),
        pytest.param(json.dumps({"image": "a.jpg"}), id="nothing but a name"),
        pytest.param(json.dumps({**FAILURE, "failure": None}), id="no reason"),
        pytest.param(json.dumps({**RECORD, "frame": 3}), id="a frame without a time"),
        pytest.param(json.dumps({**RECORD, "frame": -1, "time_s": 0.0}), id="a frame below zero"),
        pytest.param(json.dumps({**RECORD, "detections": [1]}), id="a number as detection"),
        pytest.param(
            json.dumps({**RECORD, "detections": [{**FOUND, "xyxy_px": [1, 2, 3]}]}), id="three corners"
        ),
        pytest.param(
            json.dumps({**RECORD, "detections": [{**FOUND, "xyxy_px": [1, 2, 3, 1e300]}]}), id="far away"
        ),
        pytest.param(json.dumps({**RECORD, "detections": [{**FOUND, "score": 2}]}), id="a score of 2"),
        pytest.param(json.dumps({**RECORD, "detections": [{**FOUND, "score": float("nan")}]}), id="NaN"),
        pytest.param(json.dumps({**RECORD, "detections": [{**FOUND, "best_leaf": {}}]}), id="an empty leaf"),
    ],
)
def test_a_line_of_another_form_is_reported_with_its_number(tmp_path: Path, line: str) -> None:
    log = tmp_path / "x.jsonl"
    log.write_text(f"{json.dumps(RECORD)}\n{line}\n{json.dumps(FAILURE)}\n")
    for use in (lambda: list(result_records(log)), lambda: ResultLog(log)):
        with pytest.raises(ResultsError, match=r"x\.jsonl: line 2 is damaged"):
            use()


@pytest.mark.parametrize(
    "text",
    [
        "[" * 20_000,
        "[1]",
        "{}",
        '{"identity": 1}',
        '{"identity": {}, "kept_files": [1]}',
        '{"identity": {}, "kept_files": 1}',
        '{"identity": {}, "kept_files": ["a\\u0000"]}',
        '{"identity": {}, "kept_files": ["\\ud800"]}',
    ],
)
def test_a_run_file_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ResultsError, match=r"run\.json: damaged"):
        read_run(tmp_path / "run.json")
