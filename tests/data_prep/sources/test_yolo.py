import os

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep import MergeConfig, ShardReader, load_config, merge
from data_prep.config import YoloSource
from data_prep.sources import SourceError, open_source
from tests.data_prep.conftest import encoded_image
from tests.data_prep.readers import (
    box_rows,
    labels_in_shards,
    labels_of_record,
    make_boxes,
    merged,
    read,
    write_images,
)

BACKGROUND = "image without a text file (kept, no object)"


@pytest.fixture
def yolo(tmp_path):
    """Images images/train/{a,b,c}.jpg; a function that writes label files and reads them all."""
    write_images(tmp_path / "images" / "train", ["a.jpg", "b.jpg", "c.jpg"])
    (tmp_path / "labels" / "train").mkdir(parents=True)
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\n")

    def write(files, **changes):
        for name, text in files.items():
            path = tmp_path / "labels" / "train" / name
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        paths = {"images": tmp_path / "images" / "train", "class_names": tmp_path / "data.yaml"}
        return YoloSource(name="yolo", format="yolo", **(paths | changes))

    return write


def test_a_line_is_a_class_a_centre_and_a_size(yolo):
    source, records, counts = read(yolo({"a.txt": "1 0.5 0.5 0.5 0.25\n0 .25 .25 .5 .5\r\n", "b.txt": ""}))
    assert (source.classes, source.has_boxes) == (("cat", "dog"), True)
    assert records[0].boxes == make_boxes((1, (0.25, 0.375, 0.75, 0.625)), (0, (0, 0, 0.5, 0.5)))
    assert [(record.source_id, record.size_px) for record in records] == [
        ("a.jpg", None),
        ("b.jpg", None),
        ("c.jpg", None),
    ]
    assert [len(record.boxes) for record in records] == [2, 0, 0]
    assert counts == {BACKGROUND: 1}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param("0 .5 .5 .5", "line that is neither a box nor a polygon", id="too short"),
        pytest.param("0 .5 .5 .5 .5 .9", "line that is neither a box nor a polygon", id="a sixth number"),
        pytest.param("0", "line that is neither a box nor a polygon", id="a class alone"),
        pytest.param("0.5 .5 .5 .5 .5", "line whose class is not an integer", id="half a class"),
        pytest.param("cat .5 .5 .5 .5", "line whose class is not an integer", id="a word"),
        pytest.param("nan .5 .5 .5 .5", "line whose class is not an integer", id="NaN as class"),
        pytest.param("inf .5 .5 .5 .5", "line whose class is not an integer", id="infinity as class"),
        pytest.param("2 .5 .5 .5 .5", "line whose class number has no name", id="class beyond the names"),
        pytest.param("-1 .5 .5 .5 .5", "line whose class number has no name", id="class below 0"),
        pytest.param("0 .5 x .5 .5", "box that is not four finite numbers", id="a word among the numbers"),
        pytest.param("0 .5 nan .5 .5", "box that is not four finite numbers", id="NaN"),
        pytest.param("0 .5 1e999 .5 .5", "box that is not four finite numbers", id="infinite"),
        pytest.param("0 .1 .1 .9 .1 .5 nan", "box that is not four finite numbers", id="NaN in a polygon"),
        pytest.param("0 .5 .5 -.5 .5", "box with negative width or height", id="negative width"),
        pytest.param("0 .5 .5 0 .5", "box of zero area", id="zero width"),
        pytest.param("0 .1 .1 .1 .5 .1 .9", "box of zero area", id="a polygon in one line"),
        pytest.param("0 320 240 64 48", "box outside its image", id="pixels"),
        pytest.param("0 .5 .5 1.2 .5", "box clipped to the image (kept)", id="wider than the image"),
    ],
)
def test_a_line_that_is_no_box_is_counted_by_reason(yolo, line, reason):
    _, records, counts = read(yolo(dict.fromkeys(("a.txt", "b.txt", "c.txt"), f"{line}\n\n1 .5 .5 .5 .5")))
    assert [len(record.boxes) for record in records] == [1 + reason.endswith("(kept)")] * 3
    counts.pop("polygon converted to its bounding box", None)
    assert counts == {reason: 3}


def test_rounding_at_the_edge_does_not_count_as_clipping(yolo):
    _, records, counts = read(yolo({f"{name}.txt": "0 0.250001 .5 0.500003 1.000001" for name in "abc"}))
    assert records[0].boxes.xyxy_unit[0] == (0, 0, pytest.approx(0.5, abs=1e-5), 1)
    assert counts == {}


