"""Pixels of any mode and size -> upright RGB pixels of one size."""

import numpy as np
from PIL import Image, ImageOps

from finetune.exceptions import ArgumentError, DataError, ImageSizeError, UnreadableImageError

RESIZE_MODES = ("crop", "pad", "squash")

# No JPEG has a longer side, and no backbone takes one.
_LONGEST_SIDE = 65_535

# Pixels that are made RGB at a time.
_STRIP = 2**20


def check_image_size(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """Returns `image_size` as (height, width).

    Args:
        image_size: Pixels, an integer for a square or (height, width); each 1 to 65,535.

    Returns:
        (height, width).

    Raises:
        ImageSizeError: If it is neither.

    Example:
        >>> check_image_size(96)
        (96, 96)
    """
    size = image_size if isinstance(image_size, (tuple, list)) else (image_size, image_size)
    whole = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in size)
    if len(size) != 2 or not whole or min(size) < 1 or max(size) > _LONGEST_SIDE:
        raise ImageSizeError(
            "`image_size` must be a positive number of pixels or a pair (height, width), each at "
            f"most {_LONGEST_SIDE:,}. Received: {image_size!r}."
        )
    return int(size[0]), int(size[1])


def check_resize(resize: str) -> str:
    """Returns `resize` if it is one of `RESIZE_MODES`.

    Raises:
        ArgumentError: If it is not.

    Example:
        >>> check_resize("pad")
        'pad'
    """
    if resize not in RESIZE_MODES:
        raise ArgumentError(
            f'`resize` must be one of "crop", "pad" and "squash", got {resize!r}. "crop" cuts '
            'the centre out, "pad" adds white bars, "squash" changes the proportions.'
        )
    return resize


def check_pixels(pixels: np.ndarray) -> None:
    """Refuses pixels that are not 0..255, wherever they are used.

    Args:
        pixels: Array of any shape; of many images together, for one may be black.

    Raises:
        DataError: If they are not numbers, not finite, outside 0..255, or look like 0..1.

    Example:
        >>> check_pixels(np.array([0.0, 0.5]))
        Traceback (most recent call last):
        finetune.exceptions.DataError: Pixels must be 0..255, but all lie within 0..1. ...
    """
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
    if 0 < high <= 1:
        raise DataError(
            "Pixels must be 0..255, but all lie within 0..1. Multiply them by 255: the model "
            "prepares images itself, as its backbone needs them."
        )


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Rounds pixels 0..255, which `check_pixels` let pass, to uint8."""
    rounded = np.rint(pixels) if pixels.dtype.kind == "f" else pixels
    return rounded.astype(np.uint8, copy=False)


def resize_pixels(pixels: np.ndarray, image_size: tuple[int, int], resize: str) -> np.ndarray:
    """Makes uint8 pixels (h, w, 1, 3 or 4) RGB pixels of a size, as `read_image` does."""
    return np.asarray(resize_image(to_rgb(_from_array(pixels)), image_size, resize))


def to_rgb(image: Image.Image) -> Image.Image:
    """Makes an image RGB: transparency is laid on white, 16 bits are scaled to 8."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    rgb = Image.new("RGB", image.size)
    # In strips: the steps between take several times the memory of the image.
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = (0, top, image.width, min(top + rows, image.height))
        rgb.paste(_strip_to_rgb(image.crop(strip)), strip)
    return rgb


def resize_image(image: Image.Image, image_size: tuple[int, int], resize: str) -> Image.Image:
    """Resizes an RGB image with antialiasing; see `read_image` for the ways."""
    height, width = image_size
    bilinear = Image.Resampling.BILINEAR
    if image.size == (width, height):
        return image
    if resize == "crop":
        return ImageOps.fit(image, (width, height), bilinear)
    if resize == "squash":
        return image.resize((width, height), bilinear)
    scale = min(width / image.width, height / image.height)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    padded = Image.new("RGB", (width, height), "white")
    offset = ((width - inner[0]) // 2, (height - inner[1]) // 2)
    padded.paste(image.resize(inner, bilinear), offset)
    return padded


def _strip_to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        image = _from_16_bits(image)
    if image.mode == "F":
        raise UnreadableImageError(
            "its pixels are floats, whose range is unknown; save it with 8 or 16 bits"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _from_array(pixels: np.ndarray) -> Image.Image:
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    return Image.fromarray(np.ascontiguousarray(pixels))


def _from_16_bits(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > 65535:
        raise UnreadableImageError("it has more than 16 bits per pixel; save it with 8 or 16")
    return Image.fromarray(((pixels + 128) // 257).astype(np.uint8))
