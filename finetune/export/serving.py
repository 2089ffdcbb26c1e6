"""The one function that all exports are made of: from pixels to calibrated probabilities."""

from typing import Any

import tensorflow as tf

from finetune import __version__
from finetune.compat import with_constants
from finetune.exceptions import ExportError
from finetune.model import FineTunedModel, ModelCard

PIXELS = "pixels"
# What is written of a model into its file, or beside it where the format has no place for it.
METADATA = "finetune.json"


def answer_name(card: ModelCard) -> str:
    """The name of the output: "probabilities", or "values" for regression."""
    return "values" if card.task == "regression" else "probabilities"


def as_function(model: FineTunedModel) -> Any:
    """A model as a function of TensorFlow's that holds its weights as constants.

    Its input "pixels" is float32 (any number of images, height, width, 3), RGB 0..255, at the
    model's size: resizing stays outside, for formats differ in what they can express. Its output is
    float32 with a column for each class, also where the model has a single unit for two classes.

    Args:
        model: In float32.

    Returns:
        A `tf.function` with one signature; it gives a dictionary with the one output.
    """
    card = model.card
    signature = [tf.TensorSpec((None, *card.image_size, 3), tf.float32, name=PIXELS)]

    def whole(pixels: Any) -> Any:
        said = tf.cast(model.keras_model(pixels, training=False), tf.float32)
        return tf.concat([1 - said, said], axis=1) if card.task == "binary" else said

    traced = tf.function(whole, input_signature=signature, autograph=False)
    fixed = with_constants(traced.get_concrete_function())
    name = answer_name(card)
    return tf.function(
        lambda pixels: {name: fixed(pixels)[0]}, input_signature=signature, autograph=False
    )


def metadata(card: ModelCard) -> dict[str, Any]:
    """What has to be known to use an exported file, as JSON can hold it."""
    return {
        "task": card.task,
        "class_names": list(card.class_names),
        "image_size": list(card.image_size),
        "resize": card.resize,
        "temperature": card.temperature,
        "input": "RGB pixels 0..255, float32 (images, height, width, 3)",
        "finetune": __version__,
    }


def cannot_express(what: str, error: Exception) -> ExportError:
    """The error for a model that a format has no words for, with the reason in a line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if line.startswith(("Custom ops:", "Flex ops:"))]  # LiteRT's
    reason = next(iter([*named, *lines]), type(error).__name__).rstrip(".")
    return ExportError(
        f"Expected a model that {what} can express, received one with something else ({reason}). "
        "Choose another format; 'savedmodel' takes every model."
    )
