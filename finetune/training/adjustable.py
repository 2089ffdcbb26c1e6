"""What a compiled step reads from variables: dropout, label smoothing and weight decay.

Written into the step as numbers, each of their values would need a step of its own to be compiled,
and TensorFlow gives back little of the memory of a step that is let go of. As variables they are
set before a training. Whether there is any dropout, smoothing or decay is part of the step.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from finetune.compat import with_weight_decay
from finetune.reuse import rewrite
from finetune.training.head import Head, loss_for
from finetune.training.optimizers import OptimizerSettings

_ANY = 0.5  # stands for every value in the key of what is compiled


@dataclass(frozen=True)
class Amounts:
    """How much dropout, smoothing and decay a training has.

    Args:
        dropout: Share of features dropped before each dense layer of the head.
        label_smoothing: See `loss_for`.
        weight_decay: See `OptimizerSettings`.
    """

    dropout: float
    label_smoothing: float
    weight_decay: float | None

    @classmethod
    def of(cls, head: Head, optimizer: OptimizerSettings, label_smoothing: float) -> "Amounts":
        """Those of a training with these settings."""
        return cls(head.dropout, label_smoothing, optimizer.weight_decay)

    @property
    def kinds(self) -> "Amounts":
        """Equal for trainings that can share a step."""
        return Amounts(
            _ANY if self.dropout else 0.0,
            _ANY if self.label_smoothing else 0.0,
            None if self.weight_decay is None else _ANY,
        )


def structure_of(head: Head) -> Head:
    """Equal for heads of the same layers; seed and rate of dropout are set in them."""
    return replace(head, seed=0, dropout=_ANY if head.dropout else 0.0)


class Adjustable:
    """The amounts of a step that is compiled once, as variables that are set before each training.

    Args:
        amounts: Which of them there are.
    """

    def __init__(self, amounts: Amounts) -> None:
        self.amounts = amounts
        self._dropped, self._scale, self._smoothed, self._decay = (
            keras.Variable(0.0, trainable=False, dtype="float32") for _ in range(4)
        )

    def set(self, amounts: Amounts) -> None:
        """Have the next training use these."""
        self.amounts = amounts
        self._dropped.assign(amounts.dropout)
        self._scale.assign(1 / (1 - amounts.dropout))
        self.smooth(amounts.label_smoothing)
        self._decay.assign(amounts.weight_decay or 0.0)

    def smooth(self, label_smoothing: float) -> None:
        """Have the loss smooth the labels by so much from now on."""
        self._smoothed.assign(label_smoothing)

    def classifier(self, model: keras.Model) -> keras.Model:
        """A head whose dropout is adjustable; layers and variables stay the same."""
        return rewrite(
            model,
            model,
            {
                id(layer): _Dropout(layer, self._dropped, self._scale)
                for layer in model.layers
                if isinstance(layer, keras.layers.Dropout)
            },
        )

    def loss(self, task: str) -> Any:
        """The loss of a task, with adjustable smoothing if there is any."""
        plain = loss_for(task)
        if not self.amounts.label_smoothing:
            return plain
        if task == "multiclass":
            return _SmoothedLoss(
                keras.losses.CategoricalCrossentropy(), self._smoothed, one_hot=True
            )
        return _SmoothedLoss(plain, self._smoothed, one_hot=False)

    def optimizer(self, cls: type) -> type:
        """A class of optimizers whose weight decay is adjustable, if there is any."""
        if self.amounts.weight_decay is None:
            return cls
        return with_weight_decay(cls, self._decay)


class PlainValidation(keras.callbacks.Callback):
    """Measures validation images without label smoothing.

    The loss is then comparable between amounts of smoothing, and says how probable the labels are.

    Args:
        adjustable: The amounts of the step.
    """

    def __init__(self, adjustable: Adjustable) -> None:
        super().__init__()
        self._adjustable = adjustable

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Stop smoothing."""
        self._adjustable.smooth(0.0)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Go on smoothing."""
        self._adjustable.smooth(self._adjustable.amounts.label_smoothing)


class _Dropout(keras.layers.Layer):
    """Dropout at a rate that is a variable, drawing what Keras' layer would draw."""

    def __init__(self, layer: Any, dropped: keras.Variable, scale: keras.Variable) -> None:
        super().__init__(name=layer.name, dtype=layer.dtype_policy)
        # Read by functions: Keras would count what attributes hold among this layer's own.
        self._read: Callable[[Any], Any] = lambda dtype: (
            ops.cast(dropped, dtype),
            ops.cast(scale, dtype),
        )
        self._next_seed: Callable[[], Any] = lambda: ops.cast(layer.seed_generator.next(), "int32")

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Drops values in training."""
        if not training:
            return inputs
        dropped, scale = self._read(inputs.dtype)
        drawn: Any = tf.random.stateless_uniform(
            tf.shape(inputs), seed=self._next_seed(), dtype=inputs.dtype
        )
        return tf.where(drawn >= dropped, inputs * scale, 0)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """As the inputs'."""
        return input_shape


class _SmoothedLoss(keras.losses.Loss):
    """A loss on targets that are smoothed by an amount that is a variable."""

    def __init__(self, loss: Any, smoothed: keras.Variable, *, one_hot: bool) -> None:
        super().__init__(name=loss.name)
        self._loss = loss
        self._one_hot = one_hot
        self._smoothed = smoothed

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each image."""
        classes = y_pred.shape[-1] if self._one_hot else 2
        if self._one_hot:
            y_true = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), classes)
        y_true = ops.cast(y_true, y_pred.dtype)
        smoothed: Any = ops.cast(self._smoothed, y_pred.dtype)
        return self._loss.call(y_true * (1 - smoothed) + smoothed / classes, y_pred)
