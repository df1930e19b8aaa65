"""Every option that names a file to write replaces neither an input nor a file that our commands did not write."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from PIL import Image

import data_prep.cli
import wordtree.cli
import yolo9000.cli
from tests.part_names import folder_contents
from tests.yolo9000.made import coco_source, made_config, made_shards, random_tree
from wordtree.support.files import is_own_output, write_atomically
from yolo9000.predictions.store import StoreWriter
from yolo9000.training.train import train

PROGRAMS: dict[str, Any] = {"wordtree": wordtree.cli, "data-prep": data_prep.cli, "yolo9000": yolo9000.cli}
READ = {  # parameters that name only files to read
    "wordtree": "graft tree_file wordnet class_file source names numbers",
    "data-prep": "merge_yaml shards drawings pictures photographs",
    "yolo9000": "config model a b shards data files regions",
}


@dataclass(frozen=True)
class Case:
    """A command that writes to the path {out}.

    victims: files of the user that the command would have to replace; a name, or FOLDER/NAME below it.
    inputs: the made files that it reads, which `out` may be, too.
    """

    command: str
    victims: tuple[str, ...]
    inputs: tuple[str, ...] = ()

    @property
    def out(self) -> str:
        return self.victims[0].partition("/")[0]


CASES = {
    "wordtree resolve --out": Case("resolve {names} --out {out}", ("t.csv",), ("names",)),
    "wordtree convert out": Case("convert {tree} {out}", ("t.csv",), ("tree",)),
    "wordtree build --out": Case("build {names} --out {out}", ("t.tree", "t.names"), ("names",)),
    "wordtree show --html": Case("show {tree} --html {out}", ("t.html",), ("tree",)),
    "wordtree show --dot": Case("show {tree} --dot {out}", ("t.dot",), ("tree",)),
    "data-prep merge --out": Case(
        "merge {merge} --out {out}",
        ("out/label_map.yaml", "out/left_out.csv", "out/duplicates.csv", "out/index.h5"),
    ),
    "data-prep relabel --out": Case("relabel {shards} --unmapped drop --out {out}", ("out/notes.txt",)),
    "data-prep info --csv": Case("info {shards} --csv {out}", ("t.csv",), ("index", "shard")),
    "data-prep info --tree": Case("info {shards} --tree {out}", ("t.tree", "t.names"), ("index", "shard")),
    "data-prep info --charts": Case("info {shards} --charts {out}", ("out/box_sizes.svg",)),
    "data-prep anchors --chart": Case("anchors {shards} --chart {out}", ("t.svg",), ("index", "shard")),
    "data-prep emoji_world out": Case("emoji-world {out}", ("out/notes.txt",)),
    "yolo9000 train --runs": Case(
        "train {config} --runs {out}", ("out/made/report.html", "out/made/metrics.csv")
    ),
    "yolo9000 evaluate --html": Case(
        "evaluate {model} {shards} --html {out}", ("t.html",), ("model", "index", "shard")
    ),
    "yolo9000 compare --html": Case(
        "compare {model} {model} {shards} --html {out}", ("t.html",), ("model", "index", "shard")
    ),
    "yolo9000 calibrate --out": Case(
        "calibrate {model} {shards} --out {out}", ("t.pt",), ("model", "index", "shard")
    ),
    "yolo9000 convert --out": Case("convert {model} --out {out}", ("t.weights", "t.cfg", "t.names")),
    "yolo9000 export --out": Case("export {model} --out {out}", ("t.onnx",)),
    "yolo9000 results --out": Case("results {model} {data} --out {out}", ("out/coco_results.json",)),
    "yolo9000 predict --out": Case(
        "predict {model} {image} --out {out}", ("out/detections.json", "out/detections.jsonl", "out/run.json")
    ),
    "yolo9000 predict --store": Case(
        "predict {model} {image} --store {out}", ("t.sqlite",), ("model", "image")
    ),
    "yolo9000 query --out": Case(
        "query {store} 'depth >= 0' --out {out}", ("out/detections.json", "out/tree.json")
    ),
    "yolo9000 query --store": Case(
        "query {model} car {image} --store {out}", ("t.sqlite",), ("model", "image")
    ),
    "yolo9000 query --sheet": Case("query {store} 'depth >= 0' --sheet {out}", ("t.jpg",), ("store",)),
}
ELSEWHERE = {  # tested beside their code
    "data-prep relabel --label_map",  # an existing file is an input
    "data-prep mosaic_world out",  # as emoji_world
    "yolo9000 pretrain --runs",  # as train
    "yolo9000 demo --folder",  # its parts are worlds, merges and runs
}


def path_parameters() -> set[str]:
    """`PROGRAM COMMAND PARAMETER` of each parameter of a command that is a path and may be written to."""
    found = set()
    for program, module in PROGRAMS.items():
        for command in module.app.registered_commands:
            function = command.callback
            for name, hint in get_type_hints(function, include_extras=True).items():
                if "Path" not in str(hint) or name == "return" or name in READ[program].split():
                    continue
                is_option = any("Option" in type(part).__name__ for part in get_args(hint))
                found.add(f"{program} {function.__name__} {'--' if is_option else ''}{name}")
    return found


def test_every_path_that_a_command_may_write_is_tested() -> None:
    reads = {"wordtree find --tree", "wordtree build --tree", "data-prep relabel --tree"}
    assert path_parameters() - reads == CASES.keys() | ELSEWHERE


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The inputs of the commands by the names in braces."""
    folder = tmp_path_factory.mktemp("made")
    shards = made_shards(folder / "data")
    cfg = made_config(shards, schedule__max_steps=1, evaluate__limit=1)
    train(cfg, folder / "run")
    files = {name: folder / name for name in ("names", "tree.json", "config.yaml", "data.data", "list.txt")}
    files["names"].write_text("dog\ncat\n")
    write_atomically(files["tree.json"], random_tree(5).to_json())  # an output of ours may be an input, too
    (folder / "run" / "config.yaml").rename(files["config.yaml"])
    image = folder / "COCO_000000000001.png"
    Image.new("RGB", (64, 64)).save(image)
    files["list.txt"].write_text(f"{image}\n")
    files["data.data"].write_text(f"valid = {files['list.txt']}\neval = coco\n")
    merge = {"sources": [coco_source("scenes", shards.parent / "train", "train")]}
    (folder / "merge.yaml").write_text(json.dumps(merge))
    with StoreWriter(folder / "store.sqlite", random_tree(5), {"model_sha256": "x"}):
        pass
    return {
        "names": files["names"],
        "tree": files["tree.json"],
        "config": files["config.yaml"],
        "image": image,
        "shards": shards,
        "index": shards / "index.h5",
        "shard": shards / "shard-00000.h5",
        "model": folder / "run" / "best.pt",
        "data": files["data.data"],
        "store": folder / "store.sqlite",
        "merge": folder / "merge.yaml",
    }


