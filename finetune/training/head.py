"""What is put on top of a backbone: pooling, dropout, hidden layer, outputs, loss and metrics."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from finetune.backbones import HEAD_LAYER, POOL_LAYER
from finetune.exceptions import ArgumentError
from finetune.support import check_number
from finetune.training.calibrated_loss import CalibratedLoss

# The layer of a head that gives the outputs.
OUTPUT_LAYER = "predictions"

TASKS = ("binary", "multiclass", "multilabel", "regression")

# What can decide between epochs, and between trials.
CALIBRATED, LOSS, ACCURACY = "val_calibrated_loss", "val_loss", "val_accuracy"
SELECT = (CALIBRATED, LOSS, ACCURACY)


@dataclass(frozen=True)
class Head:
    """The new part of the model.

    Args:
        task: One of "binary", "multiclass", "multilabel" and "regression".
        outputs: Number of classes, labels or regressed values. A binary head has one
            sigmoid unit whatever this says.
        hidden_units: Units of a ReLU layer before the outputs; 0 leaves it out. Defaults
            to 0, as in Keras' transfer-learning tutorial.
        dropout: Share of features dropped before each dense layer in training, 0 to 1
            exclusive. Defaults to 0.2, as in Keras' transfer-learning tutorial.
        seed: Seed of the initial weights and of dropout.
    """

    task: str
    outputs: int
    hidden_units: int = 0
    dropout: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ArgumentError(f"Expected task to be one of {TASKS}, received {self.task!r}.")
        check_number("dropout", self.dropout, least=0, below=1)
        check_number("hidden_units", self.hidden_units, least=0, most=10**6, whole=True)

    @property
    def units(self) -> int:
        """Number of output units."""
        return 1 if self.task == "binary" else self.outputs


def pooling_layer(feature_rank: int) -> keras.Layer:
    """The layer that turns a feature map or sequence into one vector per image."""
    if feature_rank == 4:
        return keras.layers.GlobalAveragePooling2D(name=POOL_LAYER)
    if feature_rank == 3:
        return keras.layers.GlobalAveragePooling1D(name=POOL_LAYER)
    return keras.layers.Identity(name=POOL_LAYER)


def build_classifier(features: int, head: Head) -> keras.Model:
    """Build the trainable head: from a pooled vector to predictions.

    The outputs are float32 whatever the precision of the backbone, so that the loss is.
    """
    vector = keras.Input((features,), name="pooled")
    x = vector
    if head.hidden_units:
        if head.dropout:
            x = keras.layers.Dropout(head.dropout, seed=head.seed + 1, name="hidden_dropout")(x)
        he_normal: Any = keras.initializers.HeNormal(seed=head.seed + 1)
        x = keras.layers.Dense(
            head.hidden_units, activation="relu", kernel_initializer=he_normal, name="hidden"
        )(x)
    if head.dropout:
        x = keras.layers.Dropout(head.dropout, seed=head.seed, name="dropout")(x)
    activation = {"multiclass": "softmax", "regression": "linear"}.get(head.task, "sigmoid")
    glorot: Any = keras.initializers.GlorotUniform(seed=head.seed)
    outputs = keras.layers.Dense(
        head.units,
        activation=activation,
        kernel_initializer=glorot,
        dtype="float32",
        name=OUTPUT_LAYER,
    )(x)
    return keras.Model(vector, outputs, name=HEAD_LAYER)


# Known to Keras by name, so that what its ModelCheckpoint saved can be loaded as it was compiled.
@keras.saving.register_keras_serializable(package="finetune")
class SmoothedSparseCrossentropy(keras.losses.Loss):
    """Cross-entropy on integer labels with label smoothing, which Keras' sparse loss lacks."""

    def __init__(self, label_smoothing: float, **kwargs) -> None:
        super().__init__(**kwargs)
        self.label_smoothing = label_smoothing

    def get_config(self) -> dict[str, Any]:
        """All that it was made of."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing}

    def call(self, y_true, y_pred):
        """Cross-entropy of each image against its smoothed label."""
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        targets = ops.one_hot(labels, y_pred.shape[-1])
        return keras.losses.categorical_crossentropy(
            targets, y_pred, label_smoothing=self.label_smoothing
        )


def loss_for(task: str, label_smoothing: float = 0.0) -> keras.losses.Loss:
    """The loss that a task is trained with."""
    check_number("label_smoothing", label_smoothing, least=0, below=1)
    if task == "regression":
        if label_smoothing:
            raise ArgumentError("label_smoothing has no meaning for task='regression': use 0.")
        return keras.losses.MeanSquaredError()
    if task in ("binary", "multilabel"):
        return keras.losses.BinaryCrossentropy(label_smoothing=label_smoothing)
    if label_smoothing:
        return SmoothedSparseCrossentropy(label_smoothing)
    return keras.losses.SparseCategoricalCrossentropy()


def metrics_for(task: str) -> list[keras.metrics.Metric]:
    """The metrics that a task reports: accuracy and calibrated loss; the error of values."""
    if task == "regression":
        return [keras.metrics.MeanAbsoluteError(name="mae")]
    exclusive = task == "multiclass"
    kind = keras.metrics.SparseCategoricalAccuracy if exclusive else keras.metrics.BinaryAccuracy
    return [kind(name="accuracy"), CalibratedLoss(exclusive)]


def right_answers(labels: np.ndarray, outputs: np.ndarray, task: str) -> np.ndarray:
    """Whether each image was classified right; each label of it for "multilabel"."""
    if task == "multiclass":
        return outputs.argmax(axis=1) == labels.reshape(-1)  # a dataset may have a column of them
    return (outputs >= 0.5) == (labels.reshape(outputs.shape) >= 0.5)


def check_select(select: str, task: str | None = None) -> None:
    """Refuse a quantity that cannot decide between models.

    Not the accuracy of several labels an image: where few of them apply, a model that never names
    one has nearly all of them right.

    Args:
        select: The quantity, one of `SELECT`.
        task: One of `TASKS`; None while it is not known.
    """
    if select not in SELECT:
        raise ArgumentError(f"Expected select to be one of {SELECT}, received {select!r}.")
    if select == ACCURACY and task not in (None, "binary", "multiclass"):
        raise ArgumentError(
            f"select='val_accuracy' has no meaning for task={task!r}: use 'val_loss'."
        )


def lower_is_better(monitor: str) -> bool:
    """Whether a quantity that decides is a loss."""
    return monitor.endswith("loss")


def loss_of(monitor: str) -> str:
    """The loss that goes with a quantity that decides: itself, if it is one."""
    return monitor if lower_is_better(monitor) else LOSS
