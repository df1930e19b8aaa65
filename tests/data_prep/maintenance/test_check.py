import json
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep import DataPrepError, ShardReader, merge
from data_prep.dataset.index_file import BACKUP_NAME, read_index, write_index
from data_prep.maintenance.check import check_shards
from data_prep.maintenance.repair import repair
from data_prep.shards.format import ShardError
from tests.data_prep.conftest import CAT, DOG

SPOILS_ONE_COPY = settings(max_examples=80, suppress_health_check=list(HealthCheck))


def checked(folder, **options):
    return check_shards(folder, read_index(folder), **options)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def flip(path, position, bits=255):
    data = bytearray(path.read_bytes())
    data[position] ^= bits
    path.write_bytes(bytes(data))


def place_of(folder, image):
    """The shard of an image, and the byte at which the image begins in it."""
    columns, shards = read_index(folder).columns, read_index(folder).shards
    return folder / shards[columns["image_shard"][image]].name, int(columns["picture_start"][image])


# --- detection


def test_unchanged_shards_have_no_damage(shards):
    done = []
    report = checked(shards, workers=3, progress=done.append)
    assert (report.damages, report.other_files, report.lost_shards) == ((), (), ())
    assert (report.shards, sum(done)) == (6, 12)
    assert report.size_bytes == sum(path.stat().st_size for path in shards.glob("shard-*.h5"))


def files_of(folder):
    return st.sampled_from(sorted(path.name for path in folder.glob("*.h5")))


def is_detected(folder, name):
    """Whether a check reports the file; a damaged index is refused as a whole."""
    try:
        return [damage.file for damage in checked(folder).damages] == [name]
    except ShardError as reason:
        return name == "index.h5" and "index.h5" in str(reason)


@SPOILS_ONE_COPY
@given(data=st.data())
def test_every_flipped_byte_is_found(shards, data):
    path = shards / data.draw(files_of(shards))
    whole = path.read_bytes()
    flip(path, data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(1, 255)))
    assert is_detected(shards, path.name)
    path.write_bytes(whole)


@SPOILS_ONE_COPY
@given(data=st.data())
def test_every_truncation_is_found(shards, data):
    path = shards / data.draw(files_of(shards))
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert is_detected(shards, path.name)
    path.write_bytes(whole)


def test_every_byte_of_every_image_damages_its_image_and_no_other(shards):
    sizes = read_index(shards).columns["picture_size"].tolist()
    for image, size in enumerate(sizes):
        path, start = place_of(shards, image)
        whole = path.read_bytes()
        for position in (start, start + size // 2, start + size - 1):
            flip(path, position)
            (damage,) = checked(shards).damages
            assert (damage.file, damage.images.tolist(), damage.part) == (path.name, [image], "images")
            assert damage.source_ids == (ShardReader(shards).source_id(image),)
            path.write_bytes(whole)


def only_damage(folder):
    (damage,) = checked(folder).damages
    return damage


def test_a_missing_shard_damages_all_its_images(shards):
    (shards / "shard-00001.h5").unlink()
    damage = only_damage(shards)
    assert (damage.file, damage.trouble, damage.part) == ("shard-00001.h5", "is missing", "shard")
    assert damage.images.tolist() == [2, 3]


def test_a_foreign_version_is_named(shards):
    with h5py.File(shards / "shard-00002.h5", "r+") as file:
        file.attrs.modify("version", np.int32(1))
    assert "format version 1; this program reads version 2" in only_damage(shards).trouble


def test_a_file_that_is_something_else_is_named(shards):
    (shards / "shard-00002.h5").write_text("no shard")
    assert "8 bytes instead of" in only_damage(shards).trouble
    assert "expected an HDF5 file" in only_damage(shards).trouble


def test_swapped_shards_are_found(shards):
    a, b = shards / "shard-00000.h5", shards / "shard-00001.h5"
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)
    assert [damage.file for damage in checked(shards).damages] == [a.name, b.name]


def test_a_shard_that_the_index_does_not_list_is_reported_but_is_no_damage(shards):
    shutil.copy(shards / "shard-00000.h5", shards / "shard-00099.h5")
    report = checked(shards)
    assert (report.damages, report.other_files) == ((), ("shard-00099.h5",))


