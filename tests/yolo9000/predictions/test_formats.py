"""Each format is read by the programs that it is for."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO

from wordtree.tree.tree import WordTree
from yolo9000.predictions.formats import FORMATS, write_format
from yolo9000.predictions.megadetector import megadetector_images
from yolo9000.predictions.result_log import ResultLog


def found(tree: WordTree, node: int, leaf: int, score: float) -> dict[str, Any]:
    below = [0.5] * int(tree.depth[leaf] - tree.depth[node])
    best = {"id": tree.ids[leaf], "name": tree.names[leaf], "conditional_below": below}
    return {
        "xyxy_px": [10, 8, 30, 38],
        "id": tree.ids[node],
        "name": tree.names[node],
        "path": [tree.names[step] for step in tree.path(node)],
        "conditional": [1.0] * int(tree.depth[node]) + [0.8],
        "objectness": round(score / 0.8, 6),
        "absolute": 0.8,
        "score": score,
        "stopped": "threshold",
        "best_leaf": {**best, "absolute": 0.8 * 0.5 ** len(below)},
    }


@pytest.fixture
def log(tmp_path: Path, toy_tree: WordTree) -> Path:
    """Results of two images, an empty one, a damaged one, and two frames of a video, which ends the log."""

    def read(name: str, *detections: dict[str, Any], **video: Any) -> dict[str, Any]:
        size = {"width_px": 40, "height_px": 40}
        return {"image": f"{tmp_path}/in/{name}", **video, **size, "detections": list(detections)}

    records = [
        read("1.jpg", found(toy_tree, 2, 6, 0.7), found(toy_tree, 4, 4, 0.6)),
        read("sub/2.jpg", found(toy_tree, 0, 3, 0.5)),
        read("sub/2.png"),
        {"image": f"{tmp_path}/in/4.jpg", "failure": "damaged"},
        *(read("v.mp4", found(toy_tree, 1, 5, 0.4), frame=frame, time_s=frame / 4) for frame in (0, 4)),
    ]
    for record in records:
        if record["image"].endswith(("jpg", "png")) and "failure" not in record:
            Path(record["image"]).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40)).save(record["image"])
    with ResultLog(tmp_path / "detections.jsonl") as written:
        for record in records:
            written.add(record)
    return written.path


def written(name: str, log: Path, tree: WordTree) -> list[Path]:
    outputs = [log.parent / file.format(part="") for file in FORMATS[name].files]
    return write_format(name, log, outputs, tree)


def without_video(log: Path) -> None:
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:4]))


def test_coco_files_load_in_pycocotools(log: Path, toy_tree: WordTree) -> None:
    dataset, results = written("coco", log, toy_tree)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(dataset))
        loaded = coco.loadRes(str(results))
    assert len(coco.imgs) == 5
    assert len(loaded.anns) == len(coco.anns) == 5
    assert coco.cats[3]["name"] == "dog"
    first = coco.imgToAnns[1][0]
    assert (first["bbox"], first["category_id"], first["score"], first["area"]) == (
        [10, 8, 20, 30],
        3,
        0.7,
        600,
    )


def test_coco_image_ids_are_the_numbers_in_the_names_where_all_are_numbers(
    tmp_path: Path, toy_tree: WordTree
) -> None:
    with ResultLog(tmp_path / "detections.jsonl") as log:
        for name in ("000000000139.jpg", "000000000285.jpg"):
            log.add(
                {"image": name, "width_px": 40, "height_px": 40, "detections": [found(toy_tree, 2, 6, 0.7)]}
            )
    _, results = written("coco", log.path, toy_tree)
    assert [row["image_id"] for row in json.loads(results.read_text())] == [139, 285]


def test_csv_has_a_row_for_each_detection_empty_image_and_failure(log: Path, toy_tree: WordTree) -> None:
    (path,) = written("csv", log, toy_tree)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(Path(row["image"]).name, row["name"], row["failure"]) for row in rows] == [
        ("1.jpg", "dog", ""),
        ("1.jpg", "car", ""),
        ("2.jpg", "animal", ""),
        ("2.png", "", ""),
        ("4.jpg", "", "damaged"),
        ("v.mp4", "vehicle", ""),
        ("v.mp4", "vehicle", ""),
    ]
    assert (rows[0]["left"], rows[0]["path"], rows[0]["best_leaf"]) == ("10.0", "animal;dog", "terrier")
    assert rows[-1]["frame"] == "4"


def test_yolo_files_mirror_the_folders_of_the_images(log: Path, toy_tree: WordTree) -> None:
    labels, names = written("yolo", log, toy_tree)
    files = {str(path.relative_to(labels)): path.read_text() for path in labels.rglob("*.txt")}
    assert sorted(files) == ["1.txt", "sub/2-2.txt", "sub/2.txt", "v-000000.txt", "v-000004.txt"]
    assert files["1.txt"].splitlines()[0] == "2 0.500000 0.575000 0.500000 0.750000 0.700000"
    assert files["sub/2-2.txt"] == ""
    assert yaml.safe_load(names.read_text())["names"][2] == "dog"


def test_a_yolo_file_of_an_image_on_the_web_has_no_more_letters_than_a_file_name(
    log: Path, toy_tree: WordTree
) -> None:
    address = f"https://host/a.jpg?token={'9' * 400}"
    empty = {"image": address, "width_px": 40, "height_px": 40, "detections": []}
    log.write_text(f"{json.dumps(empty)}\n" * 2)
    labels, _ = written("yolo", log, toy_tree)
    stem = address.rpartition("/")[2].rpartition(".")[0] or address.rpartition("/")[2]
    assert sorted(path.name for path in labels.iterdir()) == [f"{stem[:200]}-2.txt", f"{stem[:200]}.txt"]


def test_supervision_reads_the_coco_and_yolo_files(log: Path, toy_tree: WordTree, tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision", reason="supervision is not installed")
    without_video(log)
    dataset, _ = written("coco", log, toy_tree)
    loaded = supervision.DetectionDataset.from_coco(str(tmp_path), str(dataset))
    boxes = {Path(path).name: annotation.xyxy.tolist() for path, _, annotation in loaded}
    assert boxes["1.jpg"] == [[10, 8, 30, 38]] * 2


def test_fiftyone_reads_the_coco_file(log: Path, toy_tree: WordTree) -> None:
    fiftyone = pytest.importorskip("fiftyone", reason="FiftyOne is not installed")
    without_video(log)
    dataset, _ = written("coco", log, toy_tree)
    loaded = fiftyone.Dataset.from_dir(
        dataset_type=fiftyone.types.COCODetectionDataset, labels_path=str(dataset), data_path=str(log.parent)
    )
    assert len(loaded) == 3


def test_megadetectors_validator_accepts_its_file(log: Path, toy_tree: WordTree) -> None:
    module = "megadetector.postprocessing.validate_batch_results"
    validator = pytest.importorskip(module, reason="megadetector is not installed", exc_type=ImportError)
    (path,) = written("megadetector", log, toy_tree)
    options = validator.ValidateBatchResultsOptions()
    options.raise_errors = True
    result = validator.validate_batch_results(str(path), options)["validation_results"]
    assert (result["errors"], result["warnings"]) == ([], [])


def test_megadetectors_preview_opens_its_file(
    log: Path, toy_tree: WordTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = "megadetector.postprocessing.postprocess_batch_results"
    post = pytest.importorskip(module, reason="megadetector is not installed", exc_type=ImportError)
    without_video(log)
    (path,) = written("megadetector", log, toy_tree)
    options = post.PostProcessingOptions()
    options.md_results_file, options.output_dir = str(path), str(tmp_path / "preview")
    options.image_base_dir, options.parallelize_rendering = "", False
    options.confidence_threshold = 0.3
    result = post.process_batch_results(options)
    assert "animal" in Path(result.output_html_file).read_text()


def test_megadetectors_entries_have_category_path_and_best_leaf(log: Path, toy_tree: WordTree) -> None:
    (path,) = written("megadetector", log, toy_tree)
    content = json.loads(path.read_text())
    assert content["classification_category_descriptions"]["6"] == "animal;dog;terrier"
    first, second, empty, failed, video = content["images"]
    assert first["detections"][0] == {
        "category": "1",
        "conf": 0.7,
        "bbox": [0.25, 0.2, 0.5, 0.75],
        "classifications": [["2", 0.8], ["6", 0.4]],
    }
    assert content["detection_categories"][first["detections"][1]["category"]] == "vehicle"
    assert empty["detections"] == []
    assert (failed["failure"], failed["detections"]) == ("damaged", None)
    assert (video["frame_rate"], video["frames_processed"]) == (4.0, [0, 4])
    assert [one["frame_number"] for one in video["detections"]] == [0, 4]
    assert second["file"].endswith("sub/2.jpg")


def test_the_same_image_twice_is_two_entries_for_megadetector(toy_tree: WordTree) -> None:
    record = {"image": "a.jpg", "width_px": 4, "height_px": 4, "detections": []}
    assert len(list(megadetector_images([record, dict(record)], toy_tree))) == 2


def test_a_log_with_nothing_but_failures_gives_valid_files(tmp_path: Path, toy_tree: WordTree) -> None:
    with ResultLog(tmp_path / "detections.jsonl") as log:
        log.add({"image": "a.jpg", "failure": "damaged"})
    for name in FORMATS:
        for path in written(name, log.path, toy_tree):
            assert path.exists()
            if path.suffix == ".json":
                json.loads(path.read_text())
