"""Freeze depth: which layers of a backbone stay frozen, and how that is said and applied.

A freeze depth counts layers from the input. What counts as a layer is a leaf: models and
composite layers within the backbone are replaced by their inner layers. Flags are set leaf by
leaf, because on TensorFlow `model.trainable = True` does nothing where the model already
reads True, even if layers within it are frozen.
"""

import difflib
import math
import numbers
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np

from finetune.backbones.outline import Outline
from finetune.backbones.partition import Block, find_blocks
from finetune.compat import own_variables
from finetune.exceptions import ArgumentError, FreezeDepthError

BatchNorm = Literal["frozen", "adapt"]


@dataclass(frozen=True)
class FreezeDescription:
    """What a freeze depth means for a model.

    Attributes:
        depth: Number of frozen layers, counted from the input.
        layers: Number of layers in all.
        block: Block of the last frozen layer; None where nothing is frozen.
        partly: Whether the depth cuts through that block, so that its later layers train.
        trainable_parameters: Number of parameters that train.
        total_parameters: Number of parameters in all.
    """

    depth: int
    layers: int
    block: str | None
    partly: bool
    trainable_parameters: int
    total_parameters: int

    @property
    def place(self) -> str:
        """The block that is frozen last, and whether only in part."""
        return f"{self.block}{' (partly)' if self.partly else ''}"

    def __str__(self) -> str:
        if self.depth == 0:
            where = "everything trains"
        elif self.depth == self.layers:
            where = "head only"
        else:
            where = f"up to {self.block}{' (partly)' if self.partly else ''}"
        return (
            f"{self.depth} of {self.layers} layers frozen, {where}; "
            f"{self.trainable_parameters:,} of {self.total_parameters:,} parameters train"
        )


def leaf_layers(model: keras.Model) -> list[keras.Layer]:
    """Lists what counts as a layer, in order from the input.

    Models and custom composite layers within the model are replaced by their inner layers;
    Keras' own composite layers (`MultiHeadAttention`, wrappers) count as one. The inputs of
    models within are left out.

    Args:
        model: Any built model.

    Returns:
        The layers; for a functional model without inner models exactly `model.layers`.

    Example:
        >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, name="last")])
        >>> [layer.name for layer in leaf_layers(model)]
        ['last']
    """
    return [leaf.layer for leaf in Outline(model).leaves]


def blocks(model: keras.Model) -> list[Block]:
    """Lists the model's blocks: contiguous runs of layers that together cover all of them.

    Args:
        model: Any built model.

    Returns:
        The blocks from input to output. They are found by the layer names that the families
        of `keras.applications` use, else by composite layers, else by the places of the
        graph that a single tensor crosses.

    Example:
        >>> model = keras.applications.VGG16(
        ...     weights=None, include_top=False, input_shape=(32, 32, 3)
        ... )
        >>> blocks(model)[0]
        Block(name='block1', end=4)
    """
    return find_blocks(Outline(model))


def resolve_depth(model: keras.Model, freeze_depth: int | float | str) -> int:
    """Turns a freeze depth, however it is said, into a number of layers.

    Args:
        model: Any built model.
        freeze_depth: Number of layers, counted from the input, that stay frozen (0 to all);
            a fraction of them (0.0 to 1.0, rounded to the nearest layer); or the name of the
            last layer or block that stays frozen. Layers within others may be named by their
            path: `"encoder_1/dense"`.

    Returns:
        The number of frozen layers.

    Raises:
        FreezeDepthError: The number is outside the model, the name is unknown or names more
            than one layer, or the type is another.

    Example:
        >>> model = keras.applications.VGG16(
        ...     weights=None, include_top=False, input_shape=(32, 32, 3)
        ... )
        >>> resolve_depth(model, 4), resolve_depth(model, 0.5), resolve_depth(model, "block3")
        (4, 10, 11)
    """
    return _resolve(Outline(model), freeze_depth)


