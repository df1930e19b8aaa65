import gzip
import json
import shutil
import tracemalloc
from itertools import permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.config import CocoSource
from data_prep.sources import SourceError, open_source
from tests.data_prep.conftest import encoded_image, write_coco


def coco_of(folder, file="instances.json", **more):
    values = {"name": "coco", "format": "coco", "annotations": folder / file, "images": folder / "photos"}
    return CocoSource(**values | more)


def image(image_id=1, **more):
    return {"id": image_id, "file_name": "000.jpg", "width": 40, "height": 30} | more


def box(bbox, image_id=1, category_id=10, **more):
    return {"image_id": image_id, "category_id": category_id, "bbox": bbox} | more


def read(world, images, boxes, **more):
    write_coco(world, images, boxes, ["cat"])
    source = open_source(coco_of(world, **more))
    records = list(source.records())
    return records, {reason: count for reason, count in source.counts.items() if count}


def test_coco_images_have_boxes_in_the_unit_square(world):
    source = open_source(coco_of(world))
    records = list(source.records())
    assert source.classes == ("cat", "dog", "car")
    assert [len(record.boxes) for record in records] == [0, 1, 2, 0, 1, 0]
    assert records[2].boxes.class_index[1] == 1
    assert records[2].boxes.xyxy_unit[1] == (4 / 40, 3 / 30, 24 / 40, 18 / 30)
    assert [flag for record in records for flag in record.boxes.is_ignored] == [True, False, False, False]
    assert +source.counts == {"crowd kept as an ignore region": 1}


def test_streaming_twice_gives_the_same_images_and_counts(world):
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
        pytest.param([40, 2, 5, 5], "box outside its image", id="right of the image"),
        pytest.param([-9, 2, 5, 5], "box outside its image", id="left of the image"),
    ],
)
def test_an_invalid_box_is_left_out_and_counted_by_reason(world, bbox, reason):
    records, counts = read(world, [image()], [box(bbox), box([1, 2, 3, 4])])
    assert [len(record.boxes) for record in records] == [1]
    assert counts == {reason: 1}


def test_a_box_beyond_the_image_is_clipped_and_counted(world):
    records, counts = read(world, [image()], [box([-10, 5, 30, 90]), box([0, 0, 40.5, 30])])
    assert records[0].boxes.xyxy_unit[0] == (0, 5 / 30, 20 / 40, 1)
    assert records[0].boxes.xyxy_unit[1] == (0, 0, 1, 1)
    assert counts == {"box clipped to the image (kept)": 1}  # half a pixel is rounding


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
        pytest.param(image(file_name="gone.jpg"), "image file missing", id="missing"),
        pytest.param(image(file_name="a\0b.jpg"), "image file missing", id="null character"),
        pytest.param(
            image(file_name="../instances.json"), "image without a file name inside the folder", id="escapes"
        ),
        pytest.param(
            image(file_name="/etc/passwd"), "image without a file name inside the folder", id="absolute"
        ),
        pytest.param(image(file_name=""), "image without a file name inside the folder", id="empty"),
        pytest.param(image(file_name=7), "image without a file name inside the folder", id="a number"),
    ],
)
def test_an_image_that_cannot_be_used_is_counted_with_its_boxes(world, entry, reason):
    records, counts = read(world, [entry], [box([1, 2, 3, 4])])
    assert records == []
    assert counts == {reason: 1, "box of an image left out": 1}


def test_an_image_without_a_file_name_is_shown_by_its_place_in_the_file(world):
    write_coco(world, [image(), {"id": 2, "path": "000.jpg", "width": 40, "height": 30}], [], ["cat"])
    source = open_source(coco_of(world))
    list(source.records())
    [(_, _, place)] = source.counts.left_out()
    assert place == f"{world / 'instances.json'}, entry 2 of `images`"


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
        pytest.param("7", "not a COCO instances file: found 7;", id="a number"),
        pytest.param("", "not JSON: Expecting value", id="empty"),
        pytest.param('{"images": 3}', "found no list 'images'", id="a number for a list"),
        pytest.param('{"images": [], "images": []}', "found two lists 'images'", id="a list twice"),
        pytest.param(
            '{"images": [], "annotations": [], "categories": []} {}', "not JSON: Extra data", id="more behind"
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
def test_a_json_that_is_not_coco_is_reported_in_one_line(world, text, expected):
    (world / "instances.json").write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match=r"instances\.json") as caught:
        open_source(coco_of(world))
    assert expected in str(caught.value)


