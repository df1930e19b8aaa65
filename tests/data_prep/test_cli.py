import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from data_prep.cli import app
from data_prep.merging import workers
from tests.data_prep.conftest import CAT


def test_plan_merge_info_and_anchors_run_one_after_the_other(world, tmp_path, command):
    out = tmp_path / "out"
    code, text, _ = command("plan", world / "merge.yaml", "--set", "ratio={coco: 1, labels: 4}")
    assert code == 0
    assert "5 classes: 3 curated, 2 wnid" in text
    assert "An epoch shows each image of labels 4 times (24 images)." in text
    code, text, _ = command("merge", world / "merge.yaml", "-o", out, "--set", "seed=1")
    assert code == 0
    assert "12 images" in text
    assert "coco: crowd kept as an ignore region: 1" in text
    code, text, _ = command("info", out)
    assert code == 0
    assert CAT in text
    code, text, _ = command("anchors", out, "-k", "1")
    assert code == 0
    assert "average IoU 100.0 %" in text
    assert "anchors: [[6.5, 4.875]]" in text  # half of 416 px and 3/8, in cells of 32 px


def test_stdout_is_json_only(world, tmp_path, command):
    out = tmp_path / "out"
    plan = json.loads(command("plan", world / "merge.yaml", "--json")[1])
    assert (plan["images"], plan["sources"][0]["boxes"], plan["label_map"][0]["id"]) == (12, 4, CAT)
    merged = json.loads(command("merge", world / "merge.yaml", "-o", out, "--json")[1])
    assert (merged["images"], merged["left_out"]) == (12, [])
    info = json.loads(command("info", out, "--json")[1])
    assert {row["id"]: row["boxes"] for row in info["label_counts"]}[CAT] == 2
    anchors = json.loads(command("anchors", out, "-k", "1", "--json")[1])
    assert anchors["anchors_cell"] == [[6.5, 4.875]]


def test_plan_writes_the_label_map_for_review_and_never_over_an_edited_one(world, command):
    label_map = world / "map.yaml"
    _, text, _ = command("plan", world / "merge.yaml", "--set", f"label_map={label_map}")
    assert "Label map written" in text
    edited = label_map.read_text().replace("n02084071", "n02084732")
    label_map.write_text(edited)
    code, text, _ = command("plan", world / "merge.yaml", "--set", f"label_map={label_map}")
    assert code == 0
    assert "1 edited" in text
    assert label_map.read_text() == edited


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["merge", "nowhere.yaml", "-o", "out"], "cannot read this configuration", id="no file"),
        pytest.param(["merge", "{world}/merge.yaml"], "'-o'", id="no folder to write"),
        pytest.param(
            ["merge", "{world}/merge.yaml", "-o", "out", "--set", "sead=1"], "did you mean 'seed'", id="key"
        ),
        pytest.param(
            ["merge", "{world}/merge.yaml", "-o", "out", "--workers", "0"], "--workers", id="no worker"
        ),
        pytest.param(["plan", "{world}/instances.json"], "problems: ", id="another file"),
        pytest.param(
            ["plan", "{world}/merge.yaml", "--set", "sources.coco.annotations={world}/merge.yaml"],
            "not JSON",
            id="not COCO",
        ),
        pytest.param(["info", "nowhere"], "found no such folder", id="no shards"),
        pytest.param(["anchors", "{world}"], "found no index in it", id="no index"),
        pytest.param(["frobnicate"], "No such command", id="no such command"),
        pytest.param(
            ["emoji-world", "out", "--size", "3"], "size_px: expected a number greater than", id="tiny images"
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(world, tmp_path, command, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    code, out, err = command(*(argument.format(world=world) for argument in arguments))
    assert (code, out) == (2, "")
    assert expected in err
    assert len(err.strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["world"]


def test_more_anchors_than_sizes_are_refused(world, tmp_path, command):
    command("merge", world / "merge.yaml", "-o", tmp_path / "out")
    code, _, err = command("anchors", tmp_path / "out", "-k", "50")
    assert code == 2
    assert "different box sizes into 50 anchors" in err


def test_ctrl_c_ends_with_130_and_leaves_nothing(world, tmp_path, command, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(workers, "write_shard", interrupted)
    code, _, err = command("merge", world / "merge.yaml", "-o", tmp_path / "out")
    assert code == 130
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_help_names_every_command():
    text = CliRunner().invoke(app, ["--help"]).output
    for name in ("plan", "merge", "info", "anchors", "emoji-world", "mosaic-world"):
        assert name in text


def test_the_package_runs_as_a_module(world, tmp_path):
    arguments = [sys.executable, "-m", "data_prep", "merge", world / "merge.yaml", "-o", tmp_path / "out"]
    done = subprocess.run(
        [*arguments, "--workers", "2", "--set", "shard_mb=0.004"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert "12 images" in done.stdout
