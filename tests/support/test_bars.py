"""Work that says how far it is, where somebody looks on."""

import io

import pytest
from rich.console import Console
from rich.progress import TextColumn
from rich.table import Table

from finetune.support import bars_on, fits, new_bar, start_bar, steps, stop_bar, text_width


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    from finetune.support import bars

    monkeypatch.setattr(bars, "_PATIENCE", -1.0)


def console(**options):
    return Console(file=io.StringIO(), no_color=True, **options)


def work(on, **options):
    with bars_on(on), steps("Loading images", **options) as done:
        for number in range(1, 6):
            done(number * 100)
    return on.file.getvalue()


def test_a_terminal_shows_how_far_it_is():
    shown = work(console(force_terminal=True, width=60), total=500)
    assert "Loading images" in shown and "500/500" in shown
    assert shown.rstrip().endswith("\x1b[2K")  # and nothing of it stays


def test_what_is_no_terminal_and_what_is_quiet_shows_nothing():
    assert work(console(), total=500) == ""
    assert work(console(force_terminal=True, quiet=True), total=500) == ""


def test_no_bar_is_shown_outside():
    with steps("Loading images", 3) as done:
        done(1)


def test_a_number_that_is_known_late_is_shown():
    on = console(force_terminal=True, width=60)
    with bars_on(on), steps("Classifying") as done:
        done(7, 20)
    assert "7/20" in on.file.getvalue()


def test_a_bar_that_is_open_says_what_keeps_it_waiting():
    on, told = console(force_terminal=True, width=60), []
    bar = new_bar(on, TextColumn("Head"), beside=10)
    start_bar(bar, told.append)
    with bars_on(on), steps("Features, train", 20) as done:
        done(20)
    stop_bar(bar)
    assert told == ["features, train 20/20"]
    assert "Features" not in on.file.getvalue()


@pytest.mark.parametrize("width", [30, 60, 100, 200])
def test_a_bar_leaves_room_for_what_stands_beside_it(width):
    shown = work(console(force_terminal=True, width=width), total=500)
    plain = [line for line in shown.replace("\r", "\n").split("\n") if "500/500" in line]
    assert all(len(line) < width + 10 for line in plain)


def test_text_width_holds_within_alone():
    table = Table()
    table.add_column("x" * 50)
    with text_width(20):
        assert not fits(table)
    assert fits(table)
