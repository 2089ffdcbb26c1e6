"""Arrays of images and labels."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from finetune.data.items import Item, Part, Source
from finetune.data.labels import as_labels
from finetune.data.pixels import check_pixels, to_uint8
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
    try:
        pixels = np.asarray(images)
    except ValueError as error:
        raise DataError("The images are of different sizes: give an array of one size.") from error
    targets = as_labels(labels)
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
            yield Item(f"{name}/{number}", to_uint8(image), label)

    return Source({"train": Part(len(pixels), items())})
