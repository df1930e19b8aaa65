import io
import json
import sys

import pytest
from rich.console import Console
from rich.table import Table

from wordtree.support.printing import counted, new_console, print_json, print_line, print_text, splits_text


def test_control_characters_are_printed_escaped():
    text = io.StringIO()
    print_line(Console(file=text), "left out: \x1b[2J\x07evil\nname [bold] – ä.jpg")
    assert text.getvalue() == "left out: \\x1b[2J\\x07evil\\nname [bold] – ä.jpg\n"


def test_names_that_look_like_markup_stay_as_they_are(capsys):
    table = Table("name")
    table.add_row("[red]fire[/] :car: [/bold]")
    new_console().print(table)
    assert "[red]fire[/] :car: [/bold]" in capsys.readouterr().out


def test_json_reads_back_and_holds_no_control_characters(capsys):
    content = {"name": "Löwe \x9b2J \u202e \udcff \n 你"}
    print_json(content)
    out = capsys.readouterr().out
    assert json.loads(out) == content
    assert "Löwe" in out
    assert all(char.isprintable() or char == "\n" for char in out)


@pytest.mark.parametrize(("terminal", "shown"), [(True, "a\\x1b[2J,b\n"), (False, "a\x1b[2J,b\n")])
def test_a_terminal_gets_text_without_control_characters(capsys, monkeypatch, terminal, shown):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    print_text("a\x1b[2J,b\n")
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize(("number", "text"), [(0, "0 shards"), (1, "1 shard"), (2, "2 shards")])
def test_numbers_take_the_singular_or_plural_noun(number, text):
    assert counted(number, "shard") == text


def test_several_splits_are_printed_with_their_image_counts():
    assert splits_text({"train": 7}) == "train"
    assert splits_text({"train": 7, "val": 2}) == "train: 7, val: 2"
