"""Files whose names differ from the names in the annotations, as systems and tools spell them."""

import unicodedata

import pytest

from data_prep import ShardReader, merge
from tests.data_prep.test_lost_boxes import LINE, _xml
from tests.data_prep.test_other_peoples_files import box, boxes_px, entry, labels, world

__all__ = ["world"]

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def _yolo(world, **settings):
    world.write("n.txt", "dog\ncat\n")
    return world.merged(**{"format": "yolo", "images": "images", "class_names": "n.txt"} | settings)


@pytest.mark.parametrize(
    ("image", "text"),
    [
        ("b.jpg", "b.TXT"),
        ("b.jpg", "B.txt"),
        ("IMG_1.JPG", "img_1.txt"),
        ("b.jpg", "b.jpg.txt"),
        (f"{NFC}.jpg", f"{NFD}.txt"),
        (f"{NFD}.jpg", f"{NFC}.txt"),
    ],
)
@pytest.mark.parametrize("folder", ["labels", "images"])
def test_an_image_whose_text_file_is_spelt_otherwise_is_no_background(world, folder, image, text):
    world.images("images/a.jpg", f"images/{image}")
    world.write(f"{folder}/a.txt", LINE)
    world.write(f"{folder}/{text}", LINE)
    reader = _yolo(world)
    assert all(boxes_px(reader).values())
    assert not reader.counts[0]


def test_a_text_file_never_serves_an_image_of_another_case_as_well(world):
    world.images("images/a.jpg", "images/A.jpg")
    world.write("images/a.txt", LINE)
    found = boxes_px(_yolo(world))
    assert found["a.jpg"]
    assert not found["A.jpg"]


def test_text_files_of_voc_images_lie_in_labels_as_for_darknet(world):
    world.images("VOC2007/JPEGImages/a.jpg")
    world.write("VOC2007/labels/a.txt", LINE)
    assert boxes_px(_yolo(world, images="VOC2007/JPEGImages"))["a.jpg"]


def _data_yaml(world, **values):
    world.images("train/images/a.jpg", "valid/images/b.jpg")
    world.write("train/labels/a.txt", LINE)
    world.write("valid/labels/b.txt", LINE)
    world.write("data.yaml", {"names": ["dog", "cat"], **values})
    return world.merged(format="yolo", data="data.yaml")


def test_a_split_that_roboflow_names_but_does_not_export_is_counted(world):
    reader = _data_yaml(world, train="../train/images", val="../valid/images", test="../test/images")
    assert len(reader) == 2
    assert reader.counts[0] == {"split whose images are missing": 1}


@pytest.mark.parametrize(
    "values",
    [
        {"train": "train\\images", "val": "valid\\images"},
        {"path": "C:\\data", "train": "./train/images", "val": ".\\valid\\images"},
    ],
)
def test_a_data_yaml_may_be_of_windows(world, values):
    assert set(boxes_px(_data_yaml(world, **values))) == {
        "train/train/images/a.jpg",
        "val/valid/images/b.jpg",
    }


def test_a_list_of_images_may_have_the_paths_of_another_machine(world):
    world.write("train.txt", "/content/data/train/images/a.jpg\r\nD:\\data\\valid\\images\\b.jpg\r\n")
    assert all(boxes_px(_data_yaml(world, train="train.txt")).values())


@pytest.mark.parametrize(("stated", "on_disk"), [(NFC, NFD), (NFD, NFC)])
@pytest.mark.parametrize("format_", ["coco", "csv", "voc"])
def test_both_forms_of_unicode_name_one_image(world, format_, stated, on_disk):
    world.images(f"img/{on_disk}.jpg")
    world.coco([entry(1, f"{stated}.jpg")], [box(1, 1)])
    world.write("t.csv", f"image,class,xmin,ymin,xmax,ymax\n{stated}.jpg,dog,10,10,30,30\n")
    world.write(f"ann/{stated}.xml", _xml("dog"))
    annotations = {"coco": "a.json", "csv": "t.csv", "voc": "ann"}[format_]
    reader = world.merged(format=format_, annotations=annotations)
    assert [rows[0][0] for rows in boxes_px(reader).values()] == ["dog"]
    assert not reader.counts[0]


@pytest.mark.parametrize(
    ("stated", "on_disk"), [("a.JPG", "a.jpg"), ("a.jpeg", "a.JPEG"), ("x/a.png", "a.PNG")]
)
def test_the_case_of_a_suffix_may_differ(world, stated, on_disk):
    world.images(f"img/{stated.rpartition('/')[0]}/{on_disk}")
    world.coco([entry(1, stated)], [box(1, 1)])
    assert boxes_px(world.merged(format="coco"))[stated]


def test_a_list_of_voc_may_name_the_images_with_their_suffix(world):
    world.images("img/a.jpg", "img/b.v2.jpg")
    world.write("ann/a.xml", _xml("dog"))
    world.write("ann/b.v2.xml", _xml("cat"))
    world.write("list.txt", "a.jpg\nb.v2.jpg 1\n")
    found = boxes_px(world.merged(format="voc", annotations="ann", image_list="list.txt"))
    assert {name: rows[0][0] for name, rows in found.items()} == {"a.jpg": "dog", "b.v2.jpg": "cat"}


def test_hidden_files_and_folders_are_no_images_and_no_classes(world):
    hidden = (
        "__MACOSX/dog/._a.jpg",
        ".ipynb_checkpoints/dog/a.jpg",
        "dog/.ipynb_checkpoints/b.jpg",
        "dog/._a.jpg",
    )
    world.images("img/dog/a.jpg", *(f"img/{name}" for name in hidden))
    reader = world.merged(format="imagenet")
    assert labels(reader) == {"dog/a.jpg": ["dog"]}
    assert reader.counts[0] == {"hidden file or folder (not read)": 4}


def test_names_that_are_not_utf8_leave_a_readable_index(world):
    world.images("img/a.jpg")
    table = "image,class\na.jpg,dog\ncaf\xe9.jpg,dog\n".encode("latin-1")
    (world.folder / "t.csv").write_bytes(table)
    merge(world.config(format="csv", annotations="t.csv"), world.folder / "shards")
    reader = ShardReader(world.folder / "shards")
    assert reader.counts[0]["image file missing"] == 1
    assert "caf\\xe9.jpg" in (world.folder / "shards" / "left_out.csv").read_text()


@pytest.mark.parametrize(
    "header",
    ["minx,miny,maxx,maxy", "left,upper,right,lower", "x_top_left,y_top_left,x_bottom_right,y_bottom_right"],
)
def test_more_names_of_box_columns(world, header):
    world.images("img/a.jpg")
    world.write("t.csv", f"sep=,\nfile,species,{header}\na.jpg,dog,10,10,30,30\n")
    reader = world.merged(format="csv", annotations="t.csv")
    assert boxes_px(reader) == {"a.jpg": [("dog", 10, 10, 30, 30)]}
