import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.config import OpenImagesSource
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

BOXES = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
LABELS = "ImageID,Source,LabelName,Confidence"
CAT, DOG, CAR = "/m/01yrx", "/m/0bt9lr", "/m/0k4j"
NAMES = f"{CAT},Cat\n{DOG},Dog\n{CAR},Car\n"
A, B, C = "000002b66c9c498e", "000002b97e5471a0", "fffffdaec951185d"


def box(image=A, label=CAT, corners=(0.25, 0.5, 0.5, 0.75), *, is_group=0):
    """Corners in the file's order: left, right, top, bottom."""
    return f"{image},xclick,{label},1,{','.join(map(str, corners))},1,1,{is_group},0,0"


def label(image=A, label=CAT, confidence="1", source="verification"):
    return f"{image},{source},{label},{confidence}"


@pytest.fixture
def openimages(tmp_path):
    """Images A and B, and a function that writes tables and returns the configuration of the source."""
    write_images(tmp_path / "images", [f"{A}.jpg", f"{B}.jpg"])

    def write(*, boxes=None, labels=None, names=NAMES):
        tables = {"boxes": (BOXES, boxes), "labels": (LABELS, labels)}
        paths = {}
        for key, (header, lines) in tables.items():
            if lines is not None:
                paths[key] = tmp_path / f"{key}.csv"
                content = lines if isinstance(lines, bytes) else "\n".join([header, *lines]).encode()
                paths[key].write_bytes(content)
        if names is not None:
            paths["class_names"] = tmp_path / "class-descriptions.csv"
            paths["class_names"].write_text(names, encoding="utf-8")
        return OpenImagesSource(name="oi", format="openimages", images=tmp_path / "images", **paths)

    return write


def test_boxes_are_left_right_top_bottom_and_groups_are_ignored(openimages):
    source, records, counts = read(
        openimages(boxes=[box(), box(B, DOG, (0, 1, 0, 1), is_group=1), box(B, CAR)])
    )
    assert source.classes == ("Cat", "Dog", "Car")
    assert source.aliases == (CAT, DOG, CAR)
    assert (source.has_boxes, source.is_federated) == (True, True)
    assert [record.source_id for record in records] == [f"{A}.jpg", f"{B}.jpg"]
    assert records[0].boxes == make_boxes((0, (0.25, 0.5, 0.5, 0.75)))
    assert records[1].boxes == make_boxes((1, (0, 0, 1, 1), True), (2, (0.25, 0.5, 0.5, 0.75)))
    assert counts == {"group kept as an ignore region": 1}


def test_rows_of_version_6_are_read(openimages):
    """The head of oidv6-train-annotations-bbox.csv as published (CC BY 4.0), clicks and all."""
    clicks = "XClick1X,XClick2X,XClick3X,XClick4X,XClick1Y,XClick2Y,XClick3Y,XClick4Y"
    lines = (
        f"{BOXES},{clicks}\r\n"
        "000002b66c9c498e,xclick,/m/01g317,1,0.012500,0.195312,0.148438,0.587500,0,1,0,0,0,"
        "0.148438,0.012500,0.059375,0.195312,0.148438,0.357812,0.587500,0.325000\r\n"
        "000002b66c9c498e,xclick,/m/01g317,1,0.025000,0.276563,0.714063,0.948438,0,1,0,0,0,"
        "0.025000,0.248438,0.276563,0.214062,0.914062,0.714063,0.782813,0.948438\r\n"
    )
    source, records, _ = read(openimages(boxes=lines.encode(), names="id,name\n/m/01g317,Person\n"))
    assert (source.classes, source.aliases) == (("Person",), ("/m/01g317",))
    assert records[0].boxes.xyxy_unit == [
        (0.0125, 0.148438, 0.195312, 0.5875),
        (0.025, 0.714063, 0.276563, 0.948438),
    ]


def test_verified_labels_are_positive_or_negative_and_machine_labels_are_left_out(openimages):
    lines = [label(), label(B, DOG, "0"), label(B, CAR, "0.8", "machine"), label(B, CAT, "1", "machine")]
    source, records, counts = read(openimages(labels=[*lines, label(B, CAT, ""), label(B, CAT, "0.5")]))
    assert (source.classes, source.has_boxes, source.is_federated) == (("Cat", "Dog"), False, True)
    assert [record.boxes for record in records] == [None, None]
    assert [record.labels for record in records] == [(ImageLabel(0),), (ImageLabel(1, is_positive=False),)]
    assert counts == {"image label that nobody verified": 4}


