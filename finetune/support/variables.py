"""Values of variables, as arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def array_of(variable: Any) -> np.ndarray:
    """A copy of the value of a Keras variable."""
    # Not `np.array(variable)`: NumPy 2 first asks Keras for what it does not know, and a Ctrl-C
    # that comes meanwhile is raised as that TypeError.
    return np.asarray(variable.value.numpy())


def values_of(variables: Sequence[Any]) -> list[np.ndarray]:
    """Copies of the values of variables."""
    return [array_of(variable) for variable in variables]


def without_room(values: np.ndarray) -> np.ndarray:
    """The same values; those that are all zero, as moments are at first, take no memory."""
    return values if values.any() else np.broadcast_to(values.dtype.type(0), values.shape)


def assign(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    """Give variables these values."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def first_not_finite(variables: Sequence[Any]) -> str | None:
    """Path of the first variable that holds NaN or an infinity; None where there is none."""
    for variable in variables:
        if not np.isfinite(array_of(variable)).all():
            return variable.path
    return None
