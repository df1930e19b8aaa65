"""The CSV files of the programs: no cell is a formula, numbers stay numbers, and our readers get every name back."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from data_prep.config import CsvSource
from data_prep.dataset.label_counts import LabelCounts
from data_prep.planning.left_out import write_left_out
from tests.data_prep.readers import read, write_images
from tests.yolo9000.predictions.test_formats import found
from wordtree.hierarchies.convert import read_hierarchy
from wordtree.hierarchies.dataset_classes import ClassResolution, resolutions_csv
from wordtree.hierarchies.hierarchy_files import csv_text
from wordtree.support.csv_cells import csv_cells
from wordtree.tree.tree import WordTree
from wordtree.views.page import read_numbers
from yolo9000.predictions.formats import write_format
from yolo9000.predictions.result_log import ResultLog

FORMULAS = ("=1+1", "+x", "-cmd|'/C calc'!A0", "@SUM(A1)", "'=quoted", "-0.5")
IDS = ("=id", "+id", "-id", "@id", "'=id", "-7")
TREE = WordTree(["all", *IDS], [-1] + [0] * len(IDS), ["all", *FORMULAS])


def cells(text: str) -> list[str]:
    return [cell for row in csv.reader(text.splitlines()) for cell in row]


def assert_no_formula(text: str) -> None:
    for cell in cells(text):
        if cell[:1] in tuple("=+-@\t\r"):
            float(cell)  # a number is no formula


def test_a_hierarchy_comes_back(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(csv_text(TREE))
    assert_no_formula(csv_text(TREE))
    tree = read_hierarchy(tmp_path / "t.csv")
    assert (set(tree.ids), set(tree.names)) == (set(TREE.ids), set(TREE.names))


def test_a_table_of_resolved_classes_has_no_formula() -> None:
    text = resolutions_csv([ClassResolution(name, name, "", "", name, name) for name in FORMULAS])
    assert_no_formula(text)
    assert "-0.5" in cells(text)


def test_label_counts_come_back_as_numbers(tmp_path: Path) -> None:
    counts = np.arange(len(TREE))
    text = LabelCounts(TREE, counts, counts).csv_text()
    assert_no_formula(text)
    (tmp_path / "t.csv").write_text(text)
    assert read_numbers(tmp_path / "t.csv", TREE)["boxes"] == counts.tolist()


def test_the_list_of_what_is_left_out_has_no_formula(tmp_path: Path) -> None:
    write_left_out(tmp_path / "left_out.csv", [(name, name, name, name) for name in FORMULAS])
    assert_no_formula((tmp_path / "left_out.csv").read_text())


def test_predictions_have_no_formula_and_numbers_stay_numbers(tmp_path: Path) -> None:
    with ResultLog(tmp_path / "log.jsonl") as log:
        for node, name in enumerate(FORMULAS, start=1):
            one = {**found(TREE, node, node, 0.5), "xyxy_px": [-0.5, 0, 3, 4]}
            log.add({"image": f"{name}.jpg", "width_px": 40, "height_px": 40, "detections": [one]})
        log.add({"image": "=broken.jpg", "failure": "=cannot be read"})
    (out,) = write_format("csv", tmp_path / "log.jsonl", [tmp_path / "detections.csv"], TREE)
    assert_no_formula(out.read_text())
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["left"]) for row in rows[:-1]] == [-0.5] * len(FORMULAS)
    assert [row["id"] for row in rows[:-1]] == ["'=id", "'+id", "'-id", "'@id", "''=id", "-7"]


def test_a_merged_table_gives_names_back(tmp_path: Path) -> None:
    names = [name for name in FORMULAS if "/" not in name]
    write_images(tmp_path / "images", [f"{name}.jpg" for name in names])
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "class"])
        table.writerows(csv_cells([f"{name}.jpg", name]) for name in names)
    source = CsvSource(
        name="t", format="csv", images=tmp_path / "images", annotations=tmp_path / "labels.csv"
    )  # fmt: skip
    contents, records, _ = read(source)
    assert set(contents.classes) == set(names)
    assert [record.source_id for record in records] == [f"{name}.jpg" for name in names]
