"""What may be given to be classified: files, pictures of Pillow's, arrays."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
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

# Images that are in memory at a time, and as many again that are read ahead.
_PIECE = 128


@dataclass(frozen=True)
class Pictures:
    """Images as a model takes them.

    Args:
        names: Their paths, or their numbers among those given.
        pixels: uint8 (n, height, width, 3).
        skipped: Files that could not be read.
    """

    names: list[str]
    pixels: np.ndarray
    skipped: tuple[SkippedFile, ...] = ()


def find_pictures(images: Any) -> Sequence[Any]:
    """Look up which files are meant.

    Args:
        images: See `FineTunedModel.predict`.

    Returns:
        The pictures one by one, with paths of files in the place of folders and patterns.

    Raises:
        DataError: If a path does not exist, or it is nothing that can be read.
    """
    paths = _paths(images)
    return _one_by_one(images) if paths is None else find_images(paths)


def read_pictures(
    pictures: Sequence[Any], image_size: tuple[int, int], resize: str
) -> Iterator[Pictures]:
    """Reads images a piece at a time, the next one while what was read is worked on.

    Args:
        pictures: Paths of files; or images (h, w, 3), and pictures. See `find_pictures`.
        image_size: (height, width) in pixels.
        resize: How other sizes are brought to it: "crop", "pad" or "squash".

    Raises:
        DataError: If a picture cannot be read; files that cannot be are listed.
    """
    arrays = [picture.ravel() for picture in pictures if isinstance(picture, np.ndarray)]
    if arrays:
        check_pixels(np.concatenate(arrays))

    def read(first: int) -> Pictures:
        some = pictures[first : first + _PIECE]
        if _is_path(some[0]):
            pixels, skipped = read_images(some, image_size, resize)
            lost = {file.path for file in skipped}
            names = [str(file) for file in some if str(file) not in lost]
            return Pictures(names, pixels, tuple(skipped))
        sized = [
            resize_pixels(to_uint8(picture), image_size, resize)
            if isinstance(picture, np.ndarray)
            else read_image(picture, image_size, resize)
            for picture in some
        ]
        return Pictures([str(first + number) for number in range(len(some))], np.stack(sized))

    with ThreadPoolExecutor(1) as ahead:
        waiting: deque[Future[Pictures]] = deque()
        for first in range(0, len(pictures), _PIECE):
            waiting.append(ahead.submit(read, first))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def read_all(images: Any, image_size: tuple[int, int], resize: str) -> np.ndarray:
    """All images that can be read, in one array.

    Raises:
        DataError: If there is none, or one is something else.
    """
    found = read_pictures(find_pictures(images), image_size, resize)
    pieces = [some.pixels for some in found]
    if not sum(map(len, pieces)):
        raise DataError("Expected at least one readable image, received none.")
    return np.concatenate(pieces)


def _paths(images: Any) -> list[Any] | None:
    """The paths that were given, also as a column of a table; None where they are none."""
    if _is_path(images):
        return [images]
    if not isinstance(images, Sequence):
        array = None if isinstance(images, Image.Image) else _array(images)
        if array is None or array.ndim != 1 or array.dtype.kind not in "OU" or not array.size:
            return None
        images = array.tolist()
    return [*images] if all(map(_is_path, images)) else None


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
