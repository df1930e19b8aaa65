"""ImageNet in each layout: class folders, class tars, a tar of either; and the boxes of CLS-LOC."""

import io
import os
import shutil
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from data_prep import MergeConfig, ShardReader, merge
from data_prep.config import ImageNetSource
from data_prep.sources import SourceError, open_source
from tests.data_prep.conftest import CAR, TABBY, encoded_image
from tests.data_prep.readers import make_boxes
from wordtree.support.config_files import validate

LAYOUTS = ["class tars", "tar of tars", "tar of folders", "tar with a folder around", "some of each"]


def tar_of(folder: Path, out: Path, around: str = "") -> None:
    """Write a tar with the files in reverse order, as a file system may list them."""
    with tarfile.open(out, "w", format=tarfile.GNU_FORMAT) as tar:
        files = [
            Path(place) / name for place, _, names in os.walk(folder, followlinks=True) for name in names
        ]
        for path in sorted(files, reverse=True):
            tar.add(path, f"{around}{path.relative_to(folder).as_posix()}")


def packed(folders: Path, layout: str, out: Path) -> Path:
    """Convert class folders to another layout."""
    if layout == "tar of folders":
        tar_of(folders, out)
    elif layout == "tar with a folder around":
        tar_of(folders, out, "./ILSVRC/train/")
    else:
        classes = out if layout != "tar of tars" else out.with_name(f"{out.name} unpacked")
        classes.mkdir()
        for number, folder in enumerate(sorted(folders.iterdir())):
            if layout == "some of each" and number % 2:
                shutil.copytree(folder, classes / folder.name)
            else:
                tar_of(folder, classes / f"{folder.name}.tar")
        if layout == "tar of tars":
            tar_of(classes, out)
    return out


def source_of(images: Path, **more) -> ImageNetSource:
    return ImageNetSource(name="labels", format="imagenet", images=images, **more)


def read(images: Path, **more):
    source = open_source(source_of(images, **more))
    records = list(source.records())
    return source, records, dict(+source.counts)


def images_in(records):
    """Source id, bytes and labels of each record."""
    rows = []
    for record in records:
        start = record.offset or 0
        data = record.path.read_bytes()[start : start + record.size_bytes]
        rows.append((record.source_id, data, record.labels))
    return rows


@pytest.fixture
def folders(world):
    """Two classes of three images; one class also has a folder with two images."""
    deep = world / "labelled" / CAR / "a-folder"
    deep.mkdir()
    for number, name in enumerate(("b.jpg", "a.PNG")):
        (deep / name).write_bytes(encoded_image(20 + number, kind="PNG" if name == "a.PNG" else "JPEG"))
    return world / "labelled"


