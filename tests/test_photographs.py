"""The configurations for photographs merge, train, score and predict on eight generated images, in half a minute."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.yolo9000.made import made_images

ROOT = Path(__file__).parents[1]


def run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def settings(**values: object) -> list[str]:
    return [part for key, value in values.items() for part in ("--set", f"{key.replace('__', '.')}={value}")]


@pytest.mark.slow
def test_the_configurations_for_photographs_overfit_eight_images(tmp_path: Path) -> None:
    made_images(tmp_path, scenes=4, label_images=2, test_scenes=4)
    shards, runs = tmp_path / "shards", tmp_path / "runs"
    sources = settings(
        sources__coco__annotations=tmp_path / "train/instances.json",
        sources__coco__images=tmp_path / "train/images",
        sources__coco_val__annotations=tmp_path / "test/instances.json",
        sources__coco_val__images=tmp_path / "test/images",
        sources__imagenet__images=tmp_path / "labels",
    )
    run("data_prep", "merge", "configs/merge/coco128_imagenet.yaml", "-o", str(shards), *sources)
    smaller = settings(
        data__shards=shards, data__batch_size=8, model__width=0.5, model__input_size_px=96,
        model__anchor_count=2, schedule__max_steps=200,
    )  # fmt: skip
    run("yolo9000", "train", "configs/train/coco128_imagenet.yaml", "--runs", str(runs), *smaller)

    best = runs / "coco128_imagenet/best.pt"
    scorecard = json.loads(run("yolo9000", "evaluate", str(best), str(shards), "--split", "train", "--json"))
    assert scorecard["boxed"]["boxes"] == 4
    assert scorecard["boxed"]["ap50"] >= 90
    detections = json.loads(run("yolo9000", "predict", str(best), str(tmp_path / "train/images"), "--json"))
    assert len(detections) == 4
    assert (runs / "coco128_imagenet/report.html").exists()
