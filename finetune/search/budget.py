"""Budgets of time: reading them, and saying beforehand how long a search will take."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from finetune.exceptions import ArgumentError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_seconds(budget: str | float | None) -> float | None:
    """A time budget in seconds.

    Args:
        budget: Such as "20m", "1h30m", "90s", a number of seconds, or None.

    Returns:
        Seconds; None where there is no budget.

    Raises:
        ArgumentError: If it is none of these.

    Example:
        >>> parse_seconds("1h30m"), parse_seconds(90), parse_seconds(None)
        (5400.0, 90.0, None)
    """
    if budget is None:
        return None
    text = str(budget).strip().lower()
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    whole = "".join(f"{number}{unit}" for number, unit in parts) == text.replace(" ", "")
    seconds = sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)
    if not parts or not whole or not seconds > 0:
        raise ArgumentError(
            f"Expected a time budget such as '20m', '1h30m' or a number of seconds above 0, "
            f"received {budget!r}."
        )
    return seconds


class Forecast:
    """How long the rest will take, corrected by what the trials so far took.

    Args:
        epoch_seconds: Measured seconds of an epoch, by freeze depth; 0 where nothing is trained, or
            not known.
        depths: Those that trials may have; those between measured ones take times between.
        workers: Trials at a time.
    """

    def __init__(
        self, epoch_seconds: Mapping[Any, float], depths: Sequence[Any], workers: int
    ) -> None:
        self._mean = _mean_over(depths, epoch_seconds)
        self._workers = workers
        self._epochs = 0
        self._seconds = 0.0

    def learn(self, epochs: int, seconds: float) -> None:
        """Take note of a job: epochs trained in it, and its wall time."""
        self._epochs += epochs
        self._seconds += seconds

    def seconds(self, epochs: float) -> float:
        """For so many more epochs."""
        # The measured mean counts as one trial's worth, so that the first trial alone, with
        # whatever it compiled, does not decide.
        weight = 5
        rate = (self._mean * weight + self._seconds) / (weight + self._epochs)
        return epochs * rate / self._workers


def _mean_over(depths: Sequence[Any], epoch_seconds: Mapping[Any, float]) -> float:
    known = {depth: seconds for depth, seconds in sorted(epoch_seconds.items()) if seconds > 0}
    if any(isinstance(depth, str) for depth in known) or not known:
        return sum(known.values()) / max(len(known), 1)
    trained = [depth for depth in depths if epoch_seconds.get(depth) != 0]
    return float(np.mean(np.interp(trained, [*known], [*known.values()])))
