"""What optimizers and their callbacks keep to themselves: variables, gradients, averages."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf
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


def with_weight_decay(cls: type, amount: keras.Variable) -> type:
    """Derives an optimizer that reads its weight decay from a variable in every step.

    Args:
        cls: Class of a Keras optimizer, to be made with some `weight_decay`: without one it has no
            decay at all.
        amount: What is read in its place.

    Returns:
        A subclass of the same name, whose configuration tells the number that it was made with.

    Example:
        >>> amount = keras.Variable(0.5)
        >>> sgd = with_weight_decay(keras.optimizers.SGD, amount)(1.0, weight_decay=0.1)
        >>> kernel = keras.Variable([8.0], name="kernel")
        >>> sgd.apply([keras.ops.zeros(1)], [kernel])
        >>> float(kernel[0]), sgd.weight_decay
        (4.0, 0.1)
    """

    def apply_weight_decay(self, variables):
        # The attribute is written to files as a number, and a variable in it would be counted among
        # the optimizer's own: so it is a copy of its value, and that only while the step is traced.
        number = self.weight_decay
        self.weight_decay = ops.copy(amount)
        try:
            cls._apply_weight_decay(self, variables)
        finally:
            self.weight_decay = number

    return type(cls.__name__, (cls,), {"_apply_weight_decay": apply_weight_decay})


def sum_between_devices_only(optimizer: keras.optimizers.Optimizer) -> None:
    """Keeps an optimizer on one device from summing gradients over all devices.

    Args:
        optimizer: Changed in place. Under a `tf.distribute.Strategy` it sums as ever.

    Example:
        >>> optimizer = keras.optimizers.SGD(1.0)
        >>> sum_between_devices_only(optimizer)
        >>> kernel = keras.Variable([8.0])
        >>> optimizer.apply([keras.ops.ones(1)], [kernel])
        >>> float(kernel[0])
        7.0
    """
    # The sum of one is the same, but TensorFlow makes it with a gradient of its own, and keeps what
    # it needs for that, the graph of the whole step with its variables, until the process ends: 18
    # MB for each MobileNetV2 of alpha 0.35 that was trained. There is no option against it.
    kept: Any = optimizer
    over_all_devices = kept._all_reduce_sum_gradients

    def over_those_there_are(pairs: Iterable[Any]) -> Any:
        return over_all_devices(pairs) if tf.distribute.has_strategy() else pairs

    kept._all_reduce_sum_gradients = over_those_there_are


def limit_what_is_summed(optimizer: keras.optimizers.Optimizer) -> None:
    """Has an optimizer sum gradients over all devices before it limits their norm.

    Args:
        optimizer: Changed in place; on one device nothing is another.

    Example:
        >>> optimizer = keras.optimizers.SGD(1.0, global_clipnorm=0.5)
        >>> limit_what_is_summed(optimizer)
        >>> kernel = keras.Variable([8.0])
        >>> optimizer.apply([keras.ops.ones(1)], [kernel])
        >>> float(kernel[0])
        7.5
    """
    # Keras limits what each device found in its part of a batch, and sums that: of two devices that
    # agree twice as much is let through as of one.
    kept: Any = optimizer
    limit, over_all_devices = kept._clip_gradients, kept._all_reduce_sum_gradients

    def of_the_sum(gradients: Iterable[Any]) -> Any:
        pairs = over_all_devices([(gradient, None) for gradient in gradients])
        return limit([gradient for gradient, _ in pairs])

    kept._clip_gradients = of_the_sum
    kept._all_reduce_sum_gradients = lambda pairs: pairs


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
