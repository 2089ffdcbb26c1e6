"""Models as graphs: the calls of layers that make up a functional or sequential model."""

from collections.abc import Iterator
from typing import Any

import keras

from finetune.compat import is_from_keras


class CannotSplit(Exception):
    """The model has to be trained whole; `reason` says why in one line."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def flatten(model: keras.Model) -> keras.Model:
    """Inlines the functional and sequential models within a model.

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
    names = [operation.name for operation in _operations(model)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise CannotSplit(f"more than one layer is named '{repeated[0]}'")
    flat = keras.Model(*ends(model)) if isinstance(model, keras.Sequential) else model
    while any(is_graph(layer) for layer in flat.layers):
        # A compiled model would have its clone compiled too: clone the bare graph.
        flat = keras.models.clone_model(
            keras.Model(*ends(flat), name=model.name),
            clone_function=lambda layer: layer,
            call_function=_inline,
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


def _operations(model: Any) -> Iterator[Any]:
    """The operations that inlining leaves, each once per model that holds it."""
    for operation in keras.Function(*ends(model)).operations:
        if is_graph(operation):
            for inner in _operations(operation):
                if not isinstance(inner, keras.layers.InputLayer):
                    yield inner
        else:
            yield operation


def _inline(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """Calls a layer, or the layers of a model, on symbolic tensors."""
    if not is_graph(layer):
        return layer(*args, **kwargs)
    _, outputs = ends(layer)
    return keras.Function(layer.inputs, outputs).call(keras.tree.flatten(args))
