"""Copies of one image where they do harm: on both sides of a split, or under two labels."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np


def leaked(
    content: Mapping[str, Sequence[str]], ids: Mapping[str, Sequence[str]]
) -> tuple[str, ...]:
    """Finds validation and test images that are training images too.

    Args:
        content: Digests of the images of each split.
        ids: Their ids.

    Returns:
        The ids of those images.

    Example:
        >>> leaked({"train": ["x", "y"], "test": ["z", "y"]}, {"test": ["test/0", "test/1"]})
        ('test/1',)
    """
    train = set(content["train"])
    return tuple(
        item
        for name in ("validation", "test")
        if name in content
        for item, digest in zip(ids[name], content[name], strict=True)
        if digest in train
    )


def contradicting(
    content: Iterable[str], labels: Iterable[np.ndarray], ids: Iterable[str]
) -> tuple[str, ...]:
    """Finds images of which a copy has another label.

    Args:
        content: Digests of all images.
        labels: Their labels.
        ids: Their ids.

    Returns:
        The ids of those images, copies beside each other.

    Example:
        >>> contradicting(["x", "y", "x"], np.array([0, 0, 1]), ["a", "b", "c"])
        ('a', 'c')
    """
    copies: dict[str, list[str]] = {}
    labels_of: dict[str, set[bytes]] = {}
    for digest, label, item in zip(content, labels, ids, strict=True):
        copies.setdefault(digest, []).append(item)
        labels_of.setdefault(digest, set()).add(label.tobytes())
    return tuple(
        item for digest, items in copies.items() if len(labels_of[digest]) > 1 for item in items
    )
