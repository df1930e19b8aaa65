import csv
import os
import tracemalloc
from collections import defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from data_prep.config import CsvSource
from data_prep.records import ImageLabel
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

HEADER = "image,class,xmin,ymin,xmax,ymax"
OTHERS = ("file", "label", "left", "top", "w", "h")
LABELS = "image,class,positive"


@pytest.fixture
def table(tmp_path):
    """Images a.jpg, b.jpg, c.jpg of 40 x 30 px; a function that writes a table of them."""
    write_images(tmp_path / "images", ["a.jpg", "b.jpg", "c.jpg"])

    def write(*lines, **settings):
        text = lines[0] if isinstance(lines[0], bytes) else "\n".join(lines).encode()
        (tmp_path / "table.csv").write_bytes(text)
        return CsvSource(
            name="table",
            format="csv",
            images=tmp_path / "images",
            annotations=tmp_path / "table.csv",
            **settings,
        )

    return write


def boxes_of(config):
    return [record.boxes for record in read(config).records]


def test_a_row_with_corners_is_a_box_in_pixels(table):
    source, records, counts = read(
        table(HEADER, "b.jpg,dog,4,3,20,15", "a.jpg,cat,0,0,40,30", "b.jpg,cat,0,0,4,3")
    )
    assert (source.classes, source.has_boxes, source.is_federated) == (("cat", "dog"), True, False)
    assert [record.source_id for record in records] == ["b.jpg", "a.jpg"]
    assert records[0].boxes == make_boxes((1, (0.1, 0.1, 0.5, 0.5)), (0, (0, 0, 0.1, 0.1)))
    assert records[1].boxes == make_boxes((0, (0, 0, 1, 1)))
    assert (records[0].labels, records[0].size_px, counts) == ((), None, {})


@pytest.mark.parametrize(
    ("lines", "changes"),
    [
        pytest.param((HEADER, "a.jpg,cat,10,15,20,30"), {}, id="corners"),
        pytest.param((HEADER, "a.jpg,cat,.25,.5,.5,1"), {"unit": "unit"}, id="shares"),
        pytest.param(("image,class,x,y,width,height", "a.jpg,cat,10,15,10,15"), {}, id="sides"),
        pytest.param((" XMax;Class;YMax;xmin;Image ;YMIN", "20;cat;30;10;a.jpg;15"), {}, id="semicolons"),
        pytest.param((HEADER.replace(",", "\t"), "a.jpg\tcat\t10\t15\t20\t30"), {}, id="tabs"),
        pytest.param((f"\ufeff{HEADER}", '"a.jpg",cat,10,15,20,30'), {}, id="byte order mark"),
        pytest.param((f"{HEADER}\r", "a.jpg,cat,10,15,20,30\r"), {}, id="Windows"),
        pytest.param((f"{HEADER}\ra.jpg,cat,10,15,20,30",), {}, id="old Mac"),
        pytest.param((HEADER, "a.jpg, cat ,10.0, 15,2e1,30"), {}, id="spaces"),
        pytest.param(
            ("filename,width,height,class,xmin,ymin,xmax,ymax", "a.jpg,40,30,cat,10,15,20,30"),
            {"columns": {"image": "filename"}},
            id="width and height of the image",
        ),
        pytest.param(
            (",".join(OTHERS), "a.jpg,cat,10,15,10,15"),
            {"columns": dict(zip(("image", "class", "x", "y", "width", "height"), OTHERS, strict=True))},
            id="other names",
        ),
    ],
)
def test_a_box_may_be_written_in_many_ways(table, lines, changes):
    assert boxes_of(table(*lines, **changes)) == [make_boxes((0, (0.25, 0.5, 0.5, 1)))]


