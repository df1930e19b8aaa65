import json

import pytest

from data_prep.config import CocoSource
from data_prep.sources import SourceError, open_source

from .conftest import picture, write_coco


def coco_of(folder):
    return CocoSource(
        name="coco", format="coco", annotations=folder / "instances.json", images=folder / "photos"
    )


def image(image_id=1, **more):
    return {"id": image_id, "file_name": "000.jpg", "width": 40, "height": 30} | more


def box(bbox, image_id=1, category_id=10, **more):
    return {"image_id": image_id, "category_id": category_id, "bbox": bbox} | more


def read(world, images, boxes):
    write_coco(world, images, boxes, ["cat"])
    source = open_source(coco_of(world))
    records = list(source.records())
    return records, {reason: count for reason, count in source.counts.items() if count}


def test_coco_pictures_come_with_their_boxes_in_the_unit_square(world):
    source = open_source(coco_of(world))
    records = list(source.records())
    assert source.classes == ("cat", "dog", "car")
    assert [len(record.boxes) for record in records] == [0, 1, 2, 0, 1, 0]
    assert records[2].boxes[1].class_index == 1
    assert records[2].boxes[1].xyxy_unit == (4 / 40, 3 / 30, 24 / 40, 18 / 30)
    assert [box.is_ignored for record in records for box in record.boxes] == [True, False, False, False]
    assert +source.counts == {"crowd kept as an ignore region": 1}


def test_streaming_twice_gives_the_same_pictures_and_counts(world):
    source = open_source(coco_of(world))
    first, counts = list(source.records()), dict(source.counts)
    assert list(source.records()) == first
    assert dict(source.counts) == counts


@pytest.mark.parametrize(
    ("bbox", "reason"),
    [
        pytest.param(None, "box that is not four finite numbers", id="absent"),
        pytest.param([1, 2, 3], "box that is not four finite numbers", id="three numbers"),
        pytest.param(["a", 2, 3, 4], "box that is not four finite numbers", id="text"),
        pytest.param([True, 2, 3, 4], "box that is not four finite numbers", id="boolean"),
        pytest.param([float("nan"), 2, 3, 4], "box that is not four finite numbers", id="NaN"),
        pytest.param([1, 2, float("inf"), 4], "box that is not four finite numbers", id="infinite"),
        pytest.param([1, 2, 10**400, 4], "box that is not four finite numbers", id="huge"),
        pytest.param([9, 2, -3, 4], "box with negative width or height", id="inverted"),
        pytest.param([1, 2, 0, 4], "box of zero area", id="zero width"),
        pytest.param([1, 2, 1e-9, 4], "box of zero area", id="thinner than float32"),
        pytest.param([40, 2, 5, 5], "box outside its picture", id="right of the picture"),
        pytest.param([-9, 2, 5, 5], "box outside its picture", id="left of the picture"),
    ],
)
def test_an_invalid_box_is_left_out_and_counted_by_reason(world, bbox, reason):
    records, counts = read(world, [image()], [box(bbox), box([1, 2, 3, 4])])
    assert [len(record.boxes) for record in records] == [1]
    assert counts == {reason: 1}


def test_a_box_that_sticks_out_is_clipped_and_counted(world):
    records, counts = read(world, [image()], [box([-10, 5, 30, 90]), box([0, 0, 40.5, 30])])
    assert records[0].boxes[0].xyxy_unit == (0, 5 / 30, 20 / 40, 1)
    assert records[0].boxes[1].xyxy_unit == (0, 0, 1, 1)
    assert counts == {"box clipped to the picture (kept)": 1}  # half a pixel is rounding


def test_unknown_categories_and_images_are_counted(world):
    boxes = [box([1, 2, 3, 4], category_id=77), box([1, 2, 3, 4], image_id=5), box([1, 2, 3, 4], image_id=[])]
    records, counts = read(world, [image()], boxes)
    assert [len(record.boxes) for record in records] == [0]
    assert counts == {
        "box of a category that the file does not list": 1,
        "box of an image that the file does not list": 2,
    }


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        pytest.param(image(file_name="gone.jpg"), "picture file missing", id="missing"),
        pytest.param(image(file_name="a\0b.jpg"), "picture file missing", id="null character"),
        pytest.param(
            image(file_name="../instances.json"), "image without a file name inside the folder", id="escapes"
        ),
        pytest.param(
            image(file_name="/etc/passwd"), "image without a file name inside the folder", id="absolute"
        ),
        pytest.param(image(file_name=""), "image without a file name inside the folder", id="empty"),
        pytest.param(image(file_name=7), "image without a file name inside the folder", id="a number"),
        pytest.param(image(width=0), "image without width and height", id="zero width"),
        pytest.param(image(height=None), "image without width and height", id="no height"),
    ],
)
def test_an_image_that_cannot_be_used_is_counted_with_its_boxes(world, entry, reason):
    records, counts = read(world, [entry], [box([1, 2, 3, 4])])
    assert records == []
    assert counts == {reason: 1, "box of an image left out": 1}


def test_a_repeated_image_id_counts_once(world):
    records, counts = read(world, [image(), image(), image(None)], [box([1, 2, 3, 4])])
    assert len(records) == 1
    assert counts == {"image id that occurred before": 1, "image without an id": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("{", "not JSON: ", id="cut"),
        pytest.param("[" * 100_000, "not JSON: ", id="nested deeply"),
        pytest.param("[]", "not a COCO instances file: found a list", id="a list"),
        pytest.param('{"a": 1}', "found no list 'images'", id="another object"),
        pytest.param(
            '{"images": [3], "annotations": [], "categories": []}', "'images' holds entries", id="numbers"
        ),
        pytest.param(
            '{"images": [], "annotations": [{"segments_info": []}], "categories": []}',
            "panoptic",
            id="panoptic",
        ),
        pytest.param(
            '{"images": [], "annotations": [], "categories": [{"id": 1}]}',
            "no id or no name",
            id="nameless category",
        ),
        pytest.param(
            '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": ""}]}',
            "listed twice",
            id="category twice",
        ),
    ],
)
def test_a_json_that_is_not_coco_is_told_in_one_line(world, text, expected):
    (world / "instances.json").write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match=r"instances\.json") as caught:
        open_source(coco_of(world))
    assert expected in str(caught.value)


def test_a_file_that_is_no_text_is_told_in_one_line(world):
    (world / "instances.json").write_bytes(picture(0))
    with pytest.raises(SourceError, match="not UTF-8"):
        open_source(coco_of(world))


def test_masks_are_not_kept_in_memory(world):
    entry = box([1, 2, 3, 4], segmentation=[[1.0] * 1000])
    write_coco(world, [image()], [entry], ["cat"])
    source = open_source(coco_of(world))
    assert "segmentation" not in json.dumps(source.stream.__self__.by_image)
    assert len(list(source.records())) == 1