def test_a_binary_file_is_reported_in_one_line(world):
    (world / "instances.json").write_bytes(encoded_image(0))
    with pytest.raises(SourceError, match="not UTF-8"):
        open_source(coco_of(world))


def test_ids_may_be_texts_or_numbers_of_any_size(world):
    boxes = [
        box([number, 2, 3, 4], image_id=key) for number, key in enumerate(("01", 1, "a", 2**70, 2**63, True))
    ]
    keys = (2**70, "a", 1, "01", 2**63)
    records, counts = read(world, [image(key, file_name=f"00{n}.jpg") for n, key in enumerate(keys)], boxes)
    assert [[corners[0] * 40 for corners in record.boxes.xyxy_unit] for record in records] == [
        [3],
        [2],
        [1],
        [0],
        [4],
    ]
    assert counts == {"box of an image that the file does not list": 1}


def test_repeated_annotation_ids_are_kept_and_counted(world):
    boxes = [box([1, 2, 3, 4], id=key) for key in (5, 6, 5, "5", None, None, 5)]
    records, counts = read(world, [image()], boxes)
    assert len(records[0].boxes) == 7
    assert counts == {"annotation id that occurred before (kept)": 3}


@pytest.mark.parametrize("order", list(permutations(("images", "annotations", "categories"))), ids="-".join)
def test_the_lists_may_come_in_any_order(world, order):
    expected = list(open_source(coco_of(world)).records())
    document = json.loads((world / "instances.json").read_text())
    reordered = {"info": {"lists": [[1], {}]}, **{key: document[key] for key in order}, "extra": [1, [2]]}
    (world / "instances.json").write_text(json.dumps(reordered, indent=1))
    assert list(open_source(coco_of(world)).records()) == expected


def test_boxes_of_an_image_may_be_scattered_and_keep_their_order(world):
    images = [image(number, file_name=f"00{number}.jpg") for number in range(3)]
    boxes = [box([number, 2, 3, 4], image_id=number % 3) for number in range(9)]
    records, _ = read(world, images, boxes)
    assert [[round(corners[0] * 40) for corners in record.boxes.xyxy_unit] for record in records] == [
        [0, 3, 6],
        [1, 4, 7],
        [2, 5, 8],
    ]


def test_a_compressed_file_is_read(world):
    expected = list(open_source(coco_of(world)).records())
    for name in ("small.json.gz", "SMALL.JSON.GZ", "compressed.json"):
        (world / name).write_bytes(gzip.compress((world / "instances.json").read_bytes()))
        assert list(open_source(coco_of(world, name)).records()) == expected
    shutil.copy(world / "instances.json", world / "unpacked.json.gz")
    assert list(open_source(coco_of(world, "unpacked.json.gz")).records()) == expected


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("..", "image without a file name inside the folder", id="the parent"),
        pytest.param("a/../../x.jpg", "image without a file name inside the folder", id="out and away"),
        pytest.param(
            "..\\instances.json", "image without a file name inside the folder", id="Windows' parent"
        ),
        pytest.param("C:\\000.jpg", "image without a file name inside the folder", id="drive letter"),
        pytest.param("\\\\host\\000.jpg", "image without a file name inside the folder", id="Windows' share"),
        pytest.param("\ud800.jpg", "image file missing", id="half a surrogate pair"),
        pytest.param("a" * 5000, "image file missing", id="longer than any path"),
        pytest.param(".", "image without a file name inside the folder", id="the folder"),
        pytest.param("deep", "image file missing", id="a folder in it"),
    ],
)
def test_a_name_that_leaves_the_folder_is_counted(world, name, reason):
    (world / "photos" / "deep").mkdir()
    records, counts = read(world, [image(file_name=name)], [])
    assert records == []
    assert counts == {reason: 1}


def test_a_backslash_separates_folders_as_windows_writes_them(world):
    (world / "photos" / "deep").mkdir()
    (world / "photos" / "deep" / "x.jpg").write_bytes(encoded_image(1))
    records, _ = read(world, [image(file_name="deep\\x.jpg")], [])
    assert [record.source_id for record in records] == ["deep/x.jpg"]


