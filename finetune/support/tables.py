"""Tables: of pandas, for those who have it, and as plain text."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import TYPE_CHECKING, Any

from finetune.exceptions import ArgumentError
from finetune.support.files import printable

if TYPE_CHECKING:
    from rich.table import Table


# Columns of a table: it is not cut off, whatever the terminal's width.
_AS_IT_IS = 1000
_width: ContextVar[int] = ContextVar("width", default=_AS_IT_IS)


def to_frame(rows: Sequence[dict[str, Any]]) -> Any:
    """Make a `pandas.DataFrame` with a column for each name.

    Args:
        rows: One dictionary a row.

    Raises:
        ArgumentError: If pandas is not installed.
    """
    try:
        pandas = import_module("pandas")  # late: it is no dependency
    except ImportError as error:
        raise ArgumentError(
            "Expected pandas for a DataFrame, but it is not installed. Run `pip install pandas`, "
            "or use rows(), which needs nothing."
        ) from error
    return pandas.DataFrame([*rows])


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as comma-separated values, with the names of all columns first.

    Example:
        >>> print(as_csv([{"a": 1}, {"a": 2, "b": 3}]), end="")
        a,b
        1,
        2,3
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@contextmanager
def text_width(columns: int) -> Iterator[None]:
    """Make tables within no wider than this, where they can be."""
    before = _width.set(columns)
    try:
        yield
    finally:
        _width.reset(before)


def fits(table: "Table") -> bool:
    """Whether a table is as narrow as is wanted, see `text_width`."""
    wide = _plain(_AS_IT_IS)
    return wide.measure(table).maximum <= _width.get()


def _plain(width: int | None = None) -> Any:
    from rich.console import Console

    columns = width or _width.get()
    return Console(width=columns, color_system=None, markup=False, emoji=False)


def as_plain_text(table: "Table") -> str:
    """A table of rich's without colours: as wide as it is, or folded to what `text_width` says."""
    console = _plain()
    with console.capture() as captured:
        console.print(table)
    lines = [line.rstrip() for line in printable(captured.get()).split("\n")]
    return "\n".join(line for line in lines if line)