def test_pixels_refer_to_the_upright_image(table, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    (tmp_path / "images" / "a.jpg").write_bytes(encoded_image(0, (60, 80), exif=exif))
    assert boxes_of(table(HEADER, "a.jpg,cat,0,0,80,30")) == [make_boxes((0, (0, 0, 1, 0.5)))]


def test_rows_without_corners_are_image_labels(table):
    lines = ("a.jpg,cat,1", "a.jpg,dog,0", "b.jpg,dog,", "c.jpg,cat,TRUE")
    source, records, counts = read(table(LABELS, *lines))
    assert (source.has_boxes, counts) == (False, {})
    assert [record.boxes for record in records] == [None] * 3
    assert [record.labels for record in records] == [
        (ImageLabel(0), ImageLabel(1, is_positive=False)),
        (ImageLabel(1),),
        (ImageLabel(0),),
    ]


def test_boxes_image_labels_and_empty_images_may_share_a_table(table):
    lines = ("a.jpg,cat,0,0,40,30", "a.jpg,dog,,,,", "b.jpg,dog, ,,,", "c.jpg,,,,,")
    source, records, counts = read(table(HEADER, *lines))
    assert (source.has_boxes, counts) == (True, {})
    assert [record.boxes for record in records] == [make_boxes((0, (0, 0, 1, 1))), None, make_boxes()]
    assert [record.labels for record in records] == [(ImageLabel(1),), (ImageLabel(1),), ()]


def test_boxes_can_be_ignored(table):
    _, records, counts = read(table(f"{HEADER},ignored", "a.jpg,cat,0,0,40,30,1", "a.jpg,cat,0,0,9,9,no"))
    assert records[0].boxes.is_ignored == [True, False]
    assert counts == {"box kept as an ignore region": 1}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param("a.jpg,cat,1,2,3,4,,,9", "row with more or fewer cells than the header", id="too long"),
        pytest.param("a.jpg,cat,1,2", "row with more or fewer cells than the header", id="too short"),
        pytest.param(" ,cat,1,2,3,4,,", "row without an image", id="no image"),
        pytest.param("a.jpg, ,1,2,3,4,,", "row without a class", id="no class"),
        pytest.param(
            "a.jpg,cat,1,2,3,4,maybe,",
            "row whose 'positive' or 'ignored' is neither 1 nor 0",
            id="maybe positive",
        ),
        pytest.param(
            "a.jpg,cat,1,2,3,4,,2",
            "row whose 'positive' or 'ignored' is neither 1 nor 0",
            id="ignored twice",
        ),
        pytest.param("a.jpg,cat,1,2,3,4,0,", "box in a row with a negative label", id="absent"),
        pytest.param("a.jpg,cat,,,,,,1", "image label marked as ignored", id="ignored image label"),
        pytest.param("a.jpg,cat,1,2,3,,,", "box that is not four finite numbers", id="half a box"),
        pytest.param("a.jpg,cat,1,2,x,4,,", "box that is not four finite numbers", id="a word"),
        pytest.param("a.jpg,cat,1,nan,3,4,,", "box that is not four finite numbers", id="NaN"),
        pytest.param("a.jpg,cat,9,2,3,4,,", "box with negative width or height", id="inverted"),
        pytest.param("a.jpg,cat,3,2,3,4,,", "box of zero area", id="zero width"),
        pytest.param("a.jpg,cat,50,2,60,4,,", "box outside its image", id="outside"),
        pytest.param("gone.jpg,cat,,,,,,", "image file missing", id="no image"),
        pytest.param("../table.csv,cat,,,,,,", "image without a file name inside the folder", id="leaves"),
        pytest.param("/etc/passwd,cat,,,,,,", "image without a file name inside the folder", id="absolute"),
        pytest.param("C:\\a.jpg,cat,,,,,,", "image without a file name inside the folder", id="a drive"),
    ],
)
def test_an_invalid_row_is_counted_by_reason(table, line, reason):
    _, records, counts = read(table(f"{HEADER},positive,ignored", line, "", "b.jpg,cat,0,0,40,30,,", line))
    assert [len(record.boxes) for record in records if record.source_id == "b.jpg"] == [1]
    assert not any(record.boxes for record in records if record.source_id != "b.jpg")
    counts.pop("image label of an image left out", None)
    assert list(counts) == [reason]


def test_the_labels_of_an_image_that_is_left_out_are_counted(table, tmp_path):
    (tmp_path / "images" / "a.jpg").write_bytes(b"no picture")
    lines = ("a.jpg,cat,0,0,9,9", "a.jpg,cat,0,0,8,8", "a.jpg,dog,,,,", "gone.jpg,dog,,,,", "b.jpg,cat,,,,")
    _, records, counts = read(table(HEADER, *lines))
    assert [record.source_id for record in records] == ["b.jpg"]
    assert counts == {
        "image that cannot be decoded": 1,
        "image file missing": 1,
        "box of an image left out": 2,
        "image label of an image left out": 2,
    }


