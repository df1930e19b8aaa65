"""The page about a classifier's run."""

from __future__ import annotations

from dataclasses import replace

from tests.yolo9000.reports.test_detector_report import outline, section
from yolo9000.evaluation.classification import ClassAccuracy, ClassificationScore, DepthScore, PredictionScore
from yolo9000.reports.classifier_report import LISTED, ClassifierReport, render_classifier_report


def score() -> ClassificationScore:
    """Of 40 images, 4 of unknown classes; three classes, the worst taken for another."""
    return ClassificationScore(
        pictures=40,
        unknown=4,
        top1=61.5,
        top5=88.0,
        path=70.25,
        depths=(DepthScore(0, 40, 90.0), DepthScore(1, 30, 55.5)),
        answers=(PredictionScore(0.5, 82.0, 64.0),),
        classes=(
            ClassAccuracy("n1", "dog & co", 10, 90.0, 100.0, None, 0),
            ClassAccuracy("n2", "cat", 20, 10.0, 80.0, "dog & co", 17),
            ClassAccuracy("n3", "car", 6, 50.0, 60.0, "cat", 2),
        ),
    )


def content() -> ClassifierReport:
    return ClassifierReport(
        title="Run <made>",
        summary="Trained on little.",
        score=score(),
        facts=[("step", "4 of 4")],
        metrics_csv="step,learning_rate,total,accuracy_top1\n2,0.1,3.5,\n2,,,61.5\n",
        config_yaml="name: made\n",
        attribution="By us.",
    )


def test_the_page_shows_accuracies_depths_classes_and_curves() -> None:
    page = render_classifier_report(content())
    text = " ".join(" ".join(outline(page).texts).split())
    for expected in (
        "Run <made>", "Trained on little.", "4 of 4", "61.5 top-1", "88.0 top-5", "70.2 label’s path",
        "of 36 images named rightly; 4 more are of classes it does not know", "accuracy top1", "name: made", "By us.",
    ):  # fmt: skip
        assert expected in text, expected
    assert "1 30 55.5" in section(page, "How near in the tree")
    assert "0.5 82.0 64.0" in section(page, "How near in the tree")


def test_classes_are_listed_with_what_they_are_taken_for() -> None:
    text = section(render_classifier_report(content()), "Best and worst classes")
    best, _, worst = text.partition("Worst")
    assert "dog & co 90.0 100.0 10 –" in best
    assert "cat 10.0 80.0 20 dog & co (17)" in worst.split("All 3 classes")[0]
    assert "car 50.0 60.0 6 cat (2)" in worst.split("All 3 classes")[1]


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    page = render_classifier_report(content())
    tags = {tag for tag, _ in outline(page).tags}
    assert tags.isdisjoint({"script", "link", "iframe", "object", "base", "img"})
    assert "default-src 'none'" in page


def test_many_classes_are_listed_in_part_and_none_leave_no_empty_section() -> None:
    many = [replace(score().classes[0], id=f"n{k}", name=f"kind {k}", top1=float(k)) for k in range(60)]
    text = section(
        render_classifier_report(replace(content(), score=replace(score(), classes=tuple(many)))),
        "Best and worst classes",
    )
    assert text.split("All 60 classes")[0].count("kind ") == 2 * LISTED
    page = render_classifier_report(
        replace(content(), score=replace(score(), top1=None, top5=None, classes=()))
    )
    assert "Best and worst" not in page
    assert "All 0" not in page
    assert "top-1</small>" not in page
