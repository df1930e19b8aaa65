"""Data sets as other tools write them, merged: each test asserts the stored boxes, labels and nodes."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from data_prep import MergeConfig, ShardReader, load_config, make_plan, merge
from data_prep.errors import DataPrepError
from data_prep.planning.left_out import LEFT_OUT_NAME
from data_prep.planning.plan import NothingUsable
from tests.data_prep.conftest import encoded_image

W, H = 100, 50
DOG, CAT = {"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}


class World:
    """A folder with images of 100 x 50 px in img/ and a tree of dog and cat."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tree.csv").write_text("child,parent,name\ndog,,\ncat,,\n")

    def images(self, *names: str, size: tuple[int, int] = (W, H), **options: Any) -> None:
        for number, name in enumerate(names):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded_image(sum(name.encode()) + number, size, **options))

    def write(self, name: str, content: Any) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")

    def coco(self, images: list[Any], annotations: list[Any], categories: Any = (DOG, CAT)) -> None:
        document = {"images": images, "annotations": annotations, "categories": list(categories)}
        self.write("a.json", document)

    def config(self, **source: Any) -> MergeConfig:
        values = {"name": "s", "images": "img"} | source
        if "data" in source:
            del values["images"]
        if values["format"] in ("coco", "lvis"):
            values.setdefault("annotations", "a.json")
        document = {"sources": [values], "tree": "tree.csv", "duplicates": "keep"}
        (self.folder / "merge.yaml").write_text(yaml.safe_dump(document))
        return load_config(self.folder / "merge.yaml", MergeConfig)

    def merged(self, **source: Any) -> ShardReader:
        merge(self.config(**source), self.folder / "shards")
        return ShardReader(self.folder / "shards")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def entry(number: int, name: str, **more: Any) -> dict[str, Any]:
    return {"id": number, "file_name": name, "width": W, "height": H} | more


