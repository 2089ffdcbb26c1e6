"""Near copies: the same picture saved again, made smaller or mirrored, found by what it shows.

Nothing but pixels is compared, so it takes no model and little time. How far apart two copies may
be is not a constant: some of the images themselves are saved again, and what that does to them is
the measure.
"""

import io
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Pixels of the side of the picture that a hash is made of, and frequencies of it that count.
_SIDE, _FREQUENCIES = 32, 12
# Pixels of the side of the picture whose colours are compared.
_PATCH = 8

# Deviation of grey levels below which a picture shows nothing that could be told apart.
_FLAT = 2.0

# What the measure is taken from: so many images that are saved again, and compared with all others.
_MEASURED = 200
_QUALITY = 60
# All copies but this share are to be within the limits.
_LOST = 0.01
# Between copies and other images there is a gap. Where more pairs are beyond the limit, up to twice
# as far, than half of those within it and than one for 20 images, all look alike: it is lower.
_GAP, _STRAY = 0.5, 0.05
# Hashes of any two images differ by half of their bits: copies by no more than a quarter.
_MOST_BITS = _FREQUENCIES**2 // 4
# Levels of grey that two copies may always differ by.
_LEAST_SHADE = 3.0

# Rows that are compared at a time.
_BLOCK = 128


@dataclass(frozen=True, eq=False)
class Looks:
    """What images look like, as far as that tells copies.

    Args:
        hashes: uint64 (n, 3): signs of 144 low frequencies of the grey picture.
        mirrored: The same of the mirrored picture.
        colours: float32 (n, 8, 8, 3): the picture in 64 patches.
        flat: Whether an image shows nothing: then it is no copy of any other.
    """

    hashes: np.ndarray
    mirrored: np.ndarray
    colours: np.ndarray
    flat: np.ndarray


@dataclass(frozen=True)
class CopyLimits:
    """How far apart two copies may be.

    Args:
        bits: Of the hash, of 144.
        shade: Mean difference of the colours of patches, levels of 255.
    """

    bits: int
    shade: float


def looks_of(images: Sequence[np.ndarray] | np.ndarray) -> Looks:
    """Computes what images look like.

    Args:
        images: uint8 (h, w, 3) each.

    Returns:
        Hashes and colours, in the order of the images.

    Example:
        >>> pixels = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), np.uint8)
        >>> looks = looks_of([*pixels, pixels[0, :, ::-1]])
        >>> bool(distances(looks.hashes[:1], looks.hashes[1:]).min() > 40)
        True
        >>> distances(looks.hashes[:1], looks.mirrored[2:]).tolist()
        [[0]]

    Source: C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions"
    (2010), for hashes of low frequencies.
    """
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        small = [*pool.map(_small, images)]
    grey = np.array([one[0] for one in small], "float32").reshape(-1, _SIDE, _SIDE)
    colours = np.array([one[1] for one in small], "float32").reshape(-1, _PATCH, _PATCH, 3)
    flat = grey.std(axis=(1, 2)) < _FLAT
    return Looks(_hashes(grey), _hashes(grey[:, :, ::-1]), colours, flat)


