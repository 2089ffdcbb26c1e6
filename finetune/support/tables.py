"""Rows as a table of pandas, for those who have it."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from finetune.exceptions import ArgumentError


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