@pytest.mark.parametrize(
    ("boxes", "labels", "expected"),
    [
        pytest.param([box()], [], {"Cat": (True, True)}, id="a box: exhaustive"),
        pytest.param([box()], [label()], {"Cat": (True, True)}, id="a box and a label"),
        pytest.param([box(is_group=1)], [label()], {"Cat": (True, True)}, id="a group: exhaustive"),
        pytest.param(
            [box()], [label(label=DOG)], {"Dog": (True, False), "Cat": (True, True)}, id="not boxed"
        ),
        pytest.param(
            [box()],
            [label(label=DOG, confidence="0")],
            {"Dog": (False, False), "Cat": (True, True)},
            id="absent",
        ),
        pytest.param([], [label()], {"Cat": (True, False)}, id="no boxes in the image"),
        pytest.param(
            [box(), box(corners=(2, 3, 2, 3))],
            [label()],
            {"Cat": (True, False)},
            id="one of its boxes is lost",
        ),
        pytest.param([box(corners=(2, 3, 2, 3))], [], {"Cat": (True, False)}, id="its only box is lost"),
        pytest.param([box()], [label(confidence="0")], {"Cat": (True, True)}, id="a box against a label"),
        pytest.param(
            [box(label=DOG)],
            [label(), label(confidence="0")],
            {"Dog": (True, True)},
            id="two labels disagree",
        ),
    ],
)
def test_the_labels_of_an_image_follow_decision_15(openimages, boxes, labels, expected):
    """expected: for each class whether it is present, and whether it is exhaustively annotated."""
    source, records, _ = read(openimages(boxes=boxes, labels=labels))
    found = {
        source.classes[label.class_index]: (label.is_positive, label.is_exhaustive)
        for label in records[0].labels
    }
    assert found == expected
    assert (records[0].boxes is not None) == bool(boxes)


def test_contradictions_are_counted(openimages):
    labels = [label(confidence="0"), label(label=DOG), label(label=DOG, confidence="0"), label(label=CAR)]
    _, _, counts = read(openimages(boxes=[box(), box(B)], labels=[*labels, label(label=CAR)]))
    assert counts == {
        "negative image label of a class that has a box": 1,
        "image label that contradicts another": 2,
        "repeated image label": 1,
    }


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".png", ".Tif"])
def test_images_have_any_suffix_in_any_case(openimages, tmp_path, suffix):
    config = openimages(boxes=[box(), box(B, DOG), box(C, CAR)])
    for name in (A, C):
        (tmp_path / "images" / f"{name}{suffix}").write_bytes(encoded_image(1))
    (tmp_path / "images" / f"{A}.jpg").unlink()
    source, records, counts = read(config)
    assert {record.source_id: source.classes[record.boxes.class_index[0]] for record in records} == {
        f"{A}{suffix}": "Cat",
        f"{B}.jpg": "Dog",
        f"{C}{suffix}": "Car",
    }
    assert all(record.path.is_file() for record in records)
    assert counts == {}


def test_tables_may_state_file_names_instead_of_ids(openimages):
    boxes = [box(f"{A}.jpg"), box(f"{B}.JPG", DOG), f"{B}.jpg,xclick"]
    source, records, counts = read(openimages(boxes=boxes, labels=[label(f"{A}.jpg", CAR, "0")]))
    assert [record.source_id for record in records] == [f"{A}.jpg", f"{B}.jpg"]
    assert [label.class_index for label in records[0].labels] == [source.classes.index("Car"), 0]
    assert records[1].is_incomplete
    assert counts == {"row with more or fewer cells than the header": 1}


def test_images_lie_in_one_folder_or_in_several(openimages, tmp_path):
    write_images(tmp_path / "images", [f"train_f/{C}.jpg", f"validation/{A}.jpg", f"train_f/{C}.png"])
    (tmp_path / "images" / "notes.txt").write_text("no image")
    lines = [box(C), box(A), box(B), box("0123456789abcdef"), box("0123456789abcdef", DOG)]
    _, records, counts = read(openimages(boxes=lines, labels=[label("0123456789abcdef"), label("0" * 16)]))
    assert [record.source_id for record in records] == [f"{A}.jpg", f"{B}.jpg", f"train_f/{C}.jpg"]
    assert all(record.path.is_file() for record in records)
    assert counts == {
        "file without the suffix of an image": 1,
        "image that has another file of the same name": 2,
        "image file missing": 2,
        "box of an image left out": 2,
        "image label of an image left out": 2,
    }


def test_an_image_without_a_row_is_counted(openimages):
    _, records, counts = read(openimages(boxes=[box()]))
    assert [record.source_id for record in records] == [f"{A}.jpg"]
    assert counts == {"image without a row in any table": 1}


