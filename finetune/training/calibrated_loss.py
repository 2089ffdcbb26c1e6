"""The loss of probabilities that are as sure as they should be.

A network that goes on training becomes surer than it should be, and its cross-entropy rises while
its answers still get better. One temperature mends the former (see `finetune.model.calibration`):
what tells which epoch or trial is the best is the loss with it.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

# Each of them is tried: a quarter more from one to the next, which changes the loss little.
TEMPERATURES = np.geomspace(0.25, 4.0, 13)

_LEAST = 1e-7


# Known to Keras by name, so that what its ModelCheckpoint saved can be loaded as it was compiled.
@keras.saving.register_keras_serializable(package="finetune")
class CalibratedLoss(keras.metrics.Metric):
    """Mean cross-entropy with the logits divided by the temperature at which it is lowest.

    Args:
        exclusive: Whether each image has one of several classes, its number the label; else each
            output is a probability of its own.
        name: Name of the metric. Default "calibrated_loss".

    Example:
        >>> metric = CalibratedLoss(exclusive=True)
        >>> shy = np.array([[0.6, 0.4], [0.4, 0.6]])  # right each time
        >>> metric.update_state(np.array([0, 1]), shy)
        >>> bool(metric.result() < 0.2)  # -log(0.6) is 0.51
        True

    Source: C. Guo et al., "On Calibration of Modern Neural Networks" (2017).
    """

    def __init__(self, exclusive: bool, name: str = "calibrated_loss", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.exclusive = exclusive
        self.losses = self.add_variable((len(TEMPERATURES),), "zeros", name="losses")
        self.images = self.add_variable((), "zeros", name="images")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add the losses of a batch at every temperature."""
        p: Any = ops.clip(ops.cast(y_pred, "float32"), _LEAST, 1 - _LEAST)
        temperatures: Any = ops.convert_to_tensor(TEMPERATURES, "float32")
        exclusive = self.exclusive
        sure: Any = ops.log(p) if exclusive else ops.log(p) - ops.log(1 - p)  # pyright: ignore[reportOptionalOperand]
        logits = sure[:, :, None] / temperatures
        told: Any
        if exclusive:
            numbers = ops.cast(ops.reshape(y_true, (-1,)), "int32")
            labels: Any = ops.one_hot(numbers, p.shape[-1])
            told = ops.logsumexp(logits, axis=1)
            told -= ops.sum(labels[:, :, None] * logits, axis=1)
        else:
            labels = ops.cast(ops.reshape(y_true, ops.shape(p)), "float32")
            told = ops.softplus(logits)
            told = ops.mean(told - labels[:, :, None] * logits, axis=1)
        weights: Any = ops.ones_like(told[:, 0])
        if sample_weight is not None:
            weights = ops.reshape(ops.cast(sample_weight, "float32"), (-1,))
        self.losses.assign_add(ops.sum(told * weights[:, None], axis=0))
        self.images.assign_add(ops.sum(weights))

    def result(self) -> Any:
        """The lowest of the mean losses."""
        lowest: Any = ops.min(self.losses)
        return lowest / ops.maximum(self.images, _LEAST)

    def get_config(self) -> dict[str, Any]:
        """All that it was made of."""
        return {**super().get_config(), "exclusive": self.exclusive}
