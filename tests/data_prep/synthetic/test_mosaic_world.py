"""Worlds of photographs: of made images in Tiny ImageNet's layout, and of real ones by YOLO9000_TEST_DATA."""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_prep import DataPrepError, MergeConfig, ShardReader, load_config, merge
from data_prep.synthetic.mosaic_world import (
    MosaicWorldConfig,
    PhotoClass,
    boxed_half,
    draw_mosaic,
    fading_edge,
    find_position,
    photo_classes,
    plan,
    rng_of,
    write_mosaic_world,
)
from data_prep.synthetic.photo_boxes import Photo, Photos, load_photo, read_photos
from data_prep.synthetic.world_files import WorldError
from tests.data_prep.made_photos import COLOURS, PAIRS, WH_PX, made_photos
from wordtree import WordTree

SMALL = MosaicWorldConfig(scenes=10, test_scenes=5, size_px=96)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_photos(tmp_path_factory.mktemp("photographs"))


@pytest.fixture(scope="module")
def world(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("worlds") / "small"
    write_mosaic_world(photographs, out, SMALL)
    return out


def instances(world: Path, name: str) -> dict:
    return json.loads((world / name).read_text(encoding="utf-8"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


# --- which classes have boxes


def test_the_seed_chooses_the_boxed_one_of_each_pair_of_near_relatives():
    chosen = set()
    for seed in range(12):
        boxed = {one.wnid for one in photo_classes(sorted(COLOURS), seed) if one.boxed}
        assert all(len(boxed & set(pair)) == 1 for pair in PAIRS)
        chosen.add(frozenset(boxed))
    assert len(chosen) > 3


@st.composite
def trees_with_classes(draw: st.DrawFn) -> tuple[WordTree, list[int]]:
    """A random tree, siblings contiguous, and some of its nodes."""
    parents = [-1] * draw(st.integers(1, 3))
    for node in range(draw(st.integers(0, 12))):
        parents += [node] * draw(st.integers(0, 3)) if node < len(parents) else []
    tree = WordTree([f"own{node}" for node in range(len(parents))], parents)
    return tree, draw(st.lists(st.integers(0, len(tree) - 1), unique=True, min_size=1))


@given(trees_with_classes(), st.integers(0, 5))
def test_in_every_subtree_boxed_and_other_classes_differ_by_one_at_most(tree_and_classes, seed):
    tree, nodes = tree_and_classes
    boxed = boxed_half(tree, nodes, np.random.default_rng(seed))
    assert boxed <= set(nodes)
    assert len(boxed) == (len(nodes) + 1) // 2
    for top in range(len(tree)):
        below = {int(node) for node in tree.descendants(top)} | {top}
        inside = below & set(nodes)
        assert abs(2 * len(inside & boxed) - len(inside)) <= 1


# --- what the images show


def test_photographs_occur_equally_often_and_training_never_shows_those_of_validation(photographs):
    photos = read_photos(photographs)
    classes = photo_classes(sorted(COLOURS), 0)
    mosaics = plan(MosaicWorldConfig(scenes=200, test_scenes=200), classes, photos)
    for split, part in (("train", photos.train), ("test", photos.val)):
        shown = Counter(
            one.file for mosaic in mosaics if mosaic.planned.split == split for one in mosaic.photos
        )
        assert set(shown) == {one.file for its in part.values() for one in its}
        for has_box in (True, False):
            side = [one.wnid for one in classes if one.boxed == has_box]
            turns = [shown[one.file] for wnid in side for one in part[wnid]]
            assert max(turns) - min(turns) <= 2


def test_a_share_of_training_objects_is_of_label_only_classes_and_has_no_box(photographs):
    photos = read_photos(photographs)
    classes = photo_classes(sorted(COLOURS), 0)
    for share in (0.0, 0.2):
        wanted = MosaicWorldConfig(scenes=600, test_scenes=1, unannotated_share=share)
        shown = [
            classes[index].boxed
            for mosaic in plan(wanted, classes, photos)
            if mosaic.planned.split == "train"
            for index in mosaic.planned.classes
        ]
        assert 1 - sum(shown) / len(shown) == pytest.approx(share, abs=0.03)


def test_an_object_under_a_boxed_class_is_never_shown_without_its_box():
    one = [Photo(Path("made.jpg"), (0, 0, 1, 1))]
    classes = (
        PhotoClass("dog", "dog", True, ""),
        PhotoClass("terrier", "terrier", False, "dog"),
        PhotoClass("cat", "cat", False, ""),
    )
    photos = Photos({item.wnid: one for item in classes}, {item.wnid: one for item in classes})
    for given_classes, expected in ((classes, {0, 2}), (classes[:2], {0})):
        mosaics = plan(MosaicWorldConfig(scenes=50, unannotated_share=0.5), given_classes, photos)
        train = [mosaic.planned.classes for mosaic in mosaics if mosaic.planned.split == "train"]
        assert {index for image in train for index in image} == expected


def test_boxes_fit_the_objects_in_the_finished_scene(photographs, monkeypatch):
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    monkeypatch.setattr("data_prep.synthetic.mosaic_world.draw_background", lambda *_: grey.copy())
    photos = [its[0] for its in read_photos(photographs).train.values()]
    apart = MosaicWorldConfig(size_px=200, scale_min=0.2, scale_max=0.4, edge=0, hidden_limit=0)
    for seed in range(20):
        image, objects = draw_mosaic(photos, apart, np.random.default_rng(seed))
        assert len(objects) >= 3
        for one in objects:
            colour = list(COLOURS.values())[one.number]
            rows, columns = np.nonzero(np.abs(np.asarray(image).astype(int) - colour).max(axis=2) < 60)
            found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert np.abs(np.subtract(found, one.xyxy_px)).max() <= 1


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.3, 0.6]))
@settings(max_examples=25)
def test_no_object_is_hidden_beyond_the_limit(photographs, seed, limit):
    photos = [its[0] for its in read_photos(photographs).train.values()]
    crowded = MosaicWorldConfig(size_px=64, scale_min=0.5, scale_max=0.5, edge=0, hidden_limit=limit)
    _, objects = draw_mosaic(photos, crowded, rng_of(seed))
    for one in objects:
        left, top, right, bottom = photos[one.number].xyxy_px
        scale = 32 / WH_PX[0]
        area = (round(right * scale) - round(left * scale)) * (round(bottom * scale) - round(top * scale))
        assert one.visible_px >= (1 - limit) * area * 0.8  # mirrored, its sides may round the other way


