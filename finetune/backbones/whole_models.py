"""Models that this package made, taken apart again: their backbone can be trained once more.

Such a model is the preparation of images, the backbone as one layer, pooling, and a head, see
`finetune.training`. Its names tell it from any other.
"""

from dataclasses import dataclass

import keras

from finetune.backbones.preprocessing import Preprocess
from finetune.compat import calls_of
from finetune.exceptions import ArgumentError

# What a whole model is called, before the name of its backbone; and its last two layers.
FINE_TUNED = "fine_tuned_"
# What is averaged of several has another name, for there is no one backbone in it.
ENSEMBLE = "ensemble_of_"
POOL_LAYER = "pool"
HEAD_LAYER = "head"


@dataclass(frozen=True)
class WholeModel:
    """What a whole model is made of, without pooling and head.

    Attributes:
        name: The backbone's name.
        backbone: From prepared images to what is pooled.
        image_size: Height and width of the images, in pixels.
        preprocess: From 0..255 float pixels to prepared images; None for the same pixels.
    """

    name: str
    backbone: keras.Model
    image_size: tuple[int, int]
    preprocess: Preprocess | None


def take_apart(model: keras.Model) -> WholeModel | None:
    """Finds the backbone in a model that this package made.

    Args:
        model: Any model.

    Returns:
        Its parts, which share their variables with it; None for any other model.

    Raises:
        ArgumentError: If it averages what several models say.

    Example:
        >>> take_apart(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)]))
    """
    if model.name.startswith(ENSEMBLE):
        raise ArgumentError(
            "Expected a model with one backbone to go on from, received an ensemble, which "
            "averages what several say. Search with combine='soup' or 'best'."
        )
    if not model.name.startswith(FINE_TUNED) or not isinstance(model, keras.Function):
        return None
    *before, body, pool, head = [call for call in calls_of(model) if not call.is_input]
    named = (pool.operation.name, head.operation.name) == (POOL_LAYER, HEAD_LAYER)
    if not named or not isinstance(body.operation, keras.Model):
        return None
    preprocess = None
    if before:
        # Going on from a model that went on from another nests no model in models.
        alone = len(before) == 1 and isinstance(before[0].operation, keras.Model)
        preprocess = before[0].operation if alone else keras.Model(model.inputs[0], body.inputs[0])
    return WholeModel(
        model.name.removeprefix(FINE_TUNED), body.operation, model.input_shape[1:3], preprocess
    )
