"""Where a model looks: how much each place of an image speaks for a class."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from finetune.backbones import HEAD_LAYER, POOL_LAYER
from finetune.compat import calls_of
from finetune.data import listed
from finetune.exceptions import ArgumentError
from finetune.model.card import ModelCard


@dataclass(frozen=True)
class ActivationMaps:
    """How much each place of several images speaks for a class.

    Args:
        labels: The class of each map: its name, or the number of the value for regression.
        maps: float32 (n, rows, columns), from the upper left. Above 0 a place speaks for the class,
            below 0 against it. Where the head is linear the mean of a map is the logit without its
            bias (the value, for regression).
    """

    labels: list[Any]
    maps: np.ndarray


@dataclass(frozen=True)
class Seen:
    """What a model computes of images on its way.

    Args:
        outputs: Its predictions, float32 (n, units).
        pooled: The vectors that its head takes, float32 (n, features); None where it has no one
            head, as an ensemble.
        places: The same before they are averaged over the places of an image, float32
            (n, rows, columns, features); None where there are no places.
    """

    outputs: np.ndarray
    pooled: np.ndarray | None = None
    places: np.ndarray | None = None


def on_its_way(model: keras.Model) -> keras.Model:
    """A model that gives its pooled features too, and what they are pooled of.

    Args:
        model: Made by this package.

    Returns:
        A model over the same layers with the outputs (predictions, pooled, what is pooled); the
        model itself where there is no pooling, as in an ensemble.
    """
    calls = calls_of(model) if isinstance(model, keras.Function) else []
    pools = [call for call in calls if call.operation.name == POOL_LAYER]
    if len(pools) != 1:
        return model
    (pool,) = pools
    return keras.Model(
        model.input, [model.output, pool.outputs[0], pool.inputs[0]], name=model.name
    )


def pooled_features(model: keras.Model) -> int | None:
    """Number of features that a model pools; None where it has no one head."""
    outputs = on_its_way(model).outputs
    return int(outputs[1].shape[-1]) if len(outputs) > 1 else None


def seen(computed: Sequence[Any], places: bool) -> Seen:
    """What was computed of a batch by a model of `on_its_way`, with or without the places."""
    outputs, *further = (np.asarray(array, "float32") for array in computed[: 3 if places else 2])
    found = _in_places(further[1]) if len(further) > 1 else None
    return Seen(
        outputs, further[0] if further else None, None if found is None else np.asarray(found)
    )


def joined(parts: Sequence[Seen]) -> Seen:
    """What was computed of several batches, as of one."""
    pooled = [part.pooled for part in parts if part.pooled is not None]
    places = [part.places for part in parts if part.places is not None]
    return Seen(
        np.concatenate([part.outputs for part in parts]),
        np.concatenate(pooled) if pooled else None,
        np.concatenate(places) if places else None,
    )


def maps_for(
    model: keras.Model, pooled: np.ndarray, places: np.ndarray, units: np.ndarray
) -> np.ndarray:
    """How much each place speaks for a unit of the outputs.

    The features of a place, each times the gradient of the logit with respect to that feature's
    mean. With one Dense layer after the pooling that gradient is its kernel, and the map is exact.

    Args:
        model: The model.
        pooled: The pooled features, see `Seen`.
        places: What they are the means of.
        units: Number of the unit that is asked about, for each image.

    Returns:
        float32 (n, rows, columns).

    Source: B. Zhou et al., "Learning Deep Features for Discriminative Localization" (2016); for
    other heads R. R. Selvaraju et al., "Grad-CAM" (2017).
    """
    *before, last = [call.operation for call in calls_of(model.get_layer(HEAD_LAYER))][1:]
    means = tf.convert_to_tensor(pooled)
    with tf.GradientTape() as tape:
        tape.watch(means)
        vectors: Any = means
        for layer in before:
            vectors = layer(vectors, training=False)
        # One that nothing but its own image depends on: the gradient of the sum is that of each.
        logits = tf.matmul(tf.cast(vectors, "float32"), tf.convert_to_tensor(last.kernel))
        asked = tf.reduce_sum(tf.gather(logits, units, axis=1, batch_dims=1))
    gradients = np.asarray(tape.gradient(asked, means))
    return np.einsum("nhwk,nk->nhw", places, gradients)


def with_all_maps(model: keras.Model, task: str) -> Callable[[Any], tuple[Any, Any]]:
    """A model as a function that gives the maps of all its classes, too, in closed form.

    Args:
        model: The model.
        task: What it was trained for.

    Returns:
        From pixels to its predictions and the maps, (n, rows, columns, classes): the features of
        each place times the kernel of the one Dense layer, so that nothing is differentiated.

    Raises:
        ArgumentError: If the model averages over no places, or its head has more than one Dense
            layer.
    """
    whole = on_its_way(model)
    if whole is model or _side_of(whole.output_shape[2]) is None:
        raise no_places(model)
    *before, last = [call.operation for call in calls_of(model.get_layer(HEAD_LAYER))][1:]
    if not all(isinstance(layer, keras.layers.Dropout) for layer in before):
        raise ArgumentError(
            "Expected a head of one Dense layer for activation_map=True: its kernel makes the map. "
            "Received one with a hidden layer, whose map takes gradients, which no export has. "
            "Leave the map out and draw it with `finetune explain`, or train with hidden_units=0."
        )

    def run(pixels: Any) -> tuple[Any, Any]:
        said, _, features = whole(pixels, training=False)
        places = tf.cast(_in_places(features), "float32")
        maps = tf.matmul(places, tf.convert_to_tensor(last.kernel))
        # What speaks for the second of two classes speaks against the first.
        return said, tf.concat([-maps, maps], axis=-1) if task == "binary" else maps

    return run


def explain(
    model: keras.Model, card: ModelCard, found: Seen, labels: Sequence[Any] | None = None
) -> ActivationMaps:
    """Maps of images that a model has seen.

    Args:
        model: The model.
        card: What its outputs mean.
        found: What it computed of the images.
        labels: For each image the class that is asked about. Default: the most probable one.

    Raises:
        ArgumentError: If the model knows no places, or a class is none of its own.
    """
    if found.pooled is None or found.places is None:
        raise no_places(model)
    names: list[Any] = [*card.class_names] or [*range(found.outputs.shape[1])]
    if labels is None:
        likely = found.outputs >= 0.5 if card.task == "binary" else found.outputs
        numbers = likely[:, 0].astype(int) if card.task == "binary" else likely.argmax(axis=1)
    else:
        numbers = np.array([_number(label, names) for label in labels], int)
        if len(numbers) != len(found.outputs):
            raise ArgumentError(
                f"Expected a label for each of {len(found.outputs)} images, received {len(labels)}."
            )
    # What speaks for the second of two classes speaks against the first.
    binary = card.task == "binary"
    signs = np.where(numbers == 0, -1.0, 1.0) if binary else np.ones(len(numbers))
    units = np.zeros(len(numbers), int) if binary else numbers
    maps = maps_for(model, found.pooled, found.places, units)
    signed = (maps * signs[:, None, None]).astype("float32")
    return ActivationMaps([names[number] for number in numbers], signed)


def _number(label: Any, names: Sequence[Any]) -> int:
    if label not in names:
        raise ArgumentError(f"Expected labels among {listed(names)}, received {label!r}.")
    return names.index(label)


def no_places(model: keras.Model) -> ArgumentError:
    """The error for a model that has no map."""
    return ArgumentError(
        "Expected a model that averages over the places of an image, to say which of them "
        f"speak for a class; received {model.name!r}, an ensemble, or one whose backbone gives "
        "one vector an image. Search with combine='soup' or 'best'."
    )


def _in_places(before: Any) -> Any:
    """Features by rows and columns; of a transformer those of its patches."""
    side = _side_of(before.shape)
    if side is None or len(before.shape) == 4:
        return None if side is None else before
    patches = before[:, before.shape[1] - side**2 :]
    return tf.reshape(patches, (-1, side, side, before.shape[2]))


def _side_of(shape: Sequence[int | None]) -> int | None:
    """Rows of the places in an array of this shape; None where there are none."""
    if len(shape) == 4:
        return shape[1]
    tokens = shape[1] or 0
    side = isqrt(tokens)
    # A square of patches, and before it what belongs to no place: the class token, registers.
    return None if len(shape) != 3 or side < 2 or tokens - side**2 > 5 else side
