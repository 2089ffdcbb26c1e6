"""K-fold cross-validation: every image is held back once."""

import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold

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
        >>> fold = assign_folds(list("aabcdefgh"), np.array([0, 0, 0, 0, 0, 1, 1, 1, 1]), 2)
        >>> bool(fold[0] == fold[1]), np.bincount(fold[5:]).tolist()
        (True, [2, 2])
    """
    names, first, place = np.unique(np.asarray(content), return_index=True, return_inverse=True)
    if len(names) < folds:
        raise DataError(
            f"Expected at least {folds} different images for {folds} folds, received {len(names)}. "
            "Take fewer folds, or add images."
        )
    # Of a class that has fewer images than folds, some folds hold back none.
    shares = classes is not None and np.bincount(classes[first]).max() >= folds
    kind = StratifiedKFold if shares else KFold
    splitter = kind(folds, shuffle=True, random_state=seed)
    fold = np.zeros(len(names), int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for number, (_, held) in enumerate(
            splitter.split(fold, classes[first] if classes is not None else None)
        ):
            fold[held] = number
    return fold[place.ravel()]
