"""Copies of one image, exact and near ones, by where they do harm."""

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from finetune.checks.findings import Finding, Group
from finetune.checks.looked_through import LookedThrough
from finetune.data import copy_limits, distances, groups_of, looks_of, near_copies

# Images whose changed copies say how far apart copies may be.
_CHANGED = 100
# All copies but this share are to be within each of the two limits.
_LOST = 0.05
# Most that is cut off at each side.
_CUT = 0.04

# With more images each cannot be compared with each in reasonable time.
_MOST = 30_000
_BLOCK = 256


@dataclass(frozen=True)
class FeatureLimits:
    """How far apart two copies may be that were changed more than by being saved again.

    Args:
        bits: Of the hash, of 144.
        cosine: Of the features, around their mean.
    """

    bits: int
    cosine: float


def pairs_of_copies(
    images: LookedThrough, features_of: Callable[[np.ndarray], np.ndarray] | None, seed: int = 0
) -> np.ndarray:
    """Finds all pairs of images that are copies: by what they look like, and by features.

    Args:
        images: The images.
        features_of: Computes features of pixels; None where there is no backbone.
        seed: Of how copies are cut. Default 0.

    Returns:
        (pairs, 2): row numbers, the lower one first.
    """
    exact = same_key(images.content)
    if len(images.content) > _MOST:
        return exact
    looks = images.looks
    found = [exact, near_copies(looks, copy_limits(images.pixels, looks))]
    if features_of is not None and images.features is not None:
        limits = feature_limits(images, features_of, seed)
        found.append(_close_in_both(images, limits))
    return np.unique(np.concatenate(found), axis=0)


def feature_limits(
    images: LookedThrough, features_of: Callable[[np.ndarray], np.ndarray], seed: int = 0
) -> FeatureLimits:
    """Measures how far hash and features move when images are saved again, cut and mirrored.

    Args:
        images: The images, with features.
        features_of: Computes features of pixels.
        seed: Of how much is cut where. Default 0.
    """
    assert images.features is not None
    looks, random = images.looks, np.random.default_rng(seed)
    rows = np.flatnonzero(~looks.flat)
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), _CHANGED)).astype(int)]
    copies = np.stack([_changed(images.pixels[row], random) for row in rows])
    again = looks_of(copies)
    moved = np.array(
        [
            distances(looks.hashes[row, None], again.hashes[place, None])[0, 0]
            for place, row in enumerate(rows)
        ]
    )
    middle = images.features.mean(axis=0)
    cosines = (_unit(images.features[rows], middle) * _unit(features_of(copies), middle)).sum(
        axis=1
    )
    return FeatureLimits(int(np.quantile(moved, 1 - _LOST)), float(np.quantile(cosines, _LOST)))


def find_copies(images: LookedThrough, pairs: np.ndarray) -> list[Finding]:
    """Sorts copies by the harm that they do: two labels, both sides of a split, or none.

    Args:
        images: The images.
        pairs: See `pairs_of_copies`.
    """
    found: dict[str, list[Group]] = {"two labels": [], "leak": [], "copies": []}
    for rows in groups_of(pairs, len(images.ids)):
        exact = len({images.content[row] for row in rows}) == 1
        what = "exact copies" if exact else "near copies"
        classes = list(dict.fromkeys(images.class_of(row) for row in rows))
        splits = list(dict.fromkeys(images.split_of[row] for row in rows))
        group = tuple(int(row) for row in rows)
        if len(classes) > 1:
            found["two labels"].append(Group(group, f"{what} in {', '.join(classes)}"))
        if len(splits) > 1 and images.own_splits:
            found["leak"].append(Group(group, f"{what} in {', '.join(splits)}"))
        if len(classes) == 1 and (len(splits) == 1 or not images.own_splits):
            found["copies"].append(Group(group, what))
    return [
        Finding(kind, tuple(sorted(groups, key=lambda one: one.why)))
        for kind, groups in found.items()
        if groups
    ]


def same_key(keys: Iterable[str]) -> np.ndarray:
    """Pairs of the first image of each key with each other one.

    Args:
        keys: Of each image, such as the digest of its content.

    Returns:
        (pairs, 2): row numbers, the lower one first.

    Example:
        >>> same_key(["a", "b", "a"]).tolist()
        [[0, 2]]
    """
    first: dict[str, int] = {}
    rows = [(first.setdefault(key, row), row) for row, key in enumerate(keys)]
    return np.array([pair for pair in rows if pair[0] != pair[1]], int).reshape(-1, 2)


def _close_in_both(images: LookedThrough, limits: FeatureLimits) -> np.ndarray:
    """Pairs that are close in their hashes and in their features."""
    assert images.features is not None
    looks = images.looks
    vectors = _unit(images.features, images.features.mean(axis=0)).astype("float32")
    found = [np.empty((0, 2), int)]
    for start in range(0, len(vectors), _BLOCK):
        block = slice(start, start + _BLOCK)
        left, right = np.nonzero(vectors[block] @ vectors[start:].T >= limits.cosine)
        keep = right > left
        left, right = left[keep] + start, right[keep] + start
        apart = np.minimum(
            np.bitwise_count(looks.hashes[left] ^ looks.hashes[right]).sum(axis=1, dtype=int),
            np.bitwise_count(looks.hashes[left] ^ looks.mirrored[right]).sum(axis=1, dtype=int),
        )
        keep = (apart <= limits.bits) & ~looks.flat[left] & ~looks.flat[right]
        found.append(np.stack([left[keep], right[keep]], axis=1))
    return np.concatenate(found)


def _changed(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """An image that was cut a little at each side and saved as JPEG."""
    picture = Image.fromarray(np.asarray(pixels, np.uint8))
    width, height = picture.size
    left, top, right, bottom = random.uniform(0, _CUT, 4)
    box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
    cut = picture.resize((width, height), Image.Resampling.BILINEAR, box=box)
    file = io.BytesIO()
    cut.save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file).convert("RGB"))


def _unit(vectors: np.ndarray, middle: np.ndarray) -> np.ndarray:
    moved = vectors - middle
    return moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)
