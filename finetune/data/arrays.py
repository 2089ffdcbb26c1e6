"""Arrays of images and labels."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from finetune.data.items import Item, Part, Source
from finetune.exceptions import DataError


def from_arrays(images: Any, labels: Any, name: str = "train") -> Source:
    """Makes a source of (images, labels) arrays.

    Args:
        images: Pixels 0..255, integers or floats, of shape (n, h, w), (n, h, w, 1),
            (n, h, w, 3) or (n, h, w, 4). Floats are rounded.
        labels: n labels; see `encode_labels`.
        name: Which split they are; images get ids such as "train/17".

    Returns:
        The source.

    Raises:
        DataError: If shapes, lengths or the range of the pixels do not fit.

    Example:
        >>> source = from_arrays(np.zeros((2, 8, 8), np.uint8), [0, 1])
        >>> source.parts["train"].count
        2
    """
    pixels, targets = np.asarray(images), np.asarray(labels)
    if pixels.ndim not in (3, 4) or (pixels.ndim == 4 and pixels.shape[-1] not in (1, 3, 4)):
        raise DataError(
            "Images must have the shape (n, h, w) or (n, h, w, channels) with 1, 3 or 4 channels, "
            f"got {pixels.shape}."
        )
    if targets.ndim == 0 or len(pixels) != len(targets):
        count = "a single one" if targets.ndim == 0 else str(len(targets))
        raise DataError(f"Expected one label per image: {len(pixels)} images, {count} labels.")
    if not pixels.size:
        raise DataError(f"There are no images: the array has the shape {pixels.shape}.")
    check_pixels(pixels)

    def items() -> Iterator[Item]:
        for number, (image, label) in enumerate(zip(pixels, targets, strict=True)):
            if image.dtype.kind == "f":
                image = np.rint(image)
            yield Item(f"{name}/{number}", image.astype(np.uint8, copy=False), label)

    return Source({"train": Part(len(pixels), items())})


def check_pixels(pixels: np.ndarray) -> None:
    """Refuses pixels that are not 0..255.

    Args:
        pixels: Array of any shape.

    Raises:
        DataError: If they are not numbers, not finite, outside 0..255, or look like 0..1.

    Example:
        >>> check_pixels(np.array([0.0, 0.5]))
        Traceback (most recent call last):
        finetune.exceptions.DataError: Pixels must be 0..255, but all lie within 0..1. ...
    """
    if pixels.dtype == np.uint8:
        return
    if pixels.dtype.kind not in "iufb":
        raise DataError(f"Pixels must be numbers 0..255, got an array of {pixels.dtype}.")
    low, high = pixels.min(), pixels.max()
    if not np.isfinite(low) or not np.isfinite(high):
        raise DataError("Some pixels are NaN or infinite; pixels must be 0..255.")
    if low < 0 or high > 255:
        raise DataError(
            f"Pixels must be 0..255, got {low:g}..{high:g}. Scale them back to 0..255: the model "
            "prepares images itself, as its backbone needs them."
        )
    if pixels.dtype.kind in "fb" and high <= 1:
        raise DataError(
            "Pixels must be 0..255, but all lie within 0..1. Multiply them by 255: the model "
            "prepares images itself, as its backbone needs them."
        )
