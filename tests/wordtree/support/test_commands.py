"""Exit codes and error lines of the three commands."""

import subprocess
import sys

import pytest
import typer

from data_prep.errors import DataPrepError
from data_prep.shards.hdf5_reader import Hdf5Error
from wordtree.errors import TreeFileError, WordTreeError
from wordtree.support.commands import run_app
from yolo9000.errors import Yolo9000Error


class ToyError(Exception):
    pass


FAILURES = {
    "ours": ToyError("first line,\n  second line \x1b[31m"),
    "file": FileNotFoundError(2, "No such file or directory", "a.txt"),
    "no-file": OSError(5, "Input/output error"),
    "memory": MemoryError(),
    "bug": RuntimeError("a bug"),
    "end-of-file": EOFError("a truncated stream"),
    "ctrl-c": KeyboardInterrupt(),
}
app = typer.Typer(name="toy", pretty_exceptions_enable=False, add_completion=False)


@app.command()
def act(times: int, failure: str = "") -> None:
    if failure:
        raise FAILURES[failure]
    print("done" * times)


@app.command()
def rest() -> None: ...


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    monkeypatch.setattr(sys, "argv", ["toy", *arguments])
    with pytest.raises(SystemExit) as caught:
        run_app(app, ToyError)
    return caught.value.code


def test_success_exits_with_zero(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "act", "2") == 0
    assert capsys.readouterr() == ("donedone\n", "")


def test_help_exits_with_zero(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["-h"], ["act", "-h"]):
        assert run(monkeypatch, *arguments) == 0
        assert "Usage: toy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        pytest.param([], "toy: Missing command. See 'toy --help'.", id="nothing"),
        pytest.param(["leap"], "toy: No such command 'leap'. See 'toy --help'.", id="unknown command"),
        pytest.param(["act"], "toy: Missing argument 'times'. See 'toy act --help'.", id="missing argument"),
        pytest.param(["act", "x"], "toy: Invalid value for 'times': ", id="wrong type"),
        pytest.param(["act", "1", "--speed"], "toy: No such option: --speed", id="unknown option"),
        pytest.param(
            ["act", "1", "--failure", "ours"], "toy: first line, second line \\x1b[31m\n", id="our own error"
        ),
        pytest.param(
            ["act", "1", "--failure", "file"], "toy: No such file or directory: a.txt\n", id="a file's error"
        ),
        pytest.param(["act", "1", "--failure", "memory"], "toy: not enough memory", id="memory"),
    ],
)
def test_errors_are_one_line_on_stderr_and_exit_code_two(
    arguments: list[str], line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(line.rstrip("\n") if line.endswith("\n") else line[:20])
    assert err.count("\n") == 1


def test_a_message_of_any_length_is_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(FAILURES, "ours", ToyError(f"'{'dog ' * 30_000}' is unknown; add it."))
    assert run(monkeypatch, "act", "1", "--failure", "ours") == 2
    err = capsys.readouterr().err
    assert err.startswith("toy: 'dog dog")
    assert err.endswith("' is unknown; add it.\n")
    assert len(err) < 4100


def test_interruption_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "act", "1", "--failure", "ctrl-c") == 130


@pytest.mark.parametrize("failure", ["bug", "no-file", "end-of-file"])
def test_other_exceptions_pass_through(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["toy", "act", "1", "--failure", failure])
    with pytest.raises(type(FAILURES[failure])):
        run_app(app, ToyError)


PRINTING = """
import typer
from data_prep.errors import DataPrepError
from data_prep.shards.hdf5_reader import Hdf5Error
from wordtree.errors import TreeFileError, WordTreeError
from wordtree.support.commands import run_app
from yolo9000.errors import Yolo9000Error
app = typer.Typer()
@app.command()
def act(times: int):
    for _ in range(times):
        print("dog\\udcff \\u4f60")
run_app(app)
"""


def test_a_reader_that_leaves_ends_the_command_without_a_traceback() -> None:
    command = [sys.executable, "-c", PRINTING, "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_text_that_the_terminal_cannot_show_is_escaped() -> None:
    command = [sys.executable, "-c", PRINTING, "1"]
    done = subprocess.run(command, capture_output=True, env={"PYTHONIOENCODING": "latin-1"}, check=True)
    assert done.stdout == b"dog\\udcff \\u4f60\n"


@pytest.mark.parametrize("error", [WordTreeError, TreeFileError, DataPrepError, Hdf5Error, Yolo9000Error])
def test_the_message_of_each_of_our_errors_is_one_line_without_control_characters(
    error: type[Exception],
) -> None:
    message = str(error(f"name \x1b[31m\r\n of a file\u2028 \x07\ud800: {'x' * 10_000} end"))
    assert message.startswith("name \\x1b[31m of a file \\x07\\ud800: xxx")
    assert message.endswith("xxx end")
    assert message.isprintable()
    assert len(message) <= 4000
