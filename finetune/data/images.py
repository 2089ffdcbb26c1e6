"""One decoder for all images: from a file, its bytes, a picture or an array to upright RGB pixels.

Training, prediction on files and TFDS all read images here, so an image looks the same to
the model wherever it came from. Nothing in this module needs TensorFlow.
"""

import contextlib
import hashlib
import io
import itertools
import os
import stat
import struct
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import ExifTags, Image

from finetune.data.pixels import check_image_size, check_resize, resize_image, resize_pixels, to_rgb
from finetune.data.room import Room
from finetune.exceptions import UnreadableImageError
from finetune.support import in_one_line

# EPS would start Ghostscript, whatever suffix the file carries.
_UNSAFE_FORMATS = frozenset({"EPS", "PDF", "WMF"})

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Images handed to the threads at a time: bounds memory, keeps every core busy.
_CHUNK = 128

# No image that Pillow lets pass is larger as a file: 3 bytes for each of its pixels.
_LARGEST_FILE = 512 * 2**20

# What all threads may hold at a time. A pixel takes up to 8 bytes while it is decoded: one gigabyte
# for small images and large ones alike, and no thread waits for photos of ordinary size.
_BYTES = Room(_LARGEST_FILE)
_PIXELS = Room(2**27)

Payload: TypeAlias = "str | os.PathLike[str] | bytes | np.ndarray | Image.Image"


@dataclass(frozen=True)
class SkippedFile:
    """An image that could not be read, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        return in_one_line(f"{self.path}: {self.reason}")


def read_image(
    source: Payload, image_size: int | tuple[int, int], resize: str = "pad"
) -> np.ndarray:
    """Reads one image as upright RGB pixels of a given size.

    Whatever the file holds ends the same way: the first frame, turned as its EXIF orientation
    says, transparency laid on white, 16 bits scaled to 8, and resized with antialiasing.

    Args:
        source: A path, the bytes of a file, a PIL picture, or uint8 pixels of shape (h, w),
            (h, w, 1), (h, w, 3) or (h, w, 4).
        image_size: Pixels: an integer or (height, width).
        resize: "pad" (default, see docs/data.md for why) scales the image until it fits inside and
            adds white bars; "crop" scales it until it covers the size and cuts the centre out;
            "squash" changes its proportions.

    Returns:
        uint8 array of shape (height, width, 3), 0..255.

    Raises:
        UnreadableImageError: If no image can be made of it; says why.
        ImageSizeError: If the size is not positive.
        ArgumentError: If `resize` is not one of the three.

    Example:
        >>> read_image(np.full((10, 20), 7, np.uint8), 4).shape
        (4, 4, 3)
    """
    size, resize = check_image_size(image_size), check_resize(resize)
    with _quiet_pillow():
        result = _decode(source, size, resize)
    if isinstance(result, str):
        raise UnreadableImageError(f"{_name(source)} is not an image that can be read: {result}.")
    return result[1]


def read_images(
    paths: Iterable[str | os.PathLike[str]],
    image_size: int | tuple[int, int],
    resize: str = "pad",
) -> tuple[np.ndarray, list[SkippedFile]]:
    """Reads image files with all cores; those that cannot be read are left out and listed.

    Args:
        paths: Image files.
        image_size: Pixels: an integer or (height, width).
        resize: See `read_image`.

    Returns:
        The readable images, uint8 (n, height, width, 3) in the order of `paths`, and the
        others with the reason.

    Raises:
        ImageSizeError: If the size is not positive.
        ArgumentError: If `resize` is not one of "crop", "pad", "squash".

    Example:
        >>> images, skipped = read_images([], 32)
        >>> images.shape, skipped
        ((0, 32, 32, 3), [])
    """
    files = [Path(path) for path in paths]
    size, resize = check_image_size(image_size), check_resize(resize)
    images = np.empty((len(files), *size, 3), np.uint8)
    skipped: list[SkippedFile] = []
    readable = 0
    for file, result in zip(files, decode_all(files, size, resize), strict=True):
        if isinstance(result, str):
            skipped.append(SkippedFile(str(file), result))
        else:
            images[readable] = result[1]
            readable += 1
    return images[:readable], skipped


def decode_all(
    payloads: Iterable[Payload], image_size: tuple[int, int], resize: str
) -> Iterator[tuple[str, np.ndarray] | str]:
    """Decodes images with all cores, in order: (digest, pixels) each, or why it failed.

    The digest is that of the file's bytes (or of the pixels of an array or picture), so that the
    file is read only once.
    """
    stream = iter(payloads)
    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    try:
        while chunk := list(itertools.islice(stream, _CHUNK)):
            with _quiet_pillow():
                results = list(
                    pool.map(lambda payload: _decode(payload, image_size, resize), chunk)
                )
            yield from results
    finally:
        # On Ctrl-C what no thread has begun is left.
        pool.shutdown(cancel_futures=True)


def _decode(
    payload: Payload, image_size: tuple[int, int], resize: str
) -> tuple[str, np.ndarray] | str:
    try:
        if isinstance(payload, np.ndarray):
            digest = _digest(f"{payload.dtype}{payload.shape}".encode(), payload.tobytes())
            return digest, resize_pixels(payload, image_size, resize)
        if isinstance(payload, Image.Image):
            upright = _upright(payload)
            digest = _digest(f"{upright.mode}{upright.size}".encode(), upright.tobytes())
            return digest, np.asarray(resize_image(to_rgb(upright), image_size, resize))
        if isinstance(payload, bytes):
            return _decode_bytes(payload, image_size, resize)
        path = Path(payload)
        with _BYTES.taken(_regular_size(path)):
            return _decode_bytes(path.read_bytes(), image_size, resize)
    # Broken files make decoders raise errors of every class. Each becomes a listed reason.
    except Exception as error:
        return _reason(error)


def _decode_bytes(data: bytes, image_size: tuple[int, int], resize: str) -> tuple[str, np.ndarray]:
    image = _open(data)
    with _PIXELS.taken(_shorten(image, image_size)):
        image = to_rgb(_upright(image))
        return _digest(data), np.asarray(resize_image(image, image_size, resize))


def _regular_size(path: Path) -> int:
    """The size of a file; whatever is none could be read for ever, so it is not even opened."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImageError("it is not a regular file")
    if status.st_size > _LARGEST_FILE:
        raise UnreadableImageError(
            f"the file has {status.st_size / 1e9:.1f} GB, more than any image that can be read"
        )
    return status.st_size


