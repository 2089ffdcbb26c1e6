"""How good a linear head is on images that it was not solved on: each image is left out once."""

from collections.abc import Sequence

import numpy as np
from scipy.special import expit, softmax

from finetune.exceptions import DataError
from finetune.support import current_deadline
from finetune.training.solving import folds, solve


def partition(
    labels: np.ndarray, task: str, *, seed: int = 0, content: Sequence[str] | None = None
) -> list[np.ndarray]:
    """Divide images into folds, so that every image is in one of them.

    Args:
        labels: See `solve`.
        task: See `finetune.training.TASKS`.
        seed: Of the shuffling.
        content: A digest of each image: those with the same one are left out together, for a copy
            tells the answer. Default: no image is a copy of another.

    Returns:
        Positions of the images of each fold: five folds, or as many as the smallest class of two
        images or more has.

    Raises:
        DataError: If there are too few images to leave any out.

    Example:
        >>> [fold.tolist() for fold in partition(np.array([0, 0, 1, 1]), "binary")]
        [[1, 2], [0, 3]]
    """
    found = folds(labels, task, seed)
    place = np.full(len(labels), -1)
    for number, left_out in enumerate(found):
        place[left_out] = number
    # Images of a class of one: whoever leaves them out cannot know them, but all are predicted.
    alone = np.flatnonzero(place < 0)
    place[alone] = np.arange(len(alone)) % max(1, len(found))
    if content is not None:
        _, first, same = np.unique(np.asarray(content), return_index=True, return_inverse=True)
        place = place[first[same]]
    if len(np.unique(place)) < 2:
        raise DataError(
            "Expected at least two different images of a class, to leave one out; received "
            f"{len(labels)} images in all. Add some."
        )
    return [np.flatnonzero(place == number) for number in np.unique(place)]


def out_of_fold(
    features: np.ndarray, labels: np.ndarray, task: str, parts: Sequence[np.ndarray]
) -> np.ndarray:
    """Predict every image by a linear head that was solved without it.

    Scale of the features and strength of the penalty are of the other folds' images, too: the
    label of an image has no part in what is said of it.

    Args:
        features: (n, d).
        labels: See `solve`.
        task: See `finetune.training.TASKS`.
        parts: Positions of the images of each fold, see `partition`.

    Returns:
        What a model with such a head would put out, (n, outputs): probabilities, or values. A
        class that no other fold has an image of has the probability 0.

    Raises:
        OutOfTimeError: If time is limited and up.

    Example:
        >>> values = np.random.default_rng(0).normal(size=(100, 3))
        >>> labels = (values[:, 0] > 0).astype(int)
        >>> told = out_of_fold(values, labels, "binary", partition(labels, "binary"))
        >>> told.shape, bool(np.mean((told[:, 0] > 0.5) == labels) > 0.9)
        ((100, 1), True)

    Source: M. Stone, "Cross-validatory choice and assessment of statistical predictions" (1974).
    """
    if task == "multiclass":
        outputs = int(labels.max()) + 1
    else:
        outputs = labels.shape[1] if labels.ndim > 1 else 1
    told = np.zeros((len(labels), outputs), "float32")
    for left_out in parts:
        current_deadline().check("backbones were being compared")
        kept = np.delete(np.arange(len(labels)), left_out)
        told[left_out] = head_says(features[kept], labels[kept], task, features[left_out], outputs)
    return told


def head_says(
    features: np.ndarray,
    labels: np.ndarray,
    task: str,
    new: np.ndarray,
    outputs: int,
    penalty: float | None = None,
) -> np.ndarray:
    """What a head that is solved on some images says of others.

    Args:
        features: Of the images that it is solved on, (n, d).
        labels: Their labels, see `solve`.
        task: See `finetune.training.TASKS`.
        new: Features of the images that it is asked about.
        outputs: Columns of what it says: classes, 1 for a binary task.
        penalty: See `solve`. Default: chosen.

    Returns:
        See `out_of_fold`.
    """
    present = np.unique(labels) if task == "multiclass" else np.arange(outputs)
    if task == "multiclass" and len(present) == 1:  # nothing to tell apart
        return np.tile(np.eye(outputs)[present], (len(new), 1))
    solution = solve(features, labels, task, penalty=penalty)
    scores = new @ solution.kernel + solution.bias
    if task == "regression":
        return scores
    if task in ("binary", "multilabel"):
        return expit(scores)
    told = np.zeros((len(new), outputs))
    told[:, present] = softmax(scores, axis=1)
    return told