def apply_freeze_depth(model: keras.Model, depth: int, *, batch_norm: BatchNorm = "frozen") -> None:
    """Freezes the first `depth` layers and makes the others trainable.

    Whatever was frozen before is forgotten. Variables that a composite layer holds itself
    (class token, position embeddings) are frozen with its first inner layer. Compile the
    model anew afterwards, with a new optimizer: Keras ignores the change otherwise.

    Args:
        model: Any built model; its layers' `trainable` flags are changed in place.
        depth: Number of layers, counted from the input, that stay frozen.
        batch_norm: "frozen" (default): every batch normalization stays frozen and uses its
            stored statistics, as Keras' transfer-learning guide advises. "adapt": those
            above the depth train, and their statistics follow the new images.

    Raises:
        FreezeDepthError: The depth is outside the model.
        ArgumentError: `batch_norm` is neither "frozen" nor "adapt".

    Example:
        >>> model = keras.Sequential([
        ...     keras.Input((8,)), keras.layers.Dense(4), keras.layers.Dense(2)
        ... ])
        >>> apply_freeze_depth(model, 1)
        >>> [layer.trainable for layer in model.layers]
        [False, True]

    See https://keras.io/guides/transfer_learning/.
    """
    outline = Outline(model)
    depth = _resolve(outline, depth)
    trained = {id(layer) for layer in _trained(outline, depth, batch_norm)}
    for container in outline.containers:
        # A frozen container hides the variables of trainable layers within it.
        container.layer.trainable = True
    for leaf in outline.leaves:
        for layer in leaf.parts:
            _set_trainable(layer, id(layer) in trained)
    for container in outline.containers:
        for variable in own_variables(container.layer):
            variable.trainable = id(container.layer) in trained


def default_depths(model: keras.Model, count: int = 5) -> list[int]:
    """Chooses freeze depths worth trying: ends of blocks, spread evenly over the blocks.

    Args:
        model: Any built model.
        count: How many depths, at least 2. Default 5.

    Returns:
        Increasing depths from 0 (everything trains) to the number of layers (head only). Each
        leaves fewer parameters trainable than the one before; fewer than `count` where the
        model has too few blocks.

    Raises:
        ArgumentError: `count` is below 2.

    Example:
        >>> model = keras.applications.VGG16(
        ...     weights=None, include_top=False, input_shape=(32, 32, 3)
        ... )
        >>> default_depths(model, 4)
        [0, 7, 11, 19]
    """
    if not isinstance(count, int) or count < 2:
        raise ArgumentError(f"`count` must be an integer of at least 2. Received: {count!r}.")
    outline = Outline(model)
    ends = [0, *(block.end for block in find_blocks(outline))]
    # Depths that train the same parameters are one choice; the deepest of them stands for it.
    by_parameters = {_count_trained(outline, end): end for end in ends}
    by_parameters[_count_trained(outline, 0)] = 0
    candidates = sorted(by_parameters.values())
    steps = min(count, len(candidates)) - 1
    if steps == 0:
        return candidates
    return [candidates[round(i * (len(candidates) - 1) / steps)] for i in range(steps + 1)]


def shallowest(depths: Iterable[int], head_only: int, keep: int = 3) -> tuple[int, ...]:
    """The smallest depths, without the one at which the head alone trains.

    No rule made from probes chose better depths than this one, see the guide on freeze depth.
    The head alone needs no trial: every training begins with it, and keeps it where the second
    phase made it worse.

    Args:
        depths: Depths to choose from, in layers.
        head_only: Number of layers of the backbone.
        keep: How many, 1 or more. Default 3.

    Returns:
        Up to `keep` depths, increasing.

    Raises:
        ArgumentError: If `keep` is below 1, or there is no depth.

    Example:
        >>> shallowest([0, 36, 81, 116, 154], 154)
        (0, 36, 81)
    """
    if not isinstance(keep, (int, np.integer)) or keep < 1:
        raise ArgumentError(f"Expected keep of 1 or more depths, received {keep!r}.")
    known = sorted(set(depths))
    if not known:
        raise ArgumentError("Expected at least one freeze depth to choose from, received none.")
    return tuple([depth for depth in known if depth < head_only][:keep] or known[-1:])


