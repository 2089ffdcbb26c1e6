"""Split: a model cut in two where the fewest values cross, so that the frozen part runs once.

The part before the cut (prefix) computes the same features in every epoch and every trial, so
they can be kept. The part behind it (suffix) is what trains. Both are graphs over the layers of
the one full model and own no variables, so nothing has to be copied back after training.

The cheapest boundary is a minimum cut. Calls of layers and the tensors between them are the
nodes; a tensor's capacity is the number of values it has per image. Edges of unlimited capacity
say that a tensor must cross if any consumer lies behind the cut, that whatever a prefix layer
needs lies in the prefix too, and that layers which may not be cached lie behind the cut.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from finetune.backbones import is_from_keras_hub, leaf_layers
from finetune.compat import Call, all_layers, calls_of, is_from_keras, own_state
from finetune.reuse.effort import multiply_adds
from finetune.reuse.fold import fold_batch_norm
from finetune.reuse.graph import CannotSplit, ends, flatten, require_graph
from finetune.reuse.inference import heeds_training, is_frozen

__all__ = ["CannotSplit", "Cut", "extractor", "find_cuts", "flatten", "split"]

# The calls before a boundary, and the tensors that cross it.
_Boundary: TypeAlias = tuple[list[Call], tuple[keras.KerasTensor, ...]]

# Above every real number of values, and far enough below the largest int32 to add flows to.
_UNLIMITED = 2**30


@dataclass(frozen=True)
class Cut:
    """Where a model is split.

    Attributes:
        depth: Number of leaf layers in the prefix; 0 where the cut is the input itself.
        tensors: The model's tensors that cross from prefix to suffix.
        values: Number of values per image that cross.
        again: Multiply-adds per image of frozen layers behind it, which every step runs again.
        frozen: Multiply-adds per image of all frozen layers.
        limit: Why the first frozen layer that may not be cached may not; None where all may.
    """

    depth: int
    tensors: tuple[keras.KerasTensor, ...]
    values: int
    again: int = 0
    frozen: int = 0
    limit: str | None = None


def find_cuts(model: keras.Model, freeze_depth: int) -> list[Cut]:
    """Finds the boundaries at or before the freeze depth that are worth keeping values at.

    A layer may lie before a cut if it is among the first `freeze_depth` leaf layers, has no
    trainable weights, and computes a function of the image: frozen layers run in inference mode,
    so dropout and augmentation are off, but a layer of one's own may be random or keep state even
    then, or add a loss. Frozen layers between the cut and the freeze depth are run again in every
    step.

    Args:
        model: A functional model with frozen layers as `apply_freeze_depth` sets them; see
            `flatten` for models within it.
        freeze_depth: Number of leaf layers, counted from the input, that are frozen (0 to all).

    Returns:
        The cheapest boundary first, the deepest one last: each has more of the first frozen layers
        before it than the one before, and no boundary that has these is crossed by fewer values.
        Among boundaries of equal size the deepest is taken. The depth of the first is 0 where
        nothing is cheaper than the input itself.

    Raises:
        CannotSplit: The model is no graph of layers, its input size is not fixed, or the
            layers that may not be cached leave no prefix.

    Example:
        >>> inputs = keras.Input((8,))
        >>> narrow = keras.layers.Dense(2, trainable=False)(inputs)
        >>> wide = keras.layers.Dense(16, trainable=False)(narrow)
        >>> model = keras.Model(inputs, keras.layers.Dense(1)(wide))
        >>> [(cut.depth, cut.values, cut.again, cut.frozen) for cut in find_cuts(model, 3)]
        [(2, 2, 32, 48), (3, 16, 0, 48)]
    """
    require_graph(model)
    if any(None in tensor.shape[1:] for tensor in model.inputs):
        raise CannotSplit("the size of the model's input is not fixed")
    calls = calls_of(model)
    leaves = leaf_layers(model)
    place = {id(leaf): number for number, leaf in enumerate(leaves)}
    limits: dict[int, str] = {}
    blocked = set()
    work: dict[int, int] = {}
    for call in calls:
        if call.is_input:
            continue
        inner = all_layers(call.operation)
        if freeze_depth == 0 or any(place.get(id(layer), 0) >= freeze_depth for layer in inner):
            blocked.add(id(call))
            # Of a layer that is frozen in part, that part is run again whatever the cut.
            frozen = [la for la in inner if place.get(id(la), freeze_depth) < freeze_depth]
            if frozen:
                work[id(call)] = multiply_adds(call, frozen)
            continue
        work[id(call)] = multiply_adds(call, [call.operation])
        reasons = [reason for layer in inner if (reason := _why_not_cached(layer))]
        if reasons:
            blocked.add(id(call))
            first = min(place.get(id(layer), len(leaves)) for layer in inner)
            limits.setdefault(first, reasons[0])

    uncuttable: set[int] = set()
    while True:
        cut_behind = partial(_minimum_cut, model, calls, blocked, uncuttable)
        boundaries = _frontier(cut_behind, leaves[:freeze_depth])
        mixed = _without_batch_axis(model, [t for _, tensors in boundaries for t in tensors])
        if not mixed:
            break
        uncuttable |= mixed

    limit = limits[min(limits)] if limits else None
    cuts = []
    for before, tensors in boundaries:
        if all(call.is_input for call in before):
            depth, again = 0, sum(work.values())
        else:
            behind = {id(call) for call in calls} - {id(call) for call in before}
            twice = _layer_ids(call for call in calls if id(call) in behind)
            depth = len(_layer_ids(before).difference(twice) & set(place))
            again = sum(cost for call, cost in work.items() if call in behind)
        cuts.append(Cut(depth, tensors, _values(tensors), again, sum(work.values()), limit))
    if limit and not cuts[-1].depth:
        raise CannotSplit(limit)
    return cuts


def split(
    model: keras.Model, tensors: Sequence[keras.KerasTensor]
) -> tuple[keras.Model, keras.Model]:
    """Splits a model at a cut.

    Args:
        model: The model that the cut was found in.
        tensors: Those of the model that cross it, see `Cut`.

    Returns:
        The prefix (the model's inputs -> the tensors that cross) and the suffix (those tensors
        -> the model's outputs), both over the layers of `model`. One tensor is passed as it is,
        several as a list.

    Example:
        >>> inputs = keras.Input((8,))
        >>> frozen = keras.layers.Dense(2, trainable=False)(inputs)
        >>> model = keras.Model(inputs, keras.layers.Dense(1)(frozen))
        >>> prefix, suffix = split(model, find_cuts(model, 2)[-1].tensors)
        >>> x = keras.ops.ones((3, 8))
        >>> bool(keras.ops.all(suffix(prefix(x)) == model(x)))
        True
    """
    crossing = tensors[0] if len(tensors) == 1 else list(tensors)
    inputs, outputs = ends(model)
    # Keras cannot pass an input of a partial graph on as its output.
    passed_on = {id(tensor) for tensor in tensors}
    outputs = keras.tree.map_structure(
        lambda tensor: keras.layers.Identity()(tensor) if id(tensor) in passed_on else tensor,
        outputs,
    )
    prefix = keras.Model(inputs, crossing, name=f"{model.name}_prefix")
    suffix = keras.Model(crossing, outputs, name=f"{model.name}_suffix")
    return prefix, suffix


def extractor(prefix: keras.Model) -> Callable[[Any], tuple[tf.Tensor, ...]]:
    """Makes the fastest function that computes a prefix's outputs, with frozen batch norm folded.

    The function reads the variables anew in every call and runs in inference mode. It is traced
    once for all batch sizes.

    Args:
        prefix: A model. Its layers' `trainable` flags do not matter: what it says of an image must
            not depend, in the last digit, on what was trained before.

    Returns:
        Function from a batch (an array, or a list of arrays for several inputs) to the outputs
        as a tuple of tensors, also where there is one alone.

    Example:
        >>> prefix = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        >>> (features,) = extractor(prefix)(keras.ops.ones((3, 8)))
        >>> tuple(features.shape)
        (3, 4)
    """
    folded = fold_batch_norm(prefix, inference=True)
    specs = [tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype) for tensor in prefix.inputs]

    @tf.function(input_signature=specs, autograph=False)
    def run(*batch: Any) -> tuple[tf.Tensor, ...]:
        inputs = keras.tree.pack_sequence_as(ends(prefix)[0], batch)
        return tuple(keras.tree.flatten(folded(inputs, training=False)))

    # Traced here, and not by the first call: TensorFlow takes it for an oversight where the first
    # calls of several such functions, which are of one name, follow each other.
    run.get_concrete_function()
    return lambda batch: run(
        *(
            tf.cast(value, tensor.dtype)
            for value, tensor in zip(keras.tree.flatten(batch), prefix.inputs, strict=True)
        )
    )


def _layer_ids(calls: Iterable[Call]) -> set[int]:
    return {id(layer) for call in calls for layer in all_layers(call.operation)}


def _why_not_cached(layer: Any) -> str | None:
    """Why the outputs of a frozen layer may not be kept; None where they may."""
    # Layers of KerasHub's leave their other variables, such as positions, as they were loaded.
    custom = not (is_from_keras(type(layer)) or is_from_keras_hub(type(layer)))
    if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
        why = "adapts its statistics"
    elif layer.trainable_weights or (heeds_training(layer) and not is_frozen(layer)):
        why = "is not frozen"
    elif len(layer.variables) > len(layer.weights) and not heeds_training(layer):
        why = "is random, also in inference"
    elif getattr(layer, "stateful", False) or (custom and own_state(layer)):
        why = "keeps state of its own"
    elif layer.activity_regularizer is not None:
        why = "adds an activity loss"
    else:
        return None
    return f"layer '{layer.name}' ({type(layer).__name__}) {why}"


def _frontier(
    cut_behind: Callable[[list[keras.Layer]], _Boundary | None], frozen: list[keras.Layer]
) -> list[_Boundary]:
    """The cheapest boundary, the cheapest that leaves one more layer before it, and so on."""
    found: list[_Boundary] = []
    wanted = 0
    while wanted <= len(frozen):
        boundary = cut_behind(frozen[:wanted])
        if boundary is None:  # this layer cannot lie before a cut, nor any that comes after it
            break
        found.append(boundary)
        before = _layer_ids(boundary[0])
        while wanted < len(frozen) and id(frozen[wanted]) in before:
            wanted += 1
        wanted += 1
    return found


def _minimum_cut(
    model: keras.Model,
    calls: list[Call],
    blocked: set[int],
    uncuttable: set[int],
    wanted: list[keras.Layer],
) -> _Boundary | None:
    """The deepest of the cheapest boundaries that have wanted layers before them, if any has."""
    wanted_ids = {id(layer) for layer in wanted}
    tensors = [tensor for call in calls for tensor in call.outputs]
    number = {id(item): index for index, item in enumerate([*calls, *tensors])}
    producer = {id(tensor): number[id(call)] for call in calls for tensor in call.outputs}
    sink, start, source = range(len(number), len(number) + 3)

    edges = {(number[id(tensor)], sink): _UNLIMITED for tensor in model.outputs}
    edges[source, start] = _UNLIMITED  # one edge for all that flows: sums stay in bounds
    for call in calls:
        place = number[id(call)]
        if call.is_input or any(id(layer) in wanted_ids for layer in all_layers(call.operation)):
            edges[start, place] = _UNLIMITED
        if id(call) in blocked:
            edges[place, sink] = _UNLIMITED
        for tensor in call.inputs:
            edges[number[id(tensor)], place] = _UNLIMITED
            edges[place, producer[id(tensor)]] = _UNLIMITED
        for tensor in call.outputs:
            fixed = None not in tensor.shape[1:] and id(tensor) not in uncuttable
            edges[place, number[id(tensor)]] = _values([tensor]) if fixed else _UNLIMITED

    rows, columns = np.array(list(edges)).T
    capacity = csr_array(
        (np.array(list(edges.values()), "int32"), (rows, columns)), shape=(source + 1, source + 1)
    )
    flow = maximum_flow(capacity, source, sink)
    if flow.flow_value >= _UNLIMITED:
        return None
    residual = csr_array(capacity - flow.flow)
    residual.eliminate_zeros()
    behind = set(breadth_first_order(residual.T, sink, return_predecessors=False).tolist())
    before = [call for call in calls if number[id(call)] not in behind]
    crossing = [
        tensor for call in before for tensor in call.outputs if number[id(tensor)] in behind
    ]
    return before, tuple(crossing)


def _values(tensors: Iterable[keras.KerasTensor]) -> int:
    """Number of values per image in tensors of fixed size."""
    return sum(math.prod(tensor.shape[1:]) for tensor in tensors)


def _without_batch_axis(model: keras.Model, tensors: Sequence[keras.KerasTensor]) -> set[int]:
    """Those tensors whose first axis is not the images of the batch."""
    batch = 7  # Any number that is unlikely to be a size in the model by chance.
    shapes = [(tensor.shape[0] or batch, *tensor.shape[1:]) for tensor in model.inputs]
    graph = keras.Model(model.inputs, list(tensors))
    found = graph.compute_output_shape(shapes)
    return {
        id(tensor)
        for tensor, shape in zip(tensors, found, strict=True)
        if len(shape) == 0 or shape[0] != shapes[0][0]
    }
