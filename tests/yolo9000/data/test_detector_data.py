"""The images of each step, their augmentation, and their labels as target columns."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_prep import MergeConfig, ShardReader, merge
from data_prep.dataset.index_file import read_index
from data_prep.maintenance.check import check_shards
from data_prep.maintenance.repair import repair
from tests.data_prep.conftest import encoded_image
from tests.yolo9000.made import COLOURS, coco_source, made_config, made_scenes, made_square
from wordtree import WordTree
from wordtree.support.config_files import with_paths
from wordtree.tree.node_sets import at_or_under
from yolo9000.data.batch import Batch, Targets
from yolo9000.data.damage import TooManyDamaged
from yolo9000.data.detector_data import DetectorData, collate
from yolo9000.data.prefetch import prefetch
from yolo9000.data.sample import Sample, read_sample
from yolo9000.data.sampler import DataMismatch, Sampler, by_ascending_share, evenly_spaced, images_of_split


def columns_of(batch: Batch) -> list[torch.Tensor]:
    boxes, labels, ignore = batch.targets.boxes, batch.targets.image_labels, batch.targets.ignore
    return [
        batch.images, boxes.image, boxes.xyxy_unit, boxes.node, labels.image, labels.node, labels.region_xyxy_unit,
        ignore.image, ignore.xyxy_unit, batch.targets.source,
    ]  # fmt: skip


def test_a_step_draws_its_sources_in_the_configured_ratio(shards: Path) -> None:
    reader = ShardReader(shards)
    sampler = Sampler(reader, made_config(shards, data__ratio={"scenes": 1, "labels": 4}))
    sources = np.concatenate([sampler.batch(step)[1] for step in range(1, 101)])
    assert np.bincount(sources).tolist() == [160, 640]
    for step in (1, 2, 50):
        images, source = sampler.batch(step)
        names = [reader.sources[k].name for k in reader.image_source[images]]
        assert names == [sampler.names[k] for k in source]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=12), st.integers(1, 40))
def test_the_number_of_images_drawn_never_falls(sizes: list[int], batch_size: int) -> None:
    sampler = Sampler.__new__(Sampler)  # its arithmetic alone
    sampler.shares, sampler.batch_size = np.array(sizes) / sum(sizes), batch_size
    sampler.by_share = by_ascending_share(sampler.shares)
    before = np.zeros(len(sizes), np.int64)
    for step in range(1, 60):
        drawn = sampler._drawn(step)
        assert drawn.sum() == step * batch_size
        assert (drawn >= before).all()
        assert np.abs(drawn - step * batch_size * sampler.shares).max() <= len(sizes)
        before = drawn


def test_every_image_of_a_source_is_drawn_once_in_each_epoch(shards: Path) -> None:
    sampler = Sampler(ShardReader(shards), made_config(shards, data__ratio={"scenes": 1}))
    drawn = np.concatenate([sampler.batch(step)[0] for step in range(1, 4)])  # 8 scenes, batches of 8
    assert Counter(drawn.tolist()) == Counter(dict.fromkeys(range(8), 3))
    assert sampler.batch(1)[0].tolist() != sampler.batch(2)[0].tolist()
    assert sampler.epochs(3) == {"scenes": 3.0}


def test_without_a_ratio_sources_are_drawn_in_proportion_to_their_images(shards: Path) -> None:
    sampler = Sampler(ShardReader(shards), made_config(shards, data__ratio=None))
    assert sampler.shares.tolist() == [
        0.5,
        0.5,
    ]  # 8 scenes, 2 × 4 label images; the test split is not drawn


def test_batches_depend_on_seed_and_step_alone(shards: Path) -> None:
    cfg = made_config(shards)
    straight = list(DetectorData(ShardReader(shards), cfg).batches(1, 4))
    resumed = list(DetectorData(ShardReader(shards), cfg).batches(3, 4))
    assert (len(straight), len(resumed)) == (4, 2)
    for a, b in zip(straight[2:], resumed, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(columns_of(a), columns_of(b), strict=True))
    other = DetectorData(ShardReader(shards), made_config(shards, seed=1)).batch(1)
    assert not torch.equal(other.images, straight[0].images)


def test_the_number_of_loader_threads_changes_nothing(shards: Path) -> None:
    one = list(DetectorData(ShardReader(shards), made_config(shards, data__loader_threads=1)).batches(1, 3))
    four = list(DetectorData(ShardReader(shards), made_config(shards, data__loader_threads=4)).batches(1, 3))
    for a, b in zip(one, four, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(columns_of(a), columns_of(b), strict=True))


@pytest.mark.parametrize("error", [MemoryError, DataMismatch, SystemExit])
def test_an_error_in_a_loader_thread_is_raised_at_its_batch_and_ends_the_other_threads(
    error: type[BaseException],
) -> None:
    def make(number: int) -> int:
        if number == 3:
            raise error("batch 3")
        return number

    made = prefetch(make, range(1000), threads=2)
    assert [next(made) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(error, match="batch 3"):
        next(made)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_boxes_are_where_their_squares_are(shards: Path) -> None:
    data = DetectorData(ShardReader(shards), made_config(shards, augment__paste=0))  # nothing is hidden
    checked = 0
    for step in range(1, 6):
        batch = data.batch(step)
        for image, xyxy in zip(batch.targets.boxes.image, batch.targets.boxes.xyxy_unit, strict=True):
            left, top, right, bottom = (xyxy * 64).round().int().tolist()
            if right - left < 6 or bottom - top < 6:
                continue
            inside = batch.images[image, :, top + 2 : bottom - 2, left + 2 : right - 2].flatten(1)
            middle = inside.median(dim=1).values
            assert middle.max() - middle.min() > 0.3  # a colour, not grey noise
            checked += 1
    assert checked > 10


def test_shrunk_label_images_may_be_drawn_on_scenes_and_keep_the_labels_of_both(shards: Path) -> None:
    """The region of a label is its tile. Outside, the boxes of the scene and its exhaustively annotated nodes hold."""
    settings = {"augment__zoom_out": 1, "augment__mosaic": 0, "data__ratio": {"scenes": 0.001, "labels": 1}}
    reader = ShardReader(shards)
    batches = [
        DetectorData(reader, made_config(shards, **settings, augment__zoom_out_onto=share)).batch(1)
        for share in (0, 1)
    ]
    alone, on_scene = (batch.targets for batch in batches)
    labels = [source.name for source in reader.sources].index("labels")
    assert set(on_scene.source.tolist()) == {labels}
    assert len(alone.boxes.image) == 0
    assert not alone.exhaustive.any()
    assert alone.image_labels.node.tolist() == on_scene.image_labels.node.tolist()
    for targets in (alone, on_scene):
        regions, ignored = targets.image_labels.region_xyxy_unit, targets.ignore.xyxy_unit
        assert bool((regions[:, 2:] - regions[:, :2] <= 0.75).all())
        assert {tuple(one) for one in regions.tolist()} <= {tuple(one) for one in ignored.tolist()}
    assert len(alone.ignore.image) == 8
    # Each scene has one square, which the tile may hide, in part or whole.
    hidden = len(on_scene.ignore.image) - 8
    assert 0 < len(on_scene.boxes.image) <= 8 - hidden
    scenes = next(source for source in reader.sources if source.name == "scenes")
    assert len(scenes.exhaustive) > 0
    expected = np.tile(at_or_under(reader.tree, scenes.exhaustive), (8, 1))
    np.testing.assert_array_equal(on_scene.exhaustive.numpy(), expected)
    grey = [(batch.images == 127 / 255).all(1).float().mean() for batch in batches]
    assert grey[0] > 0.4 > 0.1 > grey[1]


def test_tiles_on_scenes_may_be_crops_of_scenes(shards: Path) -> None:
    """A crop of a scene has boxes and no label, so that a tile on a scene does not imply a class without boxes."""

    def batch(**settings: object) -> Targets:
        return DetectorData(ShardReader(shards), made_config(shards, **settings)).batch(1).targets

    pasted = {"augment__paste": 1, "data__ratio": {"scenes": 1, "labels": 0.001}}
    labels, crops = (
        batch(**pasted, augment__scene_crops=share, augment__tile_sources=["labels"]) for share in (0, 1)
    )
    assert len(labels.image_labels.node) == 8
    assert len(crops.image_labels.node) == 0
    assert len(crops.boxes.node) > len(labels.boxes.node)  # each scene has one square, and so has each crop

    onto = {"augment__zoom_out": 1, "augment__zoom_out_onto": 1, "augment__mosaic": 0}
    ratio = {"scenes": 0.001, "labels": 1}
    alone, beside = (batch(**onto, data__ratio=ratio, augment__scene_crops=share) for share in (0, 1))
    assert alone.image_labels.node.tolist() == beside.image_labels.node.tolist()
    assert len(beside.boxes.node) > len(alone.boxes.node)


@pytest.mark.parametrize("tiles", ["crops", "whole images"])
def test_an_image_of_two_sources_is_exhaustively_annotated_for_the_nodes_of_both(
    tmp_path: Path, tiles: str
) -> None:
    """Each of two sources annotates one class with boxes. An image with a tile of the other may show either class
    without a box."""
    wnids = list(COLOURS)
    for wnid in wnids[:2]:
        made_scenes(tmp_path / wnid, 6, (wnid,), np.random.default_rng(0))
    (tmp_path / "labels" / wnids[2]).mkdir(parents=True)
    made_square(wnids[2], np.random.default_rng(0))[0].save(tmp_path / "labels" / wnids[2] / "0.png")
    sources = [coco_source(wnid, tmp_path / wnid, "train") for wnid in wnids[:2]]
    labels = {"name": "labels", "format": "imagenet", "images": str(tmp_path / "labels")}
    merge(MergeConfig.model_validate({"sources": [*sources, labels]}), tmp_path / "shards")
    reader = ShardReader(tmp_path / "shards")
    settings: dict[str, object] = {
        "crops": {"augment__paste": 1, "augment__scene_crops": 1, "augment__tile_sources": None},
        "whole images": {"augment__paste": 1, "augment__tile_sources": [wnids[1]]},
    }[tiles]
    ratio = {wnids[0]: 1, wnids[1]: 0.5, "labels": 0.01}
    data = DetectorData(reader, made_config(tmp_path / "shards", **settings, data__ratio=ratio))
    of_source = reader.exhaustive_by_source
    assert of_source[:2].any(axis=1).all()
    assert not (of_source[0] & of_source[1]).any()
    mixed = 0
    for step in range(1, 5):
        targets = data.batch(step).targets
        for image, source in enumerate(targets.source.tolist()):
            nodes = set(targets.boxes.node[targets.boxes.image == image].tolist())
            exhaustive = targets.exhaustive[image].numpy()
            assert not (exhaustive & ~of_source[source]).any()
            if len(nodes) == 2:
                mixed += 1
                assert not exhaustive.any()
    assert mixed


def test_soft_edges_change_pixels_of_tiles_on_scenes(shards: Path) -> None:
    settings = {"augment__zoom_out": 1, "augment__zoom_out_onto": 1, "augment__mosaic": 0}
    ratio = {"scenes": 0.001, "labels": 1}
    hard, soft = (
        DetectorData(
            ShardReader(shards), made_config(shards, **settings, data__ratio=ratio, augment__soft_edges=e)
        )
        .batch(1)
        .images
        for e in (0, 0.4)
    )
    assert not torch.equal(hard, soft)


def test_an_image_without_box_annotations_is_ignored_as_a_whole(shards: Path) -> None:
    reader = ShardReader(shards)
    sample = read_sample(reader, 8)  # the first of source "labels", after eight scenes
    assert sample.ignored_xyxy_unit.tolist() == [[0, 0, 1, 1]]
    assert len(sample.label_nodes) == 1
    assert len(read_sample(reader, 0).ignored_xyxy_unit) == 0


def test_a_limit_takes_evenly_spaced_images_of_each_source(shards: Path) -> None:
    reader = ShardReader(shards)
    every = Sampler(reader, made_config(shards)).images
    sampler = Sampler(reader, made_config(shards, data__limit=2))
    assert [images.tolist() for images in sampler.images] == [
        [int(images[0]), int(images[len(images) // 2])] for images in every
    ]


@pytest.mark.parametrize("images", [1, 7, 100, 101])
@pytest.mark.parametrize("limit", [1, 2, 7, 99, 100, None])
def test_evenly_spaced_images_differ_and_their_distances_by_at_most_one(
    images: int, limit: int | None
) -> None:
    taken = evenly_spaced(np.arange(images), limit)
    assert len(taken) == min(images, limit or images)
    distances = np.diff([*taken, images])
    assert distances.min() >= 1
    assert distances.max() - distances.min() <= 1


def test_batches_after_a_repair_leave_out_the_damaged_image(shards: Path, tmp_path: Path) -> None:
    spoilt = shutil.copytree(shards, tmp_path / "spoilt")
    index = read_index(spoilt)
    path, start = spoilt / index.shards[0].name, int(index.columns["picture_start"][3])
    data = bytearray(path.read_bytes())
    data[start + 20] ^= 255
    path.write_bytes(data)
    cfg = made_config(
        spoilt,
        data__batch_size=16,
        data__ratio={"scenes": 1},
        data__max_damaged=0,
        augment__mosaic=0,
        augment__paste=0,
    )
    with pytest.raises(TooManyDamaged, match=r"image 3 .*do not fit their checksum"):
        list(DetectorData(ShardReader(spoilt), cfg).batches(1, 1))
    repair(check_shards(spoilt, index))
    (batch,) = DetectorData(ShardReader(spoilt), cfg).batches(1, 1)
    assert len(batch.images) == 16
    assert len(ShardReader(spoilt).split("train")) == len(ShardReader(shards).split("train")) - 1


def test_batches_from_remote_shards_are_the_same(shards: Path) -> None:
    system = pytest.importorskip("fsspec").filesystem("memory")
    for path in shards.glob("*.h5"):
        system.pipe_file(f"/remote/{path.name}", path.read_bytes())
    cfg = made_config(shards, data__shards="memory://remote")
    (local,) = DetectorData(ShardReader(shards), cfg).batches(1, 1)
    (remote,) = DetectorData(ShardReader(with_paths(cfg, Path.absolute).data.shards), cfg).batches(1, 1)
    assert all(torch.equal(a, b) for a, b in zip(columns_of(local), columns_of(remote), strict=True))


def test_an_unknown_source_or_split_is_reported_with_the_known_ones(shards: Path) -> None:
    reader = ShardReader(shards)
    with pytest.raises(
        DataMismatch, match=r"ratio names coco, but split 'train' has images of .*: scenes, labels"
    ):
        Sampler(reader, made_config(shards, data__ratio={"coco": 1}))
    with pytest.raises(DataMismatch, match=r"ratio names scene, .* Did you mean 'scenes'\?"):
        Sampler(reader, made_config(shards, data__ratio={"scene": 1, "labels": 4}))
    with pytest.raises(
        DataMismatch,
        match=r"tile_sources names label, but the shards have .*: scenes, labels, test\. Did you mean 'labels'\?",
    ):
        DetectorData(reader, made_config(shards, augment__tile_sources=["scenes", "label"]))
    with pytest.raises(DataMismatch, match="split 'val' is not in the shards; they have: train, test"):
        images_of_split(reader, "val")


@dataclass
class OneImage:
    """The part of a reader that `read_sample` uses, for one image; labels are (node, positive, exhaustive)."""

    tree: WordTree
    boxes: list[int]
    labels: list[tuple[int, bool, bool]]
    boxed: bool = True

    def __post_init__(self) -> None:
        self.box_offsets, self.label_offsets = np.array([0, len(self.boxes)]), np.array([0, len(self.labels)])
        self.box_nodes, self.box_ignored = np.array(self.boxes, np.int32), np.zeros(len(self.boxes), bool)
        self.boxes_xyxy_unit = np.tile(np.float32([0.2, 0.2, 0.8, 0.8]), (len(self.boxes), 1))
        columns = np.array(self.labels, np.int32).reshape(-1, 3)
        self.label_nodes, flags = columns[:, 0], columns[:, 1:].astype(bool)
        self.label_positive, self.label_exhaustive = flags[:, 0], flags[:, 1]
        self.image_boxed = np.array([self.boxed])

    def encoded(self, image: int) -> np.ndarray:
        return np.frombuffer(encoded_image(0, (6, 4), kind="PNG"), np.uint8)

    def source_id(self, image: int) -> str:
        return "made"

    def sample(self) -> Sample:
        return read_sample(self, 0)  # type: ignore[arg-type]


ANIMAL, VEHICLE, DOG, CAT, CAR, BOAT, TERRIER = range(7)


def test_an_image_is_exhaustively_annotated_for_nodes_it_was_searched_for_present_or_not(
    toy_tree: WordTree,
) -> None:
    labels = [(DOG, True, True), (CAT, False, False), (CAR, True, False)]
    exhaustive = OneImage(toy_tree, [TERRIER, CAR], labels).sample().exhaustive
    assert exhaustive.nonzero()[0].tolist() == [DOG, CAT, TERRIER]  # which is a dog


def test_an_image_without_box_annotations_is_exhaustively_annotated_for_no_node(toy_tree: WordTree) -> None:
    sample = OneImage(toy_tree, [], [(DOG, True, True), (CAT, False, False)], boxed=False).sample()
    assert sample.exhaustive is None
    assert sample.ignored_xyxy_unit.tolist() == [[0, 0, 1, 1]]


def test_an_image_label_is_left_out_if_a_box_says_as_much(toy_tree: WordTree) -> None:
    labels = [(DOG, True, True), (CAR, True, False), (BOAT, True, False), (CAT, False, False)]
    assert OneImage(toy_tree, [TERRIER, CAR], labels).sample().label_nodes.tolist() == [BOAT]
    assert OneImage(toy_tree, [ANIMAL], labels[:1]).sample().label_nodes.tolist() == [DOG]  # more precise


def test_negative_labels_have_columns_of_their_own(toy_tree: WordTree) -> None:
    sample = OneImage(toy_tree, [], [(CAT, False, False), (CAR, True, False)], boxed=False).sample()
    assert (sample.label_nodes.tolist(), sample.negative_nodes.tolist()) == ([CAR], [CAT])
    negative = collate([sample, sample], np.zeros(2, np.int32), nodes=7).negative_labels
    assert (negative.image.tolist(), negative.node.tolist()) == ([0, 1], [CAT, CAT])
    assert negative.region_xyxy_unit.tolist() == [[0, 0, 1, 1]] * 2


def test_exhaustively_annotated_nodes_are_collated_by_image(toy_tree: WordTree) -> None:
    samples = [
        OneImage(toy_tree, [], [(DOG, False, False), (CAR, False, False)]).sample(),
        OneImage(toy_tree, [], [(DOG, True, False)], boxed=False).sample(),
        OneImage(toy_tree, [], [(BOAT, False, False)]).sample(),
    ]
    exhaustive = collate(samples, np.zeros(3, np.int32), nodes=7).exhaustive
    assert exhaustive.nonzero().tolist() == [[0, DOG], [0, CAR], [0, TERRIER], [2, BOAT]]