def _digest(*parts: bytes) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _open(data: bytes) -> Image.Image:
    """The image as its header says it is; nothing is decoded yet."""
    if not data:
        raise UnreadableImageError("the file is empty (0 bytes)")
    Image.init()
    formats = [name for name in Image.ID if name not in _UNSAFE_FORMATS]
    return Image.open(io.BytesIO(data), formats=formats)


def _shorten(image: Image.Image, image_size: tuple[int, int]) -> int:
    """Has a large JPEG decoded at part of its size; returns how many pixels decoding will hold."""
    whole = image.width * image.height
    # JPEG decodes at 1/2, 1/4 or 1/8 of its size many times faster. Twice the size that is
    # needed leaves the last step to the antialiased resize.
    longer = 2 * max(image_size)
    image.draft(None, (longer, longer))
    # A progressive one is held whole nevertheless.
    return whole if image.info.get("progressive") else image.width * image.height


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    transpose = _TRANSPOSE.get(_orientation(image))
    return image if transpose is None else image.transpose(transpose)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error):
        return 1  # Broken EXIF in a sound image: as if there were none.


def _reason(error: Exception) -> str:
    """One line that a user can act on."""
    if isinstance(error, UnreadableImageError):
        return str(error)
    if isinstance(error, Image.DecompressionBombError):
        return (
            f"it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels; make it smaller, "
            "or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        )
    if isinstance(error, Image.UnidentifiedImageError):
        return "its content is not an image of a known format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"it is damaged ({' '.join(str(error).split()) or type(error).__name__})"


def _name(source: Payload) -> str:
    if isinstance(source, bytes):
        return f"The data ({len(source)} bytes)"
    if isinstance(source, Image.Image):
        return f"The picture {getattr(source, 'filename', '')}".rstrip()
    return "The array" if isinstance(source, np.ndarray) else os.fspath(source)


@contextlib.contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Pillow warns about large images and odd metadata; what matters is reported by path."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield
