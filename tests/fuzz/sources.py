"""Harnesses of the data set readers of `data_prep`: their annotations, tables, archives and images."""

from __future__ import annotations

import gzip
import io
import json
import math
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import TypeAdapter

from data_prep.config import Source
from data_prep.records import ImageRecord
from data_prep.shards.decoding import rgb_pixels, stored_header, upright_rgb_pixels
from data_prep.shards.image_files import ImageFile, container_at, read_image_file
from data_prep.shards.images import ImageRules, prepare_image
from data_prep.sources import open_source
from data_prep.sources.source import counts_in_words
from data_prep.synthetic.photo_boxes import load_photo, read_photos
from tests.fuzz.harness import Fault, Harness, write
from tests.fuzz.mutations import Mutator, fields, lines
from tests.fuzz.structure import (
    deep,
    json_value,
    png_with_checksums,
    tar_with_checksums,
    xml_element,
    yaml_value,
)

WIDTH, HEIGHT = 40, 30
IMAGES = ("a.jpg", "b.jpg", "c.jpg")
_SOURCE: TypeAdapter[Any] = TypeAdapter(Source)


def image_bytes(
    kind: str = "JPEG", mode: str = "RGB", size: tuple[int, int] = (WIDTH, HEIGHT), **options: Any
) -> bytes:
    """An image with a gradient."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    pixels = np.stack([x * 5 % 256, y * 7 % 256, (x + y) * 3 % 256], axis=-1).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


def _write_images(folder: Path) -> None:
    (folder / "images").mkdir(exist_ok=True)
    for name in IMAGES:
        (folder / "images" / name).write_bytes(image_bytes())


def stream(folder: Path, **settings: Any) -> None:
    """Open a source, stream all of its records, and check them."""
    source = open_source(_SOURCE.validate_python({"name": "own", "images": folder / "images", **settings}))
    for record in source.records():
        _check_record(record, len(source.classes))
    list(source.counts.left_out())
    counts_in_words(source.counts)


def _check_record(record: ImageRecord, classes: int) -> None:
    labels = [label.class_index for label in record.labels]
    if record.boxes is not None:
        labels += record.boxes.class_index
        for corners in record.boxes.xyxy_unit:
            x0, y0, x1, y1 = corners
            if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 and all(map(math.isfinite, corners))):
                raise Fault(f"a box outside its image: {corners}")
    if not all(0 <= label < classes for label in labels):
        raise Fault(f"a label of class {labels} of {classes}")
    record.source_id.encode()  # it is stored as UTF-8


def _source(
    name: str,
    seeds: Callable[[], Sequence[bytes]],
    file: str,
    tokens: Sequence[str],
    *mutators: Mutator,
    **settings: Any,
) -> Harness:
    """A harness whose input is one file of a data set of images."""

    def prepare(folder: Path) -> Sequence[bytes]:
        _write_images(folder)
        return seeds()

    def read(folder: Path, data: bytes) -> None:
        path = folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        stream(
            folder,
            **{
                key: folder / value if "." in str(value) or value == "xml" else value
                for key, value in settings.items()
            },
        )

    return Harness(name, "data_prep", prepare, read, mutators, tuple(token.encode() for token in tokens))


_CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog", "supercategory": "animal"}]


def _coco() -> list[bytes]:
    images = [
        {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}
        for number, name in enumerate(IMAGES)
    ]
    boxes = [
        {"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 2, 10, 12], "iscrowd": 0, "area": 120},
        {
            "id": 2,
            "image_id": 1,
            "category_id": 2,
            "bbox": [1.5, 2.5, 30, 20],
            "iscrowd": 1,
            "segmentation": [[1, 2, 3, 4, 5, 6]],
        },
    ]
    without_size = [{"id": str(number), "file_name": name} for number, name in enumerate(IMAGES)]
    labels = [{"id": 1, "image_id": 2, "category_id": 2}]
    documents = (
        {"images": images, "annotations": boxes, "categories": _CATEGORIES},
        {
            "categories": _CATEGORIES,
            "annotations": labels,
            "images": images,
            "info": {"year": 2017, "x": [1, {}]},
        },
        {"images": without_size, "annotations": boxes, "categories": _CATEGORIES},
        {
            "images": images,
            "annotations": [{**boxes[0], "bbox": [0.1, 0.1, 0.5, 0.5]}],
            "categories": _CATEGORIES,
        },
    )
    return [json.dumps(document).encode() for document in documents]


def _lvis() -> list[bytes]:
    images = [
        {
            "id": number,
            "coco_url": f"http://x/train2017/{name}",
            "width": WIDTH,
            "height": HEIGHT,
            "neg_category_ids": [2],
            "not_exhaustive_category_ids": [1],
        }
        for number, name in enumerate(IMAGES)
    ]
    categories = [
        {**category, "synset": f"{category['name']}.n.01", "frequency": "f"} for category in _CATEGORIES
    ]
    boxes = [{"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 2, 10, 12], "area": 120}]
    return [json.dumps({"images": images, "annotations": boxes, "categories": categories}).encode()]


_VOC = b"""<annotation><folder>x</folder><filename>a.jpg</filename><size><width>40</width><height>30</height>
<depth>3</depth></size><object><name>dog</name><difficult>0</difficult><truncated>1</truncated><bndbox><xmin>3</xmin>
<ymin>4</ymin><xmax>20</xmax><ymax>22</ymax></bndbox><part><name>head</name><bndbox><xmin>3</xmin><ymin>4</ymin>
<xmax>9</xmax><ymax>9</ymax></bndbox></part></object><object><name>cat</name><difficult>1</difficult><bndbox>
<xmin>1.5</xmin><ymin>1.5</ymin><xmax>30</xmax><ymax>22</ymax></bndbox></object></annotation>"""


def _voc() -> list[bytes]:
    ilsvrc = _VOC.replace(b"a.jpg", b"a").replace(b"dog", b"n02084071").replace(b"1.5", b"0")
    return [_VOC, b"\xef\xbb\xbf<?xml version='1.0'?>" + _VOC, _VOC.decode().encode("utf-16"), ilsvrc]


_OPENIMAGES_BOXES = (
    b"ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"
    b"a,xclick,/m/0,1,0.1,0.5,0.2,0.9,0,0,0,0,0\nb,xclick,/m/1,1,0,1,0,1,0,1,1,0,0\n"
)
_OPENIMAGES_LABELS = b"ImageID,Source,LabelName,Confidence\na,verification,/m/0,1\nb,verification,/m/1,0\n"
_OPENIMAGES_NAMES = b"/m/0,Dog\n/m/1,Cat\n"
_CSV = (
    b"image,class,xmin,ymin,xmax,ymax\na.jpg,dog,1,2,10,12\nb.jpg,cat,0,0,40,30\n",
    b"filename;label;x;y;width;height\na.jpg;dog;0.1;0.2;0.3;0.4\n",
    b"image,class,positive\na.jpg,dog,1\nb.jpg,cat,0\n",
    b'image,bbox,class\na.jpg,"[1, 2, 3, 4]",dog\n',
)
_YOLO = (
    b"0 0.5 0.5 0.25 0.5\n1 0.1 0.1 0.1 0.1\n",
    b"1 0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9\n",
    b"0 0.5 0.5 0.25 0.5 0.4 0.4 2 0.6 0.6 1\n",
)
_DATA_YAML = (
    b"path: .\ntrain: images\nval: list.txt\nnc: 2\nnames: [cat, dog]\n",
    b"train: [images]\nnames:\n  0: cat\n  1: dog\nkpt_shape: [2, 3]\n",
    b"train: ../images\nnames: {0: a, 1: b}\n",
)


def _prepare_yolo(folder: Path) -> list[bytes]:
    _write_images(folder)
    (folder / "names.txt").write_bytes(b"cat\ndog\n")
    (folder / "labels").mkdir(exist_ok=True)
    return list(_YOLO)


def _read_yolo(folder: Path, data: bytes) -> None:
    write(folder / "labels", "a.txt", data)
    (folder / "labels" / "b.txt").write_bytes(b"0 0.5 0.5 0.25 0.5\n")
    stream(folder, format="yolo", class_names=folder / "names.txt", labels=folder / "labels")


def _prepare_data_yaml(folder: Path) -> list[bytes]:
    _prepare_yolo(folder)
    (folder / "labels" / "a.txt").write_bytes(b"0 0.5 0.5 0.25 0.5\n")
    (folder / "list.txt").write_bytes(b"images/a.jpg\nimages/b.jpg\n")
    return list(_DATA_YAML)


def _read_data_yaml(folder: Path, data: bytes) -> None:
    path = write(folder, "data.yaml", data)
    _stream_without_images(path)


def _stream_without_images(path: Path) -> None:
    source = open_source(_SOURCE.validate_python({"name": "own", "format": "yolo", "data": path}))
    for record in source.records():
        _check_record(record, len(source.classes))
    counts_in_words(source.counts)


def _prepare_list(folder: Path) -> list[bytes]:
    _prepare_data_yaml(folder)
    (folder / "data.yaml").write_bytes(_DATA_YAML[0])
    return [b"images/a.jpg\nimages/b.jpg\n", b"./images/a.jpg\r\n"]


def _read_list(folder: Path, data: bytes) -> None:
    write(folder, "list.txt", data)
    _stream_without_images(folder / "data.yaml")


def _tar(kind: int, names: Sequence[str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            content = (
                image_bytes(size=(8, 8)) if not name.endswith(".tar") else _tar(kind, ["x.jpg", "y.jpg"])
            )
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("train/n1/link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return out.getvalue()


def _tars(folder: Path) -> list[bytes]:
    folders = ["train/n1/a.jpg", "train/n1/b.jpg", "train/n2/c.jpg", f"train/n2/{'long' * 40}.jpg"]
    kinds = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    return [
        *(_tar(kind, folders if kind != tarfile.USTAR_FORMAT else folders[:3]) for kind in kinds),
        _tar(tarfile.GNU_FORMAT, ["n1.tar", "n2.tar"]),
    ]


def _read_tar(folder: Path, data: bytes) -> None:
    path = write(folder, "x.tar", data)
    source = open_source(_SOURCE.validate_python({"name": "own", "format": "imagenet", "images": path}))
    for record in source.records():
        _check_record(record, len(source.classes))
        read_image_file(
            ImageFile(record.path, record.offset, record.size_bytes, container_at(str(path), is_archive=True))
        )
    counts_in_words(source.counts)


def _images(folder: Path) -> list[bytes]:
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        *(("JPEG", mode, {}) for mode in ("RGB", "L", "CMYK")),
        ("JPEG", "RGB", {"progressive": True}),
        *(("PNG", mode, {}) for mode in ("RGB", "L", "RGBA", "LA", "P", "1", "I;16")),
        ("WEBP", "RGB", {"lossless": True}),
        ("WEBP", "RGBA", {}),
        ("GIF", "P", {}),
        ("BMP", "RGB", {}),
        ("BMP", "P", {}),
        ("TIFF", "RGB", {}),
        *(
            ("TIFF", "RGB", {"compression": name})
            for name in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")
        ),
        ("TIFF", "1", {"compression": "group4"}),
        ("TIFF", "F", {}),
        ("PPM", "RGB", {}),
        ("PPM", "1", {}),
        ("JPEG2000", "RGB", {}),
        ("AVIF", "RGB", {}),
    ]
    seeds = []
    for kind, mode, options in kinds:
        try:
            seeds.append(image_bytes(kind, mode, **options))
        except (
            OSError,
            KeyError,
            ValueError,
        ):  # a Pillow without this codec, or a mode that it cannot convert to
            continue
    exif = Image.Exif()
    exif[0x0112] = 6
    return [*seeds, image_bytes(exif=exif.tobytes()), image_bytes("PNG", exif=exif.tobytes())]


_RULES = ImageRules(resize_max=20, quality=80)


def _read_image(folder: Path, data: bytes) -> None:
    for decoded in (rgb_pixels, upright_rgb_pixels):
        pixels = decoded(data)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise Fault(f"pixels of shape {pixels.shape}")
    stored_header(io.BytesIO(data))
    prepare_image(data, None, _RULES)


def _photos(folder: Path) -> list[bytes]:
    for part in ("train/n1/images", "val/images"):
        (folder / part).mkdir(parents=True, exist_ok=True)
        (folder / part / "x.JPEG").write_bytes(image_bytes())
    (folder / "val" / "val_annotations.txt").write_bytes(b"x.JPEG\tn1\t1\t2\t10\t12\n")
    return [b"x.JPEG\t1\t2\t10\t12\n"]


def _read_photos(folder: Path, data: bytes) -> None:
    (folder / "train" / "n1" / "n1_boxes.txt").write_bytes(data)
    for photos in read_photos(folder).train.values():
        for photo in photos[:3]:
            load_photo(photo)


_JSON_TOKENS = (
    '{"',
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    '"bbox":',
    '"segmentation": [[',
    "NaN",
    "1e999",
    '"id":',
    "[[",
)
_XML_TOKENS = (
    '<!DOCTYPE a [<!ENTITY b "bbbb">]>',
    "&b;",
    "<!ENTITY % x SYSTEM 'file:///etc/passwd'>",
    "<![CDATA[",
    "]]>",
    "<!--",
    "-->",
    "<?xml version='1.0' encoding='utf-7'?>",
    "<?x?>",
    "<object>",
    "</object>",
    "<bndbox>",
    "&#0;",
    "&#x110000;",
    "<a " * 50,
)
_TABLE = (lines, fields, fields)

HARNESSES = (
    _source(
        "coco",
        _coco,
        "a.json",
        _JSON_TOKENS,
        json_value,
        json_value,
        deep,
        format="coco",
        annotations="a.json",
    ),
    _source(
        "coco-gzip",
        lambda: [gzip.compress(data) for data in _coco()],
        "a.json.gz",
        (),
        format="coco",
        annotations="a.json.gz",
    ),
    _source(
        "objects365",
        _coco,
        "a.json",
        _JSON_TOKENS,
        json_value,
        json_value,
        deep,
        format="objects365",
        annotations="a.json",
    ),
    _source(
        "lvis",
        _lvis,
        "a.json",
        _JSON_TOKENS,
        json_value,
        json_value,
        deep,
        format="lvis",
        annotations="a.json",
    ),
    _source(
        "voc",
        _voc,
        "xml/a.xml",
        _XML_TOKENS,
        xml_element,
        xml_element,
        lines,
        format="voc",
        annotations="xml",
    ),
    _source(
        "openimages-boxes",
        lambda: [_OPENIMAGES_BOXES],
        "boxes.csv",
        (),
        *_TABLE,
        format="openimages",
        boxes="boxes.csv",
    ),
    _source(
        "openimages-labels",
        lambda: [_OPENIMAGES_LABELS],
        "l.csv",
        (),
        *_TABLE,
        format="openimages",
        labels="l.csv",
    ),
    _source("csv", lambda: _CSV, "a.csv", (), *_TABLE, format="csv", annotations="a.csv"),
    Harness("yolo", "data_prep", _prepare_yolo, _read_yolo, _TABLE),
    Harness(
        "data-yaml",
        "data_prep",
        _prepare_data_yaml,
        _read_data_yaml,
        (yaml_value, yaml_value, lines, deep),
        (b"&a ", b"*a", b"train: ", b"../", b"~", b"names: ", b"kpt_shape: [9999, 9999]\n"),
        named="data.yaml",
    ),
    Harness("yolo-list", "data_prep", _prepare_list, _read_list, (lines,)),
    Harness(
        "tar",
        "data_prep",
        _tars,
        _read_tar,
        (),
        (b"ustar\0", b"path=", b"17 path=../../x\n", b"L", b"\x80" + b"\xff" * 11),
        repair=tar_with_checksums,
    ),
    Harness(
        "image",
        "data_prep",
        _images,
        _read_image,
        (),
        (b"Exif\0\0", b"IHDR", b"tRNS", b"iCCP", b"\xff\xda", b"\xff\xc0"),
        repair=png_with_checksums,
    ),
    Harness("photo-boxes", "data_prep", _photos, _read_photos, _TABLE),
)
