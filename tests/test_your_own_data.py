"""docs/your_own_data.md runs as written, on generated images: files, commands and their output."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from data_prep import MergeConfig, load_config
from tests.made_parts import draw_parts
from wordtree.hierarchies.convert import read_hierarchy
from yolo9000.config import read_config

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "your_own_data.md"
PROGRAMS = {"wordtree": "wordtree", "data-prep": "data_prep", "yolo9000": "yolo9000"}


@dataclass(frozen=True)
class Block:
    """A fenced block of the page: ```LANGUAGE WORD, where WORD is a file name or a hint for `Reader`."""

    language: str
    word: str
    text: str

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def commands(self) -> list[str]:
        """The lines of a console block, continuation lines joined."""
        return self.text.replace("\\\n", " ").splitlines()


def blocks() -> list[Block]:
    found = re.findall(r"^```(\w+) ?(\S*)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    return [Block(*row) for row in found]


def files_of_the_page() -> Iterator[Block]:
    yield from (block for block in blocks() if block.language in ("csv", "yaml") and block.word)


@pytest.fixture
def written(tmp_path):
    for block in files_of_the_page():
        (tmp_path / block.word).write_text(block.text, encoding="utf-8")
    return tmp_path


def test_the_page_contains_its_three_files_the_commands_and_their_output():
    assert [block.word for block in files_of_the_page()] == ["classes.csv", "merge.yaml", "train.yaml"]
    commands = [line for block in blocks() if block.language == "console" for line in block.commands]
    assert {shlex.split(line)[0] for line in commands} >= set(PROGRAMS)
    assert sum(block.language == "text" for block in blocks()) >= 6


def test_the_hierarchy_on_the_page_has_thirty_classes(written):
    tree = read_hierarchy(written / "classes.csv")
    assert (len(tree.leaves), len(tree)) == (30, 36)


def test_the_configurations_on_the_page_are_valid(written):
    assert len(load_config(written / "merge.yaml", MergeConfig).sources) == 3
    assert read_config(written / "train.yaml").data.shards == written / "shards"


class Reader:
    """Does what the page says, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.output = folder, ""

    def follow(self, block: Block) -> None:
        if block.language in ("csv", "yaml") and block.word:
            (self.folder / block.word).write_text(block.text, encoding="utf-8")
            if block.word == "classes.csv":
                draw_parts(self.folder)
        elif block.language == "console" and block.word == "long":
            (self.folder / "runs" / "try").rename(self.folder / "runs" / "parts")  # the short run replaces it
        elif block.language == "console":
            self.output = "".join(self.run(command) for command in block.commands)
        elif block.language == "python":
            self.output = self.run(shlex.join([sys.executable, "-c", block.text]))
        elif block.language == "diff":
            self.edit(self.folder / block.word, block)
        elif block.language == "text" and self.output:
            self.compare(block)

    def run(self, command: str) -> str:
        program, _, rest = command.partition(" ")
        if program in PROGRAMS:
            command = f"{shlex.quote(sys.executable)} -m {PROGRAMS[program]} {rest}"
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command, shell=True, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout

    def edit(self, path: Path, block: Block) -> None:
        """Replace each `-` line by the `+` line below it, everywhere in the file."""
        text = path.read_text(encoding="utf-8")
        for old, new in zip(block.lines[::2], block.lines[1::2], strict=True):
            assert (old[0], new[0]) == ("-", "+")
            assert old[1:] in text
            text = text.replace(old[1:], new[1:])
        path.write_text(text, encoding="utf-8")

    def compare(self, block: Block) -> None:
        """Fail unless the output contains every line of the block in this order; `…` matches any text."""
        pattern = ".*".join(r"\s+".join(map(re.escape, line.split())) for line in block.lines)
        pattern = pattern.replace(re.escape("…"), ".*")
        assert re.search(pattern, self.output, re.S), f"expected\n{block.text}\nfound\n{self.output}"


@pytest.mark.slow
def test_every_command_on_the_page_runs_and_prints_what_the_page_shows(tmp_path):
    reader = Reader(tmp_path)
    for block in blocks():
        reader.follow(block)
    assert (tmp_path / "detections" / "detections.json").is_file()
    assert len(list((tmp_path / "detections").rglob("*.jpg"))) == 2
    assert (tmp_path / "runs" / "parts" / "report.html").is_file()
