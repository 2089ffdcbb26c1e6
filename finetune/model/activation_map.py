"""Where a model looks: how much each place of an image speaks for a class."""

from collections.abc import Sequence
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


def seen(computed: Sequence[Any], places: bool) -> Seen:
    """What was computed of a batch by a model of `on_its_way`, with or without the places."""
    outputs, *further = (np.asarray(array, "float32") for array in computed[: 3 if places else 2])
    return Seen(outputs, further[0] if further else None, _in_places(*further[1:]))


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
        raise ArgumentError(
            "Expected a model that averages over the places of an image, to say which of them "
            f"speak for a class; received {model.name!r}, an ensemble, or one whose backbone gives "
            "one vector an image. Search with combine='soup' or 'best'."
        )
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


def _in_places(before: np.ndarray | None = None) -> np.ndarray | None:
    """Features by rows and columns; of a transformer those of its patches."""
    if before is None or before.ndim not in (3, 4):
        return None
    if before.ndim == 4:
        return before
    count, tokens, width = before.shape
    side = isqrt(tokens)
    # A square of patches, and before it what belongs to no place: the class token, registers.
    if side < 2 or tokens - side**2 > 5:
        return None
    return before[:, tokens - side**2 :].reshape(count, side, side, width)
