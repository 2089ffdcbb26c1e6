"""What a notebook shows of a value: a small table, in which all that comes from people is text."""

from collections.abc import Sequence
from html import escape

# Rows that a cell of a notebook has room for.
_MOST = 12

_CELL = "padding:2px 14px 2px 0;text-align:left"


def as_html(title: str, rows: Sequence[Sequence[object]], heads: Sequence[str] = ()) -> str:
    """A title and a table, without script or style sheet.

    Args:
        title: Stands above.
        rows: Cells by row; a dozen rows at most are shown, and how many more there are.
        heads: Names of the columns. Default: none are shown.

    Example:
        >>> as_html("<b>", [["a", 1]]).startswith("<div><p><strong>&lt;b&gt;</strong></p><table>")
        True
    """
    told = [_row("th", heads)] if heads else []
    told += [_row("td", row) for row in rows[:_MOST]]
    more = f"<p>and {len(rows) - _MOST:,} more</p>" if len(rows) > _MOST else ""
    table = f"<table>{''.join(told)}</table>" if told else ""
    return f"<div><p><strong>{escape(title)}</strong></p>{table}{more}</div>"


def _row(tag: str, cells: Sequence[object]) -> str:
    shown = "".join(f'<{tag} style="{_CELL}">{escape(str(cell))}</{tag}>' for cell in cells)
    return f"<tr>{shown}</tr>"
