"""Distorted printed characters, as coarse as scikit-learn's handwritten digits.

The digits were made by counting the ink of a 32 x 32 bitmap in blocks of 4 x 4 pixels [1].
Glyphs of the fonts that come with Matplotlib are bent out of shape and counted the same way.
No handwriting goes in.

References:
    [1] Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
        Repository, 1998.
"""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

# Every glyph is scaled to fill its frame, so of characters that then look alike (c and C, 0 and
# o, 1 and l) one stays.
CHARACTERS = (
    "0123456789"
    "abcdefghijkmnpqrstuvwxyz"
    "ABDEFGHJKLMNPQRTUY"
    "αβγδεζηθλμξπσφχψωΓΔΘΛΞΠΣΦΨΩ"
    "бвгджзийлцчшщъыэюяБДЖИЙЛЦЧШЩЪЫЭЮЯ"
    "!?&@#$%€£§+=<>/{}()[]*~"
)

_FONTS = ("DejaVu*.ttf", "STIXGeneral*.ttf", "cmr10.ttf", "cmss10.ttf", "cmtt10.ttf", "cmb10.ttf")
_CANVAS = 48  # side of a printed glyph, in pixels
_FRAME = 32  # side of the bitmap whose ink is counted
_BLOCK = 4  # side of the block that becomes one grey value
_CHUNK = 1024  # images distorted at a time


def printed_glyphs(characters: str = CHARACTERS) -> list[np.ndarray]:
    """Prints each character in every font that has it.

    Args:
        characters: Characters to print, one class each.

    Returns:
        For each character an array (fonts, 48, 48) of ink, 0 to 1, scaled to fill the middle of
        its canvas.

    Example:
        >>> [glyphs] = printed_glyphs("5")
        >>> glyphs.shape[1:]
        (48, 48)
    """
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    paths = sorted({path for pattern in _FONTS for path in folder.glob(pattern)})
    fonts = [
        (ImageFont.truetype(str(path), _CANVAS), FT2Font(str(path)).get_charmap()) for path in paths
    ]
    return [
        np.stack([_print(character, font) for font, charmap in fonts if ord(character) in charmap])
        for character in characters
    ]


def glyph_images(
    characters: str = CHARACTERS, *, per_class: int = 1000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draws distorted glyphs: slanted, turned, stretched, bent, thin or thick.

    Args:
        characters: Characters to draw, one class each.
        per_class: Images of each class.
        seed: Seed of the distortions; the same seed gives the same images.

    Returns:
        Images (n, 8, 8), 0 (paper) to 255 (ink), and labels (n,), the place in `characters`;
        class by class.

    Example:
        >>> images, labels = glyph_images("ab", per_class=3)
        >>> images.shape, labels.tolist()
        ((6, 8, 8), [0, 0, 0, 1, 1, 1])
    """
    rng = np.random.default_rng(seed)
    printed = [
        glyphs[rng.integers(len(glyphs), size=per_class)] for glyphs in printed_glyphs(characters)
    ]
    glyphs = np.concatenate(printed)
    chunks = [
        _count_ink(_distort(glyphs[start : start + _CHUNK], rng))
        for start in range(0, len(glyphs), _CHUNK)
    ]
    labels = np.repeat(np.arange(len(characters), dtype=np.int32), per_class)
    return np.concatenate(chunks), labels


def _print(character: str, font: ImageFont.FreeTypeFont) -> np.ndarray:
    """One character, its longer side scaled to two thirds of the canvas and centred."""
    left, top, right, bottom = font.getbbox(character)
    width, height = round(right - left), round(bottom - top)
    image = Image.new("L", (width, height))
    ImageDraw.Draw(image).text((-left, -top), character, fill=255, font=font)
    scale = _CANVAS * 2 / 3 / max(width, height)
    image = image.resize((max(1, round(width * scale)), max(1, round(height * scale))))
    canvas = Image.new("L", (_CANVAS, _CANVAS))
    canvas.paste(image, ((_CANVAS - image.width) // 2, (_CANVAS - image.height) // 2))
    return np.asarray(canvas, dtype=np.float32) / 255


def _distort(glyphs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bends every glyph its own way and draws it with a pen of its own width."""
    count = len(glyphs)
    angle = rng.normal(0, 0.15, count)
    slant = rng.normal(0, 0.2, count)
    stretch = np.exp(rng.normal(0.15, 0.2, count))
    rotation = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=-1)
    shear = np.stack([np.ones(count), np.zeros(count), slant, stretch], axis=-1)
    matrices = rotation.reshape(-1, 2, 2) @ shear.reshape(-1, 2, 2)

    axis = np.arange(_CANVAS) - (_CANVAS - 1) / 2
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"))
    coordinates = np.einsum("nij,jyx->niyx", matrices, grid) + (_CANVAS - 1) / 2
    # Displacements of a coarse grid, interpolated: Simard et al., "Best Practices for
    # Convolutional Neural Networks Applied to Visual Document Analysis", ICDAR 2003.
    bends = rng.normal(0, 1, (count, 2, 5, 5)) * rng.uniform(0.5, 3.0, (count, 1, 1, 1))
    spread = ndimage.zoom(np.eye(5), (_CANVAS / 5, 1), order=3)
    coordinates += spread @ bends @ spread.T

    blurred = ndimage.gaussian_filter(_sample(glyphs, coordinates), (0, 1.2, 1.2))
    blurred /= blurred.max(axis=(1, 2), keepdims=True)
    thresholds = rng.uniform(0.12, 0.45, (count, 1, 1))
    return (blurred > thresholds).astype(np.float32)


def _count_ink(glyphs: np.ndarray) -> np.ndarray:
    """Scales each glyph to fill the frame and counts its ink block by block."""
    edges = [
        (inked.argmax(axis=1), glyphs.shape[1] - 1 - inked[:, ::-1].argmax(axis=1))
        for inked in (np.any(glyphs, axis=2), np.any(glyphs, axis=1))
    ]
    longer_side = np.maximum(*(last - first + 1 for first, last in edges))
    offsets = np.arange(_FRAME) - (_FRAME - 1) / 2
    rows, columns = (
        (first + last)[:, None] / 2 + offsets * (longer_side / _FRAME)[:, None]
        for first, last in edges
    )
    shape = (len(glyphs), _FRAME, _FRAME)
    coordinates = np.stack(
        [np.broadcast_to(rows[:, :, None], shape), np.broadcast_to(columns[:, None], shape)], axis=1
    )
    bitmap = _sample(glyphs, coordinates) > 0.5
    side = _FRAME // _BLOCK
    ink = bitmap.reshape(-1, side, _BLOCK, side, _BLOCK).mean(axis=(2, 4))
    return np.round(ink * 255).astype(np.uint8)


def _sample(images: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
    """Reads images (n, h, w) at fractional coordinates (n, 2, h, w), paper outside them."""
    rows, columns = coordinates[:, 0], coordinates[:, 1]
    numbers = np.broadcast_to(np.arange(len(images))[:, None, None], rows.shape)
    return ndimage.map_coordinates(images, [numbers, rows, columns], order=1)
