import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_prep.config import VocSource
from data_prep.sources import SourceError, open_source
from data_prep.sources.voc_xml import MAX_BYTES, AnnotationError, parse_annotation
from tests.data_prep import readers
from tests.data_prep.conftest import CAR, TABBY, encoded_image
from tests.data_prep.readers import Read, labels_in_shards, labels_of_record, make_boxes, merged, write_images

WHOLE = (1, 1, 40, 30)  # the pixels of an image of 40 x 30
BOMB = """<?xml version="1.0"?>
<!DOCTYPE annotation [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;">]>
<annotation><filename>&d;</filename></annotation>"""
FOREIGN = """<!DOCTYPE annotation [<!ENTITY file SYSTEM "file:///etc/passwd">]>
<annotation><object><name>&file;</name></object></annotation>"""


def read(config: VocSource) -> Read:
    """The records and counts, without the count of the images that have no annotation file."""
    source, records, counts = readers.read(config)
    counts.pop("image without an annotation file", None)
    return Read(source, records, counts)


def object_xml(name="cat", box=WHOLE, more=""):
    corners = "".join(
        f"<{key}>{value}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name>{more}<bndbox>{corners}</bndbox></object>"


def xml(*objects, filename="", size=(40, 30), database="The VOC2007 Database"):
    return (
        f"<annotation><folder>VOC2007</folder><filename>{filename}</filename>"
        f"<source><database>{database}</database></source>"
        f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
        f"{''.join(objects)}</annotation>"
    )


@pytest.fixture
def voc(tmp_path):
    """A folder of images a.jpg, b.jpg, …, and a function that writes their annotations and reads them."""
    write_images(tmp_path / "images", [f"{name}.jpg" for name in "abc"])
    (tmp_path / "xml").mkdir()

    def write(files, **settings):
        for name, text in files.items():
            path = tmp_path / "xml" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return VocSource(
            name="voc",
            format="voc",
            images=tmp_path / "images",
            annotations=tmp_path / "xml",
            **settings,
        )

    return write


@pytest.mark.parametrize(
    ("database", "whole", "one_pixel"),
    [
        pytest.param("The VOC2007 Database", (1, 1, 40, 30), (1, 1, 1, 1), id="VOC"),
        pytest.param("Unknown", (1, 1, 40, 30), (1, 1, 1, 1), id="labelImg"),
        pytest.param("", (1, 1, 40, 30), (1, 1, 1, 1), id="no database"),
        pytest.param("ILSVRC_2012", (0, 0, 39, 29), (0, 0, 0, 0), id="ILSVRC"),
        pytest.param("ImageNet database", (0, 0, 39, 29), (0, 0, 0, 0), id="ImageNet"),
    ],
)
def test_a_box_includes_its_first_and_its_last_pixel(voc, database, whole, one_pixel):
    text = xml(object_xml(box=whole), object_xml(box=one_pixel), database=database)
    assert read(voc({"a.xml": text})).records[0].boxes == make_boxes(
        (0, (0, 0, 1, 1)), (0, (0, 0, 1 / 40, 1 / 30))
    )


def test_difficult_objects_are_ignore_regions_and_truncated_objects_are_kept(voc):
    difficult, truncated = "<difficult>1</difficult>", "<truncated>1</truncated><difficult>0</difficult>"
    text = xml(object_xml(more=difficult), object_xml(more=truncated))
    _, records, counts = read(voc({"a.xml": text}))
    assert records[0].boxes.is_ignored == [True, False]
    assert counts == {"difficult object kept as an ignore region": 1}


def test_parts_of_an_object_are_not_objects(voc):
    part = "<part><name>head</name><bndbox><xmin>9</xmin></bndbox></part>"
    source, records, counts = read(voc({"a.xml": xml(object_xml("person", more=part))}))
    assert (source.classes, len(records[0].boxes), counts) == (("person",), 1, {})
    assert records[0].boxes.xyxy_unit[0] == (0, 0, 1, 1)


def test_classes_are_words_or_wnids_sorted_by_name(voc):
    files = {"a.xml": xml(object_xml(TABBY), object_xml("dog")), "b.xml": xml(object_xml(CAR))}
    source, records, _ = read(voc(files))
    assert source.classes == ("dog", TABBY, CAR)
    assert [record.boxes.class_index for record in records] == [[1, 0], [2]]


def test_an_image_without_objects_is_background(voc):
    source, records, _ = read(voc({"a.xml": xml()}))
    assert (source.classes, records[0].boxes, source.has_boxes) == ((), make_boxes(), True)


@pytest.mark.parametrize("size", [(0, 0), ("", ""), (40, 0), ("nan", "inf"), (-40, 30)])
def test_the_header_of_the_image_gives_the_size_if_the_file_states_none(voc, tmp_path, size):
    (tmp_path / "images" / "a.jpg").write_bytes(encoded_image(0, (80, 60)))
    _, records, counts = read(voc({"a.xml": xml(object_xml(box=(1, 1, 40, 60)), size=size)}))
    assert records[0].boxes == make_boxes((0, (0, 0, 0.5, 1)))
    assert (records[0].size_px, counts) == (None, {})


def test_boxes_refer_to_the_upright_image_if_no_size_is_stated(voc, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    (tmp_path / "images" / "a.jpg").write_bytes(encoded_image(0, (60, 80), exif=exif))
    _, records, _ = read(voc({"a.xml": xml(object_xml(box=(1, 1, 80, 30)), size=(0, 0))}))
    assert records[0].boxes == make_boxes((0, (0, 0, 1, 0.5)))


def test_an_image_without_any_size_is_left_out(voc, tmp_path):
    (tmp_path / "images" / "a.jpg").write_bytes(b"no picture")
    _, records, counts = read(voc({"a.xml": xml(object_xml(), size=(0, 0))}))
    assert (records, counts) == ([], {"image that cannot be decoded": 1, "box of an image left out": 1})


@pytest.mark.parametrize(
    ("name", "filename", "image_name"),
    [
        pytest.param("x.xml", "x.jpg", "x.jpg", id="VOC"),
        pytest.param(
            "n01/n01_7.xml", "n01_7", "n01/n01_7.JPEG", id="ILSVRC: no suffix, a folder for each class"
        ),
        pytest.param("x.xml", "renamed.jpg", "x.png", id="the XML's name before the one that it states"),
        pytest.param("x.xml", "other.png", "other.png", id="another name"),
        pytest.param("deep/x.xml", "other.jpg", "deep/other.jpg", id="another name beside"),
        pytest.param("deep/x.xml", "x.jpg", "x.jpg", id="one folder of images"),
        pytest.param("x.y.xml", "x.y", "x.y.jpg", id="a dot within"),
        pytest.param("X.XML", "", "X.jpg", id="capitals"),
        pytest.param("über.xml", "über.jpg", "über.jpg", id="letters beyond ASCII"),
    ],
)
def test_an_image_is_found_by_the_name_of_its_annotation_or_else_by_the_name_in_it(
    voc, tmp_path, name, filename, image_name
):
    write_images(tmp_path / "images", [image_name])
    _, records, counts = read(voc({name: xml(object_xml(), filename=filename)}))
    assert [record.source_id for record in records] == [image_name]
    assert records[0].size_bytes == (tmp_path / "images" / image_name).stat().st_size
    assert counts == {}


@pytest.mark.parametrize("filename", ["", "gone.jpg", "../xml/x.jpg", "/etc/x.jpg", "C:\\x.jpg", "a\nb.jpg"])
def test_an_image_outside_the_folder_is_counted_with_its_boxes(voc, tmp_path, filename):
    (tmp_path / "xml" / "x.jpg").write_bytes(encoded_image(0))
    files = {"a.xml": xml(object_xml()), "gone.xml": xml(object_xml(), object_xml(), filename=filename)}
    _, records, counts = read(voc(files))
    assert [record.source_id for record in records] == ["a.jpg"]
    assert counts.pop("box of an image left out") == 2
    assert list(counts.values()) == [1]


def test_links_to_images_are_followed_wherever_they_lead(voc, tmp_path):
    (tmp_path / "store.jpg").write_bytes(encoded_image(0))
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "z.jpg").write_bytes(encoded_image(0))
    (tmp_path / "images" / "x.jpg").symlink_to(tmp_path / "store.jpg")
    (tmp_path / "images" / "y.jpg").symlink_to("a.jpg")
    (tmp_path / "images" / "deep").symlink_to(tmp_path / "store")
    _, records, counts = read(voc({"x.xml": xml(), "y.xml": xml(), "deep/z.xml": xml()}))
    assert sorted(record.source_id for record in records) == ["deep/z.jpg", "x.jpg", "y.jpg"]
    assert counts == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "annotation file that is not XML", id="empty"),
        pytest.param("nothing of the kind", "annotation file that is not XML", id="text"),
        pytest.param(encoded_image(0), "annotation file that is not XML", id="an image"),
        pytest.param(xml()[:-3], "annotation file that is not XML", id="cut"),
        pytest.param(xml() + "<more/>", "annotation file that is not XML", id="two roots"),
        pytest.param(
            "<annotation>&unknown;</annotation>", "annotation file that is not XML", id="unknown entity"
        ),
        pytest.param(
            '<?xml version="1.0" encoding="klingon"?><annotation/>',
            "annotation file in an encoding that cannot be read (save it as UTF-8)",
            id="unknown encoding",
        ),
        pytest.param(
            "<annotation>\udcff</annotation>".encode("utf-8", "surrogateescape"),
            "annotation file that is not in the encoding that it declares (by default UTF-8)",
            id="not UTF-8",
        ),
        pytest.param(
            b'<?xml version="1.0" encoding="gb2312"?><annotation>\xff\xff</annotation>',
            "annotation file that is not in the encoding that it declares (by default UTF-8)",
            id="not GB 2312",
        ),
        pytest.param(
            BOMB.replace("?>", ' encoding="gb2312"?>', 1).encode("gb2312"),
            "annotation file with a DOCTYPE, which may define entities",
            id="a bomb of entities in another encoding",
        ),
        pytest.param("<html><body/></html>", "XML file that is not an annotation", id="another root"),
        pytest.param(
            BOMB, "annotation file with a DOCTYPE, which may define entities", id="a bomb of entities"
        ),
        pytest.param(
            FOREIGN, "annotation file with a DOCTYPE, which may define entities", id="another file's content"
        ),
        pytest.param(
            "<annotation>" + "<a>" * 200_000, "annotation file that is nested too deeply", id="nested deeply"
        ),
        pytest.param(b" " * (MAX_BYTES + 1), "annotation file larger than 4 MB", id="huge"),
    ],
)
def test_a_file_that_is_not_an_annotation_is_counted_by_reason(voc, text, reason):
    _, records, counts = read(voc({"a.xml": xml(object_xml()), "b.xml": text}))
    assert [record.source_id for record in records] == ["a.jpg"]
    assert counts == {reason: 1}


