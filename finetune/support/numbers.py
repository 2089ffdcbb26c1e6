"""Arguments that are numbers: of the right kind, and within what makes sense."""

import math
import numbers
import operator
from typing import Any

from finetune.exceptions import ArgumentError

# Seeds of NumPy, Keras and TensorFlow alike.
LARGEST_SEED = 2**32 - 1


def check_number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    whole: bool = False,
    optional: bool = False,
) -> None:
    """Refuse what is no number, or none that can work.

    Args:
        name: The argument's name.
        value: What was given.
        least: Smallest value.
        above: What it must be above.
        most: Largest value.
        below: What it must be below.
        whole: Whether it must be a whole number.
        optional: Whether it may be None.

    Raises:
        ArgumentError: If it is anything else, infinite, or not a number.

    Example:
        >>> check_number("dropout", 0.2, least=0, below=1)
        >>> check_number("patience", -1, least=0, whole=True, optional=True)
        Traceback (most recent call last):
            ...
        finetune.exceptions.ArgumentError: Expected patience as a whole number of 0 or more, or \
None, received -1.
    """
    if value is None and optional:
        return
    limits: list[tuple[str, Any, Any]] = [
        ("of {:,} or more", least, operator.ge),
        ("above {:,}", above, operator.gt),
        ("at most {:,}", most, operator.le),
        ("below {:,}", below, operator.lt),
    ]
    limits = [limit for limit in limits if limit[1] is not None]
    if _is_number(value, whole) and all(holds(value, bound) for _, bound, holds in limits):
        return
    said = " and ".join(text.format(bound) for text, bound, _ in limits)
    of_type = f" of type {type(value).__name__}" if isinstance(value, (str, bool)) else ""
    raise ArgumentError(
        f"Expected {name} {'as a whole number ' if whole else ''}{said}"
        f"{', or None' if optional else ''}, received {value!r}{of_type}."
    )


def _is_number(value: Any, whole: bool) -> bool:
    kind = numbers.Integral if whole else numbers.Real
    return (
        isinstance(value, kind) and not isinstance(value, bool) and (whole or math.isfinite(value))
    )
