"""The report page: its content, safety against names, and its behaviour in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_prep.dataset.label_counts import LabelCounts
from wordtree.tree.tree import WordTree
from yolo9000 import Predictor
from yolo9000.inference.sources import find_images
from yolo9000.predictions.report import ReportFacts, write_report
from yolo9000.predictions.result_log import ResultLog, result_records
from yolo9000.predictions.run import OutputChoice, predict_images
from yolo9000.predictions.thumbnails import FOLDER, thumbnail_name

NASTY = '</script><img src=x onerror="window.hacked=1">.jpg'


def facts(tree: WordTree, **changes: Any) -> ReportFacts:
    """Dogs have boxes, boats have image labels, the others nothing."""
    boxes, labels = np.zeros(len(tree), np.int64), np.zeros(len(tree), np.int64)
    boxes[2], labels[5] = 3, 2
    columns = {"allowed": None, "min_score": 0.2, "min_absolute": 0.5, "title": "Detections: toy <b>"}
    return ReportFacts(tree=tree, label_counts=LabelCounts(tree, boxes, labels), **(columns | changes))


def detection(
    tree: WordTree, node: int, leaf: int, conditional: list[float], objectness: float
) -> dict[str, Any]:
    depth = int(tree.depth[node]) + 1
    absolute = float(np.prod(conditional[:depth]))
    best = {"absolute": float(np.prod(conditional)), "conditional_below": conditional[depth:]}
    return {
        "xyxy_px": [4, 30, 40, 60],
        "id": tree.ids[node],
        "name": tree.names[node],
        "conditional": conditional[:depth],
        "objectness": objectness,
        "absolute": absolute,
        "score": objectness * absolute,
        "stopped": "threshold",
        "best_leaf": {"id": tree.ids[leaf], "name": tree.names[leaf], **best},
    }


def toy_report(folder: Path, tree: WordTree, *, copies: int = 1, **changes: Any) -> Path:
    """A report on `copies` × (a dog that may be a terrier; a car; nothing but almost a cat) and one failure."""
    terrier = detection(tree, 2, 6, [0.9, 0.8, 0.4], 0.8)
    car = detection(tree, 4, 4, [0.95, 0.9], 0.5)
    cat = detection(tree, 0, 3, [0.6, 0.5], 0.2)
    folder.mkdir()
    (folder / FOLDER).mkdir()
    with ResultLog(folder / "detections.jsonl") as log:
        for copy in range(copies):
            for name, found, almost in (
                (f"a{copy}.jpg", [terrier], []),
                (f"b{copy} {NASTY}", [car], []),
                (f"c{copy}.jpg", [], [cat]),
            ):
                size = {"width_px": 100, "height_px": 80}
                log.add({"image": name, **size, "detections": found, "almost_detected": almost})
                Image.new("RGB", (100, 80), (40, 90, 60)).save(folder / FOLDER / thumbnail_name((name, None)))
        log.add({"image": f"d {NASTY}", "failure": f"d {NASTY}: cannot be read"})
    return write_report(folder / "report.html", folder / "detections.jsonl", facts(tree, **changes))


def test_a_small_report_is_one_file_that_loads_nothing(tmp_path: Path, toy_tree: WordTree) -> None:
    html = toy_report(tmp_path / "out", toy_tree).read_text("utf-8")
    assert not re.search(r'(?:src|href)="(?!data:)', html)
    assert "http" not in html.replace("http-equiv", "")
    assert html.count("data:image/jpeg;base64,") == 3
    assert NASTY not in html
    assert "<title>Detections: toy &lt;b&gt;</title>" in html


def test_a_large_report_has_its_data_and_images_beside_it(tmp_path: Path, toy_tree: WordTree) -> None:
    page = toy_report(tmp_path / "out", toy_tree, copies=70)
    html = page.read_text("utf-8")
    assert len(html) < 60_000
    assert re.findall(r'src="([^"]*)"', html) == [f"{FOLDER}/report.js"]
    text = (tmp_path / "out" / FOLDER / "report.js").read_text("utf-8")
    data = json.loads(text.removeprefix("window.predictions = ").rstrip(";\n"))
    assert len(data["images"]) == 210
    assert all((tmp_path / "out" / image["thumb"]).exists() for image in data["images"])
    assert (data["total"], data["failed"]) == (211, 1)
    badges = dict(zip(data["nodes"]["names"], data["nodes"]["badges"], strict=True))
    assert badges == {"animal": 2, "dog": 2, "terrier": 0, "vehicle": 1, "car": 0, "cat": 0}


def test_a_run_with_a_report_has_the_same_detections_and_those_that_almost_are(
    photos: Path, tmp_path: Path, made_detector: Path
) -> None:
    found = find_images([photos])
    all_of = Predictor(made_detector, changes={"min_score": 0.01})(photos)
    middle = float(
        np.median([one.objectness[0] * one.conditional[0][0] for image in all_of for one in image])
    )
    changes = {"min_score": middle, "batch_size": 2, "min_absolute": 0.6}
    predictor = Predictor(made_detector, changes=changes)
    for name, report in (("plain", False), ("report", True)):
        predict_images(predictor, found, OutputChoice(tmp_path / name, draw=False, report=report))
    plain, with_report = (
        list(result_records(tmp_path / name / "detections.jsonl")) for name in ("plain", "report")
    )
    almost = [record.pop("almost_detected") for record in with_report]
    columns = ("xyxy_px", "id", "score", "stopped")  # other numbers may differ in the last digit
    for one, other in zip(plain, with_report, strict=True):
        one_rows, other_rows = (
            [[found[column] for column in columns] for found in record["detections"]]
            for record in (one, other)
        )
        assert one_rows == other_rows
    assert sum(map(len, almost)) > 0
    for one in sum(almost, []):  # noqa: RUF017 - five images
        assert middle / 2 < one["objectness"] * one["conditional"][0] <= middle * 1.00001
    assert sum(len(record["detections"]) for record in plain) > 0
    assert (tmp_path / "report" / "report.html").stat().st_size > 20_000
    assert len(list((tmp_path / "report" / FOLDER).glob("*.jpg"))) == 5


# --- in the browser

DRIVER = """
const results = {};
const get = (id) => document.getElementById(id);
const labels = () => [...document.querySelectorAll("#sheet .box span")].map((one) => one.innerText);
const cards = () => [...document.querySelectorAll("#sheet .card")];
const summary = () => get("summary").innerText;
const type = (text) => { get("query").value = text; get("query").dispatchEvent(new Event("input")); };
const slide = (value) => { get("specificity").value = value; get("specificity").dispatchEvent(new Event("input")); };
const press = (key) =>
  document.body.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