def test_pipes_and_broken_links_are_counted_and_do_not_block(voc, tmp_path):
    config = voc({"a.xml": xml()})
    os.mkfifo(tmp_path / "xml" / "b.xml")
    (tmp_path / "xml" / "c.xml").symlink_to("nowhere")
    (tmp_path / "xml" / "loop").symlink_to(".")
    _, records, counts = read(config)
    assert len(records) == 1
    assert counts == {
        "annotation that is not a regular file": 1,
        "annotation file missing": 1,
        "link to a folder (not followed)": 1,
    }


def test_other_encodings_of_xml_are_read(voc):
    text = '<?xml version="1.0" encoding="{}"?>' + xml(object_xml("Käfer"))
    files = {
        f"{name}.xml": text.format(code).encode(code) for name, code in (("a", "utf-16"), ("b", "latin-1"))
    }
    source, records, _ = read(voc(files))
    assert (source.classes, len(records)) == (("Käfer",), 2)


@pytest.mark.parametrize(
    ("declared", "stored", "name"),
    [
        ("gb2312", "gb2312", "小狗"),
        ("GB2312", "gbk", "朱镕基"),  # characters that only the extension has
        ("gbk", "gbk", "小狗"),
        ("big5", "big5", "小狗"),
        ("Shift_JIS", "shift_jis", "いぬ"),
        ("iso-2022-jp", "iso2022_jp", "いぬ"),
        ("euc-jp", "euc_jp", "いぬ"),
        ("euc-kr", "cp949", "강아지"),
        ("windows-1251", "cp1251", "собака"),
        ("utf-16", "utf-8", "Käfer"),  # as .NET writes it into a text
        ("gb2312", "utf-8-sig", "小狗"),  # the byte order mark says what it is
    ],
)
def test_encodings_that_expat_lacks_are_read(voc, declared, stored, name):
    text = f'<?xml version="1.0" encoding="{declared}"?>\n' + xml(object_xml(name))
    source, records, counts = read(voc({"a.xml": text.encode(stored)}))
    assert source.classes == (name,)
    assert records[0].boxes == make_boxes((0, (0, 0, 1, 1)))
    assert counts == {}