def test_a_polygon_becomes_its_bounding_box(yolo):
    _, records, counts = read(yolo({"a.txt": "1 0.5 0.125 0.75 0.5 0.25 0.25 0.5 0.375\n1 .5 .5 .1 .1 0 0"}))
    assert records[0].boxes.xyxy_unit == [(0.25, 0.125, 0.75, 0.5), (0, 0, 0.5, 0.5)]
    assert counts["polygon converted to its bounding box"] == 2


def test_keypoints_after_a_box_are_not_a_polygon(yolo, tmp_path):
    (tmp_path / "data.yaml").write_text("names: {0: person}\nkpt_shape: [3, 2]\n")
    _, records, counts = read(yolo({"a.txt": "0 .5 .5 .5 .5 .1 .1 .2 .2 .3 .3"}))
    assert records[0].boxes == make_boxes((0, (0.25, 0.25, 0.75, 0.75)))
    assert counts == {BACKGROUND: 2}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(encoded_image(0), id="an image"),
        pytest.param("0 .5 .5 .5 .5".encode("utf-16"), id="UTF-16"),
        pytest.param("0 .5 .5 .5 .5".encode("utf-16-le"), id="UTF-16 without mark"),
        pytest.param(b"0 .5 .5 .5 .5 \xff", id="not UTF-8"),
    ],
)
def test_an_image_whose_text_file_is_not_text_is_left_out(yolo, content):
    _, records, counts = read(yolo({"a.txt": content, "b.txt": "\ufeff0 .5 .5 .5 .5"}))
    assert [record.source_id for record in records] == ["b.jpg", "c.jpg"]
    assert len(records[0].boxes) == 1
    assert counts == {"image whose text file is not UTF-8 text": 1, BACKGROUND: 1}


def test_pipes_and_broken_links_are_counted_and_do_not_block(yolo, tmp_path):
    config = yolo({})
    os.mkfifo(tmp_path / "labels" / "train" / "a.txt")
    (tmp_path / "labels" / "train" / "b.txt").symlink_to("nowhere")
    os.mkfifo(tmp_path / "images" / "train" / "d.jpg")
    _, records, counts = read(config)
    assert [record.source_id for record in records] == ["c.jpg"]
    assert counts == {
        "image whose text file is not a regular file or larger than 16 MB": 1,
        "image whose text file is a broken link": 1,
        "image file missing": 1,
        BACKGROUND: 1,
    }


def test_links_to_images_are_followed_and_links_to_folders_counted(yolo, tmp_path):
    (tmp_path / "store.jpg").write_bytes(encoded_image(0))
    (tmp_path / "images" / "train" / "d.jpg").symlink_to(tmp_path / "store.jpg")
    (tmp_path / "images" / "train" / "e.jpg").symlink_to("a.jpg")
    (tmp_path / "images" / "train" / "f").symlink_to(tmp_path)
    _, records, counts = read(yolo({f"{name}.txt": "" for name in "abc"}))
    assert [record.source_id for record in records] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]
    assert counts == {
        "link to a folder (not followed)": 1,
        BACKGROUND: 2,
    }


def test_other_files_are_counted(yolo, tmp_path):
    (tmp_path / "images" / "train" / "notes.md").write_text("")
    (tmp_path / "labels" / "train" / "sub").mkdir()
    (tmp_path / "labels" / "train" / "sub" / "x.txt").write_text("")
    _, records, counts = read(yolo({f"{name}.txt": "" for name in "abcd"}))
    assert len(records) == 3
    assert counts == {"file without the suffix of an image": 1, "text file without an image": 2}


def test_names_that_are_not_utf8_are_found_and_escaped(yolo, tmp_path):
    name = os.fsdecode(b"\xff.jpg")
    write_images(tmp_path / "images" / "train", [name])
    (tmp_path / "labels" / "train" / os.fsdecode(b"\xff.txt")).write_text("0 .5 .5 1 1")
    _, records, _ = read(yolo({}))
    assert records[-1].source_id == r"\xff.jpg"
    assert len(records[-1].boxes) == 1
    assert records[-1].path.is_file()


