"""What the commands share: quiet start-up, and notes on what happens."""

import logging
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from finetune.cli.flags import as_flags
from finetune.support import bars_on, new_console, printable, text_width, use_one_order


def start_tensorflow(*, deterministic: bool = False) -> None:
    """Load TensorFlow without the notes that would bury what the command has to say.

    Args:
        deterministic: Whether it is to compute as `FineTuner(deterministic=True)` wants it, which
            cannot be said later.
    """
    if "tensorflow" in sys.modules:
        return
    # Until TensorFlow has started up, its C++ code heeds no log level.
    with without_notes(), _waiting("Starting TensorFlow"):
        import tensorflow as tf

        if deterministic:
            use_one_order()
        tf.config.list_logical_devices()


@contextmanager
def without_notes() -> Iterator[None]:
    """Hold back what C++ code writes to standard error, whatever the log level.

    Only the file descriptor can be silenced. Errors are Python's, so none is lost.
    """
    stderr = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _waiting(why: str) -> AbstractContextManager[Any]:
    """Say on a terminal what takes its seconds; it is wiped away afterwards."""
    if not sys.stdout.isatty():
        return nullcontext()
    from rich.console import Console

    return Console().status(why)


def say(told: object) -> None:
    """Print something: on a terminal with lines broken between words, elsewhere as it is.

    Args:
        told: A text, what becomes one, or what makes one: tables in it are as narrow as they can.
    """
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns
    with text_width(width) if terminal else nullcontext():
        text = str(told() if callable(told) else told)
    if not terminal:
        print(text)
        return
    lines = text.split("\n")
    print("\n".join(_broken(line, width) for line in lines))


def _broken(line: str, width: int) -> str:
    """A line as several, the others set in; a word, such as a path, stays whole."""
    if len(line) <= width:
        return line
    further = " " * (len(line) - len(line.lstrip()) + 2)
    return "\n".join(
        textwrap.wrap(
            line,
            width,
            subsequent_indent=further,
            break_long_words=False,
            break_on_hyphens=False,
            replace_whitespace=False,
        )
    )


def tell_report(folder: Path) -> None:
    """Name the page that shows a run, if it could be made, after an empty line."""
    page = folder / "report.html"
    say(f"\nLook at it: {page}" if page.exists() else "")


class _Notes(logging.Handler):
    """Prints what the package logs, such as where features are kept, as plain lines."""

    def emit(self, record: logging.LogRecord) -> None:
        say(printable(as_flags(self.format(record))))


@contextmanager
def notes(quiet: bool) -> Iterator[None]:
    """Show what the package logs while a command runs, and how far it is."""
    logger = logging.getLogger("finetune")
    handler = _Notes(logging.CRITICAL if quiet else logging.INFO)
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # another handler would print them again
    try:
        with bars_on(new_console(quiet=quiet)):
            yield
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before
