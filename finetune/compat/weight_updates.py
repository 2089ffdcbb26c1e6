"""What optimizers and their callbacks keep to themselves: which variable is which, averages."""

from collections.abc import Sequence

import keras
from keras import ops


def with_rate_factors(cls: type, factors: Sequence[tuple[keras.Variable, float]]) -> type:
    """Derives an optimizer whose rate differs by variable.

    Args:
        cls: Class of a Keras optimizer.
        factors: Variables, and what the rate of each is multiplied by; 1 for all others.

    Returns:
        A subclass of the same name.

    Example:
        >>> kernel = keras.Variable([1.0], name="kernel")
        >>> optimizer = with_rate_factors(keras.optimizers.SGD, [(kernel, 0.5)])(1.0)
        >>> optimizer.apply([keras.ops.ones(1)], [kernel])
        >>> float(kernel[0])
        0.5
    """
    # Not by path: layers of one name in different models within have the same.
    by_variable = {id(variable): factor for variable, factor in factors}

    def update_step(self, gradient, variable, learning_rate):
        # What arrives here may be the backend's own variable, or a copy of it on one device.
        # Nothing public leads from it to Keras' variable.
        known = self._trainable_variables[self._get_variable_index(variable)]
        factor = by_variable.get(id(known), 1.0)
        cls.update_step(self, gradient, variable, ops.multiply(learning_rate, factor))

    # Scaling the rate, not the gradient: Adam and its kin undo a scaled gradient. The variables are
    # kept, for an `id` means nothing without them.
    return type(cls.__name__, (cls,), {"update_step": update_step, "rate_factors": [*factors]})


class SwapAverages(keras.callbacks.SwapEMAWeights):
    """Validates and keeps the moving average of the weights.

    Args:
        inside: Whether the averages are in the model when training begins, as they are in a
            state that was written after an epoch.
    """

    def __init__(self, inside: bool) -> None:
        super().__init__(swap_on_epoch=True)
        # The constructor takes it that they are not, and would swap them in a second time.
        self._ema_weights_in_model = inside
