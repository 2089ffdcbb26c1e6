"""Several trained states of one model as one: their weights averaged, or what they say."""

from collections.abc import Sequence

import keras
import numpy as np

from finetune.backbones import ENSEMBLE
from finetune.reuse import CannotSplit, split
from finetune.support import assign, values_of
from finetune.training.head import Head
from finetune.training.shared import SharedBackbone

Values = Sequence[np.ndarray]

# The layer that averages what members say.
MEAN_LAYER = "mean"


def average(states: Sequence[Values]) -> list[np.ndarray]:
    """The mean of each variable over several states of one model: a model soup.

    Args:
        states: Values of the model's variables. What is no number of its own, such as the state of
            a random generator, is that of the first.

    Returns:
        Values of all variables, of the same types.

    Example:
        >>> average([[np.float32([1, 2])], [np.float32([3, 4])]])
        [array([2., 3.], dtype=float32)]

    Source: M. Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models
    improves accuracy without increasing inference time" (2022).
    """
    return [
        np.mean([np.asarray(value, "float64") for value in values], axis=0).astype(values[0].dtype)
        if values[0].dtype.kind in "fV"  # V: bfloat16
        else values[0]
        for values in zip(*states, strict=True)
    ]


def ensemble(
    shared: SharedBackbone, head: Head, depth: int, states: Sequence[Values]
) -> keras.Model:
    """One model that averages what several states of a model say of an image.

    What they have in common is run once: the layers before the deepest cut at or before `depth`.

    Args:
        shared: The backbone; its model ends with the weights that it has now.
        head: What is on top.
        depth: Number of layers, from the input, that hold the pretrained weights in all states.
        states: Values of the whole model's variables.

    Returns:
        A model of Keras' own layers and those of the backbone, with weights of its own; from
        float pixels 0..255 to the mean of the predictions.
    """
    whole = shared.assembly(head).model
    now = values_of(whole.variables)
    trunk, rest = _parts(shared, head, depth)
    pixels = keras.Input(whole.input_shape[1:], name="pixels")
    said = []
    try:
        assign(whole.variables, states[0])
        common = _copy(trunk, "trunk")(pixels)
        for number, values in enumerate(states):
            assign(whole.variables, values)
            said.append(_copy(rest, f"member_{number}")(common))
    finally:
        assign(whole.variables, now)
    mean = keras.layers.Average(name=MEAN_LAYER)(said)
    return keras.Model(pixels, mean, name=f"{ENSEMBLE}{shared.backbone.name}")


def _parts(shared: SharedBackbone, head: Head, depth: int) -> tuple[keras.Model, keras.Model]:
    """The layers that all states have in common, and the others, with pooling and head."""
    assembly = shared.assembly(head)
    pixels = keras.Input(assembly.model.input_shape[1:])
    prepared = assembly.prepare(pixels)
    try:
        cuts = [*shared.frozen.cuts(depth).values()] if depth else []
    except CannotSplit:
        cuts = []
    if not cuts:
        trunk, body = keras.Model(pixels, prepared), assembly.backbone.model
        inputs = [keras.Input(tensor.shape[1:], dtype=tensor.dtype) for tensor in body.inputs]
    else:
        before, body = split(shared.frozen.flat, cuts[-1].tensors)
        trunk = keras.Model(pixels, before(prepared))
        inputs = [keras.Input(one.shape[1:], dtype=one.dtype) for one in cuts[-1].tensors]
    crossing = inputs[0] if len(inputs) == 1 else inputs
    return trunk, keras.Model(crossing, assembly.classifier(assembly.pool(body(crossing))))


def _copy(model: keras.Model, name: str) -> keras.Model:
    """The same model with weights of its own."""
    graph = keras.Model(model.input, model.output, name=name)
    copy = keras.models.clone_model(graph)
    copy.set_weights(graph.get_weights())
    return copy
