"""How good the answers are, class by class: figures with intervals, and what is taken for what."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from finetune.support import accuracy_interval

# Resamples of the intervals of F1, for which there is no formula.
_RESAMPLES = 2000

# Above it nobody could read the matrix: the pairs that are mixed up most are listed instead.
MOST_CLASSES = 40
_PAIRS = 20


def by_class(
    labels: np.ndarray, outputs: np.ndarray, task: str, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each class, with 95% intervals.

    Args:
        labels: Of the images, numbers of classes or a column for each label.
        outputs: What was said of them.
        task: "binary", "multiclass" or "multilabel"; there are no classes for regression.
        class_names: In the order of their numbers.

    Returns:
        One entry a class: "name", "n" images of it, "said" of so many, "precision", "recall" and
        "f1", each with its interval under its name and "_interval"; None where there is nothing to
        divide by. Intervals of precision and recall are Wilson's, those of F1 percentiles of a
        bootstrap over the images.
    """
    true, said = _as_columns(labels, outputs, task, len(class_names))
    nothing: Any = np.nan
    found: Any = precision_recall_fscore_support(true, said, average=None, zero_division=nothing)
    precision, recall, f1, _ = found
    rng = np.random.default_rng(0)
    rows = []
    for number, name in enumerate(class_names):
        of_class, called = true[:, number], said[:, number]
        n, times, hits = int(of_class.sum()), int(called.sum()), int((of_class & called).sum())
        rows.append(
            {
                "name": name,
                "n": n,
                "said": times,
                "precision": float(precision[number]) if times else None,
                "precision_interval": accuracy_interval(hits / times, times) if times else None,
                "recall": float(recall[number]) if n else None,
                "recall_interval": accuracy_interval(hits / n, n) if n else None,
                "f1": float(f1[number]) if n + times else None,
                "f1_interval": _f1_interval(hits, times - hits, n - hits, len(true), rng),
            }
        )
    return rows


def confusion(
    labels: np.ndarray, outputs: np.ndarray, task: str, class_names: Sequence[str]
) -> list[list[int]]:
    """How many images of each class (rows) were taken for each (columns)."""
    true, said = classes_of(labels, outputs, task)
    return confusion_matrix(true, said, labels=np.arange(len(class_names))).tolist()


def most_confused(matrix: list[list[int]], class_names: Sequence[str]) -> list[dict[str, Any]]:
    """The pairs of classes that are mixed up most: "true", "said" and "n"."""
    counts = np.array(matrix)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:_PAIRS]
    places = [np.unravel_index(place, counts.shape) for place in order]
    return [
        {"true": class_names[true], "said": class_names[said], "n": int(counts[true, said])}
        for true, said in places
        if counts[true, said]
    ]


def classes_of(labels: np.ndarray, outputs: np.ndarray, task: str) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the true class of each image, and of the one that was said."""
    if task == "binary":
        return labels.ravel().astype(int), (outputs[:, 0] >= 0.5).astype(int)
    return labels.astype(int), outputs.argmax(axis=1)


def _as_columns(
    labels: np.ndarray, outputs: np.ndarray, task: str, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """For each image and class whether it is of it, and whether that was said."""
    if task == "multilabel":
        return labels >= 0.5, outputs >= 0.5
    return tuple(of[:, None] == np.arange(classes) for of in classes_of(labels, outputs, task))  # pyright: ignore[reportReturnType]


def _f1_interval(
    hits: int, false: int, missed: int, n: int, rng: np.random.Generator
) -> tuple[float, float] | None:
    if hits + false + missed == 0:
        return None
    shares = np.array([hits, false, missed, n - hits - false - missed]) / n
    # To draw images anew is to draw how many of each kind there are.
    drawn = rng.multinomial(n, shares, size=_RESAMPLES)[:, :3]
    drawn = drawn[drawn.sum(axis=1) > 0]
    if not len(drawn):
        return None
    right, wrong, lost = drawn.T
    low, high = np.quantile(2 * right / (2 * right + wrong + lost), (0.025, 0.975))
    return float(low), float(high)