def describe(
    model: keras.Model, depth: int, *, batch_norm: BatchNorm = "frozen"
) -> FreezeDescription:
    """Says what a freeze depth means, without applying it.

    Args:
        model: Any built model.
        depth: Number of layers, counted from the input, that stay frozen.
        batch_norm: As for `apply_freeze_depth`. Default "frozen".

    Returns:
        The description; `str()` of it is one readable line.

    Raises:
        FreezeDepthError: The depth is outside the model.
        ArgumentError: `batch_norm` is neither "frozen" nor "adapt".

    Example:
        >>> model = keras.applications.VGG16(
        ...     weights=None, include_top=False, input_shape=(32, 32, 3)
        ... )
        >>> print(describe(model, 9))
        9 of 19 layers frozen, up to block3 (partly); 13,569,280 of 14,714,688 parameters train
    """
    outline = Outline(model)
    depth = _resolve(outline, depth)
    last = next((block for block in find_blocks(outline) if block.end >= depth), None)
    return FreezeDescription(
        depth=depth,
        layers=len(outline.leaves),
        block=last.name if last and depth else None,
        partly=bool(last and depth and last.end > depth),
        trainable_parameters=_count_trained(outline, depth, batch_norm),
        total_parameters=model.count_params(),
    )


def _resolve(outline: Outline, freeze_depth: Any) -> int:
    layers = len(outline.leaves)
    allowed = (
        f"Expected a number of layers from 0 to {layers}, a fraction from 0.0 to 1.0, or the name "
        "of a layer or block"
    )
    if isinstance(freeze_depth, str):
        return _resolve_name(outline, freeze_depth)
    if isinstance(freeze_depth, bool) or not isinstance(
        freeze_depth, numbers.Integral | float | np.floating
    ):
        raise FreezeDepthError(
            f"{allowed}. Received: {freeze_depth!r} of type {type(freeze_depth).__name__}."
        )
    if isinstance(freeze_depth, numbers.Integral):
        if 0 <= int(freeze_depth) <= layers:
            return int(freeze_depth)
    elif 0.0 <= freeze_depth <= 1.0:
        return round(float(freeze_depth) * layers)
    raise FreezeDepthError(
        f"Freeze depth {freeze_depth!r} is outside the model. {allowed}; an integer counts layers, "
        "a float is a fraction."
    )


def _resolve_name(outline: Outline, name: str) -> int:
    ends = {block.name: block.end for block in find_blocks(outline)}
    if name in ends:
        return ends[name]
    paths = {leaf.path: index + 1 for index, leaf in enumerate(outline.leaves)}
    paths |= {c.path: c.span.stop for c in outline.containers[1:] if c.span}
    if name in paths:
        return paths[name]
    found = [path for path in paths if path.rpartition("/")[2] == name]
    # Some families of KerasHub name their layers after the model, too.
    found = found or [path for path in paths if path.endswith(f"_{name}")]
    if len(found) == 1:
        return paths[found[0]]
    if found:
        raise FreezeDepthError(
            f"Freeze depth {name!r} names {len(found)} layers. Name one by its path: "
            f"{', '.join(found[:5])}."
        )
    nearest = difflib.get_close_matches(name, dict.fromkeys([*ends, *paths]), n=4, cutoff=0.5)
    hint = f"Nearest: {', '.join(nearest)}. " if nearest else ""
    raise FreezeDepthError(
        f"Freeze depth {name!r} names no layer or block. {hint}Blocks: {', '.join(ends)}."
    )


def _trained(outline: Outline, depth: int, batch_norm: str) -> Iterator[keras.Layer]:
    """Yields the layers whose own variables train at a depth."""
    if batch_norm not in ("frozen", "adapt"):
        raise ArgumentError(f"`batch_norm` must be 'frozen' or 'adapt'. Received: {batch_norm!r}.")
    for leaf in outline.leaves[depth:]:
        for layer in leaf.parts:
            if batch_norm == "adapt" or not isinstance(layer, keras.layers.BatchNormalization):
                yield layer
    for container in outline.containers:
        if container.span.start >= depth:
            yield container.layer


def _set_trainable(layer: keras.Layer, trainable: bool) -> None:
    layer.trainable = trainable
    for variable in own_variables(layer):
        variable.trainable = trainable


def _count_trained(outline: Outline, depth: int, batch_norm: str = "frozen") -> int:
    variables = {
        id(variable): math.prod(variable.shape)
        for layer in _trained(outline, depth, batch_norm)
        for variable in own_variables(layer)
    }
    return sum(variables.values())
