"""The report page: self-contained, well-formed, complete, and honest about what is missing."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from yolo9000.evaluation.breakdown import BreakdownRow
from yolo9000.evaluation.outcomes import Confusion
from yolo9000.evaluation.scorecard import ClassScore, PartScore, Scorecard
from yolo9000.reports.class_lists import LISTED, best_and_worst
from yolo9000.reports.detector_report import Baseline, ReportContent, render_report, write_report
from yolo9000.reports.page import InvalidReport, Scene, read_series

EMPTY = PartScore(classes=0, boxes=0, found=0, named=0, ap50=None, ap=None, recall50=None, accuracy=None)


def scorecard() -> Scorecard:
    """Three boxed classes and three with image labels, AP50 10, 20 … 60; one of them was never found."""
    classes = tuple(
        ClassScore(
            id=f"n{number:08d}",
            name=f"thing {number}",
            supervision="boxes" if number % 2 else "image labels",
            boxes=2 * number,
            found=number,
            named=0 if number == 3 else number - 1,
            ap50=10.0 * number,
            ap=5.0 * number,
            recall50=50.0,
            accuracy=None if number == 3 else 80.0,
        )
        for number in range(1, 7)
    )
    boxed = PartScore(classes=3, boxes=18, found=9, named=4, ap50=30.0, ap=15.0, recall50=50.0, accuracy=80.0)
    labels = PartScore(
        classes=3, boxes=24, found=12, named=9, ap50=40.0, ap=20.0, recall50=50.0, accuracy=80.0
    )
    both = PartScore(
        classes=6, boxes=42, found=21, named=13, ap50=35.0, ap=17.5, recall50=50.0, accuracy=80.0
    )
    return Scorecard(
        images=60,
        all=both,
        boxed=boxed,
        label_only=labels,
        neither=EMPTY,
        classes=classes,
        confusions=(
            Confusion("n00000003", "thing 3", "n00000001", "thing 1", 3, "whole <thing>", 4),
            Confusion("n00000004", "thing 4", "n00000001", "thing 1", 2, None, None),
            Confusion("n00000006", "thing 6", "n00000002", "thing 2", 1, "thing 2", 1),
        ),
    )


METRICS = """step,learning_rate,total,box_class,label_objectness,input_px,ap50_boxed,ap50_label_only
20,0.001,5.5,2.5,0,416,,
40,0.002,4.5,2.0,0,416,,
40,,,,,,31.5,12.5
"""


def content() -> ReportContent:
    return ReportContent(
        title="Dogs & <cats>",
        summary="Trained on little.",
        scorecard=scorecard(),
        baselines=[Baseline("the oracle", 60.9, 56.0), Baseline("label on the best box", None, 17.4)],
        facts=[("hardware", "2 cores")],
        scenes=[Scene(Image.new("RGB", (40, 30), (255, 0, 0)), "scene 1"), Scene(Image.new("RGB", (30, 30)))],
        class_images={
            "n00000005": [Scene(Image.new("RGB", (20, 20)), "named, .81", "thing 5, named, .81, in scene 7")]
        },
        training_labels={"n00000001": (1234, 5)},
        metrics_csv=METRICS,
        config_yaml="name: demo\nanchors: <none>\n",
        attribution="Twemoji, https://creativecommons.org/licenses/by/4.0/, CC BY 4.0.",
    )


class Outline(HTMLParser):
    """Checks that tags are closed in order and keeps attributes and texts."""

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


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    page = render_report(content())
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


def test_the_page_shows_everything_it_was_given() -> None:
    text = " ".join(outline(render_report(content())).texts)
    for expected in (
        "Dogs & <cats>", "Trained on little.", "2 cores", "the oracle", "56.0", "17.4", "–",
        "60 test images", "scene 1", "thing 6", "n00000006", "1,234", "Best with boxes",
        "Worst with image labels only", "AP50 boxed", "All 6 classes", "anchors: <none>", "CC BY 4.0.",
    ):  # fmt: skip
        assert expected in text, expected
    assert "input px" not in text  # no loss
    assert "label objectness" not in text  # a term that is always 0 is no curve
    assert " neither " not in text  # a part without classes is no row


def test_images_are_embedded_with_their_size() -> None:
    sources = [attributes for tag, attributes in outline(render_report(content())).tags if tag == "img"]
    assert len(sources) == 3
    kind, encoded = (sources[0]["src"] or "").split(",")
    assert kind == "data:image/jpeg;base64"
    image = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert image.size == (40, 30)
    assert (sources[0]["width"], sources[0]["height"]) == ("40", "30")
    assert [source["alt"] for source in sources] == [
        "scene 1", "test image with detections", "thing 5, named, .81, in scene 7",
    ]  # fmt: skip


def section(page: str, heading: str) -> str:
    """The text from this heading to the next of its kind."""
    _, _, rest = page.partition(f"<h2>{heading}</h2>")
    return " ".join(" ".join(outline(rest.split("<h2>")[0]).texts).split())


def test_misses_are_counted_for_each_part() -> None:
    text = section(render_report(content()), "Where misses come from")
    assert "with boxes: 18 objects named 4 (22 %) misnamed 5 (28 %) not found 9 (50 %)" in text
    assert "image labels only: 24 objects named 9 (38 %) misnamed 3 (12 %) not found 12 (50 %)" in text


def test_shares_are_reported_by_size_place_and_company() -> None:
    message = (
        BreakdownRow("9–20 % of the side", "boxed", objects=8, found=6, named=4),
        BreakdownRow("9–20 % of the side", "label_only", objects=1234, found=617, named=0),
        BreakdownRow("at the image’s edge", "label_only", objects=2, found=2, named=2),
    )
    page = render_report(replace(content(), scorecard=replace(scorecard(), breakdown=message)))
    text = section(page, "Where misses come from")
    assert "9–20 % of the side 8 50 25 25 1,234 0 50 50" in text
    assert "at the image’s edge – – – – 2 100 0 0" in text
    assert "By size" not in section(render_report(content()), "Where misses come from")


def test_misnamed_objects_are_listed_apart_by_what_training_knew() -> None:
    page = render_report(content())
    text = section(page, "Where misses come from")
    boxed, labels = text.split("Misnamed, image labels only")
    assert "3 of the 3 are called by the name of a class with boxes" in boxed
    assert "thing 3 thing 1 3 whole <thing> 4" in boxed
    assert "2 of the 3 are called by the name of a class with boxes" in labels
    assert "thing 4 thing 1 2 – –" in labels
    assert "thing 6 thing 2 1 thing 2 1" in labels


def test_each_listed_class_tells_what_became_of_its_objects() -> None:
    text = section(render_report(content()), "Best and worst classes")
    assert "thing 5 50.0 10 objects: 4 named, 1 misnamed, 5 not found named, .81" in text
    assert text.index("Best with boxes") < text.index("thing 5") < text.index("Worst with boxes")


@pytest.mark.parametrize("classes", [0, 1, 2, 3, 2 * LISTED, 50])
def test_no_class_is_both_best_and_worst(classes: int) -> None:
    made = scorecard().classes[0]
    rows = [replace(made, id=f"n{number}", ap50=float(number)) for number in range(classes)]
    rows.append(replace(made, id="other", supervision="none"))
    best, worst = best_and_worst(rows, made.supervision)
    assert len(best) == len(worst) == min(LISTED, classes // 2)
    assert {row.id for row in best}.isdisjoint({row.id for row in worst})
    assert [row.ap50 for row in best] == [float(classes - 1 - rank) for rank in range(len(best))]
    assert [row.ap50 for row in worst] == [float(rank) for rank in range(len(worst))]


def test_classes_are_listed_best_first() -> None:
    text = " ".join(outline(render_report(content())).texts)
    listed = text[text.index("All 6 classes") :]
    locations = [listed.index(f"n{number:08d}") for number in range(6, 0, -1)]
    assert locations == sorted(locations)


def test_links_of_the_attribution_end_where_the_address_ends() -> None:
    links = [attributes["href"] for tag, attributes in outline(render_report(content())).tags if tag == "a"]
    assert links == ["https://creativecommons.org/licenses/by/4.0/"]


def test_a_page_of_a_bare_scorecard_has_no_empty_sections() -> None:
    card = replace(scorecard(), boxed=EMPTY, label_only=EMPTY, all=EMPTY, classes=())
    page = render_report(ReportContent(title="t", summary="s", scorecard=card))
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings == ["Scorecard"]
    outline(page)


def test_the_file_is_written_whole(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", content())
    assert (tmp_path / "report.html").read_text("utf-8") == render_report(content())
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_curves_skip_empty_cells() -> None:
    curves = {curve.name: curve for curve in read_series(METRICS)}
    assert curves["total"].steps == [20, 40]
    assert curves["ap50_boxed"].values == [31.5]
    assert read_series("") == []


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("step,total\n20,5\n40,much\n", r"line 3: expected a number in column 'total', found 'much'"),
        ("total\n5\n", r"line 2: expected a number in column 'step', found ''"),
    ],
    ids=["a word", "no steps"],
)
def test_a_damaged_metrics_file_is_reported_with_line_and_column(text: str, trouble: str) -> None:
    with pytest.raises(InvalidReport, match=rf"^metrics\.csv, {trouble}"):
        render_report(replace(content(), metrics_csv=text))
