"""benchmarks/never_boxed.py: rows, resuming, refusals, and a whole table on generated photographs."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.data_prep.made_photos import made_photos
from tests.processes import has_processes, wait_for
from yolo9000.config import Config

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "benchmarks" / "never_boxed.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("never_boxed", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["never_boxed"] = module  # its dataclasses look up their annotations there
    sys.path.insert(0, str(PROGRAM.parent))  # as `python benchmarks/never_boxed.py` does
    spec.loader.exec_module(module)
    sys.path.remove(str(PROGRAM.parent))
    return module


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(PROGRAM), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def chosen(benchmark: ModuleType, rules: list[str], rows: list[str]) -> list[str]:
    return [row.name for row in benchmark.rows_of(Namespace(rules=rules, row=rows))]


# --- rows


def test_all_means_every_rule_boxes_only_the_oracle_and_random_weights(benchmark: ModuleType) -> None:
    names = chosen(benchmark, ["all"], [])
    assert names[0] == "joint training"
    assert names[-3:] == ["boxes only", "oracle", "random weights"]
    pairs = {tuple(name.split(", ")) for name in names[1:-3]}
    assert len(pairs) == 12
    assert {assign for assign, _ in pairs} == {"max_score", "max_objectness", "max_size", "top_k"}
    assert {objectness for _, objectness in pairs} == {"paper", "darknet", "ignore"}


def test_rows_are_selected_by_patterns_and_own_rows_come_last(benchmark: ModuleType) -> None:
    names = chosen(benchmark, ["oracle", "max_size*"], ["mine: loss.label_weight=2"])
    assert names == ["max_size, paper", "max_size, darknet", "max_size, ignore", "oracle", "mine"]


@pytest.mark.parametrize(
    ("text", "merge", "overrides"),
    [
        pytest.param("plain", "merge", (), id="joint training again"),
        pytest.param(
            "two: loss.top_k=2, loss.label_assignment=top_k",
            "merge",
            ("loss.top_k=2", "loss.label_assignment=top_k"),
            id="two",
        ),
        pytest.param(
            "wide: data.ratio={scenes: 1, labels: 3},model.width=2",
            "merge",
            ("data.ratio={scenes: 1, labels: 3}", "model.width=2"),
            id="commas inside a value",
        ),
        pytest.param("all boxes: merge=merge_oracle", "merge_oracle", (), id="the oracle's boxes"),
    ],
)
def test_an_own_row_has_a_name_settings_and_perhaps_a_merge(
    benchmark: ModuleType, text: str, merge: str, overrides: tuple[str, ...]
) -> None:
    row = sys.modules[benchmark.Row.__module__].row_of(text)
    assert (row.name, row.merge, row.overrides) == (text.split(":")[0], merge, overrides)


@pytest.mark.parametrize("images", ["emoji", "mosaics", "merge"])
def test_every_row_is_a_valid_configuration_for_all_images(
    benchmark: ModuleType, tmp_path: Path, images: str
) -> None:
    data = tmp_path if images == "mosaics" else None
    withheld = benchmark.Withheld(tmp_path / "merge.yaml", ("apple",)) if images == "merge" else None
    common = ("optimizer.ema=0.5", "pseudo_boxes.at_steps=[3]", "data.distinct_batches=null")
    plan = benchmark.Plan(
        tmp_path, data, steps=7, threads=1, world=(), settings=common, classifier=(), withheld=withheld
    )
    cfgs = {row.name: plan.config(row, 3) for row in benchmark.rows_of(Namespace(rules=["all"], row=[]))}
    for name, cfg in cfgs.items():
        assert (cfg.seed, cfg.schedule.max_steps, cfg.optimizer.ema) == (3, 7, 0.5)
        assert cfg.pseudo_boxes.at_steps == ((3,) if name in ("joint training", "random weights") else ())
        assert cfg.data.shards == tmp_path / "seed3" / ("merge_oracle" if name == "oracle" else "merge")
    assert cfgs["top_k, darknet"].loss.label_assignment == "top_k"
    assert cfgs["max_score, paper"].loss.assumed_iou == 0.3
    assert cfgs["boxes only"].data.ratio == {"boxes" if withheld else "scenes": 1}
    assert cfgs["random weights"].model.network.startswith("tiny, width 1")
    assert cfgs["random weights"].model.backbone_weights == "random"
    assert cfgs["oracle"].augment.tile_sources == (("boxes", "labels") if withheld else ("labels",))


# --- resuming and refusals


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["--rules", "max_fun"], "--rules 'max_fun' matches no row. The rows are: joint", id="rule"),
        pytest.param(["--row", "oracle: a.b=1"], "this name is taken or empty", id="name taken"),
        pytest.param(["--row", "x: assign"], "expected NAME: key=value", id="no value"),
        pytest.param(["--row", "x: loss.label_asignment=top_k"], "did you mean 'label_assi", id="no such setting"),
        pytest.param(["--set", "loss.label_asignment=top_k"], "did you mean 'label_assi", id="no such common"),
        pytest.param(["--classifier", "model.sofmax=flat"], "did you mean 'softmax'", id="classifier"),
        pytest.param(["--finished", "--record"], "--record needs the emoji world, no other settings", id="record"),
    ],
)  # fmt: skip
def test_an_error_is_one_line_with_exit_code_2(
    benchmark: ModuleType,
    tmp_path: Path,
    arguments: list[str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["never_boxed.py", "--folder", str(tmp_path / "runs"), *arguments])
    with pytest.raises(SystemExit) as caught:
        benchmark.main()
    _, err = capsys.readouterr()
    assert caught.value.code == 2
    assert expected in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["--steps", "0"], "expected 1 or more, found 0", id="no steps"),
        pytest.param(["--jobs", "0"], "expected 1 or more, found 0", id="no jobs"),
        pytest.param(["--steps", "4", "--minutes", "3"], "not allowed with", id="two lengths"),
        pytest.param(["--folder", __file__], "is a file", id="a file for a folder"),
        pytest.param(
            ["--boxed", "apple"], "--boxed and --withhold need --merge", id="boxed classes without a merge"
        ),
        pytest.param(
            ["--merge", "m.yaml"], "--merge needs --boxed A,B,C or --withhold", id="a merge without a split"
        ),
        pytest.param(
            ["--merge", "m.yaml", "--withhold", "half", "--world", "a=1"],
            "do not apply to --merge",
            id="a world",
        ),
    ],
)
def test_invalid_arguments_are_refused(
    benchmark: ModuleType,
    arguments: list[str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["never_boxed.py", *arguments])
    with pytest.raises(SystemExit) as caught:
        benchmark.parse_arguments()
    assert caught.value.code == 2
    assert expected in capsys.readouterr().err


def test_a_seed_that_is_named_twice_counts_once(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["never_boxed.py", "--seeds", "3", "1", "3"])
    assert benchmark.parse_arguments().seeds == [3, 1]


def test_a_row_made_with_other_settings_is_refused_but_settings_that_it_did_not_know_are_not(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    plan = benchmark.Plan(tmp_path, None, steps=7, threads=1, world=(), settings=(), classifier=())
    row = benchmark.Row("mine")
    folder = plan.run_folder("mine", 0)
    folder.mkdir(parents=True)
    settings = benchmark.settings_of(row, 0, plan)
    del settings["loss.label_weight"]  # as a version without this setting
    (folder / "settings.json").write_text(json.dumps(settings))
    benchmark.refuse_other_settings(row, 0, plan)
    changed = benchmark.Row("mine", overrides=("loss.top_k=9",))
    with pytest.raises(benchmark.BenchmarkError, match=r"made with loss\.top_k 4, now 9\."):
        benchmark.refuse_other_settings(changed, 0, plan)
    other = benchmark.Plan(
        tmp_path, None, steps=7, threads=1, world=(), settings=(), classifier=("model.softmax=flat",)
    )
    with pytest.raises(
        benchmark.BenchmarkError, match=r"made with classifier\.model\.softmax tree, now flat\."
    ):
        benchmark.refuse_other_settings(row, 0, other)
    fuller = benchmark.Plan(
        tmp_path, None, steps=7, threads=1, world=("scenes=9",), settings=(), classifier=()
    )
    with pytest.raises(benchmark.BenchmarkError, match=r"made with world \[\], now \['scenes=9'\]"):
        benchmark.refuse_other_settings(row, 0, fuller)


def test_a_row_of_another_merge_or_from_another_classifier_is_refused(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = dict.fromkeys(benchmark.Scores.__dataclass_fields__, 7.0)
    made: list[float] = []
    monkeypatch.setattr(benchmark, "make_shards", lambda *_: None)
    monkeypatch.setattr(benchmark, "train", lambda cfg, folder, resume: (folder / "last.pt").touch())
    monkeypatch.setattr(benchmark, "make_classifier", lambda cfg, _: made.append(cfg.optimizer.learning_rate))
    monkeypatch.setattr(benchmark, "score_row", lambda name, *_: {name: {"scores": scores}})

    def plan(*classifier: str) -> Any:
        return benchmark.Plan(tmp_path, None, 7, threads=1, world=(), settings=(), classifier=classifier)

    benchmark.run_row(benchmark.Row("mine"), 0, plan("optimizer.learning_rate=0.25"))
    with pytest.raises(benchmark.BenchmarkError, match=r"mine: made with merge merge, now merge_oracle\."):
        benchmark.refuse_other_settings(
            benchmark.Row("mine", "merge_oracle"), 0, plan("optimizer.learning_rate=0.25")
        )
    with pytest.raises(
        benchmark.BenchmarkError,
        match=r"classifier: made with classifier\.optimizer\.learning_rate 0\.25, now 0\.5\. All rows of a seed",
    ):
        benchmark.run_row(benchmark.Row("other"), 0, plan("optimizer.learning_rate=0.5"))
    without = benchmark.Row("without", overrides=("model.start_from=null",))
    benchmark.run_row(without, 0, plan("optimizer.learning_rate=0.5"))
    assert made == [0.25]


def test_baselines_are_recorded_from_complete_tables_with_the_demos_settings_only(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "files", lambda _: tmp_path)
    (tmp_path / "assets").mkdir()
    scores = benchmark.Scores(*dict.fromkeys(benchmark.Scores.__dataclass_fields__, 7.0).values())

    def recorded(*more: str, finished: tuple[int, ...] = (0, 1)) -> str:
        monkeypatch.setattr(sys, "argv", ["x", "--seeds", "0", "1", "--steps", "7", *more])
        results = dict.fromkeys(benchmark.BASELINES, dict.fromkeys(finished, scores))
        benchmark.record(results, benchmark.parse_arguments())
        return str(json.loads((tmp_path / "assets" / "demo_baselines.json").read_text())["command"])

    assert recorded() == "python benchmarks/never_boxed.py --seeds 0 1 --steps 7 --record"
    for more in ("--set=loss.top_k=1", "--world=scenes=9", "--classifier=seed=3", "--data=photographs"):
        with pytest.raises(benchmark.BenchmarkError, match="no other settings"):
            recorded(more)
    with pytest.raises(benchmark.BenchmarkError, match="for all seeds"):
        recorded(finished=(0,))


def test_the_classifiers_settings_count_for_rows_that_start_from_it(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    plan = benchmark.Plan(tmp_path, None, steps=7, threads=1, world=(), settings=(), classifier=())

    def settings(*overrides: str) -> dict[str, Any]:
        compared: dict[str, Any] = benchmark.settings_of(benchmark.Row("mine", overrides=overrides), 0, plan)
        return compared

    assert settings()["model.start_from"] == "classifier"
    assert settings()["classifier.schedule.max_steps"] == 13  # 1.8 times the detector's, as in their files
    for other in (None, str(tmp_path / "other.pt")):
        compared = settings(f"model.start_from={other or 'null'}")
        assert compared["model.start_from"] == other
        assert not any(name.startswith("classifier") for name in compared)


def test_an_interrupted_table_continues(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained: list[str] = []
    made: list[str] = []

    def train_until_interrupted(cfg: Config, folder: Path, *, resume: bool) -> None:
        trained.append(f"{folder.name} {'resumed' if resume else 'started'}")
        (folder / "last.pt").touch()
        if len(trained) == 2:
            raise KeyboardInterrupt

    def fixed_scores(name: str, *_: object) -> dict[str, dict[str, Any]]:
        return {name: {"scores": dict.fromkeys(benchmark.Scores.__dataclass_fields__, 7.0)}}

    monkeypatch.setattr(benchmark, "train", train_until_interrupted)
    monkeypatch.setattr(benchmark, "make_classifier", lambda cfg, folder: made.append(folder.name))
    monkeypatch.setattr(benchmark, "make_shards", lambda *_: None)
    monkeypatch.setattr(benchmark, "score_row", fixed_scores)
    rules = ["--rules", "joint training", "boxes only", "oracle", "--seeds", "4"]
    monkeypatch.setattr(sys, "argv", ["never_boxed.py", "--folder", str(tmp_path), "--threads", "1", *rules])
    with pytest.raises(SystemExit) as caught:
        benchmark.main()
    assert caught.value.code == 130
    assert "the same command continues" in capsys.readouterr().err
    benchmark.main()
    assert trained == ["joint-training started", "boxes-only started", "boxes-only resumed", "oracle started"]
    assert made == [
        "classifier",
        "classifier",
    ]  # each row with image labels asks for it; the first call trains it
    assert not list(tmp_path.rglob("last.pt"))
    assert "7.0 ± 0.0" in capsys.readouterr().out


def test_the_table_has_mean_and_standard_deviation_of_finished_rows(
    benchmark: ModuleType, tmp_path: Path
) -> None:
    plan = benchmark.Plan(tmp_path, None, steps=7, threads=1, world=(), settings=(), classifier=())
    fields = list(benchmark.Scores.__dataclass_fields__)
    for name, seed, value in (("oracle", 0, 40.0), ("oracle", 1, 60.0), ("label on image", 0, 5.0)):
        folder = plan.run_folder(name, seed)
        folder.mkdir(parents=True)
        scores = dict.fromkeys(fields, value)
        if name == "label on image":
            scores |= {"boxed": None}
        (folder / "result.json").write_text(json.dumps({"scores": scores}))
    rows = benchmark.rows_of(Namespace(rules=["all"], row=[]))
    table = benchmark.table_of(benchmark.scores_of(benchmark.finished(rows, plan, [0, 1, 2])))
    assert [row[0] for row in table] == ["", "label on image", "oracle"]
    assert table[1][1:3] == ["–", "5.0 ± 0.0"]
    assert table[2][1:4] == ["50.0 ± 10.0", "50.0 ± 10.0", "100%"]
    assert [row[-1] for row in table[1:]] == ["1", "2"]
    assert table[1][3] == "12%"  # 5 of the oracle's 40 with this seed
    lines = benchmark.markdown(table).splitlines()
    assert lines[1].count("-:") == len(table[0]) - 1
    assert len({len(line) for line in lines}) == 1


# --- the whole benchmark


@pytest.mark.slow
def test_rows_are_added_to_a_finished_table_on_photographs(tmp_path: Path) -> None:
    photographs = made_photos(tmp_path / "photographs")
    world = [part for message in ("scenes=8", "test_scenes=4") for part in ("--world", message)]
    small = ["--set", "data.batch_size=4", "--set", "model.width=0.25", "--set", "model.input_size_px=96"]
    small += ["--classifier", "data.batch_size=4", "--classifier", "model.width=0.25"]
    common = ["--data", str(photographs), "--folder", str(tmp_path / "runs"), "--steps", "2", *world, *small]

    first = run(*common, "--rules", "boxes only", "oracle", "--jobs", "2", "--threads", "1")
    assert first.returncode == 0, first.stderr
    results = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("result.json")}
    assert len(results) == 4  # the two label baselines come with the boxes
    again = run(*common, "--rules", "boxes only", "oracle", "--threads", "1", "--row", "mine: loss.top_k=2")
    assert again.returncode == 0, again.stderr
    assert all(path.stat().st_mtime_ns == before for path, before in results.items())
    assert len(list((tmp_path / "runs").rglob("classifier/best.pt"))) == 1
    started = {
        path.parent.name
        for path in (tmp_path / "runs").rglob("*/config.yaml")
        if "start_from: /" in path.read_text("utf-8")
    }
    assert started == {"oracle", "mine"}
    table = [line for line in again.stdout.splitlines() if line.startswith("| ")][2:]
    assert [line.split("|")[1].strip() for line in table] == [
        "boxes only",
        "label on image",
        "label on best box",
        "oracle",
        "mine",
    ]


@pytest.mark.slow
def test_the_workers_of_a_killed_benchmark_end(tmp_path: Path) -> None:
    photographs, runs = made_photos(tmp_path / "photographs"), tmp_path / "runs"
    options = ["--data", str(photographs), "--folder", str(runs), "--world", "scenes=8", "--steps", "100000"]
    options += ["--rules", "oracle", "boxes only", "--jobs", "2", "--threads", "1"]
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), *options],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(
            lambda: {"oracle", "boxes-only"} <= {p.parent.name for p in runs.rglob("settings.json")},
            seconds=120,
        )
        process.kill()
        process.wait()
        wait_for(lambda: not has_processes(process.pid), seconds=20)
    finally:
        if has_processes(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
