"""Make the photographs of `yolo9000 demo`: crops of the aquarium data set, with boxes and image labels.

    python scripts/make_demo_photographs.py AQUARIUM yolo9000/assets/photographs.zip

AQUARIUM is a folder in YOLO's layout (images/train, labels/train, images/test, labels/test, data.yaml): the data set
named in `NOTICE`. The rules:

1. A crop is a square around a random object, whose longer side is 35 to 80 % of the crop's side.
2. Crops are rated: an object of 28 % of the side or more counts for the crop, up to five of them; objects that the edge
   cuts or that are small count against it. The best crops of each photograph that hardly overlap are taken.
3. In a training crop, objects of a label-only class are alone: such a crop becomes an image with an image label.
4. Crops that show only fish, the most frequent class, are thinned out.

The archive has the images, COCO files, the table of image labels, and three merge configurations: merge.yaml for joint
training, merge_oracle.yaml with all boxes, and all.yaml for `benchmarks/never_boxed.py --merge`.
"""

import csv
import io
import json
import sys
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.random import Generator, default_rng
from PIL import Image

WNIDS = {
    "fish": "n02512053",
    "jellyfish": "n01910747",
    "penguin": "n02055803",
    "puffin": "n02047614",
    "shark": "n01482330",
    "starfish": "n02317335",
    "stingray": "n01498041",
}
LABEL_ONLY = ("jellyfish", "puffin", "starfish", "stingray")
SIDE_PX, QUALITY = 256, 85
MIN_CROP_PX = 112  # in the photograph
OBJECT_SHARE = (0.35, 0.8)  # of the side of a crop
LARGE, SMALL, VISIBLE, WHOLE, MOSTLY = 0.28, 0.16, 0.12, 0.9, 0.6
TRIES, MIN_RATING, MAX_OVERLAP, CROPS_PER_PHOTO = 24, 0.7, 0.1, 3
MAX_OBJECTS_TRIED = 25  # in one photograph
ONLY_FISH = {"train": 150, "test": 40}

NOTICE = """\
Photographs of `yolo9000 demo`

yolo9000/assets/photographs.zip, the files that `yolo9000 demo` unpacks, its report, and the picture of the demo in this
repository's README contain photographs and boxes of the data set

    Aquarium, https://public.roboflow.com/object-detection/aquarium
    provided by Roboflow (https://roboflow.com), photographed in the Henry Doorly Zoo in Omaha and the National
    Aquarium in Baltimore, October and November 2020
    licensed under CC BY 4.0, https://creativecommons.org/licenses/by/4.0/

Changes: squares around objects were cut out, scaled to 256 × 256 px and saved as JPEG; boxes were clipped to them, and
the boxes of some classes were replaced by image labels; class names became WordNet ids; boxes and names may be drawn
over the images.

Whoever shares such images passes on this notice; `yolo9000 demo` writes it beside them as ATTRIBUTION.txt.
"""


class Object(NamedTuple):
    """An object of a photograph; xyxy: corners in px of the photograph, or as shares of a crop."""

    name: str
    xyxy: tuple[float, float, float, float]


@dataclass(frozen=True)
class Photo:
    path: Path
    wh_px: tuple[int, int]
    objects: tuple[Object, ...]


@dataclass(frozen=True)
class Crop:
    """A square of a photograph, and the objects in it."""

    path: Path
    left_px: int
    top_px: int
    side_px: int
    objects: tuple[Object, ...]

    @property
    def names(self) -> set[str]:
        return {item.name for item in self.objects}


def main() -> None:
    source, out = map(Path, sys.argv[1:])
    rng = default_rng(0)
    crops = {split: thinned(list(crops_of(source, split, rng)), ONLY_FISH[split], rng) for split in ONLY_FISH}
    write_archive(out, crops)
    (Path(__file__).parents[1] / "LICENSES" / "Aquarium.txt").write_text(NOTICE, encoding="utf-8")
    for split, images in crops.items():
        print(f"{split}: {len(images)} images, {sum(len(crop.objects) for crop in images)} objects")
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


# --- crops


