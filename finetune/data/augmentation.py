"""Augmentation of training images: made of Keras' own layers, applied in the data pipeline."""

import threading

import keras
import numpy as np

from finetune.compat import seed_generators
from finetune.exceptions import ArgumentError

AUGMENTATIONS = ("none", "flip", "light", "strong")

# Batches that were read ahead may still be on their way when the next training begins.
_DRAWING = threading.Lock()


def resolve_augment(augment: str | keras.Layer | None, seed: int = 0) -> keras.Layer | None:
    """Returns the layer that augments batches of images.

    Args:
        augment: "none" (or None); "flip": mirrored left to right, every other image, where left
            and right mean the same (not digits); "light": that, shifts up to 5%, turns up to 7
            degrees, zoom up to 10%; "strong": twice as much of each, and brightness and contrast
            changed by up to 20%; or a Keras layer for float images 0..255.
        seed: Makes the draws repeatable. A layer that is given keeps its own.

    Returns:
        A layer to be called with `training=True`, or None if nothing is changed. A named one is a
        new layer in each call, so that it starts from the seed again.

    Raises:
        ArgumentError: If it is none of these.

    Example:
        >>> resolve_augment("none") is None
        True
        >>> [type(layer).__name__ for layer in resolve_augment("light").layers]
        ['RandomFlip', 'RandomTranslation', 'RandomRotation', 'RandomZoom']
    """
    if isinstance(augment, keras.Layer):
        return augment
    if augment is None or augment == "none":
        return None
    if augment == "flip":
        return keras.Sequential(_geometry(1.0, seed)[:1], name="augment_flip")
    if augment == "light":
        return keras.Sequential(_geometry(1.0, seed), name="augment_light")
    if augment == "strong":
        color: list[keras.Layer] = [
            keras.layers.RandomBrightness(0.2, value_range=(0, 255), seed=seed + 4),
            keras.layers.RandomContrast(0.2, value_range=(0, 255), seed=seed + 5),
        ]
        return keras.Sequential(_geometry(2.0, seed) + color, name="augment_strong")
    raise ArgumentError(
        f"Expected augment to be one of {AUGMENTATIONS} or a Keras layer, received {augment!r}."
    )


def augment_batch(augment: keras.Layer, pixels: np.ndarray, *key: int) -> np.ndarray:
    """Augments a batch; what is drawn is a function of the layer's seeds and the key alone.

    So the augmentation of an epoch does not depend on what was drawn before: not on trials that
    were trained on the same images, and not on whether training has been resumed in between.

    Args:
        augment: The layer. Generators of Keras' in it are set to the key; what it draws elsewhere
            (such as `tf.random`) cannot be.
        pixels: Images 0..255, (n, height, width, 3).
        *key: Numbers of 0 or more that tell the batch apart from others, such as seed and epoch.

    Returns:
        The images.

    Example:
        >>> pixels = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype("float32")
        >>> augment = resolve_augment("light")
        >>> first, second, again = (augment_batch(augment, pixels, n) for n in (1, 2, 1))
        >>> np.array_equal(first, again), np.array_equal(first, second)
        (True, False)
    """
    with _DRAWING:
        for number, generator in enumerate(seed_generators(augment)):
            seed = generator.get_config()["seed"]
            # One without a seed of its own draws by its place.
            own = (number, -1) if seed is None else (number, seed)
            state = np.random.default_rng([value % 2**64 for value in (*own, *key)])
            generator.state.assign(state.integers(0, 2**31, 2))
        return np.asarray(augment(pixels, training=True))


def _geometry(strength: float, seed: int) -> list[keras.Layer]:
    shift, turn, zoom = 0.05 * strength, 0.02 * strength, 0.1 * strength
    return [
        keras.layers.RandomFlip("horizontal", seed=seed),
        keras.layers.RandomTranslation(shift, shift, fill_mode="nearest", seed=seed + 1),
        keras.layers.RandomRotation(turn, fill_mode="nearest", seed=seed + 2),
        keras.layers.RandomZoom(zoom, fill_mode="nearest", seed=seed + 3),
    ]