def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Number of bits that differ between each of the first hashes and each of the second.

    Args:
        first: uint64 (n, words).
        second: uint64 (m, words).

    Returns:
        int (n, m).
    """
    return np.stack(
        [
            np.bitwise_count(first[:, None, word] ^ second[None, :, word]).astype(np.int16)
            for word in range(first.shape[1])
        ]
    ).sum(axis=0)


def copy_limits(images: Sequence[np.ndarray] | np.ndarray, looks: Looks) -> CopyLimits:
    """Measures how far apart two copies may be, on the images themselves.

    Args:
        images: uint8 (h, w, 3) each.
        looks: Of these images.

    Returns:
        What all but a hundredth of images keep to that are saved as JPEG or at half their size;
        less, where images that are no copies are nearly as close.

    Example:
        >>> pixels = np.random.default_rng(0).integers(0, 256, (9, 40, 40, 3), np.uint8)
        >>> copy_limits(pixels, looks_of(pixels)).bits < 30
        True
    """
    rows = np.flatnonzero(~looks.flat)
    if not len(rows):
        return CopyLimits(0, 0.0)
    chosen = rows[np.linspace(0, len(rows) - 1, min(len(rows), _MEASURED)).astype(int)]
    again = looks_of([copy for row in chosen for copy in _saved_again(images[row])])
    own = np.repeat(chosen, 2)
    moved = np.bitwise_count(looks.hashes[own] ^ again.hashes).sum(axis=1, dtype=int)
    shades = np.abs(looks.colours[own] - again.colours).mean(axis=(1, 2, 3))
    return CopyLimits(
        _with_gap(
            looks.hashes[chosen],
            looks.hashes[rows],
            min(_MOST_BITS, int(np.quantile(moved, 1 - _LOST))),
        ),
        max(_LEAST_SHADE, float(np.quantile(shades, 1 - _LOST))),
    )


def _with_gap(some: np.ndarray, all_of_them: np.ndarray, bits: int) -> int:
    """The largest number of bits, up to the given one, beyond which there are few pairs."""
    apart = np.concatenate(
        [distances(part, all_of_them).ravel() for part in np.split(some, len(some))]
    )
    counts = np.cumsum(np.bincount(apart, minlength=2 * bits + 1))
    counts -= len(some)  # each with itself
    for limit in range(bits, 0, -1):
        within, beyond = counts[limit], counts[2 * limit] - counts[limit]
        if beyond <= max(_GAP * within, _STRAY * len(some)):
            return limit
    return 0


def close_pairs(looks: Looks, bits: int, mirrored: bool = True) -> np.ndarray:
    """Finds pairs of images whose hashes are close, each with each.

    Args:
        looks: Of the images.
        bits: Most bits that may differ.
        mirrored: Whether to compare with mirrored pictures too. Default True.

    Returns:
        (pairs, 3): the lower row, the higher row, and 1 where it is the mirrored picture.
    """
    found = [np.empty((0, 3), int)]
    usable = ~looks.flat
    for start in range(0, len(looks.hashes), _BLOCK):
        block = slice(start, start + _BLOCK)
        for flag, others in enumerate((looks.hashes, looks.mirrored)[: 1 + mirrored]):
            first, second = looks.hashes[block], others[start:]
            # One word first: it rules out almost all.
            near = np.bitwise_count(first[:, None, 0] ^ second[None, :, 0]) <= bits
            left, right = np.nonzero(near)
            keep = right > left
            left, right = left[keep], right[keep]
            differ = np.bitwise_count(first[left] ^ second[right]).sum(axis=1, dtype=int)
            left, right = left[differ <= bits] + start, right[differ <= bits] + start
            keep = usable[left] & usable[right]
            pair = np.stack([left[keep], right[keep]], axis=1)
            found.append(np.concatenate([pair, np.full((len(pair), 1), flag)], axis=1))
    pairs = np.concatenate(found)
    _, first = np.unique(pairs[:, :2], axis=0, return_index=True)  # as it is, before mirrored
    return pairs[first]


def near_copies(looks: Looks, limits: CopyLimits) -> np.ndarray:
    """Finds pairs of images that are copies: close in their shapes and in their colours.

    Args:
        looks: Of the images.
        limits: How far apart copies may be.

    Returns:
        (pairs, 2): row numbers, the lower one first.
    """
    pairs = close_pairs(looks, limits.bits)
    other = looks.colours[pairs[:, 1]]
    other = np.where(pairs[:, 2, None, None, None] == 1, other[:, :, ::-1], other)
    shade = np.abs(looks.colours[pairs[:, 0]] - other).mean(axis=(1, 2, 3))
    return pairs[shade <= limits.shade, :2]


def groups_of(pairs: np.ndarray, count: int) -> list[np.ndarray]:
    """Joins pairs to groups, over any number of steps.

    Args:
        pairs: (pairs, 2): row numbers.
        count: Number of rows.

    Returns:
        The rows of each group of two or more, in the order of their first rows.

    Example:
        >>> [group.tolist() for group in groups_of(np.array([[0, 2], [2, 4]]), 5)]
        [[0, 2, 4]]
    """
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (count, count))
    _, member = connected_components(graph, directed=False)
    order = np.argsort(member, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(member[order])) + 1)
    return sorted((part for part in parts if len(part) > 1), key=lambda part: part[0])


def stand_ins(content: Sequence[str], groups: Sequence[np.ndarray]) -> Mapping[str, str]:
    """Gives all images of a group one name, by which they are kept together.

    Args:
        content: Digest of each image's content.
        groups: Rows of each group.

    Returns:
        For the content of each image in a group the smallest one in it.

    Example:
        >>> stand_ins(["c", "a", "b"], [np.array([0, 1])])
        {'c': 'a', 'a': 'a'}
    """
    found: dict[str, str] = {}
    for group in groups:
        names = [str(content[row]) for row in group.tolist()]
        found |= dict.fromkeys(names, min(names))
    return found


def _small(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The grey picture of a hash, and the patches whose colours are compared."""
    picture = Image.fromarray(np.asarray(image, np.uint8))
    # Not by boxes: Pillow's are not the same from the left and from the right.
    way = Image.Resampling.BILINEAR
    colours = picture.resize((_SIDE, _SIDE), way)
    patches = np.asarray(colours.resize((_PATCH, _PATCH), way))
    return np.asarray(colours.convert("L")), patches


def _hashes(grey: np.ndarray) -> np.ndarray:
    low: Any = dctn(grey, axes=(1, 2), norm="ortho")
    low = low[:, : _FREQUENCIES + 1, : _FREQUENCIES + 1]
    values = low.reshape(len(grey), -1)[:, 1 : 1 + _FREQUENCIES**2]  # without the brightness
    bits = values > np.median(values, axis=1, keepdims=True)
    packed = np.zeros((len(grey), 24), np.uint8)
    packed[:, : bits.shape[1] // 8] = np.packbits(bits, axis=1)
    return packed.view(np.uint64)


def _saved_again(image: np.ndarray) -> list[np.ndarray]:
    picture = Image.fromarray(np.asarray(image, np.uint8))
    width, height = picture.size
    half = picture.resize(
        (max(1, width // 2), max(1, height // 2)), Image.Resampling.BILINEAR
    ).resize((width, height), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    return [np.asarray(Image.open(file).convert("RGB")), np.asarray(half)]
