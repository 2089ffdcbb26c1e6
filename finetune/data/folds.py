"""K-fold cross-validation: every image is held back once."""

import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from finetune.exceptions import ArgumentError, DataError

_FOLDS = re.compile(r"(\d+)-fold")
_MOST = 100


def parse_folds(validation: Any) -> int:
    """The number of folds in a text such as "5-fold"; 0 where it says something else.

    Raises:
        ArgumentError: If there are fewer than 2, or more than 100.

    Example:
        >>> parse_folds("5-fold"), parse_folds("val/"), parse_folds(0.2)
        (5, 0, 0)
    """
    found = _FOLDS.fullmatch(validation) if isinstance(validation, str) else None
    if found is None:
        return 0
    folds = int(found[1])
    if not 2 <= folds <= _MOST:
        raise ArgumentError(
            f"Expected validation in 2 to {_MOST} folds, such as '5-fold', received {validation!r}."
        )
    return folds


def assign_folds(
    content: Sequence[str], classes: np.ndarray | None, folds: int, *, seed: int = 0
) -> np.ndarray:
    """Chooses the fold in which each image is held back.

    Args:
        content: Hex digest of each image's content: copies of an image are in one fold.
        classes: Class number of each image, which the folds have equal shares of; None where
            there are no classes.
        folds: Number of folds.
        seed: Another seed gives other folds. Default 0.

    Returns:
        Number of the fold of each image, 0 to `folds - 1`.

    Raises:
        DataError: If there are fewer different images than folds.

    Example:
        >>> fold = assign_folds(list("aabcdefg"), np.array([0, 0, 0, 0, 1, 1, 1, 1]), 2)
        >>> bool(fold[0] == fold[1]), sorted(np.bincount(fold).tolist())
        (True, [4, 4])
    """
    different = len(set(content))
    if different < folds:
        raise DataError(
            f"Expected at least {folds} different images for {folds} folds, received {different}. "
            "Take fewer folds, or add images."
        )
    found = np.zeros(len(content), int)
    if classes is not None and np.bincount(classes).max() >= folds:
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            # A class of fewer images than folds is missing in some.
            warnings.simplefilter("ignore", UserWarning)
            for number, (_, held) in enumerate(splitter.split(found, classes, [*content])):
                found[held] = number
        if len(np.unique(found)) == folds:
            return found
    # Without classes, and where equal shares of them would leave a fold without images.
    names = sorted(set(content))
    order = np.random.default_rng(seed).permutation(len(names))
    place = {name: int(position) % folds for name, position in zip(names, order, strict=True)}
    return np.array([place[name] for name in content])