@pytest.fixture
def refused(
    made: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str, Path], None]:
    """Runs a case with an output, which must end in one line and exit code 2."""

    def run(case: str, out: Path) -> None:
        program, *_ = case.split()
        arguments = [part.format(out=out, **made) for part in shlex.split(CASES[case].command)]
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        with pytest.raises(SystemExit) as ended:
            PROGRAMS[program].main()
        err = [line for line in capsys.readouterr().err.splitlines() if line.startswith(f"{program}: ")]
        assert ended.value.code == 2, err
        assert str(out) in err[-1] or any(victim in err[-1] for victim in CASES[case].victims)

    return run


@pytest.mark.parametrize(
    ("case", "victim"), [(name, victim) for name, case in CASES.items() for victim in case.victims]
)
def test_a_file_of_the_user_stays(
    refused: Callable[[str, Path], None], tmp_path: Path, case: str, victim: str
) -> None:
    path = tmp_path / victim
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine\n")
    refused(case, tmp_path / CASES[case].out)
    assert path.read_text() == "mine\n"


@pytest.mark.parametrize(
    ("case", "name"), [(name, given) for name, case in CASES.items() for given in case.inputs]
)
def test_an_input_stays(
    refused: Callable[[str, Path], None], made: dict[str, Path], tmp_path: Path, case: str, name: str
) -> None:
    suffix = Path(CASES[case].out).suffix
    before = folder_contents(made["names"].parent)
    out = made[name]
    if out.suffix != suffix:  # the suffix chooses the format, so reach the input through a link
        out = tmp_path / f"link{suffix}"
        out.symlink_to(made[name])
    refused(case, out)
    assert folder_contents(made["names"].parent) == before


def test_the_made_inputs_include_outputs_of_ours(made: dict[str, Path]) -> None:
    if not is_own_output(made["tree"]):
        pytest.skip("this file system has no extended attributes")
    assert all(is_own_output(made[name]) for name in ("model", "index", "shard"))
