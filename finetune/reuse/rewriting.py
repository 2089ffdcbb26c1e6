"""A model that computes its outputs by other calls over the same layers."""

from collections.abc import Callable, Mapping
from typing import Any

import keras

from finetune.reuse.graph import ends


def rewrite(
    model: keras.Model, flat: keras.Model, replacements: Mapping[int, Callable[..., Any]]
) -> keras.Model:
    """Makes a model call other operations in the place of some of its layers.

    Args:
        model: A functional or sequential model.
        flat: The same without models within it, see `flatten`.
        replacements: What to call, by the `id` of the layer that it stands for. It takes what
            the layer takes.

    Returns:
        A model with the same inputs, outputs, layers and variables, in the same order; `model`
        itself where there is nothing to replace.
    """
    if not replacements:
        return model

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        return replacements.get(id(operation), operation)(*args, **kwargs)

    # A compiled model would have its clone compiled too: clone the bare graph.
    graph = keras.models.clone_model(
        keras.Model(*ends(flat)), clone_function=lambda layer: layer, call_function=call
    )
    return RewrittenModel(*ends(model), graph, name=model.name)


class RewrittenModel(keras.Model):
    """A functional model that computes its outputs by another graph over the same layers.

    Args:
        inputs: Inputs of the model.
        outputs: Outputs of the model.
        graph: The model that is run instead.
        name: Name of the model.

    Attributes:
        get_graph: Returns the model that is run.
    """

    def __init__(self, inputs: Any, outputs: Any, graph: keras.Model, *, name: str) -> None:
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        # Keras would count the layers of a model that it finds in an attribute a second time.
        self.get_graph = lambda: graph

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Runs the other graph."""
        return self.get_graph()(inputs, training=training)