def crops_of(source: Path, split: str, rng: Generator) -> Iterator[Crop]:
    for photo in photos(source, split):
        candidates = sorted(candidate_crops(photo, split, rng), key=lambda rated: -rated[0])
        taken: list[Crop] = []
        for _, crop in candidates:
            if len(taken) < CROPS_PER_PHOTO and all(overlap(crop, other) < MAX_OVERLAP for other in taken):
                taken.append(crop)
        yield from taken


def photos(source: Path, split: str) -> Iterator[Photo]:
    names = yaml.safe_load((source / "data.yaml").read_text("utf-8"))["names"]
    for labels in sorted((source / "labels" / split).glob("*.txt")):
        path = next(p for p in (source / "images" / split).iterdir() if p.stem == labels.stem)
        width, height = Image.open(path).size
        objects = []
        for line in labels.read_text("utf-8").splitlines():
            number, *numbers = line.split()
            x, y, w, h = (
                float(value) * side for value, side in zip(numbers, (width, height) * 2, strict=True)
            )
            objects.append(Object(names[int(number)], (x - w / 2, y - h / 2, x + w / 2, y + h / 2)))
        yield Photo(path, (width, height), tuple(objects))


def candidate_crops(photo: Photo, split: str, rng: Generator) -> Iterator[tuple[float, Crop]]:
    """Random crops around the objects, with their ratings."""
    for item in photo.objects[:MAX_OBJECTS_TRIED]:
        left, top, right, bottom = item.xyxy
        longer = max(right - left, bottom - top)
        for _ in range(TRIES):
            side = min(max(MIN_CROP_PX, longer / rng.uniform(*OBJECT_SHARE)), *photo.wh_px)
            x = random_start(left, right, side, photo.wh_px[0], rng)
            y = random_start(top, bottom, side, photo.wh_px[1], rng)
            rating, objects = rated(photo, x, y, int(side), is_training=split == "train")
            if rating >= MIN_RATING:
                yield rating + rng.uniform(0, 0.3), Crop(photo.path, x, y, int(side), objects)


def random_start(low: float, high: float, side: float, limit: int, rng: Generator) -> int:
    """A random start of an interval of length `side` in 0..limit that contains low..high, where there is one."""
    least, most = max(0.0, high - side), min(limit - side, low)
    return int(rng.uniform(least, most) if least <= most else rng.uniform(0, limit - side))


def rated(photo: Photo, x: int, y: int, side: int, *, is_training: bool) -> tuple[float, tuple[Object, ...]]:
    """The rating of a crop and the objects that are visible in it."""
    boxes = np.array([item.xyxy for item in photo.objects])
    clipped = (boxes - [x, y, x, y]).clip(0, side)
    sides = clipped[:, 2:] - clipped[:, :2]
    visible = sides.prod(axis=1) / (boxes[:, 2:] - boxes[:, :2]).prod(axis=1).clip(min=1e-9)
    share = sides.max(axis=1) / side
    whole, cut = visible >= WHOLE, (visible > VISIBLE) & (visible < WHOLE)
    little_cut = cut & (visible >= MOSTLY) & (share >= 0.2)
    counted = min(int((whole & (share >= LARGE)).sum()), 5)
    rating = counted - 1.0 * (cut & ~little_cut).sum() - 0.3 * little_cut.sum()
    rating -= 1.0 * (whole & (share < SMALL)).sum() + 0.3 * (whole & (share >= SMALL) & (share < LARGE)).sum()
    objects = tuple(
        Object(photo.objects[k].name, tuple((clipped[k] / side).round(4).tolist()))
        for k in np.flatnonzero(visible > VISIBLE)
    )
    names = {item.name for item in objects}
    is_mixed = is_training and bool(names & set(LABEL_ONLY)) and len(names) > 1
    return (-np.inf if is_mixed or not counted else float(rating)), objects


def overlap(one: Crop, other: Crop) -> float:
    """IoU of two crops of a photograph."""
    low = np.maximum([one.left_px, one.top_px], [other.left_px, other.top_px])
    high = np.minimum(
        [one.left_px + one.side_px, one.top_px + one.side_px],
        [other.left_px + other.side_px, other.top_px + other.side_px],
    )
    both = float((high - low).clip(min=0).prod())
    return both / (one.side_px**2 + other.side_px**2 - both)


