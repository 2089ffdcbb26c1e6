"""What can be said of a search space: how large it is, and which point of it is near to values."""

import math
from typing import Any

import keras_tuner
from keras_tuner.engine.hyperparameters import Boolean, Choice, Float, Int


def grid_size(space: keras_tuner.HyperParameters) -> int | None:
    """Number of combinations; None where something is not a choice."""
    if not all(isinstance(parameter, (Choice, Boolean)) for parameter in space.space):
        return None
    return math.prod(len(list(parameter.values)) for parameter in space.space)


def near(space: keras_tuner.HyperParameters, good: dict[str, float]) -> dict[str, Any]:
    """The point of a space that is nearest to values which are known to be good.

    Args:
        space: What can be chosen.
        good: Values by name; of what is not named the default is taken.

    Returns:
        A value for each hyperparameter.

    Example:
        >>> space = keras_tuner.HyperParameters()
        >>> _ = space.Choice("freeze_depth", [0, 50, 100]), space.Float("learning_rate", 1e-5, 1e-4)
        >>> near(space, {"freeze_depth": 54, "learning_rate": 3e-4})
        {'freeze_depth': 50, 'learning_rate': 0.0001}
    """
    values = {}
    for parameter in space.space:
        values[parameter.name] = parameter.default
        wanted = good.get(parameter.name)
        if wanted is None or isinstance(parameter.default, str):  # a depth may be a block's name
            continue
        if isinstance(parameter, Choice):
            # Rates differ by factors.
            choices: list[Any] = list(parameter.values)
            scale = math.log if min(choices) > 0 else float
            distances = {value: abs(scale(value) - scale(wanted)) for value in choices}
            values[parameter.name] = min(distances, key=distances.__getitem__)
        elif isinstance(parameter, (Float, Int)):
            inside = min(max(wanted, parameter.min_value), parameter.max_value)
            values[parameter.name] = type(parameter.default)(inside)
    return values
