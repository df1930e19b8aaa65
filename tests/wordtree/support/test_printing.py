import io

import pytest
from rich.console import Console

from wordtree.support.printing import counted, print_line, splits_text


def test_control_characters_are_printed_escaped():
    text = io.StringIO()
    print_line(Console(file=text), "left out: \x1b[2J\x07evil\nname [bold] – ä.jpg")
    assert text.getvalue() == "left out: \\x1b[2J\\x07evil\\nname [bold] – ä.jpg\n"


@pytest.mark.parametrize(("number", "text"), [(0, "0 shards"), (1, "1 shard"), (2, "2 shards")])
def test_numbers_take_the_singular_or_plural_noun(number, text):
    assert counted(number, "shard") == text


def test_several_splits_are_printed_with_their_image_counts():
    assert splits_text({"train": 7}) == "train"
    assert splits_text({"train": 7, "val": 2}) == "train: 7, val: 2"
