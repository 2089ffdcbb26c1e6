"""Labels as users have them -> labels as Keras' losses want them, with the task they tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from finetune.data.images import SkippedFile
from finetune.exceptions import (
    ArgumentError,
    DataError,
    EmptyClassError,
    MissingClassError,
    TooFewClassesError,
)

TASKS = ("auto", "binary", "multiclass", "multilabel", "regression")


@dataclass(frozen=True)
class Labels:
    """Encoded labels, the task and the class names (none for regression)."""

    values: np.ndarray
    task: str
    class_names: list[str]

    @property
    def exclusive(self) -> bool:
        """Whether each image belongs to exactly one class."""
        return self.task in ("binary", "multiclass")


def encode_labels(
    labels: Any, *, task: str = "auto", class_names: Sequence[str] | None = None
) -> Labels:
    """Turns labels into numbers and finds out the task.

    Integers are class numbers 0..k-1 and strings are class names; a matrix with a single 1 per
    row is taken as one-hot. Two classes make the task "binary", more "multiclass". A matrix of
    0 and 1 that is not one-hot needs `task="multilabel"`, numbers to be predicted need
    `task="regression"`.

    Args:
        labels: n labels, of shape (n,), (n, 1) or (n, k).
        task: "auto" (default), "binary", "multiclass", "multilabel" or "regression".
        class_names: Names in the order of the class numbers. Default: the sorted names for
            strings, "0".."k-1" for numbers.

    Returns:
        int32 (n,) values for "binary" and "multiclass", float32 (n, k) for "multilabel", float32
        (n,) or (n, k) for "regression".

    Raises:
        ArgumentError: If `task` is not one of the five.
        DataError: If the labels do not fit the task.
        TooFewClassesError: If there are fewer than two classes.

    Example:
        >>> encode_labels(["dog", "cat", "dog"])
        Labels(values=array([1, 0, 1], dtype=int32), task='binary', class_names=['cat', 'dog'])
    """
    if task not in TASKS:
        raise ArgumentError(f"`task` must be one of {', '.join(TASKS)}, got {task!r}.")
    raw = as_labels(labels)
    if raw.dtype.kind == "O":
        raw = _of_one_kind(raw)
    if raw.ndim == 2 and raw.shape[1] == 1:
        raw = raw[:, 0]
    if raw.ndim not in (1, 2):
        raise DataError(f"Labels must have the shape (n,) or (n, k), got {raw.shape}.")
    if raw.dtype.kind == "f" and not np.isfinite(raw).all():
        raise DataError(f"{np.sum(~np.isfinite(raw))} labels are NaN or infinite.")
    names = None if class_names is None else [str(name) for name in class_names]
    if names is not None and len(set(names)) != len(names):
        raise DataError(f"`class_names` holds a name twice: {names}.")
    if raw.dtype.kind in "OSU":
        raw, names = _from_strings(raw, names, task)
    if raw.dtype.kind not in "biuf":
        raise DataError(f"Labels must be numbers or strings, got an array of {raw.dtype}.")
    if task == "regression":
        with np.errstate(over="ignore"):
            values = raw.astype(np.float32)
        if not np.isfinite(values).all():
            raise DataError(f"Numbers to be predicted must fit float32, got {np.abs(raw).max():g}.")
        return Labels(values, task, [])
    if task == "multilabel":
        return _multilabel(raw, names)
    return _classes(raw, names, task)


def as_labels(labels: Any) -> np.ndarray:
    """Labels as an array, in which a missing one stays what it is.

    Beside strings NumPy makes of None and NaN the texts 'None' and 'nan', which would be classes.

    Raises:
        DataError: If they are rows of different lengths.

    Example:
        >>> as_labels(["cat", None])
        array(['cat', None], dtype=object)
    """
    if isinstance(labels, np.ndarray):
        return labels
    try:
        raw = np.asarray(labels)
    except ValueError as error:
        raise DataError(
            "Labels must be one for each image, or one row of equal length for each: received "
            "rows of different lengths."
        ) from error
    return np.array(list(labels), dtype=object) if raw.dtype.kind in "SU" else raw


def count_classes(labels: np.ndarray, task: str, class_names: Sequence[str]) -> dict[str, int]:
    """Returns the number of images of each class ("images" for regression).

    Args:
        labels: Encoded labels.
        task: Their task.
        class_names: Names in the order of the class numbers.

    Returns:
        Name to number.

    Example:
        >>> count_classes(np.array([1, 0, 1]), "binary", ["cat", "dog"])
        {'cat': 1, 'dog': 2}
    """
    if task == "regression":
        return {"images": len(labels)}
    if task == "multilabel":
        counts = (labels == 1).sum(axis=0)
    else:
        counts = np.bincount(labels, minlength=len(class_names))
    return dict(zip(class_names, map(int, counts), strict=True))


def check_class_counts(counts: dict[str, int], skipped: Sequence[SkippedFile] = ()) -> None:
    """Refuses training images of which a class has none.

    Args:
        counts: Readable training images of each class.
        skipped: Files that could not be read: a likely cause, so the text names one.

    Raises:
        EmptyClassError: Naming the classes.

    Example:
        >>> check_class_counts({"cat": 3, "dog": 2})
    """
    empty = [name for name, count in counts.items() if not count]
    if not empty:
        return
    cause = f" {len(skipped)} could not be read, such as {skipped[0]}." if skipped else ""
    raise EmptyClassError(
        f"No readable training image of {listed(empty)}.{cause} Add images, or remove the class. "
        "(Class numbers must count from 0 without a gap.)"
    )


def check_same_classes(class_names: Sequence[str], present: set[str], part: str) -> None:
    """Refuses a split whose classes are not those of the training images.

    Args:
        class_names: The classes of the training images.
        present: The classes that have an image in the split.
        part: The split's name.

    Raises:
        MissingClassError: Naming what is missing and what is unknown.

    Example:
        >>> check_same_classes(["cat", "dog"], {"dog", "cat"}, "test")
    """
    missing = [name for name in class_names if name not in present]
    unknown = sorted(present - set(class_names))
    if not missing and not unknown:
        return
    texts = [f"no image of {listed(missing)}"] if missing else []
    texts += [f"images of {listed(unknown)}, unknown in training"] if unknown else []
    raise MissingClassError(
        f"The {part} images must have the classes of the training images "
        f"({listed(class_names)}), but hold {' and '.join(texts)}."
    )


def listed(names: Sequence[str]) -> str:
    """The first ten names, quoted, for an error's text."""
    shown = ", ".join(repr(str(name)) for name in names[:10])
    return shown + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _of_one_kind(raw: np.ndarray) -> np.ndarray:
    """Objects, if all of them are strings; numbers, if all of them are that."""
    flat = raw.ravel().tolist()
    strings = [isinstance(label, (str, bytes)) for label in flat]
    if all(strings):
        return raw
    numbers = [
        isinstance(label, (int, float, np.number, np.bool_)) and label == label for label in flat
    ]
    if all(numbers):
        found = np.array(flat).reshape(raw.shape)
        if found.dtype.kind == "O":
            raise DataError(f"Labels must be numbers of at most 64 bits, got {max(flat)}.")
        return found
    fitting = strings if any(strings) else numbers
    odd = fitting.index(False)
    raise DataError(
        f"Labels must be all strings or all numbers: {fitting.count(False)} of {len(flat)} are "
        f"missing or of another kind, such as {flat[odd]!r} at {odd}. Leave out images without a "
        "label."
    )