@pytest.mark.parametrize(
    ("column", "image"),
    [("image_width", 7), ("box_class", 2), ("boxes_xyxy_unit", 4), ("label_flags", 6), ("picture_crc32", 3)],
)
def test_an_index_that_contradicts_its_shards_is_found_and_repaired_from_them(shards, column, image):
    before = read_index(shards)
    wrong = {**before.columns, column: before.columns[column].copy()}
    kind = column.partition("_")[0].removesuffix("es")
    row = image if kind in ("image", "picture") else before.columns[f"{kind}_offsets"][image]
    wrong[column][row] = wrong[column][row] * 0 + 1 if column != "label_flags" else 0
    write_index(shards, replace(before, columns=wrong))
    report = checked(shards)
    (damage,) = report.damages
    assert (damage.part, damage.images.tolist()) == ("index", [image])
    assert "index.h5 has other labels or sizes for 1 image" in damage.trouble
    repair(report)
    after = read_index(shards).columns
    assert all(np.array_equal(after[name], column) for name, column in before.columns.items())


# --- the repair


def test_a_repair_leaves_out_damaged_images_and_nothing_else(shards):
    before, old_index = ShardReader(shards), (shards / "index.h5").read_bytes()
    whole = {image: before.encoded(image).tobytes() for image in range(12)}
    path, start = place_of(shards, 4)
    flip(path, start + 10)
    (shards / "shard-00001.h5").unlink()  # images 2 and 3
    untouched = {name: data for name, data in contents(shards).items() if name.startswith("shard")}
    index = repair(checked(shards))
    after = contents(shards)
    assert after.pop(BACKUP_NAME) == old_index
    assert {name: after[name] for name in untouched} == untouched
    reader, left = ShardReader(shards), [0, 1, 5, 6, 7, 8, 9, 10, 11]
    assert [reader.encoded(image).tobytes() for image in range(9)] == [whole[image] for image in left]
    assert [reader.source_id(image) for image in range(9)] == [before.source_id(image) for image in left]
    assert reader.box_offsets.tolist() == [0, 0, 1, 1] + [1] * 6
    assert reader.label_nodes.tolist() == before.label_nodes.tolist()
    assert reader.counts == index.counts
    assert reader.counts[0]["image damaged in its shard"] == 1
    assert reader.counts[0]["image of a shard that was lost"] == 2
    assert reader.counts[0]["box of an image left out"] == 3
    assert reader.left_out == (("coco", "004.jpg", "image damaged in its shard"),)
    assert (
        reader.label_counts.boxes[reader.tree.node(CAT)] == 0
    )  # of two cats one was hit, one lost; left is the crowd
    assert reader.label_counts.boxes.sum() == 0


def test_after_a_repair_a_check_finds_new_damage_only(shards):
    path, start = place_of(shards, 4)
    flip(path, start + 10)
    (shards / "shard-00001.h5").write_bytes(b"")
    repair(checked(shards))
    report = checked(shards)
    assert (report.damages, report.lost_shards) == ((), ("shard-00001.h5",))
    flip(path, start + 11)
    assert "images that the index leaves out have changed" in only_damage(shards).trouble
    repair(checked(shards))
    assert checked(shards).damages == ()
    flip(*place_of(shards, 4))
    assert only_damage(shards).images.tolist() == [4]


@settings(SPOILS_ONE_COPY, max_examples=25)
@given(data=st.data())
def test_a_repair_leaves_a_readable_data_set_whatever_is_flipped(shards, data):
    whole = contents(shards)
    for _ in range(data.draw(st.integers(1, 6))):
        path = shards / data.draw(st.sampled_from([name for name in whole if name.startswith("shard")]))
        flip(path, data.draw(st.integers(0, len(whole[path.name]) - 1)), data.draw(st.integers(1, 255)))
    report = checked(shards)
    hit = set(report.damaged_images.tolist())
    if len(hit) < 12:
        repair(report)
        reader = ShardReader(shards)
        assert len(reader) == 12 - len(hit)
        assert all(len(reader.encoded(image)) and reader.source_id(image) for image in range(len(reader)))
        assert checked(shards).damages == ()
    for name, content in whole.items():
        (shards / name).write_bytes(content)


def test_merging_again_restores_images_that_a_repair_left_out(world, tmp_path, config_of):
    out, config = tmp_path / "out", config_of(world, "shard_mb=0.001")
    merge(config, out)
    before = contents(out)
    flip(*place_of(out, 4))
    (out / "shard-00001.h5").unlink()
    repair(checked(out))
    kept = (out / "shard-00000.h5").stat().st_mtime_ns
    merge(config, out)
    after = contents(out)
    del after[BACKUP_NAME]
    assert after == before
    assert (out / "shard-00000.h5").stat().st_mtime_ns == kept


