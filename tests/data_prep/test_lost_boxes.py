"""An object whose box cannot be read never becomes background: the readers of every format, on files of others."""

import pytest

from data_prep.planning.plan import NothingUsable
from data_prep.sources import SourceError
from tests.data_prep.test_other_peoples_files import CAT, DOG, H, W, box, boxes_px, entry, labels, world

__all__ = ["world"]

NO_BOX = {"image_id": 1, "category_id": 1}
LINE = "0 0.2 0.4 0.2 0.4\n"


def exhaustive(reader, image=0):
    """The nodes for which an image is exhaustively annotated, by the source or by its own labels."""
    rows = slice(*reader.label_offsets[image : image + 2])
    own = reader.label_nodes[rows][reader.label_exhaustive[rows]]
    nodes = {*own.tolist(), *reader.exhaustive_as_source(image).nonzero()[0].tolist()}
    return {reader.tree.ids[node] for node in nodes}


def test_lvis_without_any_box_has_image_labels(world):
    world.images("img/a.jpg", "img/b.jpg")
    world.coco([entry(1, "a.jpg"), entry(2, "b.jpg")], [NO_BOX, {"image_id": 2, "category_id": 2}])
    reader = world.merged(format="lvis")
    assert labels(reader) == {"a.jpg": ["dog"], "b.jpg": ["cat"]}
    assert not reader.image_boxed.any()


@pytest.mark.parametrize(
    ("lost", "left"),
    [
        pytest.param(NO_BOX, {"cat"}, id="annotation without a box"),
        pytest.param(box(1, 1, ["x", 1, 1, 1]), {"cat"}, id="box that is no number"),
        pytest.param(box(1, None), set(), id="box without a class"),
    ],
)
def test_a_lost_box_of_lvis_takes_its_class_back_in_this_image(world, lost, left):
    world.images("img/a.jpg")
    world.coco([entry(1, "a.jpg")], [box(1, 1), box(1, 2), lost])
    assert exhaustive(world.merged(format="lvis")) == left


@pytest.mark.parametrize("format_", ["coco", "lvis", "objects365"])
@pytest.mark.parametrize(
    "mask",
    [[[10, 10, 30]], [["x", 1, 2, 3, 4, 5]], {"size": [50, 100], "counts": [100, 20]}, "none", 0],
    ids=["odd polygon", "texts", "run lengths that end early", "text", "number"],
)
def test_invalid_masks_without_boxes_are_lost_boxes_and_no_image_labels(world, format_, mask):
    world.images("img/a.jpg")
    world.coco([entry(1, "a.jpg")], [NO_BOX | {"segmentation": mask}])
    with pytest.raises(NothingUsable, match=r"expected boxes, found none .*four finite numbers: 1 \(a.jpg"):
        world.merged(format=format_, annotations="a.json")


@pytest.mark.parametrize("format_", ["coco", "lvis"])
@pytest.mark.parametrize("missing", [{}, {"bbox": None}, {"bbox": []}, {"bbox": [0, 0, 0.0, 0]}])
def test_a_mask_stands_for_a_missing_box(world, format_, missing):
    polygons = [[10, 10, 30, 12.5, 20, 30], [40, 5, 45, 5, 45, 9]]
    runs = {"size": [H, W], "counts": [H + 5, 20, H * W - H - 25]}  # column 1, rows 5 to 24
    annotations = [
        NO_BOX | {"segmentation": polygons} | missing,
        NO_BOX | {"segmentation": runs, "category_id": 2} | missing,
        box(1, 2) | {"segmentation": polygons},
    ]
    world.images("img/a.jpg")
    world.coco([entry(1, "a.jpg")], annotations)
    reader = world.merged(format=format_)
    assert boxes_px(reader) == {
        "a.jpg": [("dog", 10, 5, 45, 30), ("cat", 1, 5, 2, 25), ("cat", 10, 10, 30, 30)]
    }
    assert reader.counts[0] == {"box of the mask, as the annotation has no bbox (kept)": 2}
    assert exhaustive(reader) == {"dog", "cat"}


@pytest.mark.parametrize("bbox", [{"x": 10, "y": 10}, "10 10 20 20", [10, 10, 20], [None] * 4])
def test_a_box_without_numbers_is_said_to_have_none(world, bbox):
    world.images("img/a.jpg")
    world.coco([entry(1, "a.jpg")], [NO_BOX | {"bbox": bbox}])
    with pytest.raises(NothingUsable, match=r"four finite numbers: 1 \(a.jpg: no box in numbers\)"):
        world.merged(format="coco")


def test_a_crowd_without_a_box_has_that_of_its_mask(world):
    world.images("img/a.jpg")
    runs = {"size": [H, W], "counts": [0, H * W]}
    world.coco([entry(1, "a.jpg")], [box(1, 1), NO_BOX | {"segmentation": runs, "iscrowd": 1}])
    assert boxes_px(world.merged(format="coco"))["a.jpg"][1] == ("dog", 0, 0, W, H, "ignored")


