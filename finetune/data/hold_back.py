"""Which images are held back: decided by content, so adding images moves no other image."""

import hashlib
from collections.abc import Sequence
from numbers import Real

import numpy as np

from finetune.exceptions import ArgumentError, MissingClassError


def check_fraction(name: str, fraction: float) -> float:
    """Returns a share to hold back, if it lies strictly between 0 and 1.

    Raises:
        ArgumentError: If it does not.

    Example:
        >>> check_fraction("validation", 0.2)
        0.2
    """
    number = isinstance(fraction, Real) and not isinstance(fraction, bool)
    if not number or not 0 < fraction < 1:
        raise ArgumentError(
            f"`{name}` as a number is the share of images to hold back: expected between 0 and 1, "
            f"both excluded, got {fraction!r}."
        )
    return float(fraction)


def position(content: str, seed: int, name: str) -> float:
    """Returns where a content falls in 0..1: uniform over contents, fixed for each.

    Args:
        content: Hex digest of the image's content.
        seed: Another seed gives another split.
        name: What is split off, "validation" or "test": the two draws are independent, so
            splitting off a test set moves no image between training and validation.

    Returns:
        A number in [0, 1).

    Example:
        >>> position("ab", 0, "test") == position("ab", 0, "test")
        True
    """
    digest = hashlib.blake2b(f"{name}:{seed}:{content}".encode(), digest_size=8).digest()
    # 53 bits are what a float holds exactly; 64 could round up to 1.0.
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def hold_back(
    content: Sequence[str],
    classes: Sequence[int] | np.ndarray,
    fraction: float,
    *,
    seed: int = 0,
    name: str = "validation",
    class_names: Sequence[str] = (),
) -> np.ndarray:
    """Chooses the images to hold back.

    An image is held back if the hash of its content and `seed` falls below `fraction`. So
    membership does not depend on the other images, exact duplicates stay together, and every
    class gives about the same share. The one exception: if a class would give no image, the
    content of that class with the smallest hash is held back too; if it would give all, the one
    with the largest is not.

    Args:
        content: Hex digest of each image's content.
        classes: Class number of each image; all the same where there are no classes.
        fraction: Share to hold back, strictly between 0 and 1.
        seed: Another seed gives another choice. Default 0.
        name: What the held-back images are for, "validation" or "test".
        class_names: Names for the error's text.

    Returns:
        Boolean array: True where the image is held back.

    Raises:
        ArgumentError: If `fraction` is not strictly between 0 and 1.
        MissingClassError: If a class has too few different images to be on both sides.

    Example:
        >>> hold_back(["a", "b", "a", "c"], [0, 0, 0, 0], 0.5).tolist()
        [False, True, False, True]
    """
    check_fraction(name, fraction)
    contents, classes = np.asarray(content, dtype=object), np.asarray(classes)
    where = {key: position(key, seed, name) for key in set(content)}
    held = {key for key, value in where.items() if value < fraction}
    groups = {
        label: sorted(set(contents[classes == label]), key=where.__getitem__)
        for label in np.unique(classes)
    }
    for group in groups.values():
        if held.isdisjoint(group):
            held.add(group[0])
        elif held.issuperset(group):
            held.discard(group[-1])
    for label, group in groups.items():
        if held.isdisjoint(group) or held.issuperset(group):
            label_name = class_names[label] if len(class_names) else str(label)
            raise MissingClassError(
                f"Class {label_name!r} has too few different images ({len(group)}) to be split "
                f"into training and {name}. Add images to it, remove the class, or give "
                f"`{name}` images of your own."
            )
    return np.array([key in held for key in content], dtype=bool)