def test_contradictions_are_left_out_and_counted(table):
    lines = ("a.jpg,cat,,,,,1", "a.jpg,cat,,,,,0", "a.jpg,dog,,,,,1", "a.jpg,dog,,,,,1", "a.jpg,cow,,,,,0")
    _, records, counts = read(table(f"{HEADER},positive", *lines, "a.jpg,cow,0,0,9,9,1"))
    assert records[0].labels == (ImageLabel(2),)
    assert counts == {
        "image label that contradicts another": 2,
        "repeated image label": 1,
        "negative image label of a class that has a box": 1,
    }


def test_one_image_may_be_written_in_several_ways(table, tmp_path):
    write_images(tmp_path / "images", ["deep/x.jpg"])
    names = ("deep/x.jpg", "a.jpg", "./deep/x.jpg", "deep\\x.jpg", "deep//x.jpg")
    _, records, _ = read(table("image,class", *(f"{name},{number}" for number, name in enumerate(names))))
    assert [(record.source_id, len(record.labels)) for record in records] == [("deep/x.jpg", 4), ("a.jpg", 1)]


def test_links_are_followed(table, tmp_path):
    (tmp_path / "store.jpg").write_bytes(encoded_image(0))
    (tmp_path / "images" / "x.jpg").symlink_to(tmp_path / "store.jpg")
    (tmp_path / "images" / "y").symlink_to(tmp_path)
    _, records, counts = read(table("image,class", "x.jpg,cat", "y/store.jpg,cat", "a.jpg,cat"))
    assert [record.source_id for record in records] == ["x.jpg", "y/store.jpg", "a.jpg"]
    assert "image file missing" not in counts


def test_names_that_are_not_utf8_are_found_and_escaped(table, tmp_path):
    write_images(tmp_path / "images", [os.fsdecode(b"\xff.jpg")])
    source, records, _ = read(table(b"image,class\n\xff.jpg,\xe4\n"))
    assert (source.classes, records[0].source_id) == ((r"\xe4",), r"\xff.jpg")
    assert records[0].path.is_file()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(b"", "line 1: expected a header", id="empty"),
        pytest.param(b"\n\nimage,class\n", "line 1: expected a header", id="blank header"),
        pytest.param(encoded_image(0), "line 1: expected text in UTF-8, found a null", id="an image"),
        pytest.param(LABELS.encode("utf-16"), "line 1: expected text in UTF-8", id="UTF-16"),
        pytest.param(
            b"thing,class", "line 1: no column 'image'; the header has 'thing', 'class'", id="no image"
        ),
        pytest.param(b"imgae,class", "no column 'image' \\(did you mean 'imgae'\\?\\)", id="misspelt"),
        pytest.param(b"thing,class", "as in `columns: {image: filename}`", id="advice"),
        pytest.param(b"image,class,xmin,ymin,xmax", "no column 'ymax'", id="three corners"),
        pytest.param(b"image,class,x,width", "no column 'y'.*, 'height'", id="half the sides"),
        pytest.param(
            b"image,class\n", "expected a row for each box or image label, found no row", id="no line"
        ),
        pytest.param(b"image,class\n,\n", "found row without an image: 1", id="no line that can be used"),
        pytest.param(
            b'image,class\na,b\n"' + b"a" * 200_000, "line 3: not CSV: field larger", id="open quote"
        ),
        pytest.param(b"image,class\n" + b"a" * 2_000_000, "line 2: longer than", id="a line without end"),
    ],
)
def test_an_invalid_table_is_reported_in_one_line(table, text, expected):
    with pytest.raises(SourceError, match=expected) as caught:
        open_source(table(text))
    assert "table.csv" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_configured_columns_that_the_file_lacks_are_reported(table):
    with pytest.raises(SourceError, match="no column 'file'"):
        open_source(table("image,class", "a.jpg,cat", columns={"positive": "file"}))


