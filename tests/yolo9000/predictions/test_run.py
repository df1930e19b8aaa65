"""A run over many images: its files, stopping and resuming, shares, failures, and names of annotated images."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import yolo9000.inference.sources as sources
import yolo9000.predictions.run as run_module
from tests.yolo9000 import killed_predictions
from tests.yolo9000.inference.test_darknet_results import checkpoint_of
from tests.yolo9000.made import random_tree
from yolo9000 import Detections, Predictor, read_image
from yolo9000.checkpoints.checkpoint import save_checkpoint
from yolo9000.data.pixels import read_pixels
from yolo9000.inference.sources import find_images
from yolo9000.predictions.identity import run_identity
from yolo9000.predictions.result_log import ResultLog, ResultsError, result_records
from yolo9000.predictions.run import OutputChoice, Summary, predict_images
from yolo9000.predictions.store import StoreWriter

Record = dict[str, Any]


@pytest.fixture(scope="module")
def predictor(made_detector: Path) -> Predictor:
    return Predictor(made_detector, changes={"min_score": 0.01, "batch_size": 2})


def run(predictor: Predictor, source: object, out: Path, **options: Any) -> Summary:
    return predict_images(predictor, find_images([str(source)]), OutputChoice(out, **options))


def records(out: Path, part: str = "") -> list[Record]:
    return list(result_records(out / f"detections{part}.jsonl"))


# --- files


def test_the_output_folder_has_every_image_and_the_detections(
    photos: Path, tmp_path: Path, predictor: Predictor
) -> None:
    out = tmp_path / "new" / "out"
    summary = run(predictor, photos, out)
    assert (summary.done, summary.failed, summary.files) == (5, 0, [out / "detections.json"])
    assert sorted(path.name for path in out.iterdir()) == [
        *("a.jpg", "b.jpg", "c.jpg", "d.jpg", "detections.json", "detections.jsonl", "e.jpg"),
        *("run.json", "tree.json"),
    ]
    rows = json.loads((out / "detections.json").read_text("utf-8"))
    stream = predictor.stream(find_images([photos]))
    expected = [result.detections.to_dict() for result in stream if result.detections is not None]
    assert rows == records(out) == expected
    assert sum(len(row["detections"]) for row in rows) > 0
    assert read_image(out / "a.jpg").shape[1] >= 480  # small images are enlarged before names are written


def test_an_image_is_decoded_once_also_if_it_is_drawn(
    photos: Path, tmp_path: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []

    def counted(path: str) -> Any:
        decoded.append(Path(path).name)
        return read_pixels(path)

    monkeypatch.setattr(sources, "read_pixels", counted)
    run(predictor, photos, tmp_path / "out")
    assert sorted(decoded) == ["a.jpeg", "b.bmp", "c.webp", "d.PNG", "e.jpg"]


def test_images_of_one_name_do_not_overwrite_each_other(
    scene: Image.Image, tmp_path: Path, predictor: Predictor
) -> None:
    for name in ("in/a/x.png", "in/a/x.jpg", "in/b/x.png", "in/a/x-2.png", "in/x.bmp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        scene.save(tmp_path / name)
    out = tmp_path / "out"
    found = find_images([tmp_path / "in" / "a", tmp_path / "in" / "b"])
    predict_images(predictor, found, OutputChoice(out))
    assert sorted(path.name for path in out.glob("*.jpg")) == ["x-2.jpg", "x-3.jpg", "x-4.jpg", "x.jpg"]
    predict_images(predictor, find_images([tmp_path / "in"], recursive=True), OutputChoice(tmp_path / "all"))
    drawn = [str(path.relative_to(tmp_path / "all")) for path in (tmp_path / "all").rglob("*.jpg")]
    assert sorted(drawn) == ["a/x-2.jpg", "a/x-3.jpg", "a/x.jpg", "b/x.jpg", "x.jpg"]


@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_a_resumed_run_equals_an_undisturbed_one_whatever_was_done(tmp_path: Path, precision: str) -> None:
    """The last digits of a result depend on the other images of its batch."""
    photos, model = tmp_path / "photos", tmp_path / "random.pt"
    photos.mkdir()
    noise = np.random.default_rng(0)
    for number in range(23):
        pixels = noise.integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(photos / f"{number:02}.png")
    checkpoint = checkpoint_of(random_tree(3000))
    for name in ("classes.weight", "classes.bias", "box.bias"):  # so that probabilities differ
        checkpoint.weights[f"head.{name}"].normal_()
    checkpoint.weights["head.box.weight"] *= 100
    save_checkpoint(model, checkpoint)
    changes = {"min_score": 0.5, "min_absolute": 0.0, "nms_iou": 1.0, "input_size_px": 128}
    changes |= {"batch_size": 4, "precision": precision}
    predictors = [Predictor(model, changes=changes) for _ in range(4)]
    run(predictors[0], photos, tmp_path / "whole", draw=False)
    expected = (tmp_path / "whole" / "detections.jsonl").read_bytes()
    lines = expected.splitlines(keepends=True)
    for done, predictor in zip((1, 6, 15), predictors[1:], strict=True):
        out = tmp_path / str(done)
        shutil.copytree(tmp_path / "whole", out)
        (out / "detections.jsonl").write_bytes(b"".join(lines[:done]))
        assert run(predictor, photos, out, draw=False, resume=True).done == 23
        assert (out / "detections.jsonl").read_bytes() == expected


def test_a_resumed_run_still_reports_the_images_that_failed_before(
    photos: Path, predictor: Predictor, tmp_path: Path
) -> None:
    (photos / "torn.jpg").write_bytes((photos / "a.jpeg").read_bytes()[:300])
    found = find_images([photos])
    first = predict_images(predictor, found, OutputChoice(tmp_path / "out"))
    again = predict_images(predictor, found, OutputChoice(tmp_path / "out", resume=True))
    assert (first.done, first.failed) == (again.done, again.failed) == (6, 1)
    assert again.failures == first.failures

    path, identity = tmp_path / "r.sqlite", run_identity(predictor, predictor.checkpoint, None)
    for _ in range(2):
        with StoreWriter(path, predictor.tree, identity, resume=True) as store:
            stored = predict_images(predictor, found, OutputChoice(), sinks=[store])
        assert (stored.done, stored.failures) == (6, first.failures)


def test_an_image_that_is_given_twice_has_two_results(
    photos: Path, predictor: Predictor, tmp_path: Path
) -> None:
    found = find_images([photos / "a.jpeg"] * 2)
    assert predict_images(predictor, found, OutputChoice(tmp_path / "out")).done == 2
    assert len(records(tmp_path / "out")) == 2
    assert sorted(path.name for path in (tmp_path / "out").glob("*.jpg")) == ["a-2.jpg", "a.jpg"]
    assert predict_images(predictor, found, OutputChoice(tmp_path / "out", resume=True)).done == 2
    assert len(records(tmp_path / "out")) == 2


def test_an_input_image_and_a_file_of_the_user_are_never_overwritten(
    photos: Path, predictor: Predictor, scene: Image.Image
) -> None:
    scene.rotate(90).save(photos / "b.jpg")  # also an input
    (photos / "a.jpg").write_text("a note of the user, not an image")
    before = {path.name: path.read_bytes() for path in photos.iterdir() if path.is_file()}
    for resume in (False, True):
        run(predictor, photos, photos, resume=resume)
        for name, content in before.items():
            assert (photos / name).read_bytes() == content
        assert {"a-2.jpg", "b-2.jpg", "b-3.jpg"} <= {path.name for path in photos.glob("*.jpg")}


def test_long_file_names_are_shortened(predictor: Predictor, scene: Image.Image, tmp_path: Path) -> None:
    name = "ä" * 125 + ".png"
    (tmp_path / "in").mkdir()
    scene.save(tmp_path / "in" / name)
    scene.save(tmp_path / "in" / f"{'ä' * 124}b.png")
    run(predictor, tmp_path / "in", tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 2
    assert Path(records(tmp_path / "out")[1]["image"]).name == name


def test_file_names_that_are_not_utf_8_pass_through_every_format(
    predictor: Predictor, scene: Image.Image, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    scene.save(tmp_path / "x.png")
    os.rename(tmp_path / "x.png", os.fsencode(tmp_path) + b"/in/caf\xe9.png")  # noqa: PTH104 - bytes
    for name in ("json", "jsonl", "csv", "coco", "yolo", "megadetector"):
        summary = run(predictor, tmp_path / "in", tmp_path / name, format=name)
        assert (summary.done, summary.failed) == (1, 0)
        assert all(path.exists() for path in summary.files)
    (record,) = records(tmp_path / "json")
    assert os.fsencode(record["image"]).endswith(b"/in/caf\xe9.png")


def test_without_drawing_only_the_results_are_written(
    photos: Path, tmp_path: Path, predictor: Predictor
) -> None:
    run(predictor, photos, tmp_path / "out", draw=False, format="jsonl")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("detections.jsonl", "run.json", "tree.json")
    ]


# --- earlier results


def test_results_are_replaced_only_with_overwrite(photos: Path, tmp_path: Path, predictor: Predictor) -> None:
    out = tmp_path / "out"
    run(predictor, photos / "a.jpeg", out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(ResultsError, match=r"holds results already\. Continue the run with --resume"):
        run(predictor, photos / "b.bmp", out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    run(predictor, photos / "b.bmp", out, overwrite=True)
    assert [Path(record["image"]).name for record in records(out)] == ["b.bmp"]


def test_predicting_twice_writes_the_same_files(photos: Path, tmp_path: Path, predictor: Predictor) -> None:
    def content() -> dict[str, bytes]:
        run(predictor, photos, tmp_path / "out", overwrite=True)
        return {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    assert content() == content()


@pytest.mark.parametrize("name", ["detections.jsonl", "detections.json", "tree.json"])
def test_files_of_the_user_are_not_replaced(
    photos: Path, tmp_path: Path, predictor: Predictor, name: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(Exception, match=rf"{name}: exists.*--overwrite"):
        run(predictor, photos, tmp_path / "out")
    assert (tmp_path / "out" / name).read_text() == "mine"


def test_a_run_is_resumed_with_the_same_model_and_settings_only(
    photos: Path, tmp_path: Path, predictor: Predictor, made_detector: Path
) -> None:
    run(predictor, photos, tmp_path / "out")
    other = Predictor(made_detector, changes={"min_score": 0.02, "batch_size": 2})
    with pytest.raises(ResultsError, match=r"min_score was 0\.01, is 0\.02.*--overwrite\.$"):
        run(other, photos, tmp_path / "out", resume=True)
    with pytest.raises(ResultsError, match="classes_sha256 was None"):
        run(
            Predictor(made_detector, changes={"min_score": 0.01}, classes="depth:1"),
            photos,
            tmp_path / "out",
            resume=True,
        )
    choice, found = OutputChoice(tmp_path / "out", resume=True), find_images([photos])
    with pytest.raises(ResultsError, match="query was None, is dog"):
        predict_images(predictor, found, choice, query="dog")
    last = Predictor(made_detector.parent / "last.pt", changes={"min_score": 0.01})
    with pytest.raises(ResultsError, match="model_sha256 was"):
        run(last, photos, tmp_path / "out", resume=True)
    larger = Predictor(made_detector, changes={"min_score": 0.01, "batch_size": 4})
    assert run(larger, photos, tmp_path / "out", resume=True).done == 5


def test_a_resumed_run_predicts_only_what_is_missing(
    photos: Path, tmp_path: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run(predictor, photos, out)
    expected = {path.name: path.read_bytes() for path in out.iterdir()}
    lines = (out / "detections.jsonl").read_bytes().splitlines(keepends=True)
    (out / "detections.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:-20])
    for name in ("d.jpg", "e.jpg", "detections.json"):
        (out / name).unlink()
    read: list[str] = []
    monkeypatch.setattr(
        sources, "read_pixels", lambda path: read.append(Path(path).name) or read_pixels(path)
    )
    assert run(predictor, photos, out, resume=True).done == 5
    assert sorted(read) == ["c.webp", "d.PNG", "e.jpg"]  # whole batches, of two
    assert {path.name: path.read_bytes() for path in out.iterdir()} == expected


def test_a_damaged_line_is_reported_and_a_torn_last_line_is_not(tmp_path: Path) -> None:
    path = tmp_path / "detections.jsonl"
    with ResultLog(path) as log:
        for number in range(3):
            log.add({"image": f"{number}.jpg", "detections": []})
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"image": "3.jp')
    assert len(list(result_records(path))) == 3
    with ResultLog(path) as log:
        assert log.images == 3
        assert log.take_earlier_result(("0.jpg", None))
        assert not log.take_earlier_result(("0.jpg", None))
    assert path.read_bytes() == whole
    path.write_bytes(whole.replace(b"1.jpg", b'1".jpg'))
    for read in (lambda: ResultLog(path), lambda: list(result_records(path))):
        with pytest.raises(ResultsError, match=r"detections\.jsonl: line 2 is damaged"):
            read()


# --- failures


def test_images_that_cannot_be_read_are_part_of_the_results(
    photos: Path, tmp_path: Path, predictor: Predictor
) -> None:
    (photos / "b0 damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n no image")
    (photos / "c0 empty.jpg").write_bytes(b"")
    found = find_images([photos])
    (photos / "d.PNG").unlink()  # vanishes between listing and reading
    summary = predict_images(predictor, found, OutputChoice(tmp_path / "out"))
    assert (summary.done, summary.failed, len(summary.failures)) == (7, 3, 3)
    failed = {
        Path(row["image"]).name: row["failure"] for row in records(tmp_path / "out") if "failure" in row
    }
    assert list(failed) == ["b0 damaged.png", "c0 empty.jpg", "d.PNG"]
    assert "the file is empty" in failed["c0 empty.jpg"]
    assert "No such file" in failed["d.PNG"]
    assert json.loads((tmp_path / "out" / "detections.json").read_text()) == records(tmp_path / "out")
    again = predict_images(predictor, found, OutputChoice(tmp_path / "out", resume=True))
    assert (again.done, again.failed) == (7, 3)


@pytest.mark.parametrize("failing", ["log", "image"])
def test_a_full_disk_loses_no_result(
    photos: Path, tmp_path: Path, predictor: Predictor, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    out = tmp_path / "out"
    run(predictor, photos, tmp_path / "expected")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(out))

    with monkeypatch.context() as patch:
        if failing == "image":
            calls = iter([False, False, True])
            write = run_module.write_annotated
            patch.setattr(
                run_module, "write_annotated", lambda *args: full() if next(calls, True) else write(*args)
            )
        else:
            add = ResultLog.add
            patch.setattr(
                ResultLog, "add", lambda log, record: add(log, record) if log.images < 2 else full()
            )
        with pytest.raises(OSError, match="No space left") as caught:
            run(predictor, photos, out)
        assert caught.value.filename == str(out)
    kept = records(out)
    assert len(kept) == 2
    assert run(predictor, photos, out, resume=True).done == 5
    assert records(out) == records(tmp_path / "expected")


def test_a_line_that_does_not_fit_on_the_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    log = ResultLog(tmp_path / "detections.jsonl")
    log.add({"image": "a.jpg", "failure": "lost"})

    class Full:
        def __init__(self, file: Any) -> None:
            self.file, self.truncate, self.seek = file, file.truncate, file.seek

        def write(self, content: bytes) -> int:
            if len(content) > 10:
                return int(self.file.write(content[:10]))
            raise OSError(errno.ENOSPC, "No space left on device")

    file = log._file
    log._file = Full(file)  # type: ignore[assignment]
    with pytest.raises(OSError, match=r"No space left.*detections\.jsonl"):
        log.add({"image": "b.jpg"})
    assert (tmp_path / "detections.jsonl").read_bytes() == b'{"image": "a.jpg", "failure": "lost"}\n'
    log._file = file
    with log:
        log.add({"image": "b.jpg", "failure": "lost"})
    assert [record["image"] for record in result_records(log.path)] == ["a.jpg", "b.jpg"]


# --- stopping


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_keep_every_result_and_the_run_can_be_resumed(
    photos: Path,
    tmp_path: Path,
    predictor: Predictor,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    before = signal.getsignal(number)
    run(predictor, photos, tmp_path / "expected", draw=False)
    deliver = run_module._deliver

    def stop_after_two(waiting: Any, work: Any, summary: Summary, bar: Any) -> None:
        deliver(waiting, work, summary, bar)
        if summary.done == 2:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "_deliver", stop_after_two)
        summary = run(predictor, photos, tmp_path / "out", draw=False)
    assert summary.signal_number == number
    assert 2 <= summary.done < 5
    assert signal.getsignal(number) is before
    kept = records(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "detections.json").read_text()) == kept
    assert kept == records(tmp_path / "expected")[: len(kept)]
    run(predictor, photos, tmp_path / "out", draw=False, resume=True)
    assert records(tmp_path / "out") == records(tmp_path / "expected")


def killed(photos: Path, tmp_path: Path, made_detector: Path, *, copies: int, kills: int) -> None:
    (photos / "c0 damaged.jpg").write_bytes(b"\xff\xd8\xff no image")
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(copies):
        for path in (path for path in photos.iterdir() if path.is_file()):
            shutil.copy(path, folder / f"{number} {path.name}")
    command = [
        sys.executable,
        "-m",
        killed_predictions.__name__,
        made_detector,
        folder,
        tmp_path / "out",
        kills,
    ]
    killed_predictions.check_output(command)
    expected = Predictor(made_detector, changes=killed_predictions.CHANGES)
    run(expected, folder, tmp_path / "expected", format="coco")
    for path in (tmp_path / "expected").iterdir():
        if path.name != "run.json":
            assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes(), path.name
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        path.name for path in (tmp_path / "expected").iterdir()
    }
    assert len(records(tmp_path / "out")) == 6 * copies


@pytest.mark.usefixtures("one_thread")
@pytest.mark.slow
def test_after_fifty_kills_the_files_equal_those_of_an_undisturbed_run(
    photos: Path, tmp_path: Path, made_detector: Path
) -> None:
    killed(photos, tmp_path, made_detector, copies=8, kills=50)


# --- shares


def test_the_results_of_two_shares_are_those_of_the_whole(
    photos: Path, tmp_path: Path, predictor: Predictor, scene: Image.Image
) -> None:
    for number in range(10):
        scene.save(photos / f"more-{number}.png")
    run(predictor, photos, tmp_path / "whole", draw=False)
    for number in (1, 2):
        found = find_images([photos])
        found.part = (number, 2)
        assert found.total == len(list(found)) > 0
        predict_images(predictor, found, OutputChoice(tmp_path / "out", draw=False))
    first, second = records(tmp_path / "out", "-1-of-2"), records(tmp_path / "out", "-2-of-2")
    assert len(first) < 15 > len(second)
    whole = {record["image"]: record for record in records(tmp_path / "whole")}
    assert {record["image"] for record in [*first, *second]} == whole.keys()
    for record in [*first, *second]:  # in other batches, which changes last digits
        one, other = (Detections.from_dict(each, predictor.tree) for each in (record, whole[record["image"]]))
        assert one.names == other.names
        np.testing.assert_allclose(one.xyxy_px, other.xyxy_px, atol=0.02)
        np.testing.assert_allclose(one.score, other.score, atol=1e-4)
    assert json.loads((tmp_path / "out" / "detections-2-of-2.json").read_text()) == second


def test_a_record_becomes_detections_again(photos: Path, tmp_path: Path, predictor: Predictor) -> None:
    from wordtree import WordTree

    run(predictor, photos, tmp_path / "out", draw=False)
    tree = WordTree.load(tmp_path / "out" / "tree.json")
    assert tree == predictor.tree
    for record in records(tmp_path / "out"):
        assert Detections.from_dict(record, tree).to_dict() == record