def test_class_folders_are_classes_sorted_by_name(folders):
    (folders / "SOURCE.txt").write_text("beside")
    (folders / CAR / "notes.txt").write_text("no image")
    (folders / CAR / "more.tar").write_bytes(b"")
    (folders / "n00000001").mkdir()
    source, records, counts = read(folders)
    assert source.classes == ("n00000001", TABBY, CAR)
    assert (source.has_boxes, source.is_federated) == (False, False)
    assert [record.source_id for record in records] == [
        *(f"{TABBY}/{number}.jpg" for number in range(3)),
        *(f"{CAR}/{number}.jpg" for number in range(3)),
        *(f"{CAR}/a-folder/{name}" for name in ("a.PNG", "b.jpg")),
    ]
    assert {record.labels for record in records[3:]} == {((2, True, False),)}
    assert all(record.boxes is None for record in records)
    assert counts == {
        "file beside the class folders": 1,
        "file without the suffix of an image": 1,
        "tar inside a class (not read)": 1,
        "class without an image": 1,
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_images_labels_and_order_of_the_folders(folders, tmp_path, layout):
    expected = read(folders)
    found = read(packed(folders, layout, tmp_path / "packed"))
    assert found[0].classes == expected[0].classes
    assert images_in(found[1]) == images_in(expected[1])
    assert found[2] == expected[2] == {}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_shards_merged_from_every_layout_are_identical(folders, tmp_path, layout):
    merged = {}
    for name, images in (("folders", folders), ("packed", packed(folders, layout, tmp_path / "packed"))):
        sources = [{"name": "labels", "format": "imagenet", "images": images}]
        config = validate({"sources": sources, "shard_mb": 0.002}, MergeConfig, where="test")
        index = merge(config, tmp_path / f"out {name}")
        merged[name] = {
            shard.name: (tmp_path / f"out {name}" / shard.name).read_bytes() for shard in index.shards
        }
    assert len(merged["folders"]) == 2
    assert merged["packed"] == merged["folders"]


def test_streaming_twice_gives_the_same_images_and_counts(folders, tmp_path):
    source, first, counts = read(packed(folders, "tar of folders", tmp_path / "packed"))
    assert list(source.records()) == first
    assert dict(+source.counts) == counts


def test_folders_and_tars_of_a_class_have_the_same_order(tmp_path):
    names = ["b/1.jpg", "a/2.jpg", "a/b/3.jpg", "a.jpg", "a-b/4.jpg", "z.jpg", "a/10.jpg"]
    for name in names:
        (tmp_path / "folders" / CAR / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folders" / CAR / name).write_bytes(name.encode())
    _, expected, _ = read(tmp_path / "folders")
    for layout in LAYOUTS[:2]:
        _, found, _ = read(packed(tmp_path / "folders", layout, tmp_path / layout))
        assert images_in(found) == images_in(expected)


def test_a_class_tar_may_contain_its_class_folder(folders, tmp_path):
    (tmp_path / "tars").mkdir()
    tar_of(folders / CAR, tmp_path / "tars" / f"{CAR}.tar", around=f"./{CAR}/")
    _, records, _ = read(tmp_path / "tars")
    assert [record.source_id for record in records][:2] == [f"{CAR}/0.jpg", f"{CAR}/1.jpg"]


def write_tar(path: Path, *members: tuple[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def tar_in_bytes(*members: tuple[str, bytes], tmp_path: Path) -> bytes:
    write_tar(tmp_path / "inner", *members)
    return (tmp_path / "inner").read_bytes()


@pytest.mark.parametrize("layout", ["class tar", "tar of folders"])
def test_of_members_with_one_name_the_last_counts_as_after_unpacking(tmp_path, layout):
    names = [("a.jpg", b"old"), ("b.jpg", b"b"), ("./a.jpg", b"new")]
    if layout == "class tar":
        images = tmp_path / "tars"
        images.mkdir()
        write_tar(images / f"{CAR}.tar", *names)
    else:
        images = tmp_path / "all.tar"
        write_tar(images, *((f"./{CAR}/{name}", data) for name, data in names), (f"{TABBY}/c.jpg", b"c"))
    _, records, counts = read(images)
    rows = {source_id: data for source_id, data, _ in images_in(records)}
    assert (rows[f"{CAR}/a.jpg"], rows[f"{CAR}/b.jpg"]) == (b"new", b"b")
    assert counts == {"member of a tar that a later member of the same name replaces": 1}


def test_suffixes_of_tars_and_images_may_be_in_capitals(folders, tmp_path):
    (tmp_path / "tars").mkdir()
    tar_of(folders / CAR, tmp_path / "tars" / f"{CAR}.TAR")
    write_tar(tmp_path / "all.tar", (f"{TABBY}.TAR", tar_in_bytes(("Y.JPEG", b"y"), tmp_path=tmp_path)))
    for images, wnid in ((tmp_path / "tars", CAR), (tmp_path / "all.tar", TABBY)):
        source, records, _ = read(images)
        assert (source.classes, bool(records)) == ((wnid,), True)


def test_tars_within_tars_are_read_one_level_deep(tmp_path):
    inner = tar_in_bytes(("x.jpg", b"x"), tmp_path=tmp_path)
    class_tar = tar_in_bytes(("y.jpg", b"y"), ("deeper.tar", inner), tmp_path=tmp_path)
    write_tar(
        tmp_path / "all.tar",
        (f"{CAR}.tar", class_tar),
        (f"{TABBY}/z.jpg", b"z"),
        (f"{TABBY}/inside.tar", inner),
        ("beside.jpg", b"beside"),
        (".hidden/x.jpg", b""),
        (".tar", inner),
    )
    source, records, counts = read(tmp_path / "all.tar")
    assert source.classes == (TABBY, CAR)
    assert [record.source_id for record in records] == [f"{TABBY}/z.jpg", f"{CAR}/y.jpg"]
    assert counts == {"tar inside a class (not read)": 2, "file beside the class folders": 3}


def test_a_tar_of_folders_takes_less_than_sixty_bytes_per_image(tmp_path):
    write_tar(tmp_path / "all.tar", *((f"n{n % 50:08}/n{n % 50:08}_{n:05}.JPEG", b"") for n in range(5000)))
    tracemalloc.start()
    source = open_source(source_of(tmp_path / "all.tar"))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(source.classes) == 50
    assert kept / 5000 < 60  # bytes an image, 21 of them its name


def test_a_damaged_class_tar_is_read_up_to_the_damage_and_counted_by_name(folders, tmp_path):
    tars = packed(folders, "class tars", tmp_path / "tars")
    whole = (tars / f"{CAR}.tar").read_bytes()
    (tars / f"{CAR}.tar").write_bytes(whole[: len(whole) // 2])
    _, records, counts = read(tars)
    assert 3 < len(records) < 8
    assert [reason for reason in counts if str(tars / f"{CAR}.tar") in reason]


def test_names_that_are_not_utf8_are_escaped(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / "folders" / name).mkdir(parents=True)
    (tmp_path / "folders" / name / f"{name}.jpg").write_bytes(b"x")
    for images in (tmp_path / "folders", packed(tmp_path / "folders", "class tars", tmp_path / "tars")):
        source, records, _ = read(images)
        assert source.classes == ("caf\\xe9",)
        assert [record.source_id for record in records] == ["caf\\xe9/caf\\xe9.jpg"]
        assert images_in(records)[0][1] == b"x"


def test_irregular_files_with_names_of_images_are_counted(folders):
    (folders / CAR / "gone.jpg").symlink_to("nowhere")
    os.mkfifo(folders / CAR / "pipe.jpg")
    (folders / CAR / "loop").symlink_to(folders / CAR)
    (folders / CAR / "link.jpg").symlink_to(folders / CAR / "0.jpg")
    _, records, counts = read(folders)
    assert len(records) == 9
    assert counts == {
        "image file missing": 1,
        "device or pipe with the name of an image": 1,
        "link to a folder (not followed)": 1,
    }


def refusal(images: Path) -> str:
    with pytest.raises(SourceError) as caught:
        read(images)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "place", ["nowhere", "instances.json", "photos"], ids=["missing", "no tar", "no class folders"]
)
def test_a_path_without_classes_is_reported_in_one_line(world, place):
    assert "expected" in refusal(world / place)


def test_the_error_for_images_without_class_folders_names_other_formats(tmp_path):
    write_tar(
        tmp_path / "val.tar", ("ILSVRC2012_val_00000001.JPEG", b"x"), ("ILSVRC2012_val_00000002.JPEG", b"y")
    )
    message = refusal(tmp_path / "val.tar")
    assert "found file beside the class folders: 2" in message
    assert "format csv or voc" in message


@pytest.mark.parametrize("name", ["n00000001.tar.gz", "n00000001.tgz", "n00000001.tar.xz"])
def test_compressed_tars_are_refused(folders, tmp_path, name):
    (folders / name).write_bytes(b"")
    assert f"{name}: expected a plain tar, found a compressed archive" in refusal(folders)
    write_tar(tmp_path / "all.tar", (f"{CAR}/x.jpg", b""), (name, b""))
    assert f"{name}: expected a plain tar, found a compressed archive" in refusal(tmp_path / "all.tar")


def test_a_compressed_tar_is_refused_whatever_its_name(folders, tmp_path):
    for suffix in ("gz", "bz2", "xz"):
        with tarfile.open(tmp_path / "images", f"w:{suffix}") as tar:
            tar.add(folders)
        assert "a compressed archive" in refusal(tmp_path / "images")


def test_a_class_that_is_both_a_folder_and_a_tar_is_refused(folders, tmp_path):
    tar_of(folders / CAR, folders / f"{CAR}.tar")
    assert f"class {CAR} is both a folder and a tar" in refusal(folders)


def test_a_class_tar_in_another_format_is_refused_by_name(folders):
    (folders / "n00000001.tar").write_bytes(b"404: not found" * 100)
    assert "n00000001.tar: expected a tar" in refusal(folders)


def annotation(
    *objects: tuple[str, int, int, int, int], size: str = "<width>30</width><height>30</height>"
) -> str:
    found = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for name, x1, y1, x2, y2 in objects
    )
    source = "<source><database>ILSVRC_2012</database></source>"
    return f"<annotation>{source}<size>{size}</size>{found}</annotation>"


@pytest.fixture
def boxes(folders, tmp_path):
    """Boxes for the cars 0 to 3; car 1 has an invalid box, car 2 has no box of a car, car 3 has no image."""
    (tmp_path / "boxes" / CAR).mkdir(parents=True)
    whole = (0, 0, 29, 29)
    texts = [
        annotation((CAR, 10, 6, 19, 14), (CAR, *whole)),
        annotation((CAR, *whole), (CAR, 9, 9, 3, 3)),
        annotation((TABBY, *whole), ("n00000001", *whole)),
        annotation(),
    ]
    for number, text in enumerate(texts):
        (tmp_path / "boxes" / CAR / f"{number}.xml").write_text(text)
    (tmp_path / "boxes" / "n00000001").mkdir()
    return tmp_path / "boxes"


@pytest.mark.parametrize("layout", [None, *LAYOUTS[:3]])
def test_annotated_images_have_boxes_besides_their_label(folders, boxes, tmp_path, layout):
    images = folders if layout is None else packed(folders, layout, tmp_path / "packed")
    source, records, counts = read(images, boxes=boxes)
    found = {record.source_id: record for record in records}
    assert (source.has_boxes, source.is_federated) == (True, True)
    assert found[f"{CAR}/0.jpg"].boxes == make_boxes(
        (1, (10 / 30, 6 / 30, 20 / 30, 15 / 30)),  # ILSVRC counts from 0, the last pixel included
        (1, (0, 0, 1, 1)),
    )
    assert found[f"{CAR}/0.jpg"].size_px == (30, 30)
    assert found[f"{CAR}/2.jpg"].boxes.class_index == [0]
    assert all(record.boxes is None for name, record in found.items() if name.startswith(TABBY))
    assert {record.labels[0].class_index for name, record in found.items() if name.startswith(CAR)} == {1}
    assert counts == {
        "folder of boxes without a class of images": 1,
        "box with negative width or height": 1,
        "box of a class that is not among the folders": 1,
        "annotation file without an image": 1,
    }


def test_a_label_is_exhaustive_if_every_object_of_its_class_has_a_box(folders, boxes):
    _, records, _ = read(folders, boxes=boxes)
    exhaustive = [record.source_id for record in records if record.labels[0].is_exhaustive]
    assert exhaustive == [
        f"{CAR}/0.jpg"
    ]  # car 1 lost a box, car 2 has no box of its class, the others have no box


def test_a_merge_keeps_annotated_images_and_exhaustive_labels(folders, boxes, tmp_path):
    tar = packed(folders, "tar of tars", tmp_path / "packed")
    source = {"name": "labels", "format": "imagenet", "images": tar, "boxes": boxes}
    merge(validate({"sources": [source]}, MergeConfig, where="test"), tmp_path / "out")
    reader = ShardReader(tmp_path / "out")
    ids = [reader.source_id(image) for image in range(len(reader))]
    assert [name for name, boxed in zip(ids, reader.image_boxed, strict=True) if boxed] == [
        f"{CAR}/{number}.jpg" for number in range(3)
    ]
    assert [name for name, all_boxed in zip(ids, reader.label_exhaustive, strict=True) if all_boxed] == [
        f"{CAR}/0.jpg"
    ]
    assert len(reader.box_nodes) == 4
    assert len(reader.sources[0].exhaustive) == 0  # its labels vouch, image by image


def test_broken_annotations_leave_their_images_without_boxes(folders, boxes):
    (boxes / CAR / "0.xml").write_text("no XML")
    (boxes / CAR / "1.xml").write_text(annotation((CAR, 0, 0, 9, 9), size=""))
    _, records, counts = read(folders, boxes=boxes)
    assert [record.boxes for record in records if record.source_id[-5] in "01" and CAR in record.source_id][
        :2
    ] == [
        None,
        None,
    ]
    assert counts["image without width and height"] == 1
    assert counts["annotation file that is not XML"] == 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_260_real_classes_are_the_same_in_every_layout(real_data, tmp_path, layout):
    folders = tmp_path / "folders"
    folders.mkdir()
    for folder in sorted((real_data / "imagenet-260").iterdir()):
        if folder.is_dir():
            (folders / folder.name).symlink_to(folder)
    expected = read(folders)
    found = read(packed(folders, layout, tmp_path / "packed"))
    assert len(found[0].classes) == len(found[1]) == 260
    assert found[0].classes == expected[0].classes
    assert images_in(found[1]) == images_in(expected[1])
