"""What is said on a terminal, and what is not said there."""

import io
import sys

import pytest
from rich.table import Table

from finetune.cli.terminal import say
from finetune.support import as_plain_text


class Terminal(io.StringIO):
    def isatty(self):
        return True


LINE = "114 images do not show a difference: 0.728 against 0.711 (test, n=114)."
PATH = "Look at it: /a/very/long/path/that/no/narrow/terminal/has/room/for/report.html"


@pytest.fixture
def shown(monkeypatch):
    """What stands on a terminal of 40 columns once something was said."""

    def run(told):
        with monkeypatch.context() as patch:
            patch.setenv("COLUMNS", "40")
            patch.setattr(sys, "stdout", Terminal())
            say(told)
            return sys.stdout.getvalue().splitlines()

    return run


def test_lines_are_broken_between_words_and_paths_are_not(shown):
    assert shown(f"{LINE}\n\n{PATH}") == [
        "114 images do not show a difference:",
        "  0.728 against 0.711 (test, n=114).",
        "",
        "Look at it:",
        "  /a/very/long/path/that/no/narrow/terminal/has/room/for/report.html",
    ]


def test_elsewhere_a_line_is_one(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    say(f"{LINE}\n\n{PATH}")
    assert capsys.readouterr().out == f"{LINE}\n\n{PATH}\n"


def test_what_makes_a_text_is_asked_while_tables_are_narrow(shown):
    def made():
        table = Table()
        table.add_column("word " * 20)
        return as_plain_text(table)

    assert 20 < max(map(len, shown(made))) <= 40