@pytest.mark.parametrize("trouble", ["lost", "damaged", "both"])
def test_the_same_merge_restores_a_lost_or_damaged_index(world, tmp_path, config_of, trouble):
    out, config = tmp_path / "out", config_of(world, "shard_mb=0.001")
    merge(config, out)
    before = contents(out)
    stamps = {path.name: path.stat().st_mtime_ns for path in out.glob("shard-*.h5")}
    if trouble == "lost":
        (out / "index.h5").unlink()
    else:
        flip(out / "index.h5", 700)
    if trouble == "both":
        (out / "shard-00001.h5").unlink()
        del stamps["shard-00001.h5"]
    merge(config, out)
    assert contents(out) == before
    assert {name: (out / name).stat().st_mtime_ns for name in stamps} == stamps


def test_the_list_of_shards_that_the_former_version_wrote_restores_an_index(world, tmp_path, config_of):
    out, config = tmp_path / "out", config_of(world, "shard_mb=0.001")
    merge(config, out)
    index = (out / "index.h5").read_bytes()
    marks, *rows = map(json.loads, (out / "shards.jsonl").read_text().splitlines())
    for row in (marks, *rows):
        del row["crc32"]
    for row in rows:
        row["pictures_first"], row["pictures_end"] = row.pop("bytes_start"), row.pop("bytes_end")
        row["content_sha256"] = "0" * 64
    lines = map(json.dumps, [marks, *rows])
    (out / "shards.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (out / "index.h5").unlink()
    stamps = {path.name: path.stat().st_mtime_ns for path in out.glob("shard-*.h5")}
    merge(config, out)
    assert (out / "index.h5").read_bytes() == index
    assert {name: (out / name).stat().st_mtime_ns for name in stamps} == stamps


def test_another_merge_does_not_restore_a_lost_index(world, tmp_path, config_of):
    merge(config_of(world), tmp_path / "out")
    flip(tmp_path / "out" / "index.h5", 700)
    with pytest.raises(DataPrepError, match="another merge"):
        merge(config_of(world, "resize_max=20"), tmp_path / "out")


def test_an_empty_shard_that_is_lost_is_given_up_too(world, tmp_path, config_of):
    for path in (world / "photos").iterdir():
        path.write_bytes(b"no picture")
    out = tmp_path / "out"
    merge(config_of(world, "shard_mb=0.00001"), out)
    (out / "shard-00000.h5").unlink()
    assert only_damage(out).images.tolist() == []
    repair(checked(out))
    report = checked(out)
    assert (report.damages, report.lost_shards, len(report.index)) == ((), ("shard-00000.h5",), 6)


def test_a_repair_that_fails_leaves_the_old_index(shards, monkeypatch):
    flip(*place_of(shards, 4))
    before = (shards / "index.h5").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("data_prep.dataset.index_file.write_checksum", full)
    with pytest.raises(DataPrepError, match="No space left on device"):
        repair(checked(shards))
    assert (shards / "index.h5").read_bytes() == before
    assert not list(shards.glob("*.part"))


def test_a_repair_that_would_leave_no_image_is_refused(shards):
    for path in shards.glob("shard-*.h5"):
        path.unlink()
    with pytest.raises(DataPrepError, match="every image is damaged"):
        repair(checked(shards))


# --- the command


def test_the_command_reports_damaged_images_and_the_remedy(shards, command):
    code, text, err = command("check", shards)
    assert (code, err) == (0, "")
    assert "6 shards, 12 images" in text
    assert "no byte has changed" in text
    flip(*place_of(shards, 4))
    code, text, err = command("check", shards)
    assert code == 2
    assert "shard-00002.h5: 1 damaged image\n  image 4: coco: 004.jpg" in text
    assert "1 damaged file, 1 damaged image" in err
    assert len(err.strip().splitlines()) == 1
    code, text, err = command("check", shards, "--repair")
    assert (code, err) == (0, "")
    assert "1 image left out of a new index; the old index is index.h5.bak" in text
    assert command("check", shards)[0] == 0
    info = json.loads(command("info", shards, "--json")[1])
    assert info["images"] == 11
    assert {row["id"]: row["boxes"] for row in info["label_counts"]}[DOG] == 1


def test_the_command_prints_json_alone(shards, command):
    (shards / "shard-00001.h5").unlink()
    code, text, _ = command("check", shards, "--json", "--workers", "2")
    assert code == 2
    (damage,) = json.loads(text)["damages"]
    assert (damage["file"], damage["part"]) == ("shard-00001.h5", "shard")
    assert damage["images"][0] == {"image": 2, "source": "coco", "source_id": None}


def test_a_damaged_index_is_one_line(shards, command):
    flip(shards / "index.h5", 700)
    code, text, err = command("check", shards)
    assert (code, text) == (2, "")
    assert "index.h5: the index is damaged" in err
