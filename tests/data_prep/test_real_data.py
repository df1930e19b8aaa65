"""The shipped configuration on real images; skipped unless YOLO9000_TEST_DATA names their folder."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep import MergeConfig, ShardReader, load_config, merge
from data_prep.anchors import box_sizes_px, kmeans_anchors

FOLDERS = ("coco128/images/train2017", "coco128/images/val2017", "imagenet-260")
CONFIG = Path(__file__).parents[2] / "configs" / "merge" / "coco128_imagenet.yaml"


@pytest.fixture(scope="module")
def reader(real_data, tmp_path_factory):
    coco, out = real_data / "coco128", tmp_path_factory.mktemp("merged") / "out"
    overrides = [f"sources.imagenet.images={real_data / 'imagenet-260'}"]
    for name, split in (("coco", "train"), ("coco_val", "val")):
        overrides.append(f"sources.{name}.annotations={coco}/annotations/instances_{split}2017.json")
        overrides.append(f"sources.{name}.images={coco}/images/{split}2017")
    merge(load_config(CONFIG, MergeConfig, overrides), out)
    return ShardReader(out)


def test_all_images_of_coco128_and_of_260_imagenet_folders_are_merged(reader):
    assert len(reader) == 128 + 128 + 260
    assert [len(reader.split(name)) for name in reader.splits] == [388, 128]
    assert (len(reader.box_nodes), len(reader.label_nodes)) == (1827, 260)
    assert reader.counts == ({}, {}, {"file beside the class folders": 3})
    assert {row.reason for row in reader.classes} == {"curated", "wnid"}


def test_stored_images_equal_their_files_and_decode_to_their_size(reader, real_data):
    for image in range(0, len(reader), 40):
        data = reader.encoded(image).tobytes()
        folder = real_data / FOLDERS[reader.image_source[image]]
        assert data == (folder / reader.source_id(image)).read_bytes()
        assert Image.open(io.BytesIO(data)).size == (reader.image_width[image], reader.image_height[image])


def test_labels_of_imagenet_are_at_or_under_boxed_classes_of_coco(reader):
    """The folders were chosen so. A tree keeps one of several hypernym paths, so a few labels are elsewhere."""
    boxed = reader.sources[0].exhaustive
    under = np.zeros(len(reader.label_nodes), dtype=bool)
    for node in boxed:
        under |= reader.tree.is_at_or_under(reader.label_nodes, int(node))
    assert under.mean() > 0.95


def test_five_anchors_fit_as_well_as_the_configuration_states(reader):
    found = kmeans_anchors(box_sizes_px(reader, "train", 416) / 32, 5)
    assert found.average_iou == pytest.approx(0.543, abs=0.002)
