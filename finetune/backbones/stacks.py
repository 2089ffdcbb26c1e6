"""Stacks of blocks within one layer, such as a transformer's encoder, laid open in the graph.

A model of KerasHub may hold all of its blocks in one layer whose `call` runs one after the other.
To a graph that is a single step, so features could be kept before it or behind it and nowhere
between. Called on symbolic tensors, `call` itself leaves the blocks in the graph. What it does
beside calling layers may depend on more than shapes, so both are compared on one batch first.
"""

import logging
from collections import Counter
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np

from finetune.compat import (
    calls_of,
    first_arguments,
    inner_layers,
    keras_class,
    own_state,
    own_variables,
)

_log = logging.getLogger(__name__)

# The layers of every stack that was looked at, in the order of their calls; none where it cannot be
# laid open.
_opened: WeakKeyDictionary[keras.Layer, list[keras.Layer]] = WeakKeyDictionary()

# Largest difference, of the largest value: the same products, perhaps fused in another way.
_TOLERANCE = 1e-4

_BATCH = 2  # images that both are compared on


class _StaysWhole(Exception):
    """Why a stack cannot be laid open."""


def open_stack(layer: Any) -> list[keras.Layer]:
    """Lists the layers of a stack in the order in which it calls them.

    Args:
        layer: A layer that was called in a model, or an operation that is none.

    Returns:
        The layers directly within it, if `layer.call` on symbolic tensors may stand for the layer;
        else none. It may where the layer is not Keras' own, holds no variables itself, holds two or
        more layers of one class that hold layers in turn, and computes the same on one batch.
    """
    if not _may_be_stack(layer):
        return []
    if layer not in _opened:
        try:
            _opened[layer] = _compare(layer)
        except _StaysWhole as why:
            _opened[layer] = []
            _log.info("%s counts as one step of the model: %s.", layer.name, why)
    return _opened[layer]


def _may_be_stack(layer: Any) -> bool:
    if not isinstance(layer, keras.Layer) or isinstance(layer, keras.Model):
        return False
    if keras_class(layer) is not keras.Layer or own_variables(layer) or own_state(layer):
        return False
    blocks = Counter(type(inner) for inner in inner_layers(layer) if inner_layers(inner))
    return max(blocks.values(), default=0) > 1


def _compare(layer: Any) -> list[keras.Layer]:
    """Compares a stack with its layers.

    Returns:
        The layers in the order of their calls, those that were not called last.

    Raises:
        _StaysWhole: If the layers cannot be called alone, or compute something else.
    """
    given = first_arguments(layer)
    symbolic = [leaf for leaf in keras.tree.flatten(given) if _is_symbolic(leaf)]
    inputs: list[Any] = [keras.Input(batch_shape=leaf.shape, dtype=leaf.dtype) for leaf in symbolic]
    shapes = [(tensor.shape[0] or _BATCH, *tensor.shape[1:]) for tensor in inputs]
    if not inputs or any(None in shape for shape in shapes):
        raise _StaysWhole("the size of its inputs is not fixed")
    replaced = dict(zip(map(id, symbolic), inputs, strict=True))
    arguments: Any = keras.tree.map_structure(lambda leaf: replaced.get(id(leaf), leaf), given)
    args, kwargs = arguments
    draws = np.random.default_rng(0)
    batch = [
        draws.standard_normal(shape).astype(tensor.dtype)
        for shape, tensor in zip(shapes, inputs, strict=True)
    ]
    try:
        opened, whole = (keras.tree.flatten(run(*args, **kwargs)) for run in (layer.call, layer))
        # What is no tensor is no part of a graph.
        pairs = [pair for pair in zip(opened, whole, strict=True) if all(map(_is_symbolic, pair))]
        values: Any = keras.Function(inputs, pairs)(batch)
    # Another's code, on tensors that it was not written for, may end in any kind of error.
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise _StaysWhole(f"its blocks cannot be called alone ({first})") from error
    for mine, theirs in ([np.asarray(value) for value in pair] for pair in values):
        difference = np.abs(mine.astype("float32") - theirs.astype("float32")).max(initial=0)
        if not difference <= _TOLERANCE * np.abs(theirs).max(initial=0):
            raise _StaysWhole("its blocks alone compute something else")
    order = [call.operation for call in calls_of(keras.Function(inputs, [p[0] for p in pairs]))]
    place = {id(operation): number for number, operation in reversed([*enumerate(order)])}
    return sorted(inner_layers(layer), key=lambda inner: place.get(id(inner), len(order)))


def _is_symbolic(value: Any) -> bool:
    return keras.utils.is_keras_tensor(value)
