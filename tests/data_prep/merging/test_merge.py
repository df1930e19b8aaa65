import dataclasses
import io
import json
import os
import shutil
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import data_prep.merging.workers as workers_module
from data_prep import DataPrepError, ShardReader, make_plan, merge
from data_prep.merging.merge import execute_plan
from data_prep.merging.progress_file import PROGRESS_NAME
from data_prep.records import ImageLabel, ImageRecord
from data_prep.shards.writer import write_shard
from data_prep.sources import OpenSource
from tests.data_prep.conftest import CAR, CAT, DOG, TABBY, colour_of, encoded_image, write_coco
from tests.data_prep.readers import make_boxes
from wordtree.errors import ConfigError
from wordtree.support.files import part_path

LABELS = (ImageLabel(0), ImageLabel(1, is_positive=False), ImageLabel(1, is_exhaustive=True))
MANY_SHARDS = "shard_mb=0.0005"  # one image each


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def colour_index(data):
    """The number that the colour of a made image encodes."""
    pixel = np.array(Image.open(io.BytesIO(data.tobytes())).convert("RGB").getpixel((5, 5)))
    distances = [np.abs(pixel - colour_of(index)).sum() for index in range(12)]
    return int(np.argmin(distances))


def test_reading_returns_what_was_merged(world, tmp_path, config_of):
    merge(config_of(world), tmp_path / "out")
    reader = ShardReader(tmp_path / "out")
    tree = reader.tree
    assert len(reader) == 12
    assert [colour_index(reader.encoded(image)) for image in range(12)] == list(range(12))
    assert [reader.source_id(image) for image in (0, 6, 9)] == ["000.jpg", f"{TABBY}/0.jpg", f"{CAR}/0.jpg"]
    assert reader.image_source.tolist() == [0] * 6 + [1] * 6
    assert reader.image_width.tolist() == [40] * 6 + [30] * 6
    assert reader.box_offsets.tolist() == [0, 0, 1, 3, 3, 4, 4] + [4] * 6
    assert reader.box_nodes.tolist() == [tree.node(wnid) for wnid in (CAT, CAT, DOG, CAT)]
    assert reader.box_ignored.tolist() == [True, False, False, False]
    assert reader.boxes_xyxy_unit[2] == pytest.approx([4 / 40, 3 / 30, 24 / 40, 18 / 30])
    assert reader.label_offsets.tolist() == [0] * 7 + [1, 2, 3, 4, 5, 6]
    assert reader.label_nodes.tolist() == [tree.node(TABBY)] * 3 + [tree.node(CAR)] * 3
    assert reader.label_positive.all()
    assert [(source.name, source.has_boxes) for source in reader.sources] == [
        ("coco", True),
        ("labels", False),
    ]
    assert reader.sources[0].exhaustive.tolist() == sorted(tree.node(wnid) for wnid in (CAT, DOG, CAR))
    assert reader.sources[1].exhaustive.size == 0
    assert [(row.name, row.reason) for row in reader.classes] == [
        ("cat", "curated"),
        ("dog", "curated"),
        ("car", "curated"),
        (TABBY, "wnid"),
        (CAR, "wnid"),
    ]


def test_images_of_a_box_source_without_boxes_stay_as_background(world, tmp_path, config_of):
    merge(config_of(world), tmp_path / "out")
    reader = ShardReader(tmp_path / "out")
    assert {0, 3, 5} <= set(reader.split("train").tolist())


def test_the_bytes_are_equal_whatever_the_number_of_workers(world, tmp_path, config_of):
    config = config_of(world, MANY_SHARDS)
    merge(config, tmp_path / "one")
    merge(config, tmp_path / "two", workers=2)
    with ThreadPoolExecutor(3) as executor:
        merge(config, tmp_path / "threads", executor=executor)
    assert len(contents(tmp_path / "one")) == 12 + 3
    assert contents(tmp_path / "one") == contents(tmp_path / "two") == contents(tmp_path / "threads")


def test_the_order_of_the_images_does_not_depend_on_the_size_of_the_shards(world, tmp_path, config_of):
    merge(config_of(world, MANY_SHARDS), tmp_path / "small")
    merge(config_of(world), tmp_path / "large")
    small, large = ShardReader(tmp_path / "small"), ShardReader(tmp_path / "large")
    for image in range(12):
        assert np.array_equal(small.encoded(image), large.encoded(image))
    assert np.array_equal(small.box_offsets, large.box_offsets)
    assert np.array_equal(small.label_offsets, large.label_offsets)


