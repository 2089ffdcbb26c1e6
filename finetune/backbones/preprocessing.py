"""How images are prepared: from 0..255 pixels to what a backbone was trained on."""

import json
from collections.abc import Callable
from typing import Any

import keras

from finetune.exceptions import PreprocessingError

Preprocess = Callable[[Any], Any]

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STDDEV = (0.229, 0.224, 0.225)
_IMAGENET_MEAN_BGR = (103.939, 116.779, 123.68)


def scale_symmetric(pixels: Any) -> Any:
    """Mode "tf": scales pixels to -1..1.

    Args:
        pixels: Tensor or `KerasTensor` (batch, height, width, 3), RGB, 0..255.

    Returns:
        A tensor of the same shape.

    Example:
        >>> import numpy as np
        >>> float(scale_symmetric(np.full((1, 1, 1, 3), 255.0))[0, 0, 0, 0])
        1.0
    """
    return keras.layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)


def standardize(pixels: Any) -> Any:
    """Mode "torch": scales pixels to 0..1, then standardizes each channel by ImageNet's.

    Args:
        pixels: Tensor or `KerasTensor` (batch, height, width, 3), RGB, 0..255.

    Returns:
        A tensor of the same shape.

    Example:
        >>> import numpy as np
        >>> round(float(standardize(np.zeros((1, 1, 1, 3)))[0, 0, 0, 0]), 3)
        -2.118
    """
    scale = [1 / (255 * stddev) for stddev in IMAGENET_STDDEV]
    offset: Any = [
        -mean / stddev for mean, stddev in zip(_IMAGENET_MEAN, IMAGENET_STDDEV, strict=True)
    ]
    return keras.layers.Rescaling(scale, offset=offset)(pixels)


def center_bgr(pixels: Any) -> Any:
    """Mode "caffe": RGB to BGR, then each channel minus ImageNet's mean, without scaling.

    Args:
        pixels: Tensor or `KerasTensor` (batch, height, width, 3), RGB, 0..255.

    Returns:
        A tensor of the same shape.

    Example:
        >>> import numpy as np
        >>> round(float(center_bgr(np.zeros((1, 1, 1, 3)))[0, 0, 0, 0]), 3)
        -103.939
    """
    offset: Any = [-mean for mean in _IMAGENET_MEAN_BGR]
    return keras.layers.Rescaling(1.0, offset=offset)(keras.ops.flip(pixels, axis=-1))


def identity(pixels: Any) -> Any:
    """Hands the pixels over as they are: the backbone prepares them itself.

    Args:
        pixels: Tensor or `KerasTensor` (batch, height, width, 3), RGB, 0..255.

    Returns:
        The same tensor.

    Example:
        >>> identity("pixels")
        'pixels'
    """
    return pixels


MODES: dict[str, Preprocess] = {"tf": scale_symmetric, "torch": standardize, "caffe": center_bgr}


def resolve_preprocess(preprocess: Any, image_size: tuple[int, int]) -> Preprocess:
    """Turns what a user gave as `preprocess` into a function on Keras tensors, and tries it.

    Args:
        preprocess: A mode ("tf", "torch" or "caffe"; the modes of
            `keras.applications.imagenet_utils.preprocess_input`), a Keras layer, a
            function on Keras tensors, or None for no preparation at all.
        image_size: Height and width of the images, in pixels.

    Returns:
        A function from 0..255 pixels to prepared images. It is made of Keras layers and
        operations only, so that a saved model holds it and plain Keras can load it.

    Raises:
        PreprocessingError: The mode is unknown, the function cannot be applied to Keras
            tensors, changes the images' shape, or cannot be saved.

    Example:
        >>> resolve_preprocess("caffe", (32, 32)).__name__
        'center_bgr'
    """
    if preprocess is None:
        return identity
    if isinstance(preprocess, str):
        if preprocess not in MODES:
            raise PreprocessingError(
                f"Unknown preprocess mode {preprocess!r}. Expected one of "
                f"{', '.join(repr(mode) for mode in MODES)}, a Keras layer, a function on Keras "
                "tensors, or None (the model takes 0..255 pixels as they are)."
            )
        return MODES[preprocess]
    if not callable(preprocess):
        raise PreprocessingError(
            "`preprocess` must be a mode name, a Keras layer, a function on Keras tensors, or "
            f"None. Received: {preprocess!r} of type {type(preprocess).__name__}."
        )
    _check_applies(preprocess, image_size)
    return preprocess


def prepared(preprocess: Preprocess, pixels: Any) -> Any:
    """The prepared images as the output of a model whose input are the pixels."""
    images = preprocess(pixels)
    # Keras 3.12 makes no model of a tensor that is input and output at once.
    return keras.layers.Identity()(pixels) if images is pixels else images


def _check_applies(preprocess: Preprocess, image_size: tuple[int, int]) -> None:
    """Applies `preprocess` to symbolic images and takes the result through a save and load."""
    pixels: Any = keras.Input((*image_size, 3))
    try:
        prepared = preprocess(pixels)
    except Exception as error:
        raise PreprocessingError(
            "`preprocess` cannot be applied to Keras tensors. Expected a function made of Keras "
            "layers and `keras.ops`, so that it can become part of the saved model. It raised "
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        ) from error
    if not keras.utils.is_keras_tensor(prepared) or prepared.shape != pixels.shape:
        raise PreprocessingError(
            f"`preprocess` must return one tensor of the images' own shape {pixels.shape}. "
            f"Received: {getattr(prepared, 'shape', prepared)!r}."
        )
    try:
        config = keras.saving.serialize_keras_object(keras.Model(pixels, prepared))
        keras.saving.deserialize_keras_object(json.loads(json.dumps(config)), safe_mode=True)
    except Exception as error:
        raise PreprocessingError(
            "`preprocess` cannot be saved with the model and loaded again in safe mode. Use Keras' "
            "own layers and `keras.ops` (no Lambda layer), and register layers of your own with "
            f"`keras.saving.register_keras_serializable`. Keras says: {error}"
        ) from error