def test_links_to_images_are_followed_and_ids_stay_in_the_folder(openimages, tmp_path):
    (tmp_path / "secret.jpg").write_bytes(encoded_image(0))
    (tmp_path / "images" / f"{C}.jpg").symlink_to(tmp_path / "secret.jpg")
    (tmp_path / "images" / "train_0").symlink_to(tmp_path)
    _, records, counts = read(openimages(boxes=[box(), box(B), box(C), box("secret"), box("../secret")]))
    assert [record.source_id for record in records] == [f"{A}.jpg", f"{B}.jpg", f"{C}.jpg"]
    assert counts == {
        "link to a folder (not followed)": 1,
        "image file missing": 2,
        "box of an image left out": 2,
    }


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param(box(corners=("", 1, 0, 1)), "box that is not four finite numbers", id="no number"),
        pytest.param(box(corners=(0, "nan", 0, 1)), "box that is not four finite numbers", id="NaN"),
        pytest.param(box(corners=(0.5, 0.25, 0, 1)), "box with negative width or height", id="inverted"),
        pytest.param(box(corners=(0.5, 0.5, 0, 1)), "box of zero area", id="zero width"),
        pytest.param(box(corners=(1.5, 2, 0, 1)), "box outside its image", id="outside"),
        pytest.param("x", "row with more or fewer cells than the header", id="too short"),
    ],
)
def test_a_line_that_is_no_box_is_counted_by_reason(openimages, line, reason):
    _, records, counts = read(openimages(boxes=[box(B), line, box(A)]))
    assert [len(record.boxes) for record in records] == [1, 1]
    assert counts == {reason: 1}


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        pytest.param(None, (CAT, DOG), id="none"),
        pytest.param(NAMES, ("Cat", "Dog"), id="without header"),
        pytest.param(f"LabelName,DisplayName\n{NAMES}", ("Cat", "Dog"), id="with header"),
        pytest.param(f"\ufeff{DOG},Dog\n", (CAT, "Dog"), id="not all"),
        pytest.param(f"{CAT},Pet\n{DOG},Pet\n", (f"Pet ({CAT})", f"Pet ({DOG})"), id="one name for two"),
        pytest.param(f'{CAT},"Cat, the animal"\n{DOG},\n', ("Cat, the animal", DOG), id="comma; no name"),
    ],
)
def test_classes_have_display_names(openimages, names, classes):
    source = open_source(openimages(boxes=[box(), box(label=DOG)], names=names))
    assert source.classes == classes
    assert source.aliases == (CAT, DOG)


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        pytest.param({"boxes": b""}, r"boxes\.csv, line 1: expected a header", id="empty"),
        pytest.param({"boxes": encoded_image(0)}, r"boxes\.csv, line 1: expected text", id="an image"),
        pytest.param(
            {"boxes": LABELS.encode()}, r"boxes\.csv, line 1: no column 'XMin'", id="labels as boxes"
        ),
        pytest.param({"labels": b"a,b"}, r"labels\.csv, line 1: no column 'ImageID'", id="another table"),
        pytest.param({"boxes": []}, "expected boxes or labels of OpenImages, found", id="no line"),
        pytest.param(
            {"boxes": [box()], "names": ""}, "class-descriptions.csv: expected lines", id="no names"
        ),
        pytest.param(
            {"boxes": [box()], "names": f"{NAMES}x,y"},
            "class-descriptions.csv, line 4: expected",
            id="other names",
        ),
    ],
)
def test_a_file_in_another_format_than_openimages_is_reported_in_one_line(openimages, tables, expected):
    with pytest.raises(SourceError, match=expected) as caught:
        open_source(openimages(**tables))
    assert "\n" not in str(caught.value)


def test_a_box_takes_less_than_a_hundred_bytes(openimages):
    """In a table of images with five boxes each: the constant part cancels out."""

    def peak(images):
        config = openimages(boxes=[box(f"{number:016x}", DOG) for number in range(images) for _ in range(5)])
        tracemalloc.start()
        open_source(config)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak_bytes

    peak(10)  # imports
    assert (peak(6000) - peak(2000)) / (4000 * 5) < 100


CELLS = st.sampled_from(
    [A, B, CAT, DOG, "0", "1", ".5", "nan", "verification", "machine", "", '"']
) | st.text(max_size=5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(*[st.lists(st.lists(CELLS, max_size=13).map(",".join), max_size=5)] * 2)
def test_any_rows_are_boxes_and_labels_or_an_error(openimages, boxes, labels):
    encoded = [
        "\n".join([header, *lines]).encode("utf-8", "surrogatepass")
        for header, lines in ((BOXES, boxes), (LABELS, labels))
    ]
    try:
        _, records, _ = read(openimages(boxes=encoded[0], labels=encoded[1]))
    except SourceError:
        return
    for record in records:
        assert all(0 <= corner <= 1 for _, corners, _ in box_rows(record) for corner in corners)
        assert len({label.class_index for label in record.labels}) == len(record.labels)


def test_shards_have_the_labels_of_the_tables(openimages, tmp_path):
    boxes = [box(), box(label=DOG, corners=(0, 1, 0.5, 1), is_group=1)]
    labels = [label(), label(label=CAR), label(B, CAT, "0"), label(B, DOG)]
    config = openimages(
        boxes=boxes, labels=labels, names=f"{CAT},Zebra\n{DOG},Golden retriever\n{CAR},Ambulance\n"
    )
    source, records, _ = read(config)
    paths = {"boxes": "boxes.csv", "labels": "labels.csv", "class_names": "class-descriptions.csv"}
    reader = merged(tmp_path, format="openimages", images="images", **paths)
    assert reader.sources[0].is_federated
    assert len(reader.sources[0].exhaustive) == 0
    assert labels_in_shards(reader) == {
        record.source_id: labels_of_record(record, source.classes) for record in records
    }
