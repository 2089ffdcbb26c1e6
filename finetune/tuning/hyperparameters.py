"""Hyperparameters: what a value, a range or a list of choices means to KerasTuner."""

from collections.abc import Sequence
from typing import Any, TypeAlias, TypeVar

import keras_tuner
from keras_tuner.engine import hyperparameters as engine
from keras_tuner.engine.hyperparameters import HyperParameter

from finetune.exceptions import ArgumentError

_T = TypeVar("_T")

# What an argument may be: a value, a range (low, high), a list of choices, or a hyperparameter.
# (Sequence for the choices: to a type checker list[int] is no list[int | None].)
Searchable: TypeAlias = _T | tuple[_T, _T] | Sequence[_T] | HyperParameter

# Rates differ by factors, so their ranges are searched on a logarithmic scale.
_LOGARITHMIC = ("learning_rate", "head_learning_rate", "weight_decay")


def is_space(value: Any) -> bool:
    """Whether a value leaves something to be chosen: a list, a range or a hyperparameter."""
    return isinstance(value, (list, tuple, HyperParameter))


def outermost(space: Any) -> list[Any]:
    """What a space holds that can be refused: all choices, or both ends of a range."""
    if isinstance(space, (list, tuple)):
        return [*space]
    if isinstance(space, (engine.Int, engine.Float)):
        return [space.min_value, space.max_value]
    return [*space.values] if isinstance(space, engine.Choice) else []


def spread(space: Any, count: int = 5) -> list[Any]:
    """A few of the values that a space holds: both ends, and evenly between.

    Args:
        space: A range, a list of choices, or a hyperparameter.
        count: How many at most, 2 or more. Default 5: enough where little changes from a value to
            the next.

    Returns:
        The values, numbers in ascending order.

    Example:
        >>> spread((80, 100)), spread((0.2, 0.6), 3), spread([3, 1, 2])
        ([80, 85, 90, 95, 100], [0.2, 0.4, 0.6], [1, 2, 3])
    """
    if isinstance(space, tuple):
        hp = keras_tuner.HyperParameters()
        _range(hp, "range", space)
        (space,) = hp.space
    if isinstance(space, engine.Float) and space.step is None:
        low, high = space.min_value, space.max_value
        return [*(low + (high - low) * part / (count - 1) for part in range(count - 1)), high]
    values: list[Any] = [*(space if isinstance(space, list) else space.values)]
    if not any(isinstance(value, str) for value in values):
        values.sort()
    gaps = min(count, len(values)) - 1
    return [values[round(gap * (len(values) - 1) / max(gaps, 1))] for gap in range(gaps + 1)]


def choose(hp: keras_tuner.HyperParameters, name: str, value: Any) -> Any:
    """Turn an argument into the value of this trial, declaring it as tunable if it is a space.

    Args:
        hp: The trial's hyperparameters.
        name: What the hyperparameter is to be called.
        value: A fixed value; `(low, high)` for a range of numbers, logarithmic for rates; a
            list of choices; or a KerasTuner hyperparameter, whose own name is not used.

    Returns:
        The value.

    Raises:
        ArgumentError: If a range is not two ascending numbers, or a list is empty.

    Example:
        >>> hp = keras_tuner.HyperParameters()
        >>> choose(hp, "dropout", 0.2), choose(hp, "learning_rate", (1e-5, 1e-3))
        (0.2, 1e-05)
        >>> [parameter.name for parameter in hp.space]
        ['learning_rate']
    """
    if isinstance(value, HyperParameter):
        config = value.get_config()
        arguments = {k: v for k, v in config.items() if k not in ("name", "conditions")}
        if isinstance(value, engine.Fixed):
            return hp.Fixed(name, value.value)
        return getattr(hp, type(value).__name__)(name, **arguments)
    if isinstance(value, tuple):
        return _range(hp, name, value)
    if isinstance(value, list):
        return _choice(hp, name, value)
    return value


def _range(hp: keras_tuner.HyperParameters, name: str, value: tuple) -> Any:
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value)
    if len(value) != 2 or not numbers or not value[0] < value[1]:
        raise ArgumentError(
            f"Expected {name} as a range (low, high) of two ascending numbers, received {value!r}. "
            "Give a list for choices."
        )
    low, high = value
    if all(isinstance(v, int) for v in value):
        return hp.Int(name, low, high)
    if name in _LOGARITHMIC:
        if not low > 0:
            raise ArgumentError(
                f"Expected the range of {name} to start above 0, received {value!r}."
            )
        return hp.Float(name, low, high, sampling="log")
    return hp.Float(name, float(low), float(high))


def _choice(hp: keras_tuner.HyperParameters, name: str, value: list) -> Any:
    if not value:
        raise ArgumentError(f"Expected at least one choice for {name}, received an empty list.")
    if len(value) == 1:
        return value[0]
    if all(isinstance(v, (int, float)) for v in value) and len({type(v) for v in value}) > 1:
        value = [float(v) for v in value]
    if len({type(v) for v in value}) == 1 and isinstance(value[0], (int, float, str)):
        if isinstance(value[0], bool):
            return hp.Boolean(name, default=value[0])
        return hp.Choice(name, value)
    # KerasTuner's choices are plain and of one type: anything else is chosen by its number.
    number: Any = hp.Choice(f"{name}_index", list(range(len(value))))
    return value[number]