def test_a_missing_file_is_reported(table, tmp_path):
    config = table(LABELS).model_copy(update={"annotations": tmp_path / "nowhere.csv"})
    with pytest.raises(SourceError, match=r"nowhere\.csv: cannot read this file"):
        open_source(config)


@pytest.mark.parametrize("order", ["by image", "shuffled"])
def test_a_box_takes_less_than_a_hundred_bytes(table, order):
    """In a table of images with five boxes each, in any order: the constant part cancels out."""

    def peak(images):
        rows = [(number, box) for number in range(images) for box in range(5)]
        rows.sort(key=lambda row: hash(row) if order == "shuffled" else row)
        config = table(HEADER, *(f"{number:06d}.jpg,cat,{box},0,9,9" for number, box in rows))
        tracemalloc.start()
        open_source(config)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak_bytes

    peak(10)  # imports
    assert (peak(6000) - peak(2000)) / (4000 * 5) < 100


NAMES, CLASSES = st.sampled_from(["a.jpg", "b.jpg", "c.jpg"]), st.sampled_from(["cat", "dog"])
ROWS = st.lists(st.tuples(NAMES, CLASSES, st.none() | st.tuples(*[st.integers(0, 14)] * 2)), min_size=1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS)
def test_a_table_in_any_order_agrees_with_a_slow_reading(table, rows):
    lines, boxes, labels = [HEADER], defaultdict(list), defaultdict(dict)
    for name, class_name, corner in rows:
        if corner is None:
            lines.append(f"{name},{class_name},,,,")
            labels[name][class_name] = (class_name, True, False)
        else:
            x, y = corner
            lines.append(f"{name},{class_name},{x},{y},{x + 20},{y + 15}")
            boxes[name].append((class_name, (x / 40, y / 30, (x + 20) / 40, (y + 15) / 30), False))
    source, records, _ = read(table(*lines))
    assert [record.source_id for record in records] == list(dict.fromkeys(row[0] for row in rows))
    for record in records:
        assert labels_of_record(record, source.classes) == {
            "boxes": boxes[record.source_id],
            "is_boxed": bool(boxes[record.source_id]),
            "labels": list(labels[record.source_id].values()),
        }


CELLS = st.text(max_size=8) | st.sampled_from(["a.jpg", "cat", "1", "0", "nan", '"', "../a.jpg", "\ud800"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=300) | st.lists(st.lists(CELLS, max_size=7).map(",".join), max_size=6).map("\n".join)
)
def test_any_file_is_a_table_or_an_error(table, text):
    content = text if isinstance(text, bytes) else f"{HEADER}\n{text}".encode("utf-8", "surrogatepass")
    try:
        _, records, _ = read(table(content))
    except SourceError:
        return
    for record in records:
        record.source_id.encode()
        assert all(0 <= corner <= 1 for _, corners, _ in box_rows(record) for corner in corners)


def test_shards_have_the_labels_of_the_table(table, tmp_path):
    lines = (
        "a.jpg,cat,4,3,20,15,,1",
        "a.jpg,dog,0,0,40,30,,",
        "b.jpg,cat,,,,,0,",
        "b.jpg,dog,,,,,1,",
        "c.jpg,,,,,,,",
    )
    source, records, _ = read(table(f"{HEADER},positive,ignored", *lines))
    stored = labels_in_shards(merged(tmp_path, format="csv", images="images", annotations="table.csv"))
    assert list(stored) == ["a.jpg", "b.jpg", "c.jpg"]
    for record in records:
        expected = labels_of_record(record, source.classes)
        expected["boxes"] = [
            (name, pytest.approx(xyxy, abs=1e-7), ignored) for name, xyxy, ignored in expected["boxes"]
        ]
        assert stored[record.source_id] == expected


def test_a_table_of_pythons_csv_writer_is_read(table, tmp_path):
    names = ['with "quotes".jpg', "with, comma.jpg"]
    write_images(tmp_path / "images", names)
    config = table(LABELS)
    with config.annotations.open("w", newline="") as file:
        csv.writer(file).writerows([("image", "class"), *((name, "a; b") for name in names)])
    source, records, counts = read(config)
    assert ([record.source_id for record in records], source.classes, counts) == (names, ("a; b",), {})