def _from_strings(
    raw: np.ndarray, names: list[str] | None, task: str
) -> tuple[np.ndarray, list[str]]:
    if raw.ndim != 1 or task in ("multilabel", "regression"):
        raise DataError(f'Labels for task="{task}" must be numbers, got an array of strings.')
    texts = [label.decode() if isinstance(label, bytes) else str(label) for label in raw]
    names = sorted(set(texts)) if names is None else names
    unknown = sorted(set(texts) - set(names))
    if unknown:
        raise DataError(f"Labels that are not in `class_names` {names}: {unknown[:10]}.")
    number = {name: index for index, name in enumerate(names)}
    return np.array([number[text] for text in texts], np.int32), names


def _multilabel(raw: np.ndarray, names: list[str] | None) -> Labels:
    if raw.ndim != 2 or not np.isin(raw, (0, 1)).all():
        raise DataError(
            'Labels for task="multilabel" must be a matrix of 0 and 1, one column per class, got '
            f"shape {raw.shape} with values {raw.min():g}..{raw.max():g}."
        )
    return Labels(
        raw.astype(np.float32), "multilabel", _class_names(names, raw.shape[1], raw.shape[1] - 1)
    )


def _classes(raw: np.ndarray, names: list[str] | None, task: str) -> Labels:
    count = 0
    if raw.ndim == 2:
        if not np.isin(raw, (0, 1)).all():
            raise DataError(
                f"Labels of shape {raw.shape} are neither class numbers nor one-hot rows. Give "
                'class numbers of shape (n,), or say task="regression" to predict numbers.'
            )
        if not (raw.sum(axis=1) == 1).all():
            raise DataError(
                f"Labels of shape {raw.shape} hold 0 and 1, but not a single 1 per row. If an "
                'image can belong to several classes (or none), say task="multilabel".'
            )
        count, raw = raw.shape[1], raw.argmax(axis=1)
    if raw.dtype.kind == "f" and (task == "auto" or (raw != np.rint(raw)).any()):
        raise DataError(
            f"Labels are floats ({raw.min():g}..{raw.max():g}). Give class numbers as "
            'integers, or say task="regression" to predict numbers.'
        )
    if raw.size and raw.min() < 0:
        raise DataError(f"Class numbers must count from 0, got {raw.min():g}.")
    largest = int(raw.max()) if raw.size else 0
    if names is None and not count and largest >= max(len(raw), 1):
        raise DataError(
            f"Class numbers must count from 0 without a gap, but the largest of {len(raw)} labels "
            f"is {largest}. Number the classes from 0, or give their names as labels."
        )
    names = _class_names(names, count, largest)
    # Only now: a larger number would become another one.
    values = raw.astype(np.int32)
    if len(names) < 2:
        raise TooFewClassesError(f"Found {len(names)} class ({names[0]}); at least two are needed.")
    if task == "binary" and len(names) != 2:
        raise DataError(
            f'task="binary" needs two classes, got {len(names)}. Say task="multiclass".'
        )
    found = "binary" if len(names) == 2 else "multiclass"
    return Labels(values, found if task == "auto" else task, names)


def _class_names(names: list[str] | None, count: int, largest: int) -> list[str]:
    if names is None:
        return [str(number) for number in range(max(count, largest + 1))]
    if (count and len(names) != count) or largest >= len(names):
        expected = f"{count} columns" if count else f"class numbers up to {largest}"
        raise DataError(f"`class_names` has {len(names)} names, but labels have {expected}.")
    return names
