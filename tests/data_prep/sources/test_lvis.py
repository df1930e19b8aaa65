import json

import pytest

from data_prep.config import LvisSource
from data_prep.sources import SourceError, open_source
from tests.data_prep.conftest import encoded_image
from tests.data_prep.readers import labels_in_shards, labels_of_record, merged

BOX = [4, 3, 20, 15]
CAN, CRAB, STOP = 1, 22, 333


@pytest.fixture
def open_lvis(tmp_path):
    """A function that writes a file with images and boxes, and an image in `train2017`, and opens the source."""

    def open_file(images, boxes, categories=None):
        folder = tmp_path / "coco" / "train2017"
        folder.mkdir(parents=True)
        (folder / "000000391895.jpg").write_bytes(encoded_image(1))
        categories = categories or [
            {"id": CAN, "name": "aerosol_can", "synset": "aerosol.n.02", "synonyms": ["spray_can"]},
            {"id": CRAB, "name": "crab_(animal)", "synset": "crab.n.01"},
            {"id": STOP, "name": "stop_sign"},
        ]
        document = {"images": images, "annotations": boxes, "categories": categories}
        (tmp_path / "lvis.json").write_text(json.dumps(document))
        return open_source(
            LvisSource(
                name="lvis", format="lvis", annotations=tmp_path / "lvis.json", images=tmp_path / "coco"
            )
        )

    return open_file


def image(negative=(), not_exhaustive=(), **more):
    return {
        "id": 7,
        "coco_url": "http://images.cocodataset.org/train2017/000000391895.jpg",
        "width": 40,
        "height": 30,
        "neg_category_ids": list(negative),
        "not_exhaustive_category_ids": list(not_exhaustive),
    } | more


def box(category_id, bbox=BOX):
    return {"image_id": 7, "category_id": category_id, "bbox": bbox}


def labels_of(source):
    """For each class of the only image: whether it is present, and whether it is exhaustively annotated."""
    (record,) = source.records()
    return {source.classes[label.class_index]: label[1:] for label in record.labels}


def test_classes_have_names_and_synsets_and_the_source_is_federated(open_lvis):
    source = open_lvis([image()], [])
    assert source.classes == ("aerosol_can", "crab_(animal)", "stop_sign")
    assert source.aliases == ("aerosol.n.02", "crab.n.01", "")
    assert source.is_federated


def test_images_are_found_by_their_coco_url(open_lvis):
    (record,) = open_lvis([image()], [box(CRAB)]).records()
    assert record.source_id == "train2017/000000391895.jpg"
    assert record.path.is_file()
    assert record.boxes.xyxy_unit[0] == (4 / 40, 3 / 30, 24 / 40, 18 / 30)


def test_images_without_a_coco_url_are_found_by_file_name(open_lvis):
    (record,) = open_lvis([image(coco_url=None, file_name="train2017/000000391895.jpg")], []).records()
    assert record.source_id == "train2017/000000391895.jpg"


def test_each_list_gives_its_kind_of_label(open_lvis):
    source = open_lvis([image([STOP], [CRAB])], [box(CAN), box(CAN), box(CRAB)])
    assert labels_of(source) == {
        "aerosol_can": (True, True),
        "crab_(animal)": (True, False),
        "stop_sign": (False, False),
    }
    assert +source.counts == {}


def test_a_class_is_not_exhaustive_if_one_of_its_boxes_was_left_out(open_lvis):
    source = open_lvis([image()], [box(CAN), box(CAN, [99, 99, 1, 1]), box(CRAB)])
    assert labels_of(source) == {"aerosol_can": (True, False), "crab_(animal)": (True, True)}
    assert +source.counts == {"box outside its image": 1}


def test_a_class_that_is_not_exhaustive_is_present_even_without_a_box(open_lvis):
    assert labels_of(open_lvis([image([], [CRAB])], [])) == {"crab_(animal)": (True, False)}


def test_contradictions_and_unknown_categories_are_counted(open_lvis):
    source = open_lvis([image([CAN, 77, "x", None], [CRAB, CRAB])], [box(CAN), box(77)])
    assert labels_of(source) == {"aerosol_can": (True, True), "crab_(animal)": (True, False)}
    assert +source.counts == {
        "negative image label of a class that has a box": 1,
        "image label of a category that the file does not list": 3,
        "repeated image label": 1,
        "box of a category that the file does not list": 1,
    }


def test_a_class_in_both_lists_is_left_out(open_lvis):
    source = open_lvis([image([CRAB], [CRAB])], [])
    assert labels_of(source) == {}
    assert +source.counts == {"image label that contradicts another": 2}


@pytest.mark.parametrize("lists", [None, 3, {"1": 2}, "1"], ids=repr)
def test_lists_of_a_wrong_type_are_ignored(open_lvis, lists):
    source = open_lvis([image(neg_category_ids=lists, not_exhaustive_category_ids=lists)], [])
    assert labels_of(source) == {}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "http://",
        "http://host",
        "http://host/",
        "http://host//etc/passwd",
        "http://host/../../x",
        "a://b/C:/x",
    ],
)
def test_a_url_that_leaves_the_folder_is_counted(open_lvis, url):
    source = open_lvis([image([STOP], [CAN], coco_url=url)], [box(CAN)])
    assert list(source.records()) == []
    assert +source.counts == {
        "image without a file name inside the folder": 1,
        "box of an image left out": 1,
        "image label of an image left out": 2,
    }


def test_a_file_without_categories_is_reported_in_one_line(open_lvis):
    with pytest.raises(SourceError, match=r"lvis\.json: category 1 has no id or no name"):
        open_lvis([image()], [], [{"synset": "aerosol.n.02"}])


def test_shards_have_the_labels_of_the_file_at_the_nodes_of_the_synsets(open_lvis, tmp_path):
    bbox = [10, 15, 20, 7.5]  # quarters, which float32 holds
    source = open_lvis([image([STOP], [CRAB])], [box(CAN, bbox), box(CRAB, bbox)])
    reader = merged(tmp_path, format="lvis", annotations="lvis.json", images="coco")
    (record,) = source.records()
    assert labels_in_shards(reader) == {record.source_id: labels_of_record(record, source.classes)}
    assert [(row.name, row.alias, row.reason) for row in reader.classes] == [
        ("aerosol_can", "aerosol.n.02", "synset name"),
        ("crab_(animal)", "crab.n.01", "synset name"),
        ("stop_sign", "", "curated"),
    ]
    assert reader.sources[0].is_federated
    assert len(reader.sources[0].exhaustive) == 0