def test_an_encoding_that_cannot_be_read_is_named(voc):
    voc_files = {"a.xml": xml(), "b.xml": '<?xml version="1.0" encoding="klingon"?><annotation/>'}
    source = open_source(voc(voc_files))
    list(source.records())
    [(_, file, place)] = [row for row in source.counts.left_out() if "encoding" in row[0]]
    assert (file, Path(place).name) == ("b.xml", "b.xml, line 1: klingon")


def test_a_second_box_of_an_object_is_counted_and_takes_the_classes_back(voc):
    second = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>20</xmax><ymax>15</ymax></bndbox></object>"
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object>"
    files = {
        "a.xml": xml(object_xml().replace("</object>", second)),
        "b.xml": xml(object_xml().replace("</object>", part)),
        "c.xml": xml(object_xml().replace("</object>", "<name>dog</name></object>"), object_xml()),
    }
    _, records, counts = read(voc(files))
    whole = (0, (0, 0, 1, 1))
    assert [record.boxes for record in records] == [make_boxes(*[whole] * count) for count in (1, 1, 2)]
    assert [record.is_incomplete for record in records] == [True, False, True]
    assert counts == {"second box or name of an object (not read)": 2}


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        pytest.param(("", 1, 5, 5), "box that is not four finite numbers", id="empty corner"),
        pytest.param(("one", 1, 5, 5), "box that is not four finite numbers", id="a word"),
        pytest.param(("nan", 1, 5, 5), "box that is not four finite numbers", id="NaN"),
        pytest.param((1, 1, "1e400", 5), "box that is not four finite numbers", id="infinite"),
        pytest.param((9, 1, 5, 5), "box with negative width or height", id="inverted"),
        pytest.param((9, 1, 8, 5), "box of zero area", id="no pixel"),
        pytest.param((41, 1, 50, 5), "box outside its image", id="outside"),
        pytest.param((1, 1, 50, 5), "box clipped to the image (kept)", id="clipped"),
    ],
)
def test_invalid_boxes_are_counted_by_reason(voc, box, reason):
    _, records, counts = read(voc({"a.xml": xml(object_xml(box=box), object_xml())}))
    assert len(records[0].boxes) == 1 + reason.endswith("(kept)")
    assert counts == {reason: 1}