@pytest.mark.parametrize(
    ("images", "texts", "settings"),
    [
        pytest.param("set/images/val", "set/labels/val", {"images": "set/images/val"}, id="Ultralytics"),
        pytest.param("set/images", "set/labels", {"images": "set/images"}, id="one folder"),
        pytest.param("set/val/images", "set/val/labels", {"images": "set/val/images"}, id="Roboflow"),
        pytest.param("set/val/images", "set/val/labels", {"images": "set"}, id="the whole set"),
        pytest.param(
            "images/x/images/y", "images/x/labels/y", {"images": "images/x/images"}, id="the last of two"
        ),
        pytest.param("set/photos", "set/photos", {"images": "set/photos"}, id="beside the images"),
        pytest.param(
            "images/val/deep",
            "texts/deep",
            {"images": "images/val", "labels": "texts"},
            id="configured folder",
        ),
    ],
)
def test_text_files_are_found_where_ultralytics_looks_for_them(yolo, tmp_path, images, texts, settings):
    write_images(tmp_path / images, ["x.jpg"])
    (tmp_path / texts).mkdir(parents=True, exist_ok=True)
    (tmp_path / texts / "x.txt").write_text("0 .5 .5 1 1")
    _, records, counts = read(yolo({}, **{key: tmp_path / path for key, path in settings.items()}))
    assert [len(record.boxes) for record in records] == [1]
    assert counts == {}


def test_images_without_a_folder_of_text_files_are_refused_not_taken_as_background(yolo, tmp_path):
    write_images(tmp_path / "other" / "images", ["x.jpg"])
    source = open_source(yolo({}, images=tmp_path / "other" / "images"))
    with pytest.raises(
        SourceError, match=r"expected the text files of its images in .*/other/labels, found no"
    ):
        list(source.records())


@pytest.mark.parametrize(
    ("name", "text", "classes"),
    [
        pytest.param("data.yaml", "names: [cat, 7]", ("cat", "7"), id="a list"),
        pytest.param("data.yml", "nc: 2\nnames: {1: dog, 0: cat}", ("cat", "dog"), id="by number"),
        pytest.param("data.yaml", "names: {'0': cat}", ("cat",), id="by number in quotes"),
        pytest.param("obj.names", "cat\r\ntraffic light\n\n", ("cat", "traffic light"), id="a text file"),
    ],
)
def test_class_names_are_read_from_yaml_and_text(yolo, tmp_path, name, text, classes):
    (tmp_path / name).write_text(text)
    assert open_source(yolo({}, class_names=tmp_path / name)).classes == classes


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        pytest.param("x.yaml", None, "cannot read", id="no file"),
        pytest.param("x.yaml", "a: [", "line 1: not YAML", id="not YAML"),
        pytest.param("x.yaml", "[" * 1500, "nested too deeply", id="nested deeply"),
        pytest.param("x.yaml", "- cat", "expected `key: value` lines", id="a list alone"),
        pytest.param("x.yaml", "nc: 3", "expected `names`", id="no names"),
        pytest.param("x.yaml", "names: cat", "expected `names`", id="a single name"),
        pytest.param("x.yaml", "names: []", "expected class names", id="an empty list"),
        pytest.param("x.yaml", "names: [cat]\nnc: 2", "expected 1 as `nc`.*found 2", id="another count"),
        pytest.param(
            "x.yaml", "names: [cat]\nnc: [1]", "expected 1 as `nc`.*found a list", id="a list as count"
        ),
        pytest.param("x.yaml", "names: {0: cat, 2: dog}", "each number from 0 to 1", id="a gap"),
        pytest.param("x.yaml", "names: [cat, no]", "class 1: expected a name, found a bool", id="YAML's no"),
        pytest.param(
            "x.yaml", "names: [cat, [a]]", "class 1: expected a name, found a list", id="a list as name"
        ),
        pytest.param("x.yaml", "names: [cat, cat]", "class 1, found 'cat' again", id="a name twice"),
        pytest.param("x.yaml", "names: [cat]\nkpt_shape: 3", "`kpt_shape`: expected a list", id="keypoints"),
        pytest.param("x.yaml", f"names: [{'9' * 5000}]", "not YAML", id="a number of 5000 digits"),
        pytest.param("x.txt", None, "cannot read", id="no text file"),
        pytest.param("x.txt", "", "expected class names", id="an empty text file"),
        pytest.param("x.txt", "cat\n\ndog", "class 1, found an empty name", id="an empty line"),
        pytest.param("x.txt", "cat\0", "line 1: expected text in UTF-8, found a null character", id="binary"),
    ],
)
def test_invalid_class_names_are_reported_in_one_line(yolo, tmp_path, name, text, expected):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(SourceError, match=expected) as caught:
        open_source(yolo({}, class_names=tmp_path / name))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("setting", ["images", "labels"])