@pytest.mark.parametrize("mask", [[], [[]], None, {}])
def test_empty_masks_are_none(world, mask):
    world.images("img/a.jpg")
    world.coco([entry(1, "a.jpg")], [NO_BOX | {"segmentation": mask}])
    assert labels(world.merged(format="coco")) == {"a.jpg": ["dog"]}


def test_a_category_may_be_called_by_a_number(world):
    world.images("img/a.jpg")
    world.write("tree.csv", "child,parent,name\n7,,\ncat,,\n")
    world.coco([entry(1, "a.jpg")], [box(1, 1)], [DOG | {"name": 7}, CAT])
    assert boxes_px(world.merged(format="coco"))["a.jpg"][0][0] == "7"


def test_a_category_that_only_groups_others_claims_no_boxes(world):
    world.images("img/a.jpg")
    world.write("tree.csv", "child,parent,name\npets,,\ndog,pets,\ncat,pets,\n")
    root = {"id": 0, "name": "pets", "supercategory": "none"}
    dog = DOG | {"supercategory": "pets"}
    world.coco([entry(1, "a.jpg")], [box(1, 1)], [root, dog])
    reader = world.merged(format="coco")
    assert exhaustive(reader) == {"dog"}
    assert reader.counts[0] == {"category that only groups others (not read)": 1}
    world.coco([entry(1, "a.jpg")], [box(1, 1), box(1, 0)], [root, dog])
    (world.folder / "shards").rename(world.folder / "before")
    assert exhaustive(world.merged(format="coco")) == {"pets", "dog", "cat"}


@pytest.mark.parametrize("row", ["a.jpg,dog,40,10\n", "a.jpg,dog, striped,40,10,50,20\n"])
def test_a_row_of_the_wrong_length_takes_all_classes_back_in_its_image(world, row):
    world.images("img/a.jpg", "img/b.jpg")
    good = "a.jpg,dog,10,10,30,30\nb.jpg,cat,10,10,30,30\n"
    world.write("t.csv", f"image,class,xmin,ymin,xmax,ymax\n{row}{good}")
    reader = world.merged(format="csv", annotations="t.csv")
    assert [exhaustive(reader, image) for image in (0, 1)] == [set(), {"dog", "cat"}]


def test_a_row_of_the_wrong_length_in_openimages_takes_all_classes_back_in_its_image(world):
    world.images("img/a.jpg", "img/b.jpg")
    rows = "a,dog,.1,.3,.2,.4\na,dog,.5\nb,cat,.1,.3,.2,.4\n"
    world.write("boxes.csv", f"ImageID,LabelName,XMin,XMax,YMin,YMax\n{rows}")
    reader = world.merged(format="openimages", boxes="boxes.csv")
    assert [exhaustive(reader, image) for image in (0, 1)] == [set(), {"cat"}]


def test_a_class_number_without_a_name_takes_all_classes_back_in_this_image(world):
    world.images("images/a.jpg", "images/b.jpg")
    world.write("labels/a.txt", f"{LINE}2 0.5 0.5 0.1 0.1\n")
    world.write("labels/b.txt", LINE)
    world.write("n.txt", "dog\ncat\n")
    reader = world.merged(format="yolo", images="images", class_names="n.txt")
    assert [exhaustive(reader, image) for image in (0, 1)] == [set(), {"dog", "cat"}]


def _xml(*names):
    corners = "<bndbox><xmin>11</xmin><ymin>11</ymin><xmax>30</xmax><ymax>30</ymax></bndbox>"
    objects = "".join(f"<object><name>{name}</name>{corners}</object>" for name in names)
    return f"<annotation><size><width>100</width><height>50</height></size>{objects}</annotation>"


def test_an_object_without_a_name_takes_the_class_of_its_folder_back(world):
    world.images("img/dog/a.jpg", "img/dog/b.jpg")
    world.write("box/dog/a.xml", _xml("dog", ""))
    world.write("box/dog/b.xml", _xml("dog"))
    reader = world.merged(format="imagenet", boxes="box")
    assert [exhaustive(reader, image) for image in (0, 1)] == [set(), {"dog"}]


def test_a_second_box_of_an_object_takes_the_class_of_its_folder_back(world):
    world.images("img/dog/a.jpg", "img/dog/b.jpg")
    second = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
    world.write("box/dog/a.xml", _xml("dog").replace("</object>", second))
    world.write("box/dog/b.xml", _xml("dog"))
    reader = world.merged(format="imagenet", boxes="box")
    assert [exhaustive(reader, image) for image in (0, 1)] == [set(), {"dog"}]
    assert reader.counts[0] == {"second box or name of an object (not read)": 1}


def test_boxes_of_imagenet_beside_the_folders_of_the_classes_stop(world):
    world.images("img/dog/a.jpg")
    world.write("box/a.xml", _xml("dog"))
    with pytest.raises(NothingUsable, match=r"beside the folders of the classes .*: 1 \(.*box/a.xml\)"):
        world.merged(format="imagenet", boxes="box")


def test_a_zip_of_images_is_called_a_compressed_archive(world):
    (world.folder / "img.zip").write_bytes(b"PK\3\4" + bytes(600))
    with pytest.raises(SourceError, match="found a compressed archive"):
        world.merged(format="imagenet", images="img.zip")
