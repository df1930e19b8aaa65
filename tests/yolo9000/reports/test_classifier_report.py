"""The report about a classifier."""

from __future__ import annotations

from dataclasses import replace

from tests.yolo9000.reports.test_detector_report import outline, section
from yolo9000.evaluation.classification import (
    ClassAccuracy,
    ClassificationMetrics,
    DepthAccuracy,
    ThresholdAccuracy,
)
from yolo9000.reports.classifier_report import LISTED_CLASSES, render_classifier_report
from yolo9000.reports.page import RunDetails


def score() -> ClassificationMetrics:
    """The score on 40 images, 4 of unknown classes; three classes, one of them often confused with another."""
    return ClassificationMetrics(
        images=40,
        unknown=4,
        top1=61.5,
        top5=88.0,
        path=70.25,
        depths=(DepthAccuracy(0, 40, 90.0), DepthAccuracy(1, 30, 55.5)),
        thresholds=(ThresholdAccuracy(0.5, 82.0, 64.0),),
        classes=(
            ClassAccuracy("n1", "dog & co", 10, 90.0, 100.0, None, 0),
            ClassAccuracy("n2", "cat", 20, 10.0, 80.0, "dog & co", 17),
            ClassAccuracy("n3", "car", 6, 50.0, 60.0, "cat", 2),
        ),
    )


RUN = RunDetails(
    title="Run <made>",
    summary="Trained on little.",
    facts=[("step", "4 of 4")],
    metrics_csv="step,learning_rate,total,accuracy_top1\n2,0.1,3.5,\n2,,,61.5\n",
    config_yaml="name: made\n",
    attribution="By us.",
)


def test_the_page_shows_accuracies_depths_classes_and_curves() -> None:
    page = render_classifier_report(RUN, score())
    text = " ".join(" ".join(outline(page).texts).split())
    for expected in (
        "Run <made>", "Trained on little.", "4 of 4", "61.5 top-1", "88.0 top-5", "70.2 label’s path",
        "of 36 images classified correctly; 4 more have labels of unknown classes",
        "accuracy top1", "name: made", "By us.",
    ):  # fmt: skip
        assert expected in text, expected
    assert "1 30 55.5" in section(page, "Accuracy along the tree")
    assert "0.5 82.0 64.0" in section(page, "Accuracy along the tree")


def test_classes_are_listed_with_the_class_that_they_are_confused_with() -> None:
    text = section(render_classifier_report(RUN, score()), "Best and worst classes")
    best, _, worst = text.partition("Worst")
    assert "dog & co 90.0 100.0 10 –" in best
    assert "cat 10.0 80.0 20 dog & co (17)" in worst.split("All 3 classes")[0]
    assert "car 50.0 60.0 6 cat (2)" in worst.split("All 3 classes")[1]


def test_the_page_loads_nothing_and_runs_no_script() -> None:
    page = render_classifier_report(RUN, score())
    tags = {tag for tag, _ in outline(page).tags}
    assert tags.isdisjoint({"script", "link", "iframe", "object", "base", "img"})
    assert "default-src 'none'" in page


def test_of_many_classes_some_are_listed_and_without_classes_there_is_no_empty_section() -> None:
    many = [replace(score().classes[0], id=f"n{k}", name=f"breed {k}", top1=float(k)) for k in range(60)]
    text = section(
        render_classifier_report(RUN, replace(score(), classes=tuple(many))),
        "Best and worst classes",
    )
    assert text.split("All 60 classes")[0].count("breed ") == 2 * LISTED_CLASSES
    page = render_classifier_report(RUN, replace(score(), top1=None, top5=None, classes=()))
    assert "Best and worst" not in page
    assert "All 0" not in page
    assert "top-1</small>" not in page
