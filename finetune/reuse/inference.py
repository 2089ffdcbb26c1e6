"""Frozen layers in inference mode: dropout, stochastic depth and augmentation in them are off.

Keras' guide calls the frozen part with `training=False`, in both phases. Then what it computes is
a function of the image, which can be kept. Within a functional model `fit` overrides that
argument for every layer, so frozen layers that heed it are called by an operation of our own.

Source: Keras' guide "Transfer learning & fine-tuning".
"""

import inspect
from typing import Any

import keras

from finetune.compat import all_layers, calls_of
from finetune.reuse.graph import CannotSplit, flatten
from finetune.reuse.rewriting import rewrite


def in_inference_mode(model: keras.Model) -> Any:
    """Makes a model run its frozen layers in inference mode, also when it trains.

    Args:
        model: Any built model, with flags as `apply_freeze_depth` sets them.

    Returns:
        What is called in its place: a model with the same inputs, outputs, layers and variables;
        `model` itself where no frozen layer acts differently when training. A model that is no
        graph of layers can only be frozen as a whole; in part it is returned as it is.

    Example:
        >>> dropout = keras.layers.Dropout(0.5, trainable=False)
        >>> model = keras.Sequential([keras.Input((8,)), dropout])
        >>> x = keras.ops.ones((3, 8))
        >>> bool(keras.ops.all(in_inference_mode(model)(x, training=True) == x))
        True
    """
    try:
        flat = flatten(model)
    except CannotSplit:
        return InferenceCall(model) if heeds_training(model) and is_frozen(model) else model
    return rewrite(model, flat, inference_calls(flat))


def inference_calls(model: keras.Model) -> dict[int, keras.Operation]:
    """What to call in the place of each frozen layer that acts differently when training.

    Args:
        model: A graph of layers, see `flatten`.

    Returns:
        Operations by the `id` of the layer that they stand for.
    """
    return {
        id(call.operation): InferenceCall(call.operation)
        for call in calls_of(model)
        if heeds_training(call.operation) and is_frozen(call.operation)
    }


def is_frozen(layer: keras.Layer) -> bool:
    """Whether all in a layer that training changes, or that acts differently then, is frozen.

    Args:
        layer: A layer or model, with flags as `apply_freeze_depth` sets them: what only holds
            layers reads True, lest it hides what is trained within.
    """
    leaves = [part for part in all_layers(layer) if len(all_layers(part)) == 1]
    free = [leaf for leaf in leaves if leaf.trainable and heeds_training(leaf)]
    return not free and not layer.trainable_weights


def heeds_training(operation: Any) -> bool:
    """Whether an operation, or a layer within it, may act differently when training.

    Args:
        operation: A layer, or an operation that is none. Frozen batch normalization, which is
            told and does not care, does not count, and neither does dropout that drops nothing.
    """
    return any(
        "training" in inspect.signature(layer.call).parameters
        and type(layer) is not keras.layers.BatchNormalization
        and not (type(layer) is keras.layers.Dropout and layer.rate == 0)
        for layer in all_layers(operation)
    )


class InferenceCall(keras.Operation):
    """A layer as it acts in inference, whatever the model around it is told.

    Args:
        layer: The layer; its variables are read in every call.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__(name=layer.name)
        self._layer = layer

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the layer with `training=False`."""
        return self._layer(*args, **{**kwargs, "training": False})

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Shape and dtype of the output."""
        return self._layer.compute_output_spec(*args, **kwargs)