class Killed(BaseException):
    """Simulates the end of the process."""


def killed_after(shards, plan, out, monkeypatch):
    """Execute a plan; raise Killed once the given number of shards is finished."""
    finished = []

    def write_or_die(job, on_image=None):
        if len(finished) == shards:
            raise Killed
        finished.append(job.path.name)
        return write_shard(job, on_image)

    with monkeypatch.context() as patch:
        patch.setattr(workers_module, "write_shard", write_or_die)
        with pytest.raises(Killed):
            execute_plan(plan, out)


@pytest.mark.parametrize("shards", [1, 5, 11])
def test_a_killed_merge_is_resumed_and_ends_like_an_uninterrupted_one(
    world, tmp_path, config_of, monkeypatch, shards
):
    plan = make_plan(config_of(world, MANY_SHARDS))
    execute_plan(plan, tmp_path / "whole")
    killed_after(shards, plan, tmp_path / "out", monkeypatch)
    assert not (tmp_path / "out" / "index.h5").exists()
    part_path(tmp_path / "out" / f"shard-{shards:05d}.h5").write_bytes(b"cut")
    kept = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in contents(tmp_path / "out")}
    execute_plan(plan, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    for number in range(shards):
        name = f"shard-{number:05d}.h5"
        assert (tmp_path / "out" / name).stat().st_mtime_ns == kept[name]


def test_an_incomplete_line_of_the_progress_file_costs_one_shard_only(
    world, tmp_path, config_of, monkeypatch
):
    plan = make_plan(config_of(world, MANY_SHARDS))
    execute_plan(plan, tmp_path / "whole")
    killed_after(4, plan, tmp_path / "out", monkeypatch)
    journal = tmp_path / "out" / PROGRESS_NAME
    journal.write_text(journal.read_text()[:-30])
    execute_plan(plan, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_merge_killed_before_its_first_shard_leaves_nothing(world, tmp_path, config_of, monkeypatch):
    killed_after(0, make_plan(config_of(world)), tmp_path / "out", monkeypatch)
    assert not (tmp_path / "out").exists()


def test_a_finished_merge_is_left_as_it_is(world, tmp_path, config_of):
    merge(config_of(world), tmp_path / "out")
    before = contents(tmp_path / "out")
    stamp = (tmp_path / "out" / "shard-00000.h5").stat().st_mtime_ns
    merge(config_of(world), tmp_path / "out")
    assert contents(tmp_path / "out") == before
    assert (tmp_path / "out" / "shard-00000.h5").stat().st_mtime_ns == stamp


def test_another_tree_or_label_map_is_a_new_index_over_the_same_shards(world, tmp_path, config_of):
    merge(config_of(world), tmp_path / "out")
    shard = (tmp_path / "out" / "shard-00000.h5").stat().st_mtime_ns
    (world / "map.yaml").write_text("coco: {dog: drop}\n")
    merge(config_of(world, f"label_map={world / 'map.yaml'}"), tmp_path / "out")
    reader = ShardReader(tmp_path / "out")
    assert (tmp_path / "out" / "shard-00000.h5").stat().st_mtime_ns == shard
    assert DOG not in reader.tree
    assert reader.box_offsets.tolist() == [0, 0, 1, 2, 2, 3, 3] + [3] * 6
    assert reader.box_nodes.tolist() == [reader.tree.node(CAT)] * 3
    assert reader.counts[0]["box of a class without a node"] == 1


@pytest.mark.parametrize("state", ["finished", "unfinished", "no progress file"])
def test_a_folder_that_holds_another_merge_is_refused(world, tmp_path, config_of, monkeypatch, state):
    out = tmp_path / "out"
    if state == "finished":
        merge(config_of(world), out)
    else:
        killed_after(2, make_plan(config_of(world, MANY_SHARDS)), out, monkeypatch)
        if state == "no progress file":
            (out / PROGRESS_NAME).unlink()
    before = contents(out)
    with pytest.raises(DataPrepError, match=r"another merge|unknown merge"):
        merge(config_of(world, "resize_max=20"), out)
    assert contents(out) == before


def test_nothing_is_dropped_silently(world, tmp_path, config_of):
    (world / "photos" / "000.jpg").write_bytes(b"no picture")
    (world / "photos" / "001.jpg").write_bytes(encoded_image(1, kind="WEBP"))
    (world / "photos" / "002.jpg").unlink()
    (world / "photos" / "004.jpg").write_bytes(encoded_image(4, size=(30, 40)))
    (world / "labelled" / CAR / "0.jpg").write_bytes(encoded_image(9)[:200])
    index = merge(config_of(world), tmp_path / "out")
    reader = ShardReader(tmp_path / "out")
    assert reader.counts == index.counts
    assert reader.counts == (
        {
            "box of an image left out": 3,
            "crowd kept as an ignore region": 1,
            "re-encoded (WEBP RGB)": 1,
            "image file missing": 1,
            "image with another aspect ratio than in its annotations": 1,
            "image that cannot be decoded": 1,
        },
        {"image label of an image left out": 1, "image that cannot be decoded": 1},
    )
    assert reader.left_out == (
        ("coco", "000.jpg", "image that cannot be decoded"),
        ("coco", "004.jpg", "image with another aspect ratio than in its annotations"),
        ("labels", f"{CAR}/0.jpg", "image that cannot be decoded"),
    )
    assert [colour_index(reader.encoded(image)) for image in range(len(reader))] == [1, 3, 5, 6, 7, 8, 10, 11]
    assert reader.image_source.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]


def test_counts_survive_an_interruption(world, tmp_path, config_of, monkeypatch):
    (world / "photos" / "000.jpg").write_bytes(b"no picture, but long enough to fill a shard" * 30)
    plan = make_plan(config_of(world, MANY_SHARDS))
    killed_after(3, plan, tmp_path / "out", monkeypatch)
    execute_plan(plan, tmp_path / "out")
    reader = ShardReader(tmp_path / "out")
    assert reader.counts[0]["image that cannot be decoded"] == 1
    assert reader.left_out == (("coco", "000.jpg", "image that cannot be decoded"),)
    assert len(reader) == 11


def test_a_merge_of_unreadable_images_only_stops_and_leaves_nothing(world, tmp_path, config_of):
    for path in [*(world / "photos").iterdir(), *(world / "labelled").rglob("*.jpg")]:
        path.write_bytes(b"no picture")
    with pytest.raises(DataPrepError, match="None of the 12 images can be used"):
        merge(config_of(world, MANY_SHARDS), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unmapped_classes_stop_a_merge_or_are_dropped_and_counted(world, tmp_path, config_of):
    shutil.copytree(world / "labelled" / CAR, world / "labelled" / "frobnicator")
    with pytest.raises(
        DataPrepError, match=r"1 of 6 classes have no node: labels: 'frobnicator' is unmapped"
    ):
        merge(config_of(world), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "map.yaml").write_text("{}")
    with pytest.raises(DataPrepError, match=r"Open .*map\.yaml and enter their nodes"):
        merge(config_of(world, f"label_map={tmp_path / 'map.yaml'}"), tmp_path / "out")
    merge(config_of(world, "unmapped=drop"), tmp_path / "out")
    reader = ShardReader(tmp_path / "out")
    assert len(reader) == 12
    assert reader.counts[1] == {
        "image label of a class without a node": 3,
        "image left out, as its classes have no node": 3,
    }
    assert [row.node for row in reader.classes if row.name == "frobnicator"] == [-1]


def test_crowds_and_other_splits_are_not_in_the_label_counts(world, tmp_path, config_of):
    merge(config_of(world, "sources.labels.split=later"), tmp_path / "out")
    reader = ShardReader(tmp_path / "out")
    assert reader.splits == ("train", "later")
    assert reader.split("later").tolist() == [6, 7, 8, 9, 10, 11]
    assert reader.label_counts.boxes[reader.tree.node(CAT)] == 2
    assert reader.label_counts.image_labels.sum() == 0
    with pytest.raises(DataPrepError, match="no split 'val'; there are: train, later"):
        reader.split("val")


def test_max_images_takes_a_seeded_sample_and_counts_the_rest(world, config_of):
    def chosen(seed):
        plan = make_plan(config_of(world, "sources.coco.max_images=3", f"seed={seed}"))
        return [record.source_id for record in plan.images][: plan.source_offsets[1]], plan.counts[0]

    names, counts = chosen(0)
    assert (names, counts) == chosen(0)
    assert names == sorted(names)
    assert len(names) == 3
    assert counts["image beyond max_images"] == 3
    assert len({tuple(chosen(seed)[0]) for seed in range(6)}) > 1


def test_a_ratio_is_met_by_repeating(world, config_of):
    plan = make_plan(config_of(world, "ratio={coco: 1, labels: 4}", "sources.coco.max_images=3"))
    assert [source.repeat for source in plan.sources] == [1, 2]  # 3 : 6 images become 3 : 12


def test_a_plan_reads_no_image(world, config_of):
    (world / "photos" / "000.jpg").write_bytes(b"no picture")
    assert len(make_plan(config_of(world)).images) == 12


def test_a_source_may_be_exhaustive_for_other_nodes_than_its_classes(world, config_of):
    plan = make_plan(config_of(world, f"sources.coco.exhaustive=[cat, {TABBY}]"))
    assert plan.sources[0].exhaustive.tolist() == sorted(plan.tree.node(wnid) for wnid in (CAT, TABBY))
    with pytest.raises(DataPrepError, match=r"exhaustive: 'catt'.*did you mean 'cat'"):
        make_plan(config_of(world, "sources.coco.exhaustive=[catt]"))


def test_a_given_tree_is_used_as_it_is(world, tmp_path, config_of):
    make_plan(config_of(world)).tree.save(tmp_path / "my.json")
    config = config_of(world, f"tree={tmp_path / 'my.json'}")
    assert make_plan(config).tree == make_plan(config_of(world)).tree


def test_labels_of_a_file_enter_the_tree_and_words_of_several_senses_are_refused(world, config_of):
    labels = world / "labels.txt"
    labels.write_text("n02439033  # giraffe\n\nzebra\n")
    assert "n02391049" in make_plan(config_of(world, f"tree.labels={labels}")).tree
    labels.write_text("kite\n")
    with pytest.raises(DataPrepError, match=r"labels\.txt: words with several senses: 'kite'"):
        make_plan(config_of(world, f"tree.labels={labels}"))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        pytest.param("tree=/nowhere/my.tree", "cannot read the tree .No such file", id="no tree"),
        pytest.param("tree=merge.png", "merge.png: expected a tree file", id="not a tree's name"),
        pytest.param(
            "tree.labels=/nowhere/labels.txt", "cannot read this file as UTF-8 text", id="no labels"
        ),
        pytest.param("tree.profile=papier", "no profile 'papier'", id="no such profile"),
        pytest.param("sources.coco.images=/nowhere", "found nothing", id="no images"),
        pytest.param("sources.coco.annotations=/nowhere", "cannot read its annotations", id="no annotations"),
    ],
)
def test_a_wrong_path_stops_before_anything_is_written(world, tmp_path, config_of, override, expected):
    with pytest.raises((DataPrepError, ConfigError), match=expected) as caught:
        merge(config_of(world, override), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_source_without_any_image_is_reported_with_what_was_found(world, tmp_path, config_of):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataPrepError, match=r"expected images in .*found .*image file missing: 6"):
        merge(config_of(world, f"sources.coco.images={tmp_path / 'empty'}"), tmp_path / "out")