def test_a_photograph_without_a_place_is_left_out():
    owner = np.zeros((20, 20), dtype=np.int16)
    assert find_position(owner, (10, 10), {0: 400}, 0.1, np.random.default_rng(0)) is None
    assert find_position(owner, (10, 10), {0: 400}, 0.3, np.random.default_rng(0)) is not None


def test_the_edge_of_a_pasted_image_fades():
    mask = np.asarray(fading_edge((50, 40), 0.1)).astype(int)
    assert mask[20, 25] == 255
    assert mask[0].max() < 140
    assert (np.diff(mask[20, :10]) >= 0).all()
    assert np.asarray(fading_edge((50, 40), 0)).min() == 255


# --- the files


def test_the_world_is_coco_files_and_imagenet_folders(world, photographs):
    label_only = {one.wnid for one in photo_classes(sorted(COLOURS), 0) if not one.boxed}
    assert {folder.name for folder in (world / "labels").iterdir()} == label_only
    for wnid in label_only:
        assert contents(world / "labels" / wnid) == contents(photographs / "train" / wnid / "images")
    for split, count in (("train", 10), ("test", 5)):
        table = instances(world, f"scenes/instances_{split}.json")
        assert len(table["images"]) == count
        for image in table["images"]:
            with Image.open(world / "scenes" / split / image["file_name"]) as opened:
                assert opened.size == (image["width"], image["height"]) == (96, 96)


def test_the_oracle_has_the_boxes_of_the_label_images(world, photographs):
    table = instances(world, "oracle/instances_labels.json")
    names = {one["id"]: one["file_name"] for one in table["images"]}
    photos = read_photos(photographs).train
    expected = {f"{wnid}/{one.file.name}": one.xyxy_px for wnid, its in photos.items() for one in its}
    assert len(table["annotations"]) == 9
    for one in table["annotations"]:
        left, top, right, bottom = expected[names[one["image_id"]]]
        assert one["bbox"] == [left, top, right - left, bottom - top]


def test_half_of_the_merged_classes_have_boxes_and_all_of_the_oracle(world, tmp_path):
    reader = {}
    for name in ("merge", "merge_oracle"):
        merge(load_config(world / f"{name}.yaml", MergeConfig), tmp_path / name, workers=1)
        reader[name] = ShardReader(tmp_path / name)
    for one in photo_classes(sorted(COLOURS), 0):
        node = reader["merge"].tree.node(one.wnid)
        assert reader["merge"].label_counts.supervision(node) == ("boxes" if one.boxed else "image labels")
        assert reader["merge_oracle"].label_counts.supervision(node) == "boxes"
    assert reader["merge"].tree == reader["merge_oracle"].tree