def test_a_missing_folder_is_reported_in_one_line(yolo, tmp_path, setting):
    with pytest.raises(SourceError, match="source 'yolo': expected the folder of its"):
        open_source(yolo({}, **{setting: tmp_path / "nowhere"}))


NUMBERS = st.floats(width=16).map(repr) | st.integers(-2, 3).map(str) | st.sampled_from(["", "x", "1_0", "٣"])
LINES = st.lists(NUMBERS, max_size=12).map(" ".join) | st.text(max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINES, max_size=5).map("\n".join) | st.binary(max_size=100))
def test_any_text_file_gives_boxes_in_the_unit_square(yolo, text):
    content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    _, records, _ = read(yolo({"a.txt": content}))
    for record in records:
        for class_index, (x1, y1, x2, y2), _ in box_rows(record):
            assert 0 <= x1 < x2 <= 1
            assert 0 <= y1 < y2 <= 1
            assert class_index in (0, 1)


def test_shards_have_the_labels_of_the_files(tmp_path, yolo):
    texts = {"a.txt": "0 .5 .5 .5 .5\n1 .25 .5 .5 .5", "b.txt": "1 .5 .5 .25 .25"}
    source, records, _ = read(yolo(texts))
    settings = {"images": "images/train", "class_names": "data.yaml"}
    stored = labels_in_shards(merged(tmp_path, format="yolo", **settings))
    assert stored == {record.source_id: labels_of_record(record, source.classes) for record in records}


@pytest.fixture(scope="module")
def both_ways(real_data, tmp_path_factory):
    """COCO128 merged from its instances files, and from text files made of the same boxes."""
    folder = tmp_path_factory.mktemp("coco128")
    readers = []
    for kind in ("coco", "yolo"):
        sources = []
        for split in ("train", "val"):
            source = {
                "name": f"coco_{split}",
                "format": kind,
                "split": split,
                "images": str(real_data / "coco128" / "images" / f"{split}2017"),
            }
            if kind == "coco":
                source["annotations"] = str(
                    real_data / "coco128" / "annotations" / f"instances_{split}2017.json"
                )
            else:
                source["labels"] = str(real_data / "coco128" / "yolo_format" / "labels" / f"{split}2017")
                source["class_names"] = str(real_data / "coco128" / "yolo_format" / "config.yaml")
            sources.append(source)
        (folder / f"{kind}.yaml").write_text(yaml.safe_dump({"sources": sources}))
        merge(load_config(folder / f"{kind}.yaml", MergeConfig), folder / kind)
        readers.append(ShardReader(folder / kind))
    return readers


def test_coco128_is_the_same_from_coco_json_and_from_yolo_text(both_ways):
    coco, yolo = both_ways
    assert len(coco) == len(yolo) == 256
    assert len(coco.box_nodes) == len(yolo.box_nodes) == 1827
    assert coco.counts == ({}, {})
    assert yolo.counts == ({BACKGROUND: 2, "text file without an image": 2}, {})
    assert coco.tree.ids == yolo.tree.ids
    assert coco.label_counts.rows() == yolo.label_counts.rows()
    position = {yolo.source_id(image): image for image in range(256)}
    for image in range(256):
        other = position[coco.source_id(image)]
        assert coco.encoded(image).tobytes() == yolo.encoded(other).tobytes()
        assert coco.image_split[image] == yolo.image_split[other]
        assert np.array_equal(*(nodes_and_boxes(*pair)[0] for pair in ((coco, image), (yolo, other))))
        boxes = [nodes_and_boxes(*pair)[1] for pair in ((coco, image), (yolo, other))]
        assert np.allclose(*boxes, rtol=0, atol=1e-5)


def nodes_and_boxes(reader, image):
    """The boxes of an image in an order that both ways share."""
    rows = slice(*reader.box_offsets[image : image + 2])
    nodes, boxes = reader.box_nodes[rows], reader.boxes_xyxy_unit[rows]
    order = np.lexsort((*np.round(boxes.T, 4), nodes))
    return nodes[order], boxes[order]