const timed = (name, act) => {
  const start = performance.now();
  act();
  document.body.offsetHeight;
  results[name] = performance.now() - start;
};
try { %s } catch (error) { results.error = String(error.stack); }
const output = document.createElement("pre");
output.id = "results";
output.textContent = JSON.stringify(results);
document.body.append(output);
"""


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("Chromium is not installed")
    return found


def drive(chromium: str, page: Path, script: str, *, size: str = "1200,800") -> dict[str, Any]:
    """The results of a script that runs after that of the page and fills `results`."""
    file = page.with_name("driven.html")
    file.write_text(
        page.read_text("utf-8").replace("</body>", f"<script>{DRIVER % script}</script></body>"), "utf-8"
    )
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    )
    more = f"--disable-component-update --disable-sync --window-size={size} --user-data-dir={page.parent / 'profile'}"
    command = [chromium, *flags.split(), *more.split(), "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    match = re.search(r'<pre id="results">(.*?)</pre>', done.stdout, re.DOTALL)
    assert match is not None, done.stderr[-2000:]
    results: dict[str, Any] = json.loads(unescape(match[1]))
    assert "error" not in results, results["error"]
    return results


@pytest.mark.slow
def test_labels_move_queries_filter_and_keys_work(chromium: str, tmp_path: Path, toy_tree: WordTree) -> None:
    script = """
    results.first = [labels(), summary(), get("min-absolute").innerText];
    slide(0.2); results.specific = labels();
    slide(0.8); results.general = labels();
    slide(0.99); results.root = labels();
    slide(0.5); results.back = labels();
    get("almost").click(); results.almost = [labels(), document.querySelectorAll(".box.almost").length];
    get("almost").click();
    type("animal"); results.animal = [labels(), summary()];
    type("animal | vehicle & score > 0.5"); results.score = labels();
    type("!dog & depth = 1"); results.not_dog = labels();
    type("only(dog)"); results.only = labels();
    type("*er*"); results.pattern = get("problem").innerText;
    type("dgo"); results.problem = get("problem").innerText;
    type("(dog"); results.bracket = get("problem").innerText;
    type("");
    get("sort").value = "worst"; get("sort").dispatchEvent(new Event("change"));
    results.worst = labels();
    get("sort").value = "order"; get("sort").dispatchEvent(new Event("change"));
    press("ArrowRight"); press("Enter");
    results.viewer = [get("viewer").open, get("figure").innerText, get("rows").innerText];
    press("ArrowLeft"); results.previous = get("rows").innerText;
    get("close").click();
    press("]"); results.bracket_key = get("min-absolute").innerText;
    results.chips = [...document.querySelectorAll("#classes button")].map((one) => one.innerText);
    document.querySelector("#classes button").click(); results.chip_query = get("query").value;
    results.hacked = window.hacked === 1;
    results.failures = get("failures").textContent;
    results.wide = document.documentElement.scrollWidth <= innerWidth;
    """
    page = toy_report(tmp_path / "out", toy_tree)
    results = drive(chromium, page, script)
    dog, car = "dog 0.58", "car 0.43"
    assert results["first"] == [[dog, car], "2 detections in 3 images (4, 1 failed)", "0.50"]
    assert results["specific"] == ["terrier 0.23", car]
    assert results["general"] == ["animal 0.72", car]
    assert results["root"] == ["animal 0.72", "vehicle 0.47"]
    assert results["back"] == [dog, car]
    assert results["almost"] == [[dog, car, "animal 0.12"], 1]
    assert results["animal"] == [[dog], "1 detection in 1 image (4, 1 failed)"]
    assert results["score"] == [dog]
    assert results["not_dog"] == [car]
    assert results["only"] == [dog]
    assert results["pattern"] == ""
    assert results["problem"] == "no class 'dgo' was detected"
    assert results["bracket"] == "a ')' is missing"
    assert results["worst"] == [car, dog]
    is_open, figure, rows = results["viewer"]
    assert is_open
    assert NASTY in figure
    assert "vehicle 0.95 › car 0.85" in rows
    assert "animal 0.90 › dog 0.72 › terrier 0.29" in results["previous"]
    assert "boxes" in results["previous"]
    assert results["bracket_key"] == "0.55"
    assert results["chips"] == ["dog 1 boxes", "car 1 none"]
    assert results["chip_query"] == '"dog"'
    assert not results["hacked"]
    assert f"d {NASTY}: cannot be read" in results["failures"]
    assert results["wide"]
    phone = drive(
        chromium, page, "results.wide = document.documentElement.scrollWidth <= innerWidth;", size="500,900"
    )
    assert phone["wide"]


@pytest.mark.slow
def test_ten_thousand_images_stay_fluent(chromium: str, tmp_path: Path, toy_tree: WordTree) -> None:
    script = """
    results.total = summary();
    results.drawn = cards().length;
    timed("slide", () => slide(0.8));
    timed("query", () => type("animal & score > 0.1"));
    timed("scroll", () => { scrollTo(0, 400000); dispatchEvent(new Event("scroll")); });
    results.far = cards().length;
    results.height = document.documentElement.scrollHeight;
    """
    results = drive(chromium, toy_report(tmp_path / "out", toy_tree, copies=3334), script)
    assert results["total"].startswith("6,668 detections in 10,002 images")
    assert 0 < results["drawn"] < 60
    assert 0 < results["far"] < 80
    assert results["height"] > 200_000
    print({name: results[name] for name in ("slide", "query", "scroll")})
    assert max(results["slide"], results["query"], results["scroll"]) < 1000
