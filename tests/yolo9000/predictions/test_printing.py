"""Results on stdout: a short line for people, everything for programs."""

import csv
import io
import json

import pytest

from wordtree import WordTree
from yolo9000.predictions.printing import PrintedResults, text_of

TREE = WordTree(["animal", "dog"], [-1, 0])


def record(count):
    """A result with so many detections, the best first."""
    one = {"name": "dog", "id": "dog", "xyxy_px": [1, 2, 3, 4], "objectness": 1.0, "absolute": 1.0}
    one["conditional"] = [1.0, 1.0]
    detections = [{**one, "score": 1 - position / 100} for position in range(count)]
    return {"image": "a.jpg", "width_px": 9, "height_px": 9, "detections": detections}


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "a.jpg: no detections"),
        (2, "a.jpg: dog 1.00, dog 0.99"),
        (8, "a.jpg: dog 1.00, dog 0.99, dog 0.98, dog 0.97, dog 0.96, dog 0.95, dog 0.94, dog 0.93"),
        (
            60,
            "a.jpg: dog 1.00, dog 0.99, dog 0.98, dog 0.97, dog 0.96, dog 0.95, dog 0.94, dog 0.93 and 52 more",
        ),
    ],
)
def test_a_line_for_people_names_the_best_detections_and_counts_the_rest(count, expected):
    assert text_of(record(count)) == expected


@pytest.mark.parametrize("how", ["json", "jsonl", "csv"])
def test_formats_for_programs_have_every_detection(capsys, how):
    results = PrintedResults(how, TREE)
    results.add(record(60))
    results.finish()
    out = capsys.readouterr().out
    if how == "csv":
        assert len(list(csv.DictReader(io.StringIO(out)))) == 60
    else:
        (found,) = json.loads(out) if how == "json" else [json.loads(out)]
        assert len(found["detections"]) == 60
