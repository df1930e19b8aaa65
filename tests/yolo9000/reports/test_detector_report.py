"""The report about a detector: one well-formed file with all its content and no empty sections."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image

from yolo9000.evaluation.breakdown import BreakdownRow
from yolo9000.evaluation.outcomes import Confusion
from yolo9000.evaluation.scorecard import ClassMetrics, GroupMetrics, Scorecard
from yolo9000.reports.class_lists import LISTED_CLASSES, best_and_worst
from yolo9000.reports.detector_report import Baseline, DetectorReport, render_detector_report
from yolo9000.reports.page import InvalidReport, ReportImage, RunDetails, read_series

EMPTY = GroupMetrics(
    classes=0, boxes=0, detected=0, correct=0, ap50=None, ap=None, recall50=None, accuracy=None
)


def scorecard() -> Scorecard:
    """Three boxed classes and three with image labels, AP50 10, 20 … 60; one of them has no correct detection."""
    classes = tuple(
        ClassMetrics(
            id=f"n{number:08d}",
            name=f"class {number}",
            supervision="boxes" if number % 2 else "image labels",
            boxes=2 * number,
            detected=number,
            correct=0 if number == 3 else number - 1,
            ap50=10.0 * number,
            ap=5.0 * number,
            recall50=50.0,
            accuracy=None if number == 3 else 80.0,
        )
        for number in range(1, 7)
    )
    boxed = GroupMetrics(
        classes=3, boxes=18, detected=9, correct=4, ap50=30.0, ap=15.0, recall50=50.0, accuracy=80.0
    )
    labels = GroupMetrics(
        classes=3, boxes=24, detected=12, correct=9, ap50=40.0, ap=20.0, recall50=50.0, accuracy=80.0
    )
    both = GroupMetrics(
        classes=6, boxes=42, detected=21, correct=13, ap50=35.0, ap=17.5, recall50=50.0, accuracy=80.0
    )
    return Scorecard(
        images=60,
        all=both,
        boxed=boxed,
        label_only=labels,
        none=EMPTY,
        classes=classes,
        confusions=(
            Confusion("n00000003", "class 3", "n00000001", "class 1", 3, "whole <class>", 4),
            Confusion("n00000004", "class 4", "n00000001", "class 1", 2, None, None),
            Confusion("n00000006", "class 6", "n00000002", "class 2", 1, "class 2", 1),
        ),
    )


METRICS = """step,learning_rate,total,box_class,label_objectness,input_px,ap50_boxed,ap50_label_only
20,0.001,5.5,2.5,0,416,,
40,0.002,4.5,2.0,0,416,,
40,,,,,,31.5,12.5
"""


RUN = RunDetails(
    title="Dogs & <cats>",
    summary="Trained on little.",
    facts=[("hardware", "2 cores")],
    metrics_csv=METRICS,
    config_yaml="name: demo\nanchors: <none>\n",
    attribution="Twemoji, https://creativecommons.org/licenses/by/4.0/, CC BY 4.0.",
)


def content() -> DetectorReport:
    red, black = Image.new("RGB", (40, 30), (255, 0, 0)), Image.new("RGB", (30, 30))
    return DetectorReport(
        RUN,
        scorecard=scorecard(),
        baselines=[Baseline("the oracle", 60.9, 56.0), Baseline("label on the best box", None, 17.4)],
        test_images=[ReportImage(red, "scene 1"), ReportImage(black)],
        class_images={"n00000005": [ReportImage(black, "correct, .81", "class 5, correct, .81, in scene 7")]},
        training_labels={"n00000001": (1234, 5)},
    )


class Outline(HTMLParser):
    """The tags and texts of a page; an assertion fails unless tags are closed in order."""

    VOID = ("meta", "img", "br", "path", "polyline", "circle")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def outline(page: str) -> Outline:
    parsed = Outline()
    parsed.feed(page)
    parsed.close()
    assert parsed.open == []
    return parsed


def test_the_page_loads_nothing_and_runs_no_script() -> None:
    page = render_detector_report(content())
    tags = outline(page).tags
    assert {tag for tag, _ in tags}.isdisjoint({"script", "link", "iframe", "object", "base"})
    for tag, attributes in tags:
        assert not any(name.startswith("on") for name in attributes)
        assert (attributes.get("src") or "data:").startswith("data:")
        assert tag == "a" or "href" not in attributes  # a link is followed by the reader only
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    assert "default-src 'none'" in page


def test_the_page_shows_all_its_content() -> None:
    text = " ".join(outline(render_detector_report(content())).texts)
    for expected in (
        "Dogs & <cats>", "Trained on little.", "2 cores", "the oracle", "56.0", "17.4", "–",
        "60 test images", "scene 1", "class 6", "n00000006", "1,234", "Best with boxes",
        "Worst with image labels only", "AP50 boxed", "All 6 classes", "anchors: <none>", "CC BY 4.0.",
    ):  # fmt: skip
        assert expected in text, expected
    assert "input px" not in text  # no loss
    assert "label objectness" not in text  # a term that is always 0 is no curve
    assert " none " not in text  # a part without classes is no row


def test_images_are_embedded_with_their_size() -> None:
    sources = [
        attributes for tag, attributes in outline(render_detector_report(content())).tags if tag == "img"
    ]
    assert len(sources) == 3
    kind, encoded = (sources[0]["src"] or "").split(",")
    assert kind == "data:image/jpeg;base64"
    image = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert image.size == (40, 30)
    assert (sources[0]["width"], sources[0]["height"]) == ("40", "30")
    assert [source["alt"] for source in sources] == [
        "scene 1", "test image with detections", "class 5, correct, .81, in scene 7",
    ]  # fmt: skip


def section(page: str, heading: str) -> str:
    """The text from this heading to the next <h2>."""
    _, _, rest = page.partition(f"<h2>{heading}</h2>")
    return " ".join(" ".join(outline(rest.split("<h2>")[0]).texts).split())


def test_objects_are_counted_by_outcome_for_each_part() -> None:
    text = section(render_detector_report(content()), "Missed and wrongly classified objects")
    assert "with boxes: 18 objects correct 4 (22 %) wrongly classified 5 (28 %) not detected 9 (50 %)" in text
    assert (
        "image labels only: 24 objects correct 9 (38 %) wrongly classified 3 (12 %) not detected 12 (50 %)"
        in text
    )


def test_outcomes_are_broken_down_by_size_truncation_and_occlusion() -> None:
    rows = (
        BreakdownRow("size: 9–20 % of the image side", "boxed", objects=8, detected=6, correct=4),
        BreakdownRow("size: 9–20 % of the image side", "label_only", objects=1234, detected=617, correct=0),
        BreakdownRow("truncated: at the image edge", "label_only", objects=2, detected=2, correct=2),
    )
    page = render_detector_report(replace(content(), scorecard=replace(scorecard(), breakdown=rows)))
    text = section(page, "Missed and wrongly classified objects")
    assert "size: 9–20 % of the image side 8 50 25 25 1,234 0 50 50" in text
    assert "truncated: at the image edge – – – – 2 100 0 0" in text
    assert "By size" not in section(
        render_detector_report(content()), "Missed and wrongly classified objects"
    )


def test_confusions_are_listed_by_supervision() -> None:
    page = render_detector_report(content())
    text = section(page, "Missed and wrongly classified objects")
    boxed, labels = text.split("Wrongly classified, image labels only")
    assert "3 of the 3 are classified as a class with boxes" in boxed
    assert "class 3 class 1 3 whole <class> 4" in boxed
    assert "2 of the 3 are classified as a class with boxes" in labels
    assert "class 4 class 1 2 – –" in labels
    assert "class 6 class 2 1 class 2 1" in labels


def test_each_listed_class_has_the_outcomes_of_its_objects() -> None:
    text = section(render_detector_report(content()), "Best and worst classes")
    assert "class 5 50.0 10 objects: 4 correct, 1 wrongly classified, 5 not detected correct, .81" in text
    assert text.index("Best with boxes") < text.index("class 5") < text.index("Worst with boxes")


@pytest.mark.parametrize("classes", [0, 1, 2, 3, 2 * LISTED_CLASSES, 50])
def test_no_class_is_both_best_and_worst(classes: int) -> None:
    made = scorecard().classes[0]
    rows = [replace(made, id=f"n{number}", ap50=float(number)) for number in range(classes)]
    rows.append(replace(made, id="other", supervision="none"))
    best, worst = best_and_worst(rows, made.supervision)
    assert len(best) == len(worst) == min(LISTED_CLASSES, classes // 2)
    assert {row.id for row in best}.isdisjoint({row.id for row in worst})
    assert [row.ap50 for row in best] == [float(classes - 1 - rank) for rank in range(len(best))]
    assert [row.ap50 for row in worst] == [float(rank) for rank in range(len(worst))]


def test_classes_are_listed_best_first() -> None:
    text = " ".join(outline(render_detector_report(content())).texts)
    listed = text[text.index("All 6 classes") :]
    positions = [listed.index(f"n{number:08d}") for number in range(6, 0, -1)]
    assert positions == sorted(positions)


def test_a_link_in_the_attribution_ends_where_the_address_ends() -> None:
    links = [
        attributes["href"]
        for tag, attributes in outline(render_detector_report(content())).tags
        if tag == "a"
    ]
    assert links == ["https://creativecommons.org/licenses/by/4.0/"]


def test_a_page_of_a_bare_scorecard_has_no_empty_sections() -> None:
    card = replace(scorecard(), boxed=EMPTY, label_only=EMPTY, all=EMPTY, classes=())
    page = render_detector_report(DetectorReport(RunDetails(title="t", summary="s"), scorecard=card))
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings == ["Scorecard"]
    outline(page)


def test_curves_skip_empty_cells() -> None:
    curves = {curve.name: curve for curve in read_series(METRICS)}
    assert curves["total"].steps == [20, 40]
    assert curves["ap50_boxed"].values == [31.5]
    assert read_series("") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step,total\n20,5\n40,much\n", r"line 3: expected a number in column 'total', found 'much'"),
        ("total\n5\n", r"line 2: expected a number in column 'step', found ''"),
    ],
    ids=["a word", "no column step"],
)
def test_a_damaged_metrics_file_is_reported_with_line_and_column(text: str, message: str) -> None:
    with pytest.raises(InvalidReport, match=rf"^metrics\.csv, {message}"):
        render_detector_report(replace(content(), run=replace(RUN, metrics_csv=text)))


@pytest.mark.parametrize(
    "metrics", [f"step,total\n1,{'x' * 200_000}\n", f"step,total\n1,{'x' * 9000}\n", "a\n" * 9]
)
def test_metrics_that_are_no_numbers_are_refused_in_one_line(metrics: str) -> None:
    with pytest.raises(InvalidReport, match=r"metrics\.csv, line ") as caught:
        read_series(metrics)
    assert len(str(caught.value)) < 300
