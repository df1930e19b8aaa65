import io

import pytest
from rich.console import Console

from wordtree.support.printing import Bar, line, many, splits_text


def test_control_characters_of_names_are_shown_and_not_obeyed():
    text = io.StringIO()
    line(Console(file=text), "left out: \x1b[2J\x07evil\nname [bold] – ä.jpg")
    assert text.getvalue() == "left out: \\x1b[2J\\x07evil\\nname [bold] – ä.jpg\n"


@pytest.mark.parametrize(("number", "text"), [(0, "0 shards"), (1, "1 shard"), (2, "2 shards")])
def test_things_are_counted_in_words(number, text):
    assert many(number, "shard") == text


def test_splits_are_counted_where_there_are_several():
    assert splits_text({"train": 7}) == "train"
    assert splits_text({"train": 7, "val": 2}) == "train: 7, val: 2"


def test_a_bar_reckons_its_rate_from_what_is_done_now():
    """Five of ten images were done before, and say nothing of the time that each takes."""
    clock = [100.0]
    with Bar(10) as bar:
        bar._progress.get_time = lambda: clock[0]
        bar.advance(5)
        for _ in range(4):
            clock[0] += 2
            bar.advance(1)
        task = bar._progress.tasks[0]
        assert task.completed == 9
        assert task.speed == pytest.approx(0.5)
        assert task.time_remaining == pytest.approx(2)


def test_a_bar_without_an_end_counts():
    with Bar(None, "images found") as bar:
        bar.advance(0)
        bar.advance(1000)
        assert (bar._progress.tasks[0].completed, bar._progress.tasks[0].total) == (1000, None)
