"""The progress bar on a real terminal (a pty): it erases only itself, whoever else writes."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

CONTROL = re.compile(r"\x1b\[\??([0-9;]*)([A-Za-z])|[\r\n]|[^\x1b\r\n]+")

PROGRAM = """
import sys, warnings
from functools import partial
from wordtree.support import commands
from wordtree.support.progress import ProgressBar, track

warnings.showwarning = partial(commands._show_warning, "data-prep")  # as run_app does
for number in (1, 2, 3):
    print("my line", number, file=sys.stderr)
with ProgressBar("images", 4) as bar:
    for step in range(4):
        bar.notes = ("loss 3.2", "memory 2 GiB")[: 1 + step % 2]
        bar.advance()
        bar._display.refresh()
        warnings.warn(f"warning {step}", stacklevel=1)
        print(f"error line {step}", file=sys.stderr)
        print(f"result {step}", flush=True)
        if step == 1:
            with bar.paused():
                for _ in track("ab", "evaluation"):
                    print("scores", file=sys.stderr)
"""


def screen_after(output: str) -> list[str]:
    """The lines that a terminal shows after an output: the few controls that the bar uses, others are an error."""
    lines, row, column = [""], 0, 0
    for match in CONTROL.finditer(output):
        text, (number, control) = match[0], match.groups()
        if control == "A":
            row = max(0, row - int(number or 1))
        elif control == "K":
            assert number == "2"
            lines[row] = ""
        elif control is not None:
            assert control in "mhl", f"control {text!r}"
        elif text == "\r":
            column = 0
        elif text == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        else:
            lines[row] = lines[row].ljust(column)[:column] + text + lines[row][column + len(text) :]
            column += len(text)
    return "\n".join(line.rstrip() for line in lines).rstrip("\n").split("\n")


def run_on_terminal(stdout: Path | None) -> str:
    """What a terminal receives from PROGRAM; its stdout is the terminal too, or a file."""
    here, there = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "40"}
    with os.fdopen(there, "wb") as terminal, Path(stdout or os.devnull).open("wb") as file:
        command = [sys.executable, "-W", "always", "-c", PROGRAM]
        process = subprocess.Popen(
            command, stdout=file if stdout else terminal, stderr=terminal, env=environment
        )
    received = b""
    while True:
        try:
            piece = os.read(here, 1 << 16)
        except OSError:  # Linux: the other end is closed
            piece = b""
        if not piece:
            break
        received += piece
    os.close(here)
    assert process.wait() == 0
    return received.decode()


def expected_lines(*, with_results: bool) -> list[str]:
    lines = [f"my line {number}" for number in (1, 2, 3)]
    for step in range(4):
        lines += [f"data-prep: warning: warning {step}", f"error line {step}"]
        lines += [f"result {step}"] * with_results
        lines += ["scores", "scores"] * (step == 1)
    return lines


def test_lines_written_while_the_bar_runs_stay_and_the_bar_goes() -> None:
    output = run_on_terminal(None)
    assert "images" in output
    assert "4/4" in output
    assert screen_after(output) == expected_lines(with_results=True)


def test_results_on_stdout_stay_in_their_file(tmp_path: Path) -> None:
    file = tmp_path / "results.txt"
    output = run_on_terminal(file)
    assert file.read_text().splitlines() == [f"result {step}" for step in range(4)]
    assert screen_after(output) == expected_lines(with_results=False)


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        ("a\r\nb\r\x1b[2Kc", ["a", "c"]),
        ("abc\rx", ["xbc"]),
        ("a\r\nb\x1b[1A\r\x1b[2K\x1b[1mc\x1b[0m", ["c", "b"]),
    ],
)
def test_the_terminal_of_these_tests_obeys_its_controls(output: str, shown: list[str]) -> None:
    assert screen_after(output) == shown
