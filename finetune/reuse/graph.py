"""Models as graphs: the calls of layers that make up a functional or sequential model."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import keras

from finetune.backbones import open_stack
from finetune.compat import is_from_keras


class CannotSplit(Exception):
    """The model has to be trained whole; `reason` says why in one line."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def flatten(model: keras.Model) -> keras.Model:
    """Inlines the functional and sequential models within a model, and stacks of blocks.

    Args:
        model: A functional or sequential model.

    Returns:
        A functional model over the same layers, hence the same variables; `model` itself where
        there is nothing to inline.

    Raises:
        CannotSplit: The model is subclassed, not built, or inlining would bring together two
            layers of one name.

    Example:
        >>> inner = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, name="inner")])
        >>> model = keras.Sequential([keras.Input((8,)), inner, keras.layers.Dense(2, name="top")])
        >>> [layer.name for layer in flatten(model).layers[1:]]
        ['inner', 'top']
    """
    require_graph(model)
    # Equal names in several stacks of blocks are common: these stay whole.
    stacks = not _repeated_names(model, stacks=True)
    repeated = [] if stacks else _repeated_names(model, stacks=False)
    if repeated:
        raise CannotSplit(f"more than one layer is named '{repeated[0]}'")
    flat = keras.Model(*ends(model)) if isinstance(model, keras.Sequential) else model
    while any(is_graph(layer) or (stacks and open_stack(layer)) for layer in flat.layers):
        # A compiled model would have its clone compiled too: clone the bare graph.
        flat = keras.models.clone_model(
            keras.Model(*ends(flat), name=model.name),
            clone_function=lambda layer: layer,
            call_function=partial(_inline, stacks),
        )
    return flat


def is_graph(layer: Any) -> bool:
    """Whether the layer is a model that computes exactly what its graph says."""
    if not isinstance(layer, (keras.Function, keras.Sequential)):
        return False
    if isinstance(layer, keras.Sequential) and not layer.built:
        return False
    owner = next(cls for cls in type(layer).__mro__ if "call" in vars(cls))
    return is_from_keras(owner)


def ends(model: keras.Model) -> tuple[Any, Any]:
    """Inputs and outputs in the structure in which the model is called."""
    if isinstance(model, keras.Sequential):
        return model.inputs[0], model.outputs[0]
    return model.input, model.output


def require_graph(model: keras.Model) -> None:
    """Raises `CannotSplit` unless the model is a graph."""
    if not is_graph(model):
        raise CannotSplit(
            f"'{model.name}' ({type(model).__name__}) is not a functional or sequential model"
        )


def _repeated_names(model: Any, *, stacks: bool) -> list[str]:
    names = Counter(operation.name for operation in _operations(model, stacks))
    return sorted(name for name, count in names.items() if count > 1)


def _operations(model: Any, stacks: bool) -> Iterator[Any]:
    """The operations that inlining leaves, each once per model or stack that holds it."""
    for operation in keras.Function(*ends(model)).operations:
        if is_graph(operation):
            for inner in _operations(operation, stacks):
                if not isinstance(inner, keras.layers.InputLayer):
                    yield inner
        else:
            yield from _blocks_of(operation) if stacks else [operation]


def _blocks_of(operation: Any) -> Iterator[Any]:
    blocks = open_stack(operation)
    for block in blocks:
        yield from _blocks_of(block)
    if not blocks:
        yield operation


def _inline(stacks: bool, layer: Any, *args: Any, **kwargs: Any) -> Any:
    """Calls a layer, or the layers of a model or stack, on symbolic tensors."""
    if is_graph(layer):
        _, outputs = ends(layer)
        return keras.Function(layer.inputs, outputs).call(keras.tree.flatten(args))
    return (layer.call if stacks and open_stack(layer) else layer)(*args, **kwargs)
