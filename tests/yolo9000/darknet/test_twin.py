"""The slow twin, which wrote the committed cases, agrees with the original program (`DARKNET_GOLDEN`)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests import darknet_twin as twin
from tests.golden import make_darknet_cases
from tests.yolo9000.darknet_golden import NOT_AT_HAND, ORIGINAL, OWN, GoldenCase, golden_cases


def test_the_script_reproduces_the_committed_cases(tmp_path: Path) -> None:
    make_darknet_cases.main(tmp_path)
    files = sorted(path.relative_to(OWN) for path in OWN.rglob("*") if path.is_file())
    assert len(files) >= 20
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    for file in files:
        if file.suffix != ".npz":
            assert (tmp_path / file).read_text() == (OWN / file).read_text()
            continue
        with np.load(tmp_path / file) as made, np.load(OWN / file) as committed:
            assert made.files == committed.files
            for name in made.files:
                np.testing.assert_allclose(
                    made[name], committed[name], rtol=1e-6, atol=1e-6, err_msg=f"{file} {name}"
                )


def groups_of(case: GoldenCase) -> twin.Groups | None:
    if not case.params["tree"]:
        return None
    return twin.Groups(twin.read_parents((case.folder / case.params["tree"]).read_text()))


@pytest.mark.parametrize("case", golden_cases("region", only_original=True))
def test_the_twins_region_layer_agrees_with_the_original(case: GoldenCase) -> None:
    arrays = case.arrays()
    output, delta, gradient = twin.region(arrays["raw"], arrays["truth"], case.params, groups_of(case))
    shape = arrays["raw"].shape
    np.testing.assert_allclose(output.reshape(shape), arrays["output"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(delta.reshape(shape), arrays["delta"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradient.reshape(shape), arrays["grad"], rtol=1e-4, atol=1e-5)
    assert (delta**2).sum() == pytest.approx(float(arrays["cost"][0]), rel=1e-4)


@pytest.mark.parametrize("case", golden_cases("detect", only_original=True))
def test_the_twins_detections_and_suppression_agree_with_the_original(case: GoldenCase) -> None:
    arrays, params, groups = case.arrays(), case.params, groups_of(case)
    output = twin.activated(arrays["raw"], {"softmax": 1, **params}, groups)
    boxes, objectness, scores = twin.detections(output, params, groups)
    np.testing.assert_allclose(boxes, arrays["bbox"], rtol=1e-5, atol=1e-3)
    near = 1e-5
    objectness = np.where(
        arrays["objectness"] == 0, objectness * (objectness > params["thresh"] + near), objectness
    )
    np.testing.assert_allclose(objectness, arrays["objectness"], atol=1e-5)
    same_side = (scores > 0) == (arrays["prob"] > 0)
    assert (np.abs(np.maximum(scores, arrays["prob"]) - params["thresh"])[~same_side] < near).all()
    np.testing.assert_allclose(scores[same_side], arrays["prob"][same_side], atol=1e-5)

    by_class = twin.suppressed_by_class(
        arrays["bbox"], arrays["objectness"], arrays["prob"], params["nms_thresh"]
    )
    np.testing.assert_array_equal(by_class, arrays["prob_nms_sort"])
    left, by_objectness = twin.suppressed_by_objectness(
        arrays["bbox"], arrays["objectness"], arrays["prob"], params["nms_thresh"]
    )
    np.testing.assert_array_equal(left, arrays["objectness_nms_obj"])
    np.testing.assert_array_equal(by_objectness, arrays["prob_nms_obj"])


@pytest.mark.skipif(not ORIGINAL, reason=NOT_AT_HAND)
def test_the_twins_resizing_and_letterboxing_agree_with_the_original() -> None:
    assert ORIGINAL
    compared = 0
    with np.load(ORIGINAL / "images.npz") as images:
        for name in images.files:
            operation, _, rest = name.partition("_")
            if operation not in ("resize", "letterbox"):
                continue
            source, theirs = images[f"in_{rest.rpartition('_')[0]}"], images[name]
            make = twin.resized if operation == "resize" else twin.letterboxed
            np.testing.assert_allclose(make(source, *theirs.shape[:0:-1]), theirs, atol=2e-6, err_msg=name)
            compared += 1
    assert compared >= 2


@pytest.mark.skipif(not ORIGINAL, reason=NOT_AT_HAND)
def test_the_twins_learning_rates_agree_with_the_original_except_for_its_two_bugs() -> None:
    assert ORIGINAL
    cases = json.loads((ORIGINAL / "learning_rates.json").read_text())
    assert cases
    for case in cases.values():
        options = dict(line.split("=", 1) for line in case["net_options"].split())
        if "-" in options.get("steps", ""):
            continue
        for t, rate in case["rates"]:
            if options.get("policy") == "sigmoid" and t < int(options["step"]):
                continue
            assert twin.learning_rate(options, t) == pytest.approx(rate, rel=1e-4, abs=1e-9)
