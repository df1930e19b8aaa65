import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep import ShardReader, make_plan, merge
from data_prep.planning.splits import draw_splits, image_splits, split_names

SHARES = {"train": 0.7, "val": 0.2, "test": 0.1}
ids = st.lists(st.binary(max_size=8), max_size=20)


@given(ids, st.integers())
def test_the_split_of_an_image_depends_neither_on_other_images_nor_on_the_order(source_ids, seed):
    together = draw_splits(source_ids, SHARES, seed)
    alone = [int(draw_splits([one], SHARES, seed)[0]) for one in source_ids]
    assert together.tolist() == alone
    assert draw_splits(source_ids[::-1], SHARES, seed).tolist() == alone[::-1]


def test_splits_have_their_shares_and_depend_on_the_seed():
    source_ids = [f"{number}.jpg".encode() for number in range(20_000)]
    drawn = draw_splits(source_ids, SHARES, seed=0)
    assert np.bincount(drawn) / len(drawn) == pytest.approx([0.7, 0.2, 0.1], abs=0.01)
    assert (drawn != draw_splits(source_ids, SHARES, seed=1)).mean() > 0.3


def test_a_larger_first_share_takes_images_from_the_next_split_only():
    source_ids = [str(number).encode() for number in range(1000)]
    less, more = (draw_splits(source_ids, {"train": share, "val": 1 - share}, 0) for share in (0.5, 0.6))
    assert (more <= less).all()
    assert (more < less).any()


def test_each_source_has_its_own_splits():
    shares = [{"train": 1.0}, {"val": 1.0}, {"train": 0.5, "later": 0.5}]
    assert split_names(shares) == ("train", "val", "later")
    source = np.array([0, 1, 0, *[2] * 50], dtype=np.int32)
    splits = image_splits(source, lambda image: str(image).encode(), shares, seed=0)
    assert splits[:3].tolist() == [0, 1, 0]
    assert set(splits[3:].tolist()) == {0, 2}


def test_a_merge_stores_the_splits_that_its_plan_drew(world, tmp_path, config_of):
    (world / "photos" / "003.jpg").write_bytes(b"no picture")
    config = config_of(world, "sources.coco.split={train: 0.5, val: 0.5}", "seed=3")
    plan = make_plan(config)
    planned = {
        record.source_id: plan.split_names[split]
        for record, split in zip(plan.images, plan.image_split, strict=True)
    }
    merge(config, tmp_path / "out")
    reader = ShardReader(tmp_path / "out")
    stored = {reader.source_id(i): reader.splits[reader.image_split[i]] for i in range(len(reader))}
    assert planned.pop("003.jpg") in ("train", "val")
    assert stored == planned
    assert {stored[f"{number:03d}.jpg"] for number in (0, 1, 2, 4, 5)} == {"train", "val"}


def test_a_ratio_counts_training_images(world, config_of):
    plan = make_plan(
        config_of(world, "sources.labels.split={train: 0.5, val: 0.5}", "ratio={coco: 1, labels: 1}")
    )
    in_train = sum(plan.split_names[split] == "train" for split in plan.image_split[6:])
    assert 0 < in_train < 6
    assert [source.repeat for source in plan.sources] == [1, pytest.approx(6 / in_train)]