def test_any_class_name_becomes_valid_utf8(world):
    write_coco(world, [image()], [], ["\ud800", "\udcff", "猫"])
    assert open_source(coco_of(world)).classes == ("\\xed\\xa0\\x80", "\\xff", "猫")


@pytest.mark.parametrize("place", ["", "patch8", "v1/patch8", "images/v1/patch8"], ids=repr)
def test_images_of_objects365_may_lie_in_one_folder_or_in_patch_folders(world, place):
    (world / "photos" / place).mkdir(parents=True, exist_ok=True)
    (world / "photos" / place / "objects365_v1_00420917.jpg").write_bytes(encoded_image(1))
    names = [f"images/v1/patch8/objects365_v1_{number:08d}.jpg" for number in (420917, 420918)]
    images = [image(number, file_name=name) for number, name in enumerate(names)]
    records, counts = read(world, images, [box([1, 2, 3, 4], 0), box([1, 2, 3, 4])], format="objects365")
    assert [record.source_id for record in records] == names[:1]
    assert records[0].path == world / "photos" / place / "objects365_v1_00420917.jpg"
    assert counts == {"image file missing": 1, "box of an image left out": 1}


def test_images_of_coco_are_found_only_at_the_stated_path(world):
    _, counts = read(world, [image(file_name="train/000.jpg")], [])
    assert counts == {"image file missing": 1}


def test_a_file_with_too_many_categories_is_reported_in_one_line(world, monkeypatch):
    monkeypatch.setattr("data_prep.sources.coco_instances._MOST_CLASSES", 20)
    with pytest.raises(SourceError, match="found more than 20 different category ids"):
        read(world, [image()], [box([1, 2, 3, 4], category_id=number) for number in range(30)])


NUMBERS = st.sampled_from([0, 1, 5, 12.5, 40, -3, 1e-12, 1e300, 10**400, float("nan"), float("inf"), True])
JUNK = NUMBERS | st.sampled_from(
    [None, "", "1", "a", "../x", "000.jpg", "a\0", "\ud800", [], [[1]], {}, {"id": 1}]
)
IDS = st.sampled_from([0, 1, 2, "1", 2**64]) | JUNK
FUZZED_IMAGES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "id": IDS,
            "file_name": JUNK,
            "width": JUNK,
            "height": JUNK,
            "neg_category_ids": JUNK | st.lists(IDS),
        },
    )
    | st.builds(image, IDS),
    max_size=6,
)
FUZZED_BOXES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "id": IDS,
            "image_id": IDS,
            "category_id": IDS | st.just(10),
            "bbox": st.lists(NUMBERS, min_size=4, max_size=4) | JUNK,
            "iscrowd": JUNK,
            "segmentation": JUNK,
        },
    )
    | st.builds(box, st.lists(NUMBERS, min_size=4, max_size=4), IDS),
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(images=FUZZED_IMAGES, boxes=FUZZED_BOXES)
def test_in_any_file_each_image_and_each_box_is_yielded_or_counted_once(world, images, boxes):
    records, counts = read(world, images, boxes)
    lost_images = sum(
        count
        for reason, count in counts.items()
        if reason.startswith("image")
        and not reason.startswith(("image label", "image whose boxes are read as shares"))
    )
    lost_boxes = sum(
        count
        for reason, count in counts.items()
        if reason.startswith("box") and not reason.endswith("(kept)")
    )
    assert len(records) + lost_images == len(images)
    unboxed = sum(box.get("bbox") in (None, []) for box in boxes)
    kept = sum(len(record.boxes or ()) for record in records)
    assert len(boxes) - unboxed <= kept + lost_boxes <= len(boxes) or all(r.boxes is None for r in records)
    for record in filter(lambda record: record.boxes, records):
        for x1, y1, x2, y2 in record.boxes.xyxy_unit:
            assert 0 <= x1 < x2 <= 1
            assert 0 <= y1 < y2 <= 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    document=st.dictionaries(st.sampled_from(["images", "annotations", "categories"]), JUNK | st.lists(JUNK))
)
def test_with_any_lists_the_file_is_read_or_reported_in_one_line(world, document):
    (world / "instances.json").write_text(json.dumps(document))
    trouble = ""
    try:
        list(open_source(coco_of(world)).records())
    except SourceError as reason:
        trouble = str(reason)
    assert "\n" not in trouble
    assert trouble or len(document) == 3