def test_objects_without_name_or_box_are_counted(voc):
    text = xml("<object/>", object_xml(" "), "<object><name>cat</name></object>", object_xml())
    source, records, counts = read(voc({"a.xml": text}))
    assert (source.classes, len(records[0].boxes)) == (("cat",), 1)
    assert counts == {"object without a name": 2, "box that is not four finite numbers": 1}


def test_a_list_selects_images_and_their_order(voc, tmp_path):
    write_images(tmp_path / "images", ["n01/n01_7.jpg", "pic 1.jpg"])
    files = {name: xml(object_xml()) for name in ("a.xml", "b.xml", "n01/n01_7.xml", "pic 1.xml")}
    path = tmp_path / "list.txt"
    path.write_text("n01/n01_7 12\n\na -1\r\npic 1\n../b\na  1\ngone\n/b\n", encoding="utf-8-sig")
    _, records, counts = read(voc(files, image_list=path))
    assert [record.source_id for record in records] == ["n01/n01_7.jpg", "a.jpg", "pic 1.jpg"]
    assert counts == {
        "name that occurred before in the list": 1,
        "image without a file name inside the folder": 2,
        "annotation file missing": 1,
    }


@pytest.mark.parametrize(
    ("files", "settings", "expected"),
    [
        pytest.param({}, {}, "found no XML file", id="none"),
        pytest.param({"a.xml": "x"}, {}, r"not XML: 1 \(.*a\.xml, line 1\)", id="none that can be used"),
        pytest.param(
            {"a.xml": xml()}, {"image_list": Path("nowhere")}, "cannot read this file", id="no list"
        ),
    ],
)
def test_a_folder_without_annotations_is_reported_in_one_line(voc, files, settings, expected):
    with pytest.raises(SourceError, match=expected) as caught:
        open_source(voc(files, **settings))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("folder", ["images", "annotations"])
