import io

import pytest

from wordtree.support.progress import LINE_EVERY, ProgressBar, duration, track


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def new_terminal(monkeypatch):
    """A terminal as stderr. Called in the test itself: pytest restores stderr after the fixtures."""
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    return terminal


def advance_after(clock, seconds, bar, count=1):
    clock.now += seconds
    bar.advance(count)


@pytest.fixture
def clock():
    return Clock()


def test_the_rate_counts_from_the_first_advance_on(clock):
    """Five of ten images were done in an earlier run."""
    bar = ProgressBar("images", 10, clock=clock)
    advance_after(clock, 7, bar, 5)
    for _ in range(4):
        advance_after(clock, 2, bar)
    assert bar.status(clock.now) == "9/10  0.5/s  2 s left"


def test_a_total_that_is_unknown_leaves_count_and_rate(clock):
    bar = ProgressBar("images found", clock=clock)
    bar.advance(0)
    assert bar.status(clock.now) == "0"
    advance_after(clock, 10, bar, 12_000)
    assert bar.status(clock.now) == "12,000  1,200/s"


def test_work_of_an_earlier_run_is_counted_from_the_start(clock):
    assert ProgressBar("steps", 100, done=40, clock=clock).status(clock.now) == "40/100"


def test_without_a_terminal_a_line_appears_every_30_seconds(clock, capsys):
    with ProgressBar("images", 100, clock=clock) as bar:
        advance_after(clock, LINE_EVERY - 1, bar, 10)
        assert capsys.readouterr() == ("", "")
        bar.notes = ("loss 3.21", "memory 2 GiB")
        advance_after(clock, 1, bar, 2)
        assert capsys.readouterr() == ("", "images: 12/100  2/s  44 s left; loss 3.21; memory 2 GiB\n")
        advance_after(clock, LINE_EVERY - 1, bar)
        assert capsys.readouterr() == ("", "")
    assert capsys.readouterr() == ("", "")


def test_a_disabled_bar_prints_nothing(clock, monkeypatch, capsys):
    with ProgressBar("images", 100, enabled=False, clock=clock) as bar:
        advance_after(clock, 1000, bar)
    assert capsys.readouterr() == ("", "")
    terminal = new_terminal(monkeypatch)
    with ProgressBar("images", 100, enabled=False, clock=clock) as bar:
        advance_after(clock, 1000, bar)
    assert terminal.getvalue() == ""


def test_a_terminal_shows_the_bar_with_its_notes_and_removes_it_at_the_end(clock, monkeypatch):
    terminal = new_terminal(monkeypatch)
    with ProgressBar("run [1]", 10, clock=clock) as bar:
        bar.notes = ("loss 3.21",)
        advance_after(clock, 1, bar)
        advance_after(clock, 1, bar)
        assert bar._display is not None
        bar._display.refresh()
        shown = terminal.getvalue()
        with bar.paused():
            assert not bar._display.live.is_started
        assert bar._display.live.is_started
    assert "run [1]" in shown
    assert "2/10  1/s  8 s left" in shown
    assert "loss 3.21" in shown
    assert not bar._display.live.is_started


def test_tracked_items_are_counted(monkeypatch):
    counted = []
    monkeypatch.setattr(ProgressBar, "advance", lambda bar: counted.append(bar._total))
    assert list(track("abc", "letters")) == ["a", "b", "c"]
    assert list(track(iter("abc"), "letters")) == ["a", "b", "c"]
    assert list(track(iter("abc"), "letters", total=3)) == ["a", "b", "c"]
    assert counted == [3, 3, 3, None, None, None, 3, 3, 3]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.6, "1 s"), (95, "1 min 35 s"), (7200, "2 h 0 min"), (200_000, "2 d 7 h")],
)
def test_a_duration_has_at_most_two_units(seconds, text):
    assert duration(seconds) == text


def test_a_bar_that_is_shown_again_erases_no_line_above(clock, monkeypatch):
    terminal = new_terminal(monkeypatch)
    with ProgressBar("images", 10, clock=clock) as bar:
        bar.notes = ("a note", "another")
        advance_after(clock, 1, bar)
        bar._display.refresh()
        with bar.paused():
            terminal.write("a line of others\n")
        before_the_bar = terminal.getvalue().partition("a line of others\n")[2].partition("images")[0]
    assert "\x1b[1A" not in before_the_bar  # one line up
