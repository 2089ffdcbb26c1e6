"""What optimizers and their callbacks keep to themselves: which variable is which, averages."""

from collections.abc import Mapping

import keras
from keras import ops


def with_rate_factors(cls: type, factors: Mapping[str, float]) -> type:
    """Derives an optimizer whose rate differs by variable.

    Args:
        cls: Class of a Keras optimizer.
        factors: What the rate is multiplied by, per variable path; 1 for all others.

    Returns:
        A subclass of the same name.

    Example:
        >>> kernel = keras.Variable([1.0], name="kernel")
        >>> optimizer = with_rate_factors(keras.optimizers.SGD, {"kernel": 0.5})(1.0)
        >>> optimizer.apply([keras.ops.ones(1)], [kernel])
        >>> float(kernel[0])
        0.5
    """

    def update_step(self, gradient, variable, learning_rate):
        # What arrives here may be the backend's own variable, or a copy of it on one device. It
        # has no path, and nothing public leads from it to Keras' variable.
        path = self._trainable_variables[self._get_variable_index(variable)].path
        factor = factors.get(path, 1.0)
        cls.update_step(self, gradient, variable, ops.multiply(learning_rate, factor))

    # Scaling the rate, not the gradient: Adam and its kin undo a scaled gradient.
    return type(cls.__name__, (cls,), {"update_step": update_step})


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