def thinned(crops: Sequence[Crop], only_fish: int, rng: Generator) -> list[Crop]:
    """All crops but those that show only fish, of which `only_fish` stay."""
    fish = [k for k, crop in enumerate(crops) if crop.names == {"fish"}]
    left_out = set(rng.permutation(fish)[only_fish:].tolist())
    return [crop for k, crop in enumerate(crops) if k not in left_out]


# --- the archive


def write_archive(out: Path, crops: dict[str, list[Crop]]) -> None:
    named = [(f"{split}/{k:03}.jpg", crop) for split in crops for k, crop in enumerate(crops[split])]
    test = [pair for pair in named if pair[0].startswith("test/")]
    train = [pair for pair in named if pair not in test]
    labelled = [pair for pair in train if pair[1].names & set(LABEL_ONLY)]
    scenes = [pair for pair in train if pair not in labelled]
    boxed = [name for name in WNIDS if name not in LABEL_ONLY]
    files: dict[str, bytes] = {f"images/{name}": encoded(crop) for name, crop in named}
    for name, images, kept in (
        ("boxes.json", scenes, boxed),
        ("oracle_labels.json", labelled, WNIDS),
        ("train.json", train, WNIDS),
        ("test.json", test, WNIDS),
    ):
        files[name] = json.dumps(coco_instances(images, list(kept))).encode()
    files["labels.csv"] = label_table(labelled).encode()
    for name, settings in merges().items():
        files[name] = yaml.safe_dump(settings, sort_keys=False).encode()
    files["ATTRIBUTION.txt"] = NOTICE.encode()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():  # a fixed date, so that equal files give an equal archive
            archive.writestr(zipfile.ZipInfo(name, (2020, 12, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)


def encoded(crop: Crop) -> bytes:
    right, bottom = crop.left_px + crop.side_px, crop.top_px + crop.side_px
    image = Image.open(crop.path).convert("RGB").crop((crop.left_px, crop.top_px, right, bottom))
    stream = io.BytesIO()
    image.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS).save(
        stream, "JPEG", quality=QUALITY, optimize=True
    )
    return stream.getvalue()


def coco_instances(images: Sequence[tuple[str, Crop]], names: Sequence[str]) -> dict[str, Any]:
    annotations = []
    for number, (_, crop) in enumerate(images):
        for item in crop.objects:
            left, top, right, bottom = (SIDE_PX * value for value in item.xyxy)
            box = [round(value, 1) for value in (left, top, right - left, bottom - top)]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": list(WNIDS).index(item.name) + 1,
                    "bbox": box,
                    "area": round(box[2] * box[3], 1),
                    "iscrowd": 0,
                }
            )
    return {
        "info": {"description": "Aquarium by Roboflow, CC BY 4.0, changed; see ATTRIBUTION.txt"},
        "images": [
            {"id": number, "file_name": name, "width": SIDE_PX, "height": SIDE_PX}
            for number, (name, _) in enumerate(images)
        ],
        "annotations": annotations,
        "categories": [
            {"id": list(WNIDS).index(name) + 1, "name": WNIDS[name], "display_name": name} for name in names
        ],
    }


def label_table(images: Sequence[tuple[str, Crop]]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("image", "class"))
    table.writerows((name, WNIDS[label]) for name, crop in images for label in sorted(crop.names))
    return text.getvalue()


def merges() -> dict[str, Any]:
    """Merge configurations by file name. Stingrays are fish and may lack boxes, so fish are not exhaustive."""

    def coco(name: str, annotations: str, **settings: Any) -> dict[str, Any]:
        return {"name": name, "format": "coco", "images": "images", "annotations": annotations, **settings}

    labels = {"name": "labels", "format": "csv", "images": "images", "annotations": "labels.csv"}
    boxes = coco("boxes", "boxes.json", exhaustive=[WNIDS["penguin"], WNIDS["shark"]])
    test = coco("test", "test.json", split="test")
    oracle = [coco("boxes", "boxes.json"), coco("labels", "oracle_labels.json"), test]
    return {
        "merge.yaml": {"sources": [boxes, labels, test]},
        "merge_oracle.yaml": {"sources": oracle},
        "all.yaml": {"sources": [coco("train", "train.json"), test]},
    }


if __name__ == "__main__":
    main()