def test_equal_seeds_give_equal_worlds_and_other_seeds_other_ones(world, photographs, tmp_path):
    write_mosaic_world(photographs, tmp_path / "again", SMALL)
    assert contents(tmp_path / "again") == contents(world)
    write_mosaic_world(photographs, tmp_path / "other", SMALL.model_copy(update={"seed": 1}))
    before, after = contents(world), contents(tmp_path / "other")
    assert not [name for name in before if name.endswith(".jpg") and before[name] == after[name]]


def test_a_finished_world_is_kept_and_a_world_of_other_photographs_refused(world, photographs, tmp_path):
    before = {file: file.stat().st_mtime_ns for file in world.rglob("*")}
    write_mosaic_world(photographs, world, SMALL)
    assert {file: file.stat().st_mtime_ns for file in world.rglob("*")} == before
    with pytest.raises(WorldError, match="another version or other drawings"):
        write_mosaic_world(made_photos(tmp_path / "more", train=4), world, SMALL)


# --- what can go wrong


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        pytest.param(
            "train/n02085620/n02085620_boxes.txt", "a.JPEG 1 2 3", r"txt:1: expected 5 columns, found 4", id="column"
        ),
        pytest.param(
            "train/n02085620/n02085620_boxes.txt", "\na.JPEG 1 2 x 4", r"txt:2: expected .* whole pixels", id="word"
        ),
        pytest.param(
            "train/n02085620/n02085620_boxes.txt", "a.JPEG 5 5 4 9", "found 5,5 to 4,9", id="box"
        ),
        pytest.param("train/n02085620/n02085620_boxes.txt", "", "n02085620 has no image in train", id="no image"),
        pytest.param("val/val_annotations.txt", "a.JPEG n1 0 0 9 9", "class n1 has no boxes in train", id="class"),
        pytest.param("val/val_annotations.txt", None, "expected the layout of Tiny ImageNet", id="no validation"),
        pytest.param(
            "train/n02085620/n02085620_boxes.txt", "n02085620_0.JPEG 0 0 99 9", "smaller than its box", id="outside"
        ),
        pytest.param(
            "train/n02085620/n02085620_boxes.txt", b"\xff.JPEG 0 0 9 9", "txt: expected text in UTF-8", id="bytes"
        ),
        pytest.param(
            "train/n02085620/n02085620_boxes.txt", "a\0.JPEG 0 0 9 9", "cannot be read as an image", id="null"
        ),
        pytest.param(
            "train/n02085620/n02085620_boxes.txt", f"a.JPEG 0 0 {'9' * 5000} 9", "found '0 0 999", id="digits"
        ),
        pytest.param(
            "train/n02085620/images/n02085620_0.JPEG", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n",
            "found none of the formats", id="PostScript"
        ),
        pytest.param(
            "train/n02085620/n02085620_boxes.txt", "lost.JPEG 0 0 9 9", "lost.JPEG: cannot be read", id="no file"
        ),
    ],
)  # fmt: skip
def test_photographs_in_another_layout_are_refused_in_one_line(tmp_path, file, text, expected):
    folder = made_photos(tmp_path / "photographs")
    if text is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(DataPrepError, match=expected) as caught:
        write_mosaic_world(folder, tmp_path / "world", SMALL)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photographs"]


# --- the real folder


def test_tiny_imagenets_images_become_scenes(tmp_path):
    folder = Path(os.environ.get("YOLO9000_TEST_DATA", "none")) / "tiny-imagenet-48"
    if not folder.is_dir():
        pytest.skip("YOLO9000_TEST_DATA names no folder with tiny-imagenet-48")
    photos = read_photos(folder)
    assert {len(its) for its in photos.train.values()} == {200}
    assert {len(its) for its in photos.val.values()} == {50}
    for its in photos.val.values():
        width, height = load_photo(its[0]).size
        assert (width, height) == (64, 64)
    write_mosaic_world(
        folder, tmp_path / "world", MosaicWorldConfig(scenes=20, test_scenes=10, labels_per_class=2)
    )
    given = instances(tmp_path / "world", "scenes/instances_train.json")
    assert len(given["categories"]) == 24
    assert 25 <= len(given["annotations"]) <= 80
    assert len(list((tmp_path / "world" / "labels").glob("*/*.JPEG"))) == 48