def test_a_box_takes_at_most_a_hundred_bytes_while_it_is_read(world):
    """In a file of images with seven boxes each, in no order: the constant part cancels out."""
    annotation = (
        '{"segmentation": [[1.5, 2.25, 3.5, 4.75, 5.5, 6.25]], "bbox": [1.5, 2.5, 3.5, 4.5], '
        '"category_id": 10, "id": %d, "image_id": %d}'
    )

    def peak(image_count):
        boxes = ", ".join(annotation % (row, row * 37 % image_count) for row in range(7 * image_count))
        images = ", ".join(json.dumps(image(number)) for number in range(image_count))
        text = (
            f'{{"annotations": [{boxes}], "images": [{images}], "categories": [{{"id": 10, "name": "a"}}]}}'
        )
        (world / "instances.json").write_text(text)
        tracemalloc.start()
        source = open_source(coco_of(world))
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sum(len(record.boxes) for record in source.records()) == 7 * image_count
        return peak_bytes

    peak(10)  # imports
    assert (peak(8000) - peak(2000)) / (6000 * 7) < 100


@pytest.mark.parametrize(("split", "boxes"), [("train", 929), ("val", 898)])
def test_coco128_agrees_with_a_reading_by_the_standard_library(real_data, split, boxes):
    folder = real_data / "coco128"
    file, photos = folder / "annotations" / f"instances_{split}2017.json", folder / "images" / f"{split}2017"
    document = json.loads(file.read_text())
    source = open_source(CocoSource(name="coco", format="coco", annotations=file, images=photos))
    records = list(source.records())
    places = {category["id"]: place for place, category in enumerate(document["categories"])}
    assert source.classes == tuple(category["name"] for category in document["categories"])
    assert [record.source_id for record in records] == [image["file_name"] for image in document["images"]]
    for record, entry in zip(records, document["images"], strict=True):
        width, height = entry["width"], entry["height"]
        assert record.size_px == (width, height)
        mine = [annotation for annotation in document["annotations"] if annotation["image_id"] == entry["id"]]
        assert record.boxes.class_index == [places[one["category_id"]] for one in mine]
        for corners, (x, y, w, h) in zip(record.boxes.xyxy_unit, (one["bbox"] for one in mine), strict=True):
            expected = (max(x / width, 0), max(y / height, 0), (x + w) / width, (y + h) / height)
            assert corners == pytest.approx([min(corner, 1) for corner in expected], abs=1e-12)
    assert len(records) == 128
    assert sum(len(record.boxes) for record in records) == boxes
    assert +source.counts == {}


def test_coco_panoptic_annotations_have_their_own_message(real_data):
    folder = real_data / "coco128"
    annotations = folder / "annotations" / "panoptic_val2017.json"
    with pytest.raises(SourceError, match="found panoptic annotations"):
        open_source(coco_of(folder, annotations=annotations, images=folder / "images" / "val2017"))


@pytest.mark.parametrize(
    ("name", "expected"), [(7, "7"), (7.0, "7"), (12345678, "12345678"), (10**400, str(10**400))]
)
def test_a_category_whose_name_is_a_number_has_its_digits_as_name(world, name, expected):
    document = {
        "images": [image()],
        "annotations": [box([1, 2, 10, 10])],
        "categories": [{"id": 10, "name": name}],
    }
    (world / "instances.json").write_text(json.dumps(document))
    assert open_source(coco_of(world)).classes == (expected,)


@pytest.mark.parametrize("image_id", ["frame 7.jpg", "007", "3f2a-uuid"])
def test_an_image_id_that_the_file_does_not_list_is_shown_as_it_is_written(world, image_id):
    write_coco(world, [image()], [box([1, 2, 3, 4]), box([1, 2, 3, 4], image_id)], ["cat"])
    source = open_source(coco_of(world))
    list(source.records())
    assert list(source.counts.left_out()) == [
        ("box of an image that the file does not list", f"image id {image_id}", "")
    ]