def box(image: Any, category: Any, bbox: Any = (10, 10, 20, 20), **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": list(bbox)} | more


def boxes_px(reader: ShardReader) -> dict[str, list[tuple[Any, ...]]]:
    """Node and corners in px of each box, and `ignored` where it is one, by the name of the image."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for image in range(len(reader)):
        size = [reader.image_width[image], reader.image_height[image]] * 2
        rows = range(*reader.box_offsets[image : image + 2])
        found[reader.source_id(image)] = [
            (
                reader.tree.ids[reader.box_nodes[row]],
                *np.round(reader.boxes_xyxy_unit[row] * size, 3).tolist(),
                *(["ignored"] if reader.box_ignored[row] else []),
            )
            for row in rows
        ]
    return found


def labels(reader: ShardReader) -> dict[str, list[str]]:
    """The ids of the positive image labels by the name of the image."""
    return {
        reader.source_id(image): [
            reader.tree.ids[node]
            for node in reader.label_nodes[slice(*reader.label_offsets[image : image + 2])]
        ]
        for image in range(len(reader))
    }


def exhaustive(reader: ShardReader, image: int = 0) -> list[str]:
    """The nodes for which an image is exhaustively annotated."""
    return [reader.tree.ids[node] for node in np.flatnonzero(reader.exhaustive_as_source(image))]


def rows_in(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


BOX = {"a.jpg": [("dog", 10, 10, 30, 30)], "b.jpg": [("cat", 10, 10, 30, 30)]}


# --- COCO


def test_coco_without_any_box_has_image_labels(world):
    world.images("img/a.jpg", "img/b.jpg")
    world.coco([entry(1, "a.jpg"), entry(2, "b.jpg")], [{"image_id": 1, "category_id": 1}, box(2, 2, [])])
    reader = world.merged(format="coco")
    assert labels(reader) == {"a.jpg": ["dog"], "b.jpg": ["cat"]}
    assert not reader.image_boxed.any()
    assert not reader.sources[0].has_boxes


@pytest.mark.parametrize(
    "kind", [float, str, lambda number: f"{number}.0"], ids=["float", "text", "float as text"]
)
def test_coco_ids_may_be_floats_or_texts(world, kind):
    world.images("img/a.jpg", "img/b.jpg")
    world.coco([entry(1, "a.jpg"), entry(kind(2), "b.jpg")], [box(kind(1), kind(1)), box(2, kind(2))])
    assert boxes_px(world.merged(format="coco")) == BOX


@pytest.mark.parametrize("bbox", [["10", "10", "20", "20"], [10, "10.0", 20.0, 20]])
def test_coco_numbers_may_be_texts(world, bbox):
    world.images("img/a.jpg", "img/b.jpg")
    images = [entry(1, "a.jpg", width="100"), entry(2, "b.jpg")]
    world.coco(images, [box(1, 1, bbox), box(2, 2, bbox)])
    assert boxes_px(world.merged(format="coco")) == BOX


def test_coco_images_without_size_have_that_of_their_header(world):
    world.images("img/a.jpg", "img/b.jpg")
    world.coco([{"id": 1, "file_name": "a.jpg"}, entry(2, "b.jpg", width=None)], [box(1, 1), box(2, 2)])
    assert boxes_px(world.merged(format="coco")) == BOX


def test_coco_sizes_that_are_no_integers_are_rounded(world):
    world.images("img/a.jpg")
    world.coco([entry(1, "a.jpg", width=100.4, height="49.6")], [box(1, 1)])
    assert boxes_px(world.merged(format="coco")) == {"a.jpg": [("dog", 10, 10, 30, 30)]}


def test_coco_categories_of_one_name_are_one_class(world):
    world.images("img/a.jpg")
    world.coco(
        [entry(1, "a.jpg")], [box(1, 1), box(1, 7)], [{"id": 0, "name": "dog"}, DOG, {"id": 7, "name": "dog"}]
    )
    reader = world.merged(format="coco")
    assert boxes_px(reader) == {"a.jpg": [("dog", 10, 10, 30, 30)] * 2}
    assert [row.name for row in reader.classes] == ["dog"]


@pytest.mark.parametrize("format_", ["coco", "yolo"])
def test_a_class_that_nothing_uses_needs_no_node(world, format_, command):
    world.images("img/images/a.jpg")
    world.coco([entry(1, "a.jpg")], [box(1, 1)], [{"id": 0, "name": "my-pets"}, DOG])
    world.write("img/labels/a.txt", "1 .2 .4 .2 .4\n")
    world.write("data.yaml", "names: [my-pets, dog]\n")
    source = {"images": "img/images"} | ({"class_names": "data.yaml"} if format_ == "yolo" else {})
    assert boxes_px(world.merged(format=format_, **source)) == {"a.jpg": [("dog", 10, 10, 30, 30)]}
    code, out, _ = command("plan", world.folder / "merge.yaml")
    assert code == 0
    assert "1 class without a node, and without a box or image label: my-pets" in out


@pytest.mark.parametrize("name", ["a%20b.jpg", "http://host/x/a%20b.jpg?size=1", "/data/upload/1/a b.jpg",
                                  "/data/upload/1/0a1b2c3d-a%20b.jpg", "/data/local-files/?d=x/a%20b.jpg",
                                  "C:\\Users\\me\\a b.jpg", "s3://bucket/pets/a b.jpg",
                                  "a b.jpg\t", " a b.jpg"])  # fmt: skip
@pytest.mark.parametrize("format_", ["coco", "csv"])
def test_an_image_is_found_by_an_escaped_or_absolute_name(world, name, format_):
    world.images("img/a b.jpg")
    world.coco([entry(1, name)], [box(1, 1)])
    world.write("t.csv", f'image,class,x,y,w,h\n"{name}",dog,10,10,20,20\n')
    source = {} if format_ == "coco" else {"annotations": "t.csv"}
    assert list(boxes_px(world.merged(format=format_, **source)).values()) == [[("dog", 10, 10, 30, 30)]]


def test_two_escaped_names_never_share_a_file(world):
    world.images("img/a.jpg")
    world.coco([entry(1, "http://x/train/a.jpg"), entry(2, "http://x/val/a.jpg")], [box(1, 1), box(2, 2)])
    reader = world.merged(format="coco")
    assert boxes_px(reader) == {"http://x/train/a.jpg": [("dog", 10, 10, 30, 30)]}
    assert reader.counts[0]["image whose file another name of the source has found"] == 1


def test_a_file_listed_under_two_ids_is_one_image(world):
    world.images("img/a.jpg")
    world.coco([entry(1, "a.jpg"), entry(2, "./a.jpg")], [box(1, 1), box(2, 2)])
    reader = world.merged(format="coco")
    assert boxes_px(reader) == {"a.jpg": [("dog", 10, 10, 30, 30), ("cat", 10, 10, 30, 30)]}
    assert reader.counts[0] == {"image listed again under another id (read as one image)": 1}


def test_crowds_may_be_texts_and_ignored_boxes_are_ignore_regions(world):
    world.images("img/a.jpg")
    flags = [
        {"iscrowd": "0"},
        {"iscrowd": 0, "ignore": 1},
        {"iscrowd": "1"},
        {"iscrowd": False},
        {"ignore": "false"},
    ]
    world.coco([entry(1, "a.jpg")], [box(1, 1, **flag) for flag in flags])
    found = boxes_px(world.merged(format="coco"))["a.jpg"]
    assert ["ignored" in row for row in found] == [False, True, True, False, False]


def test_coco_boxes_in_0_to_1_are_shares_of_width_and_height(world):
    world.images("img/a.jpg")
    world.coco([entry(1, "a.jpg")], [box(1, 1, [0.1, 0.2, 0.2, 0.4])])
    assert boxes_px(world.merged(format="coco")) == {"a.jpg": [("dog", 10, 10, 30, 30)]}


# --- lost boxes


def yolo(world: World, **files: str) -> dict[str, Any]:
    """A YOLO data set with these text files; the settings of its source."""
    world.images(*(f"img/images/{name}.jpg" for name in files))
    for name, text in files.items():
        world.write(f"img/labels/{name}.txt", text)
    world.write("names.txt", "dog\ncat\n")
    return {"format": "yolo", "images": "img/images", "class_names": "names.txt"}


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param({"a": "0,.5,.5,.2,.2\n", "b": "1,.5,.5,.2,.2\n"}, id="commas"),
        pytest.param({"a": "0 50 20 10 10\n", "b": "1 50 20 10 10\n"}, id="pixels"),
        pytest.param({"a": "10 10 30 10 30 30 10 30 dog 0\n", "b": "8 1 3 1 3 3 1 3 cat 0\n"}, id="DOTA"),
    ],
)
def test_a_yolo_source_without_a_usable_line_stops_and_names_examples(world, lines):
    with pytest.raises(NothingUsable, match=r"expected boxes, found none.*/a\.txt.*/b\.txt"):
        world.merged(**yolo(world, **lines))


def test_a_coco_source_without_a_usable_box_stops(world):
    world.images("img/a.jpg", "img/b.jpg")
    world.coco([entry(1, "a.jpg"), entry(2, "b.jpg")], [box(1, 1, [200, 1, 5, 5]), box(2, 8)])
    with pytest.raises(
        NothingUsable, match=r"outside its image: 1 \(a\.jpg: left, top, right, bottom = 200, 1"
    ):
        world.merged(format="coco")


def test_a_voc_source_without_a_usable_box_stops(world):
    world.images("img/a.jpg")
    world.write("ann/a.xml", voc_xml("dog", ("", "", "", "")))
    with pytest.raises(NothingUsable, match=r"not four finite numbers: 1 \(a\.jpg"):
        world.merged(format="voc", annotations="ann")


def test_a_csv_source_without_a_usable_box_stops(world):
    world.images("img/a.jpg")
    world.write("t.csv", "image,class,xmin,ymin,xmax,ymax\na.jpg,dog,1,1,x,9\n")
    with pytest.raises(NothingUsable, match=r"not four finite numbers: 1 \(a\.jpg"):
        world.merged(format="csv", annotations="t.csv")


def test_boxes_of_imagenet_in_the_wrong_folder_stop(world):
    world.images("img/dog/a.jpg")
    world.write("ann/n1/a.xml", voc_xml("dog", (1, 1, 5, 5)))
    with pytest.raises(NothingUsable, match=r"folder of boxes without a class of images: 1 \(.*ann/n1\)"):
        world.merged(format="imagenet", boxes="ann")


def test_a_source_of_background_images_merges(world):
    reader = world.merged(**yolo(world, a="", b=""))
    assert reader.image_boxed.tolist() == [True, True]
    assert exhaustive(reader) == ["dog", "cat"]


def test_text_files_beside_the_images_are_read(world):
    world.images("img/images/a.jpg", "img/images/b.jpg")
    world.write("img/images/a.txt", "0 .2 .4 .2 .4\n")
    world.write("img/labels/notes.md", "")
    world.write("names.txt", "dog\n")
    reader = world.merged(format="yolo", images="img/images", class_names="names.txt")
    assert boxes_px(reader) == {"a.jpg": [("dog", 10, 10, 30, 30)], "b.jpg": []}


GOOD = "1 .2 .4 .2 .4\n"


def test_a_lost_yolo_box_takes_its_class_back_in_this_image(world):
    reader = world.merged(**yolo(world, a=GOOD + "0 .7 .5 .2 .2 .91\n", b=GOOD))
    assert boxes_px(reader) == {name: [("cat", 10, 10, 30, 30)] for name in ("a.jpg", "b.jpg")}
    assert labels(reader) == {"a.jpg": ["dog"], "b.jpg": []}
    assert [exhaustive(reader, image) for image in (0, 1)] == [["cat"], ["dog", "cat"]]


def test_a_yolo_line_without_class_takes_all_classes_back_in_this_image(world):
    reader = world.merged(**yolo(world, a=GOOD + "x .7 .5 .2 .2\n", b=GOOD))
    assert [exhaustive(reader, image) for image in (0, 1)] == [[], ["dog", "cat"]]


def voc_xml(name: str, corners: Any, more: str = "", database: str = "") -> str:
    keys = ("xmin", "ymin", "xmax", "ymax")
    box_ = "".join(f"<{key}>{value}</{key}>" for key, value in zip(keys, corners, strict=True))
    return (
        f"<annotation><source><database>{database}</database></source><size><width>{W}</width>"
        f"<height>{H}</height></size><object><name>{name}</name><bndbox>{box_}</bndbox></object>{more}</annotation>"
    )


@pytest.mark.parametrize("format_", ["coco", "voc", "csv"])
def test_a_lost_box_takes_its_class_back_in_every_format(world, format_):
    world.images("img/a.jpg")
    world.coco([entry(1, "a.jpg")], [box(1, 2), box(1, 1, [10, 10, -5, 5])])
    lost = "<object><name>dog</name><bndbox><xmin>1</xmin></bndbox></object>"
    world.write("ann/a.xml", voc_xml("cat", (11, 11, 30, 30), lost))
    world.write("t.csv", "image,class,x,y,width,height\na.jpg,cat,10,10,20,20\na.jpg,dog,10,10,?,20\n")
    annotations = {"coco": "a.json", "voc": "ann", "csv": "t.csv"}[format_]
    reader = world.merged(format=format_, annotations=annotations)
    assert boxes_px(reader) == {"a.jpg": [("cat", 10, 10, 30, 30)]}
    assert labels(reader) == {"a.jpg": ["dog"]}
    assert exhaustive(reader) == ["cat"]


def test_an_annotation_without_box_among_boxes_takes_its_class_back(world):
    world.images("img/a.jpg")
    world.coco([entry(1, "a.jpg")], [box(1, 2), {"image_id": 1, "category_id": 1}])
    reader = world.merged(format="coco")
    assert (labels(reader), exhaustive(reader)) == ({"a.jpg": ["dog"]}, ["cat"])


# --- tables


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("image,class,x1,y1,x2,y2", "a.jpg,dog,10,10,30,30"),
        ("image,class,x_min,y_min,x_max,y_max", "a.jpg,dog,10,10,30,30"),
        ("Filename,Label,XMin,YMin,XMax,YMax", "a.jpg,dog,10,10,30,30"),
        ("image_id,category,bbox", 'a.jpg,dog,"[10, 10, 20.0, 20]"'),
        ("image,class,bbox_x,bbox_y,bbox_width,bbox_height", "a.jpg,dog,10,10,20,20"),
        ("filename,width,height,class,xmin,ymin,xmax,ymax", "a.jpg,100,50,dog,10,10,30,30"),
        ("image,class,left,top,right,bottom", "a.jpg,dog,10,10,30,30"),
        ("image,class,x_center,y_center,width,height", "a.jpg,dog,20,20,20,20"),
        ("image,class,x1,y1,x2,y2,x3,y3,x4,y4", "a.jpg,dog,10,20,20,10,30,20,20,30"),
    ],
)
def test_box_columns_have_common_other_names(world, header, row):
    world.images("img/a.jpg")
    world.write("t.csv", f"{header}\n{row}\n")
    assert boxes_px(world.merged(format="csv", annotations="t.csv")) == {"a.jpg": [("dog", 10, 10, 30, 30)]}


def test_columns_that_are_not_read_are_listed(world, command):
    world.images("img/a.jpg")
    world.write("t.csv", "image,class,score,=note\na.jpg,dog,.9,x\n")
    world.merged(format="csv", annotations="t.csv")
    rows = rows_in(world.folder / "shards" / LEFT_OUT_NAME)
    assert rows[1:] == [
        ["s", "column that is not read", "score", ""],
        ["s", "column that is not read", "'=note", ""],
    ]
    assert "s: column that is not read: 2 (score, =note)" in command("info", world.folder / "shards")[1]


@pytest.mark.parametrize("unit", [None, "px", "unit"])
def test_a_table_of_numbers_in_0_to_1_has_shares(world, unit):
    world.images("img/a.jpg")
    world.write("t.csv", "image,class,xmin,ymin,xmax,ymax\na.jpg,dog,0.1,0.2,0.3,0.6\n")
    reader = world.merged(format="csv", annotations="t.csv", unit=unit)
    expected = (0.1, 0.2, 0.3, 0.6) if unit == "px" else (10, 10, 30, 30)
    assert boxes_px(reader) == {"a.jpg": [("dog", *expected)]}


@pytest.mark.parametrize("cell", ['"5 inch', '"5" inch'])
def test_a_quote_that_is_not_closed_is_reported_with_its_line(world, cell):
    world.images("img/0.jpg")
    rows = "".join(f"{number}.jpg,dog,\n" for number in range(5))
    world.write("t.csv", f"image,class,note\n0.jpg,dog,{cell}\n{rows}")
    with pytest.raises(DataPrepError, match=r"t\.csv, line 2: not CSV: "):
        world.merged(format="csv", annotations="t.csv")


def test_a_table_names_images_without_suffix(world):
    world.images("img/a.jpg", "img/b.png", kind="PNG")
    world.write("t.csv", "image,class\na,dog\nb,cat\n")
    assert labels(world.merged(format="csv", annotations="t.csv")) == {"a": ["dog"], "b": ["cat"]}


def test_an_image_that_is_no_image_is_called_so_in_a_table(world):
    world.images("img/ok.jpg")
    world.write("img/empty.jpg", "")
    world.write("img/page.jpg", "<html>")
    rows = "".join(f"{name}.jpg,dog,10,10,30,30\n" for name in ("ok", "empty", "page"))
    world.write("t.csv", f"image,class,xmin,ymin,xmax,ymax\n{rows}")
    reader = world.merged(format="csv", annotations="t.csv")
    assert boxes_px(reader) == {"ok.jpg": [("dog", 10, 10, 30, 30)]}
    assert reader.counts[0] == {"image that cannot be decoded": 2, "box of an image left out": 2}


# --- VOC


@pytest.mark.parametrize(
    ("corners", "settings", "expected"),
    [
        pytest.param((11, 6, 30, 25), {}, (10, 5, 30, 25), id="pixels from 1"),
        pytest.param((10.5, 5.25, 30.5, 25.25), {}, (10.5, 5.25, 30.5, 25.25), id="fractions are edges"),
        pytest.param(("10.0", "5.0", "30.0", "25.0"), {}, (10, 5, 30, 25), id="floats are edges"),
        pytest.param((10, 5, 30, 25), {"first_pixel": "edges"}, (10, 5, 30, 25), id="edges by setting"),
        pytest.param((10, 5, 29, 24), {"first_pixel": 0}, (10, 5, 30, 25), id="pixels from 0"),
        pytest.param(("11.0", 6, 30, 25), {"first_pixel": 1}, (10, 5, 30, 25), id="pixels from 1 by setting"),
    ],
)
def test_voc_corners_are_pixels_or_edges(world, corners, settings, expected):
    world.images("img/a.jpg")
    world.write("ann/a.xml", voc_xml("dog", corners))
    reader = world.merged(format="voc", annotations="ann", **settings)
    assert boxes_px(reader) == {"a.jpg": [("dog", *expected)]}


def test_roboflows_voc_has_edges(world):
    world.images("img/a.jpg")
    world.write("ann/a.xml", voc_xml("dog", (10, 5, 30, 25), database="roboflow.com"))
    assert boxes_px(world.merged(format="voc", annotations="ann")) == {"a.jpg": [("dog", 10, 5, 30, 25)]}


def test_a_doctype_is_accepted_and_images_without_xml_are_named(world, command):
    world.images("img/a.jpg", "img/bg.jpg")
    world.write("ann/a.xml", f"<!DOCTYPE annotation>{voc_xml('dog', (11, 6, 30, 25))}")
    reader = world.merged(format="voc", annotations="ann")
    assert boxes_px(reader) == {"a.jpg": [("dog", 10, 5, 30, 25)]}
    out = command("info", world.folder / "shards")[1]
    assert f"s: image without an annotation file: 1 ({world.folder / 'img' / 'bg.jpg'})" in out


# --- EXIF


def oriented(world: World, name: str, orientation: int, size: tuple[int, int] = (W, H)) -> None:
    """An image whose stored left upper quarter is white."""
    image = Image.new("RGB", size)
    image.paste("white", (0, 0, size[0] // 2, size[1] // 2))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = world.folder / "img" / name
    path.parent.mkdir(exist_ok=True)
    image.save(path, quality=95, exif=exif)


def bright_corner(reader: ShardReader, name: str) -> str:
    """The corner in which the stored image is white."""
    import io

    image = next(number for number in range(len(reader)) if reader.source_id(number) == name)
    pixels = np.asarray(Image.open(io.BytesIO(reader.encoded(image).tobytes())).convert("L"))
    rows, columns = pixels.shape[0] // 2, pixels.shape[1] // 2
    top = pixels[:rows].mean() > pixels[rows:].mean()
    left = pixels[:, :columns].mean() > pixels[:, columns:].mean()
    return f"{'top' if top else 'bottom'} {'left' if left else 'right'}"


def exif_source(world: World, frame: str, evidence: bool) -> dict[str, Any]:
    """Images of orientations 3, 2 and 6 (square), and perhaps one that is sideways and tells the frame."""
    oriented(world, "o3.jpg", 3)
    oriented(world, "o2.jpg", 2)
    oriented(world, "square.jpg", 6, (50, 50))
    images = [entry(1, "o3.jpg"), entry(2, "o2.jpg"), entry(3, "square.jpg", width=50)]
    if evidence:
        oriented(world, "o8.jpg", 8)
        size = {"width": W, "height": H} if frame == "stored" else {"width": H, "height": W}
        images.append(entry(4, "o8.jpg", **size))
    world.coco(images, [box(number + 1, 1, [1, 1, 5, 5]) for number in range(len(images))])
    return {"format": "coco"}


UPRIGHT = {"o3.jpg": "bottom right", "o2.jpg": "top right", "square.jpg": "top right"}


@pytest.mark.parametrize(
    ("frame", "evidence", "exif"),
    [
        ("upright", True, "auto"),
        ("upright", False, "auto"),
        ("upright", False, "upright"),
        ("stored", True, "auto"),
        ("stored", False, "stored"),
    ],
)
def test_all_exif_orientations_of_a_source_are_applied_or_none(world, frame, evidence, exif):
    reader = world.merged(**exif_source(world, frame, evidence), exif=exif)
    expected = UPRIGHT if frame == "upright" else dict.fromkeys(UPRIGHT, "top left")
    assert {name: bright_corner(reader, name) for name in UPRIGHT} == expected
    reason = {
        "upright": "rotated by EXIF",
        "stored": "EXIF rotation not applied, as the annotations refer to the stored pixels",
    }[frame]
    assert reader.counts[0] == {reason: 3 + evidence}


@pytest.mark.parametrize("exif", ["upright", "stored"])
def test_boxes_without_a_stated_size_are_in_the_frame_of_the_setting(world, exif):
    oriented(world, "a.jpg", 6)
    world.write("t.csv", "image,class,xmin,ymin,xmax,ymax\na.jpg,dog,10,10,30,30\n")
    reader = world.merged(format="csv", annotations="t.csv", exif=exif)
    assert [reader.image_width[0], reader.image_height[0]] == ([H, W] if exif == "upright" else [W, H])
    assert boxes_px(reader) == {"a.jpg": [("dog", 10, 10, 30, 30)]}


# --- class folders


def test_the_deepest_folder_may_be_the_class(world):
    world.images("img/Animalia/Canis/dog/1.jpg", "img/Animalia/Felis/cat/1.jpg", "img/Plantae/x/cat/2.jpg")
    reader = world.merged(format="imagenet", class_folder="deepest")
    assert labels(reader) == {
        "Animalia/Canis/dog/1.jpg": ["dog"],
        "Animalia/Felis/cat/1.jpg": ["cat"],
        "Plantae/x/cat/2.jpg": ["cat"],
    }


def test_nested_class_folders_are_counted_with_a_hint(world):
    world.images("img/dog/x/1.jpg", "img/cat/y/1.jpg")
    (reason,) = make_plan(world.config(format="imagenet")).counts[0]
    assert "set `class_folder: deepest`" in reason


@pytest.mark.parametrize("format_", ["imagenet", "csv"])
def test_a_class_name_that_begins_with_its_wnid_is_that_synset(world, format_):
    world.images("img/n02085620-Chihuahua/1.jpg")
    world.write("t.csv", "image,class\nn02085620-Chihuahua/1.jpg,n02085620-Chihuahua\n")
    source = {} if format_ == "imagenet" else {"annotations": "t.csv"}
    config = world.config(format=format_, **source).model_copy(
        update={"tree": MergeConfig.model_fields["tree"].default}
    )
    (match,) = make_plan(config).matches
    assert (match.id, match.reason) == ("n02085620", "wnid")


# --- YOLO's data.yaml


def yolo_data(world: World, **values: Any) -> dict[str, Any]:
    """train/ and valid/ as Roboflow lays them out, and test images without text files."""
    world.images("set/train/images/a.jpg", "set/valid/images/a.jpg", "set/test/images/t.jpg")
    world.write("set/train/labels/a.txt", "0 .2 .4 .2 .4\n")
    world.write("set/valid/labels/a.txt", "1 .2 .4 .2 .4\n")
    document = {
        "train": "../train/images",
        "val": "../valid/images",
        "nc": 2,
        "names": ["dog", "cat"],
    } | values
    world.write("set/data.yaml", yaml.safe_dump(document))
    return {"format": "yolo", "data": "set/data.yaml"}


def splits(reader: ShardReader) -> dict[str, str]:
    return {reader.source_id(image): reader.splits[reader.image_split[image]] for image in range(len(reader))}


@pytest.mark.parametrize("path", ["~nobody-of-this-name/x", "x" * 5000, "/elsewhere", "a\t\tb"])
def test_a_path_of_another_machine_in_a_data_yaml_is_the_folder_of_the_file(world, path):
    reader = world.merged(**yolo_data(world, path=path))
    assert len(reader) == 2


@pytest.mark.parametrize("images", ["x" * 5000, "x/" * 40_000, "a\x1b[31m"])
def test_impossible_folders_in_a_data_yaml_are_reported_in_one_line(world, images):
    settings = yolo_data(world, train=images)
    with pytest.raises(DataPrepError, match=r"expected images at .* found nothing") as caught:
        world.merged(**settings)
    assert str(caught.value).isprintable()


def test_a_data_yaml_is_one_source_with_its_own_splits(world):
    reader = world.merged(**yolo_data(world))
    assert splits(reader) == {"train/train/images/a.jpg": "train", "val/valid/images/a.jpg": "val"}
    assert boxes_px(reader) == {
        "train/train/images/a.jpg": [("dog", 10, 10, 30, 30)],
        "val/valid/images/a.jpg": [("cat", 10, 10, 30, 30)],
    }


def test_a_split_that_repeats_another_or_has_no_text_files_is_left_out(world):
    reader = world.merged(**yolo_data(world, val="train/images", test="test/images"))
    assert list(splits(reader).values()) == ["train"]
    assert reader.counts[0] == {"split with the images of another split": 1, "split without text files": 1}


def test_a_data_yaml_may_list_its_images_in_text_files(world):
    source = yolo_data(world, train="train.txt", path=".")
    world.write("set/train.txt", "./train/images/a.jpg\n\n./gone.jpg\n")
    reader = world.merged(**source)
    assert splits(reader) == {"train/train/images/a.jpg": "train", "val/valid/images/a.jpg": "val"}
    assert reader.counts[0] == {"image file missing": 1}


def test_another_split_of_a_data_yaml_may_be_given(world):
    assert set(splits(world.merged(**yolo_data(world), split="later")).values()) == {"later"}


def test_relabel_keeps_the_splits_of_a_data_yaml(world, command):
    before = splits(world.merged(**yolo_data(world)))
    assert command("relabel", world.folder / "shards", "--exhaustive", "s=dog")[0] == 0
    assert splits(ShardReader(world.folder / "shards")) == before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train": "nowhere"}, "expected images at .*nowhere, found nothing"),
        ({"train": None, "val": None}, "expected the images of a split"),
        ({"train": 7}, "`train`: expected a folder or text file"),
        ({"path": 7}, "`path`: expected a folder"),
        ({"nc": 3}, "expected 2 as `nc`.*found 3"),
    ],
)
def test_a_data_yaml_without_images_is_reported_in_one_line(world, values, message):
    with pytest.raises(DataPrepError, match=message):
        world.merged(**yolo_data(world, **values))


def test_longer_lists_of_names_than_classes_are_read(world):
    assert len(world.merged(**yolo_data(world, nc=1))) == 2


# --- messages


def test_missing_images_are_named_with_the_path_that_was_tried_and_the_folder_to_give(world, command):
    world.images("images/a.jpg", "images/b.jpg")
    world.coco([entry(1, "images/a.jpg"), entry(2, "images/b.jpg")], [])
    world.config(format="coco", images="images")
    code, _, err = command("plan", world.folder / "merge.yaml")
    assert code == 2
    tried = world.folder / "images" / "images"
    assert f"image file missing: 2 ({tried / 'a.jpg'}, {tried / 'b.jpg'})" in err
    assert f"{world.folder / 'images' / 'a.jpg'} exists: set `images` to {world.folder}." in err
    rows = rows_in(world.folder / LEFT_OUT_NAME)
    assert rows == [
        ["source", "reason", "image", "place"],
        ["s", "image file missing", "images/a.jpg", str(tried / "a.jpg")],
        ["s", "image file missing", "images/b.jpg", str(tried / "b.jpg")],
    ]


def test_a_plan_lists_all_that_is_left_out_and_shows_three_of_each_reason(world, command):
    world.images("img/a.jpg")
    world.coco(
        [entry(1, "a.jpg"), *(entry(number, f"gone{number}.jpg") for number in range(2, 7))], [box(1, 1)]
    )
    world.config(format="coco")
    code, out, _ = command("plan", world.folder / "merge.yaml")
    assert code == 0
    shown = ", ".join(str(world.folder / "img" / f"gone{number}.jpg") for number in (2, 3, 4))
    assert f"s: image file missing: 5 ({shown})" in out
    assert len((world.folder / LEFT_OUT_NAME).read_text().splitlines()) == 6
    json_out = json.loads(command("plan", world.folder / "merge.yaml", "--json")[1])
    assert len(json_out["sources"][0]["examples"]["image file missing"]) == 3


def test_a_plan_never_replaces_a_foreign_file(world, command):
    world.images("img/a.jpg")
    world.coco([entry(1, "a.jpg"), entry(2, "gone.jpg")], [box(1, 1)])
    world.config(format="coco")
    world.write(LEFT_OUT_NAME, "my own list\n")
    code, _, err = command("plan", world.folder / "merge.yaml")
    assert (code, (world.folder / LEFT_OUT_NAME).read_text()) == (2, "my own list\n")
    assert "expected a list that this program wrote" in err


def test_images_that_cannot_be_packed_are_listed_with_their_paths(world):
    world.images("img/a.jpg")
    world.write("img/b.jpg", "no image")
    world.coco([entry(1, "a.jpg"), entry(2, "b.jpg")], [box(1, 1), box(2, 1)])
    world.merged(format="coco")
    rows = rows_in(world.folder / "shards" / LEFT_OUT_NAME)
    assert rows[1:] == [["s", "image that cannot be decoded", "b.jpg", str(world.folder / "img" / "b.jpg")]]


def test_if_no_image_can_be_used_the_reasons_and_examples_are_named(world):
    world.images("img/a.jpg", "img/b.jpg")
    world.coco([entry(1, "a.jpg", width=30), entry(2, "b.jpg", width=30)], [box(1, 1)])
    with pytest.raises(
        DataPrepError, match=r"another aspect ratio than in its annotations: 2 \(.*img/a\.jpg, .*b\.jpg\)"
    ):
        world.merged(format="coco")
    assert not (world.folder / "shards").exists()


def test_another_merge_in_other_order_of_sources_is_told_apart(world, command):
    for folder in ("b", "a"):
        world.images(f"{folder}/dog/1.jpg")
    sources = [{"name": name, "format": "imagenet", "images": name} for name in ("b", "a")]
    world.write("merge.yaml", yaml.safe_dump({"sources": sources, "tree": "tree.csv", "duplicates": "keep"}))
    merge(load_config(world.folder / "merge.yaml", MergeConfig), world.folder / "shards")
    arguments = ("merge", world.folder / "merge.yaml", "-o", world.folder / "shards", "--set", "quality=90")
    _, _, err = command(*arguments)
    assert "holds another merge: its quality is 95, this plan's is 90." in err


def test_relabel_says_of_which_split_the_labels_are(world, command):
    world.merged(**yolo_data(world))
    code, out, _ = command("relabel", world.folder / "shards", "--split", "s=later")
    assert code == 0
    assert "nodes: 2 (before: 2); in split 'train': boxes: 0 (before: 1); image labels: 0 (before: 0)" in out
