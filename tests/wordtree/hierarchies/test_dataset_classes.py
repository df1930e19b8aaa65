"""Classes of data sets from the user's files: their synsets, and classes that stay open."""

import csv
import json
from io import StringIO
from pathlib import Path

import pytest

from wordtree.hierarchies.dataset_classes import (
    ClassResolution,
    read_dataset_classes,
    resolutions_csv,
    resolve_classes,
)
from wordtree.wordnet.class_lists import coco_classes, voc_classes
from wordtree.wordnet.graph import WordNet
from wordtree.wordnet.resolve import LabelError

LVIS = {
    "categories": [
        {"id": 1, "name": "aerosol_can", "synset": "aerosol.n.02", "synonyms": ["aerosol_can", "spray_can"]},
        {"id": 2, "name": "stop_sign", "synset": "stop_sign.n.01", "synonyms": ["stop_sign"]},
        {"id": 3, "name": "crane", "synset": "crane.n.99", "synonyms": ["crane", "giraffe"]},
        {"id": 4, "name": "mouse_(computer_equipment)", "synset": "mouse.n.04"},
        {"id": 5, "name": "bobby_pinn", "synset": "bobby_pinn.n.01"},
    ]
}
OPEN_IMAGES = "/m/0k4j,Car\n/m/09b5t,Chicken\n/m/020jm,Computer mouse\n/m/014j1m,Appel\n/m/03bk1,Giraffe\n"


def resolved(path: Path, wordnet: WordNet) -> list[tuple[str, str, str, str]]:
    return [
        (line.id, line.wnid, line.reason, line.note)
        for line in resolve_classes(read_dataset_classes(path), wordnet)
    ]


def test_lvis_classes_resolve_by_synset_then_by_words(tmp_path: Path, wordnet: WordNet) -> None:
    path = tmp_path / "lvis.json"
    path.write_text(json.dumps(LVIS))
    assert resolved(path, wordnet) == [
        ("1", "n02682922", "synset name", ""),
        ("2", "n06794110", "COCO class", "as 'stop sign'"),  # a synset of LVIS's own making
        ("3", "n02439033", "exact", "as 'giraffe'"),
        ("4", "n03793489", "synset name", ""),
        ("5", "", "unknown", "perhaps bobby pin"),
    ]


@pytest.mark.parametrize("header", ["", "LabelName,DisplayName\n"], ids=["without a header", "with one"])
def test_openimages_classes_resolve_by_words(tmp_path: Path, wordnet: WordNet, header: str) -> None:
    path = tmp_path / "class-descriptions-boxable.csv"
    path.write_text(header + OPEN_IMAGES)
    lines = resolved(path, wordnet)
    assert [line[:3] for line in lines] == [
        ("/m/0k4j", "", "ambiguous"),
        ("/m/09b5t", "", "ambiguous"),
        ("/m/020jm", "n03793489", "exact"),
        ("/m/014j1m", "", "unknown"),
        ("/m/03bk1", "n02439033", "exact"),
    ]
    assert lines[0][3].startswith("car.n.01, car.n.02")
    assert lines[0][3].endswith(
        "The class 'Car' of COCO is car.n.01 (n02958343). The class 'Car' of VOC is car.n.01 (n02958343)."
    )
    assert "appel" in lines[3][3] or "apple" in lines[3][3]


def test_a_label_file_is_a_list_of_classes(tmp_path: Path, wordnet: WordNet) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("# mine\nn02084071 dog, domestic dog\ngiraffe\n")
    assert [line[1] for line in resolved(path, wordnet)] == ["n02084071", "n02439033"]


def test_the_report_is_a_table_with_every_class(wordnet: WordNet) -> None:
    line = ClassResolution("1", "dog, the", "", "", "ambiguous", 'a "note"')
    rows = list(csv.DictReader(StringIO(resolutions_csv([line]))))
    assert rows == [
        {"id": "1", "name": "dog, the", "wnid": "", "synset": "", "reason": "ambiguous", "note": 'a "note"'}
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        pytest.param("a.json", "{", "not JSON", id="no JSON"),
        pytest.param(
            "a.json",
            "[]",
            'expected annotations of COCO or LVIS, found no list "categories"',
            id="empty list",
        ),
        pytest.param(
            "a.json",
            '{"LabelName": "/m/0bl9f"}',
            'expected annotations of COCO or LVIS, found no list "categories"',
            id="another JSON",
        ),
        pytest.param("a.json", '{"categories": [{"id": 1}]}', "category 0 has no name", id="no name"),
        pytest.param("a.csv", "", "found no classes", id="empty CSV"),
        pytest.param("a.csv", "/m/1,Car,red\n", "found '/m/1,Car,red'", id="three fields"),
        pytest.param("a.csv", "/m/1,\n", "found '/m/1,'", id="no name in a row"),
        pytest.param(
            "a.txt", "# none", "expected one label on each line, found none", id="empty list of labels"
        ),
    ],
)
def test_files_without_classes_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(LabelError, match=r"a\.") as caught:
        read_dataset_classes(tmp_path / name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_classes_of_coco_or_voc_resolve_by_their_tables(tmp_path: Path, wordnet: WordNet) -> None:
    for reason, wnids in (("COCO class", coco_classes()), ("VOC class", voc_classes())):
        path = tmp_path / "classes.txt"
        path.write_text("\n".join(reversed(wnids)))
        lines = resolve_classes(read_dataset_classes(path), wordnet)
        assert {line.name: line.wnid for line in lines} == wnids
        assert {line.reason for line in lines} == {reason}
        path.write_text("\n".join(list(wnids)[:-1]))  # one fewer: some other data set
        reasons = {line.reason for line in resolve_classes(read_dataset_classes(path), wordnet)}
        assert {"exact", "ambiguous"} <= reasons


def test_every_class_of_cocos_own_file_resolves(wordnet: WordNet, published: Path) -> None:
    path = published.parent / "coco128" / "annotations" / "instances_val2017.json"
    lines = resolve_classes(read_dataset_classes(path), wordnet)
    assert {line.name: line.wnid for line in lines} == coco_classes()


def test_columns_of_openimages_may_be_in_another_order(tmp_path: Path) -> None:
    path = tmp_path / "names.csv"
    path.write_text("DisplayName,LabelName\nCar,/m/0k4j\n")
    (named,) = read_dataset_classes(path)
    assert (named.id, named.name) == ("/m/0k4j", "Car")
