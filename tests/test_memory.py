"""Too little memory ends each program with one line and exit code 2."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

import data_prep.cli
import wordtree.cli
import yolo9000.cli


def exhausted(*_: Any, **__: Any) -> NoReturn:
    np.empty(1 << 60, np.uint8)  # numpy's own kind of MemoryError
    raise AssertionError


@pytest.mark.parametrize(
    ("program", "main", "arguments", "reader"),
    [
        (
            "wordtree",
            wordtree.cli.main,
            ["info", "x.tree"],
            "wordtree.hierarchies.convert.read_hierarchy",
        ),
        ("data-prep", data_prep.cli.main, ["info", "shards"], "data_prep.dataset.index_file.read_index"),
        ("yolo9000", yolo9000.cli.main, ["info", "x.pt"], "yolo9000.checkpoints.checkpoint.load_checkpoint"),
    ],
)
def test_one_line_tells_that_memory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    program: str, main: Any, arguments: list[str], reader: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reader, exhausted)
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{program}: not enough memory")