def test_a_missing_folder_is_reported_in_one_line(voc, tmp_path, folder):
    config = voc({"a.xml": xml()}).model_copy(update={folder: tmp_path / "nowhere"})
    with pytest.raises(SourceError, match="source 'voc': expected the folder of its"):
        open_source(config)


def test_a_thousand_files_take_less_than_a_hundred_bytes_a_box(voc):
    """The peak while the files are read: no object for a box or an image remains."""
    text = xml(*[object_xml("cat"), object_xml("dog"), object_xml("cow")] * 7)
    config = voc({f"{number // 100:03d}/{number:06d}.xml": text for number in range(1000)})
    tracemalloc.start()
    source = open_source(config)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert source.classes == ("cat", "cow", "dog")
    assert peak_bytes < 100 * (1000 * 21) + 2_000_000  # 2 MB for Python itself


TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
TAGS = ("annotation", "object", "name", "bndbox", "xmin", "size", "width")
PIECES = st.sampled_from(
    [
        *(f"<{tag}>" for tag in TAGS),
        *(f"</{tag}>" for tag in TAGS),
        "1",
        "nan",
        "&lt;",
        "&#0;",
        "<!DOCTYPE a>",
    ]
)


@given(st.binary(max_size=200) | st.lists(PIECES | TEXTS).map(lambda parts: "".join(parts).encode()))
def test_any_bytes_are_an_annotation_or_an_error(data):
    try:
        annotation = parse_annotation(data)
    except AnnotationError:
        return
    assert all(len(one.xyxy_px) == 4 for one in annotation.objects)


@given(st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=4, max_size=4)), max_size=5))
def test_any_texts_in_valid_xml_give_one_object_each(objects):
    escape = {ord(character): f"&#{ord(character)};" for character in "<>&"}
    clean = [(name.translate(escape), [corner.translate(escape) for corner in box]) for name, box in objects]
    try:
        annotation = parse_annotation(xml(*(object_xml(name, box) for name, box in clean)).encode())
    except AnnotationError:  # characters that no XML may hold
        return
    assert [one.name for one in annotation.objects] == [name.strip() for name, _ in objects]


def test_shards_have_the_labels_of_the_files(tmp_path):
    write_images(tmp_path / "images", ["a.jpg", "b.jpg", "n02/c.jpg"])
    files = {
        "a": xml(
            object_xml("cat", (1, 1, 20, 15)), object_xml("dog", (11, 7, 40, 30), "<difficult>1</difficult>")
        ),
        "b": xml(),
        "n02/c": xml(object_xml("dog", (5, 5, 9, 9)), database="ILSVRC_2014"),
    }
    for name, text in files.items():
        (tmp_path / "xml" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "xml" / f"{name}.xml").write_text(text)
    stored = labels_in_shards(merged(tmp_path, format="voc", images="images", annotations="xml"))
    config = VocSource(name="voc", format="voc", images=tmp_path / "images", annotations=tmp_path / "xml")
    source, records, _ = read(config)
    assert list(stored) == ["a.jpg", "b.jpg", "n02/c.jpg"]
    for record in records:
        expected = labels_of_record(record, source.classes)
        expected["boxes"] = [
            (name, pytest.approx(xyxy, abs=1e-7), ignored) for name, xyxy, ignored in expected["boxes"]
        ]
        assert stored[record.source_id] == expected