def test_a_file_in_place_of_the_folder_is_refused(world, tmp_path, config_of):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(DataPrepError, match="expected a folder to write shards into, found a file"):
        merge(config_of(world), tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_reported(world, tmp_path, config_of):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises((DataPrepError, OSError)):
        merge(config_of(world), tmp_path / "locked")


def test_a_disk_that_is_full_is_reported_and_leaves_no_part(world, tmp_path, config_of, monkeypatch):
    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises((DataPrepError, OSError), match="No space left on device"):
        merge(config_of(world), tmp_path / "out")
    assert not list(tmp_path.rglob("*.part"))


def test_a_dead_worker_is_reported_in_one_line(world, tmp_path, config_of):
    from concurrent.futures import BrokenExecutor

    class Broken(Executor):
        def submit(self, function, /, *arguments, **options):
            future = Future()
            future.set_exception(BrokenExecutor())
            return future

    with pytest.raises(DataPrepError, match="A worker process died"):
        merge(config_of(world, MANY_SHARDS), tmp_path / "out", executor=Broken())
    assert not (tmp_path / "out").exists()


def write_archive(folder, pictures):
    """A COCO source whose images lie in one file, back to back behind some other bytes."""
    archive = folder / "pictures.tar"
    archive.write_bytes(b"head" + b"".join(pictures))
    records, offset = [], 4
    for number, data in enumerate(pictures):
        boxes = make_boxes((number % 2, (0.1, 0.2, 0.5, 0.75), number == 3))
        records.append(ImageRecord(f"in/{number}.jpg", archive, len(data), (40, 30), boxes, offset=offset))
        offset += len(data)
    return archive, records


@pytest.fixture
def archived(world, tmp_path, config_of, monkeypatch):
    """A plan whose only source is an archive; and the archive."""
    archive, records = write_archive(tmp_path, [encoded_image(index) for index in range(4)])
    records.append(
        dataclasses.replace(records[0], source_id="behind the end", offset=archive.stat().st_size - 9)
    )
    records.append(dataclasses.replace(records[0], source_id="nobody looked", boxes=None, labels=LABELS))
    source = OpenSource("coco", has_boxes=True, classes=("cat", "dog"), stream=lambda counts: iter(records))
    monkeypatch.setitem(make_plan.__globals__, "open_source", lambda config: source)
    config = config_of(world)
    return make_plan(config.model_copy(update={"sources": config.sources[:1]})), archive


def test_images_are_read_where_they_lie_in_an_archive(archived, tmp_path):
    plan, _ = archived
    execute_plan(plan, tmp_path / "out")
    reader = ShardReader(tmp_path / "out")
    assert [reader.encoded(image).tobytes() for image in range(4)] == [
        encoded_image(index) for index in range(4)
    ]
    assert reader.left_out == (("coco", "behind the end", "image beyond the end of its archive"),)
    assert reader.box_ignored.tolist() == [False, False, False, True]
    assert reader.boxes_xyxy_unit[0] == pytest.approx([0.1, 0.2, 0.5, 0.75])


def test_images_that_nobody_looked_at_and_exhaustive_labels_are_marked(archived, tmp_path):
    execute_plan(archived[0], tmp_path / "out")
    reader = ShardReader(tmp_path / "out")
    assert reader.image_boxed.tolist() == [True] * 4 + [False]
    assert reader.label_positive.tolist() == [True, False, True]
    assert reader.label_exhaustive.tolist() == [False, False, True]


def test_an_archive_that_changed_after_planning_stops_the_merge(archived, tmp_path):
    plan, archive = archived
    archive.write_bytes(archive.read_bytes() + b"more")
    with pytest.raises(DataPrepError, match=r"pictures\.tar: has changed since the merge was planned"):
        execute_plan(plan, tmp_path / "out")
    archive.unlink()
    with pytest.raises(
        DataPrepError, match=r"pictures\.tar: existed when the merge was planned and is missing"
    ):
        execute_plan(plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_vanished_after_planning_stops_the_merge(world, tmp_path, config_of):
    plan = make_plan(config_of(world))
    (world / "labelled").rename(world / "elsewhere")
    with pytest.raises(DataPrepError, match=r"existed when the merge was planned and is missing now"):
        execute_plan(plan, tmp_path / "out")


def test_images_that_vanished_or_changed_after_planning_are_counted(world, tmp_path, config_of):
    plan = make_plan(config_of(world))
    (world / "photos" / "001.jpg").unlink()
    (world / "photos" / "003.jpg").write_bytes(encoded_image(3, (80, 60)))
    execute_plan(plan, tmp_path / "out")
    assert ShardReader(tmp_path / "out").left_out == (
        ("coco", "001.jpg", "image file that cannot be read (No such file or directory)"),
        ("coco", "003.jpg", "image file that changed after planning"),
    )


def test_images_without_boxes_or_labels_merge_too(tmp_path, config_of):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(encoded_image(1, kind="PNG"))
    write_coco(tmp_path, [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}], [], ["cat"])
    source = {"name": "c", "format": "coco", "annotations": "instances.json", "images": "photos"}
    (tmp_path / "merge.yaml").write_text(json.dumps({"sources": [source]}))
    merge(config_of(tmp_path), tmp_path / "out")
    reader = ShardReader(tmp_path / "out")
    assert (len(reader), len(reader.box_nodes), len(reader.label_nodes)) == (1, 0, 0)
    assert reader.boxes_xyxy_unit.shape == (0, 4)
    assert reader.encoded(0).tobytes() == encoded_image(1, kind="PNG")
