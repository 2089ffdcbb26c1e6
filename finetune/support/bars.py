"""Work that takes its time says how far it is; where somebody looks on, a bar shows it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

# What is over sooner needs no bar.
_PATIENCE = 0.3
# A bar beside its texts, in a terminal of 80 columns and in narrow ones.
_WIDEST, _NARROWEST = 24, 4

_console: ContextVar[Console | None] = ContextVar("console", default=None)
# What tells the bars that are open what is done meanwhile.
_open: list[Callable[[str], None]] = []


@contextmanager
def bars_on(console: Console) -> Iterator[None]:
    """Show the steps of what is done within on a terminal; elsewhere nothing.

    Args:
        console: Where to show them.
    """
    before = _console.set(console if console.is_terminal and not console.quiet else None)
    try:
        yield
    finally:
        _console.reset(before)


@contextmanager
def steps(what: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """Say how far some work is.

    Args:
        what: The work, as the title of a bar.
        total: Number of steps; None where that is not known.

    Returns:
        What is to be called with the number of steps that are done, and that of all of them
        where it is known only then.

    Example:
        >>> with steps("Loading", 3) as done:
        ...     for number in range(3):
        ...         done(number + 1)
    """
    console = _console.get()
    if console is None:
        yield lambda done, total=None: None
        return
    began = time.monotonic()
    if _open:  # a terminal has room for one bar, which says what keeps it waiting
        told = _open[-1]
        yield lambda done, total=total: told(f"{what.lower()} {_far(done, total, began)}")
        return
    bar = new_bar(
        console,
        TextColumn("{task.description}"),
        TextColumn("{task.fields[text]}"),
        beside=len(what) + 28,
        transient=True,
    )
    task = bar.add_task(what, total=total, text="")
    shown = False

    def advance(done: int, total: int | None = total) -> None:
        nonlocal shown
        bar.update(task, completed=done, total=total, text=_far(done, total, began))
        if not shown and time.monotonic() - began > _PATIENCE:
            shown = True
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()


def _far(done: int, total: int | None, began: float) -> str:
    """How far some work is, in words."""
    if not total:
        return f"{done:,}"
    left = (time.monotonic() - began) / done * (total - done) if 0 < done < total else 0
    return f"{done:,}/{total:,}" + (f"  {left:.0f}s left" if left else "")


def new_bar(console: Console, title: TextColumn, *texts: Any, beside: int, **options: Any) -> Any:
    """A bar between its title and its texts, as wide as a terminal has room for.

    Args:
        console: Where it is shown.
        title: What it says before the bar.
        *texts: What it says after it.
        beside: Columns that title and texts take at most.
        **options: Of `rich.progress.Progress`.
    """
    room = min(_WIDEST, max(_NARROWEST, console.width - beside))
    return Progress(title, BarColumn(room), *texts, console=console, **options)


def start_bar(bar: Any, told: Callable[[str], None]) -> None:
    """Show a bar.

    Args:
        bar: The bar.
        told: Called with what is to be shown beside it, while something else keeps it waiting.
    """
    _open.append(told)
    bar.start()


def stop_bar(bar: Any) -> None:
    """Show a bar no longer, the one that was started last."""
    _open.pop()
    bar.stop()
