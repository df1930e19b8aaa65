"""Text files as other systems write them: line ends, separators, decimal commas, encodings."""

import pytest

from data_prep.sources import SourceError
from tests.data_prep.test_other_peoples_files import World, boxes_px, world

__all__ = ["world"]

DOG, CAT = ("dog", 10, 10, 30, 30), ("cat", 10, 10, 30, 30)
BOTH = {"a.jpg": [DOG], "b.jpg": [CAT]}
XML = (
    "<annotation>\n<object>\n<name>{}</name>\n<bndbox><xmin>11</xmin><ymin>11</ymin>\n"
    "<xmax>30</xmax><ymax>30</ymax></bndbox></object>\n</annotation>\n"
)
YOLO = "{} 0.2 0.4 0.2 0.4\n\n"
FILES = {
    "csv": {"t.csv": "image,class,xmin,ymin,xmax,ymax\na.jpg,dog,10,10,30,30\nb.jpg,cat,10,10,30,30\n"},
    "yolo": {
        "n.txt": "dog\ncat\n",
        "img/a.txt": YOLO.format(0),
        "img/b.txt": YOLO.format(1),
    },
    "openimages": {
        "b.csv": "ImageID,LabelName,XMin,XMax,YMin,YMax\na,/m/1,0.1,0.3,0.2,0.6\nb,/m/2,0.1,0.3,0.2,0.6\n",
        "n.csv": "/m/1,dog\n/m/2,cat\n",
    },
    "voc": {"xml/a.xml": XML.format("dog"), "xml/b.xml": XML.format("cat"), "list.txt": "a\nb\n"},
    "coco": {
        "a.json": '{"images": [{"id": 1, "file_name": "a.jpg"},\n{"id": 2, "file_name": "b.jpg"}],\n'
        '"categories": [{"id": 1, "name": "dog"},\n{"id": 2, "name": "cat"}], "annotations": [\n'
        '{"image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 20]},\n'
        '{"image_id": 2, "category_id": 2, "bbox": [10, 10, 20, 20]}]}\n'
    },
}
SETTINGS = {
    "csv": {"annotations": "t.csv"},
    "yolo": {"class_names": "n.txt"},
    "openimages": {"boxes": "b.csv", "class_names": "n.csv"},
    "voc": {"annotations": "xml", "image_list": "list.txt"},
    "coco": {},
}


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["Unix", "Windows", "old Mac"])
@pytest.mark.parametrize("format_", FILES)
def test_line_ends_of_every_system_are_read(world: World, format_: str, line_end: str) -> None:
    world.images("img/a.jpg", "img/b.jpg")
    tree = {"tree.csv": "child,parent,name\ndog,,\ncat,,\n"}
    for name, text in (FILES[format_] | tree).items():
        (world.folder / name).parent.mkdir(exist_ok=True)
        (world.folder / name).write_bytes(text.replace("\n", line_end).encode())
    reader = world.merged(format=format_, **SETTINGS[format_])
    assert boxes_px(reader) == BOTH
    assert reader.counts[0] == {}


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quote", ["", '"'], ids=["bare", "quoted"])
def test_a_table_may_have_other_separators(world: World, separator: str, quote: str) -> None:
    world.images("img/a.jpg", "img/b.jpg")
    cells = [line.split(",") for line in FILES["csv"]["t.csv"].splitlines()]
    lines = [separator.join(f"{quote}{cell}{quote}" for cell in row) for row in cells]
    world.write("t.csv", "\n".join(lines))
    assert boxes_px(world.merged(format="csv", annotations="t.csv")) == BOTH


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_table_that_is_not_separated_by_commas_may_have_decimal_commas(
    world: World, separator: str
) -> None:
    world.images("img/a.jpg", "img/b.jpg")
    rows = ["image class xmin ymin xmax ymax", "a.jpg dog 10,5 10 30,25 30", "b.jpg cat 0,25 10,0 30 30"]
    world.write("t.csv", "\n".join(row.replace(" ", separator) for row in rows))
    boxes = boxes_px(world.merged(format="csv", annotations="t.csv"))
    assert boxes == {"a.jpg": [("dog", 10.5, 10, 30.25, 30)], "b.jpg": [("cat", 0.25, 10, 30, 30)]}


@pytest.mark.parametrize(
    ("format_", "name", "message"),
    [
        (
            "csv",
            "t.csv",
            r"t.csv, line 1: expected text in UTF-8, found a null character; save the file as UTF-8",
        ),
        ("openimages", "n.csv", r"n.csv, line 1: expected text in UTF-8, found a null character"),
        ("yolo", "n.txt", r"n.txt, line 1: expected text in UTF-8, found a null character"),
        ("coco", "a.json", r"a.json: not JSON: not UTF-8 text at byte 0; save it as UTF-8"),
    ],
)
def test_a_text_in_utf_16_is_refused_in_one_line(world: World, format_: str, name: str, message: str) -> None:
    world.images("img/a.jpg", "img/b.jpg")
    for file, text in FILES[format_].items():
        (world.folder / file).write_bytes(text.encode("utf-16" if file == name else "utf-8"))
    with pytest.raises(SourceError, match=message):
        world.merged(format=format_, **SETTINGS[format_])
