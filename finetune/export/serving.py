"""The one function that all exports are made of: from pixels to calibrated probabilities."""

from typing import Any

import tensorflow as tf

from finetune import __version__
from finetune.compat import with_constants
from finetune.exceptions import ExportError
from finetune.model import FineTunedModel, ModelCard, PredictionSets, with_all_maps

PIXELS = "pixels"
# The second output of an export that has one.
MAPS = "activation_maps"
# What is written of a model into its file, or beside it where the format has no place for it.
METADATA = "finetune.json"
# Those that people ask for; a file holds no images to work out others.
_COVERAGES = (0.8, 0.9, 0.95, 0.99)


def answer_name(card: ModelCard) -> str:
    """The name of the output: "probabilities", or "values" for regression."""
    return "values" if card.task == "regression" else "probabilities"


def as_function(model: FineTunedModel, activation_map: bool = False) -> Any:
    """A model as a function of TensorFlow's that holds its weights as constants.

    Its input "pixels" is float32 (any number of images, height, width, 3), RGB 0..255, at the
    model's size: resizing stays outside, for formats differ in what they can express. Its output is
    float32 with a column for each class, also where the model has a single unit for two classes.

    Args:
        model: In float32.
        activation_map: Whether it gives "activation_maps", too: float32 (images, rows, columns,
            classes), how much each place speaks for each class.

    Returns:
        A `tf.function` with one signature; it gives a dictionary of its outputs.

    Raises:
        ArgumentError: If the model has no such maps in closed form.
    """
    card = model.card
    network, names = model.keras_model, [answer_name(card)]
    mapped = with_all_maps(network, card.task) if activation_map else None
    if mapped is not None:
        names.append(MAPS)
    signature = [tf.TensorSpec((None, *card.image_size, 3), tf.float32, name=PIXELS)]

    def whole(pixels: Any) -> list[Any]:
        said, *maps = mapped(pixels) if mapped else [network(pixels, training=False)]
        said = tf.cast(said, tf.float32)
        return [tf.concat([1 - said, said], axis=1) if card.task == "binary" else said, *maps]

    traced = tf.function(whole, input_signature=signature, autograph=False)
    fixed = with_constants(traced.get_concrete_function())
    return tf.function(
        lambda pixels: dict(zip(names, fixed(pixels), strict=True)),
        input_signature=signature,
        autograph=False,
    )


def metadata(card: ModelCard) -> dict[str, Any]:
    """What has to be known to use an exported file, as JSON can hold it."""
    return {
        "task": card.task,
        "class_names": list(card.class_names),
        "image_size": list(card.image_size),
        "resize": card.resize,
        "temperature": card.temperature,
        "least_probability": None if card.sets is None else _least(card.sets),
        "input": "RGB pixels 0..255, float32 (images, height, width, 3)",
        "finetune": __version__,
    }


def _least(sets: PredictionSets) -> dict[str, float]:
    """For some coverages the probability from which on a class is in an image's set."""
    promised = [coverage for coverage in _COVERAGES if coverage <= sets.most_coverage]
    return {f"{coverage:g}": sets.least(coverage) for coverage in promised}


def cannot_express(what: str, error: Exception) -> ExportError:
    """The error for a model that a format has no words for, with the reason in a line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if line.startswith(("Custom ops:", "Flex ops:"))]  # LiteRT's
    reason = next(iter([*named, *lines]), type(error).__name__).rstrip(".")
    return ExportError(
        f"Expected a model that {what} can express, received one with something else ({reason}). "
        "Choose another format; 'savedmodel' takes every model."
    )
