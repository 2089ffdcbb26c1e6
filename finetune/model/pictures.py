"""What may be given to be classified: files, pictures of Pillow's, arrays."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from finetune.data import (
    SkippedFile,
    check_pixels,
    find_images,
    read_image,
    read_images,
    resize_pixels,
    to_uint8,
)
from finetune.exceptions import DataError

_EXPECTED = (
    "Expected paths of image files or folders, pictures of PIL, or arrays of shape (height, width, "
    "3) with pixels 0..255"
)


def read_pictures(
    images: Any, image_size: tuple[int, int], resize: str
) -> tuple[list[str], np.ndarray, tuple[SkippedFile, ...]]:
    """Makes one array of whatever was given.

    Args:
        images: A path or several; or a picture, an image (h, w, 3) or several of them, also
            (n, h, w, 3).
        image_size: (height, width) in pixels.
        resize: How other sizes are brought to it: "crop", "pad" or "squash".

    Returns:
        The paths, or the numbers of the images; uint8 pixels (n, height, width, 3); and the
        files that could not be read.

    Raises:
        DataError: If it is something else, or a picture cannot be read.
    """
    if _is_path(images):
        images = [images]
    if isinstance(images, Sequence) and all(map(_is_path, images)):
        files = find_images(images)
        pixels, skipped = read_images(files, image_size, resize)
        lost = {str(file.path) for file in skipped}
        return [str(file) for file in files if str(file) not in lost], pixels, tuple(skipped)
    pictures = _one_by_one(images)
    if not pictures:
        return [], np.empty((0, *image_size, 3), np.uint8), ()
    arrays = [picture.ravel() for picture in pictures if isinstance(picture, np.ndarray)]
    if arrays:
        check_pixels(np.concatenate(arrays))
    sized = [
        resize_pixels(to_uint8(picture), image_size, resize)
        if isinstance(picture, np.ndarray)
        else read_image(picture, image_size, resize)
        for picture in pictures
    ]
    return [str(number) for number in range(len(sized))], np.stack(sized), ()


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike))


def _one_by_one(images: Any) -> list[np.ndarray | Image.Image]:
    """Each image by itself, its shape checked."""
    if isinstance(images, Image.Image):
        return [images]
    if not isinstance(images, Sequence):
        array = _array(images)
        if array is None or array.ndim not in (3, 4):
            shape = "" if array is None or not array.ndim else f" of shape {array.shape}"
            raise DataError(f"{_EXPECTED}, received {type(images).__name__}{shape}.")
        images = [array] if array.ndim == 3 else [*array]
    return [_checked(image, number) for number, image in enumerate(images)]


def _checked(image: Any, number: int) -> np.ndarray | Image.Image:
    if isinstance(image, Image.Image):
        return image
    array = None if _is_path(image) else _array(image)
    if array is None or not array.ndim:
        raise DataError(f"{_EXPECTED}, received {type(image).__name__} as number {number}.")
    if array.ndim != 3 or array.shape[-1] != 3 or not array.size:
        raise DataError(f"{_EXPECTED}, received one of shape {array.shape} as number {number}.")
    return array


def _array(value: Any) -> np.ndarray | None:
    """As an array; None where its parts have several shapes."""
    try:
        return np.asarray(value)
    except ValueError:
        return None
