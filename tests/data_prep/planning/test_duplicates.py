import csv
import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import data_prep.merging.workers as workers_module
from data_prep import DataPrepError, ShardReader, make_plan, merge
from data_prep.merging.stored_duplicates import DUPLICATES_HEADER, DUPLICATES_NAME
from data_prep.planning.duplicates import (
    IN_SEVERAL_SOURCES,
    IN_SEVERAL_SPLITS,
    WITHIN_ONE_SOURCE,
    Origins,
    equal_images,
    find_planned_duplicates,
    may_be_equal,
)
from tests.data_prep.conftest import CAR, TABBY

SPLITS = ("train", "val")


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=12))
def test_images_may_be_equal_if_their_keys_occur_twice(keys):
    columns = np.array(keys, dtype=np.int64).reshape(-1, 2).T
    expected = [row for row, key in enumerate(keys) if keys.count(key) > 1]
    assert may_be_equal(*columns).tolist() == expected


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 1)), max_size=12))
def test_groups_of_equal_images_agree_with_a_slow_search(images):
    """images: content, source and split of each image."""
    digests = np.array([(content % 2, content // 2) for content, _, _ in images], dtype=np.uint64).reshape(
        -1, 2
    )
    source, split = (np.array([row[column] for row in images], dtype=np.int32) for column in (1, 2))
    found = equal_images(np.arange(len(images)), digests, Origins(source, split, SPLITS))
    expected = []
    for content in dict.fromkeys(content for content, _, _ in images):
        group = [number for number, row in enumerate(images) if row[0] == content]
        if len(group) > 1:
            splits, sources = {split[one] for one in group}, {source[one] for one in group}
            kind = (
                IN_SEVERAL_SPLITS
                if len(splits) > 1
                else IN_SEVERAL_SOURCES
                if len(sources) > 1
                else WITHIN_ONE_SOURCE
            )
            tests = [one for one in group if SPLITS[split[one]] != "train"]
            expected.append((tuple(group), kind, (tests or group)[0]))
    assert [(group.images, group.kind, group.kept) for group in found] == expected


@pytest.fixture
def repeated(world):
    """The world with a COCO image that is also a tabby, and with two equal cars."""
    shutil.copy(world / "photos" / "002.jpg", world / "labelled" / TABBY / "1.jpg")
    shutil.copy(world / "labelled" / CAR / "0.jpg", world / "labelled" / CAR / "2.jpg")
    return world


def test_a_plan_that_hashes_finds_leaks_copies_and_repeats(repeated, config_of):
    plan = make_plan(config_of(repeated))
    found = find_planned_duplicates(plan.images, plan.origins)
    assert [(group.kind, group.images) for group in found.groups] == [
        (IN_SEVERAL_SOURCES, (2, 7)),
        (WITHIN_ONE_SOURCE, (9, 11)),
    ]
    leaking = make_plan(config_of(repeated, "sources.labels.split=val"))
    found = find_planned_duplicates(leaking.images, leaking.origins, threads=2)
    assert [(group.kind, group.kept) for group in found.groups] == [
        (IN_SEVERAL_SPLITS, 7),
        (WITHIN_ONE_SOURCE, 9),
    ]


def test_a_plan_reads_only_images_of_equal_size_and_counts_unreadable_ones(repeated, config_of):
    plan, progress = make_plan(config_of(repeated)), []
    for path in (repeated / "photos").iterdir():
        if plan.images["size_bytes"].tolist().count(path.stat().st_size) == 1:
            path.unlink()
    assert len(find_planned_duplicates(plan.images, plan.origins, progress=progress.append).groups) == 2
    assert sum(progress) == len(plan.images)
    (repeated / "labelled" / CAR / "2.jpg").unlink()
    found = find_planned_duplicates(plan.images, plan.origins)
    assert (len(found.groups), found.unreadable) == (1, 1)


@pytest.mark.parametrize("splits", ["train", "val"])
def test_a_merge_stops_before_its_index_and_names_equal_images(repeated, tmp_path, config_of, splits):
    out = tmp_path / "out"
    duplicates = rf"coco 002\.jpg \(train\) = labels {TABBY}/1\.jpg \({splits}\)"
    leaks = int(splits == "val")
    with pytest.raises(
        DataPrepError, match=rf"several splits \({leaks}\) or several sources \({1 - leaks}\): {duplicates}\."
    ):
        merge(config_of(repeated, f"sources.labels.split={splits}"), out)
    assert not (out / "index.h5").exists()
    rows = list(csv.reader((out / DUPLICATES_NAME).read_text().splitlines()))
    assert rows[0] == list(DUPLICATES_HEADER)
    assert rows[1][2:] == ["train", "coco", "002.jpg", "yes"]
    assert [row[4] for row in rows[3:]] == [f"{CAR}/0.jpg", f"{CAR}/2.jpg"]


def config_with(config_of, world, rule):
    return config_of(world, f"duplicates={rule}", "sources.labels.split=val", "shard_mb=0.0005")


@pytest.mark.parametrize(
    ("rule", "left_out"),
    [pytest.param("keep", [], id="keep"), pytest.param("drop", ["002.jpg", f"{CAR}/2.jpg"], id="drop")],
)
def test_with_a_rule_the_merge_continues_without_reading_an_image(
    repeated, tmp_path, config_of, monkeypatch, rule, left_out
):
    out = tmp_path / "out"
    with pytest.raises(DataPrepError, match="The finished shards stay"):
        merge(config_with(config_of, repeated, "stop"), out)
    with monkeypatch.context() as patch:
        patch.setattr(workers_module, "write_shard", None)
        merge(config_with(config_of, repeated, rule), out)
    reader = ShardReader(out)
    names = [reader.source_id(image) for image in range(len(reader))]
    every = [record.source_id for record in make_plan(config_of(repeated)).images]
    assert names == [name for name in every if name not in left_out]
    outcome = "left out of the index" if left_out else "kept"
    assert reader.counts[0][f"image equal to another one ({outcome})"] == 1
    assert reader.counts[1][f"image equal to another one ({outcome})"] == 1
    boxes = len(make_plan(config_of(repeated)).images["box_class"])
    assert len(reader.box_nodes) == boxes - (2 if left_out else 0)
    with monkeypatch.context() as patch:
        patch.setattr(workers_module, "write_shard", None)
        with pytest.raises(DataPrepError, match="Found equal images in several splits"):
            merge(config_with(config_of, repeated, "stop"), out)
    assert len(ShardReader(out)) == len(reader)


def test_dropped_duplicates_depend_neither_on_workers_nor_on_interruptions(
    repeated, tmp_path, config_of, monkeypatch
):
    config = config_with(config_of, repeated, "drop")
    merge(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.delitem(merge.__globals__, "write_index")  # fails when it would write the index
        with pytest.raises(NameError):
            merge(config, tmp_path / "out", workers=2)
    merge(config, tmp_path / "out")
    whole, out = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "out")
    )
    assert whole == out


def test_repeats_within_a_source_do_not_stop_a_merge(repeated, tmp_path, config_of):
    config = config_of(repeated)
    index = merge(config.model_copy(update={"sources": config.sources[1:]}), tmp_path / "out")
    assert index.counts[0] == {"image equal to another one (kept)": 1}


def test_the_list_of_an_earlier_merge_is_removed_if_no_images_are_equal(world, tmp_path, config_of):
    out = tmp_path / "out"
    merge(config_of(world), out)
    (out / DUPLICATES_NAME).write_text(",".join(DUPLICATES_HEADER) + "\nold\n")
    merge(config_of(world), out)
    assert not (out / DUPLICATES_NAME).exists()


def test_the_plan_command_reports_duplicates(repeated, command):
    options = ["--hash", "--workers", "2", "--set", "sources.labels.split=val"]
    code, text, _ = command("plan", repeated / "merge.yaml", *options)
    assert code == 0
    assert "in several splits (a leak): coco 002.jpg (train) = labels n02123045/1.jpg (val)" in text
    assert "within one source: " in text
    _, text, _ = command("plan", repeated / "merge.yaml", *options, "--json")
    found = json.loads(text)["duplicates"]
    assert [group["kind"] for group in found] == ["in several splits", "within one source"]
    assert found[0]["images"][1] == {"source": "labels", "source_id": f"{TABBY}/1.jpg", "split": "val"}
