"""Labels that look wrong: images that heads solved without them are sure to be of another class."""

import numpy as np

from finetune.checks.findings import Finding, Group
from finetune.checks.looked_through import LookedThrough
from finetune.training import out_of_fold, partition


def doubted_labels(labels: np.ndarray, told: np.ndarray) -> np.ndarray:
    """Finds labels that look wrong: how many by confident learning, which by their probability.

    An image counts for a class if its probability is at least the mean probability of that class
    among the images labelled so; of several, for the most probable one. So many images as count for
    another class than their own are doubted: those whose own label is the least probable.

    Args:
        labels: Class number of each image.
        told: Probabilities, (n, classes), of each image by a model that was solved without it.

    Returns:
        Rows of the labels that are doubted, the least probable label first.

    Example:
        >>> told = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.95, 0.05]])
        >>> doubted_labels(np.array([0, 0, 1, 1]), told).tolist()
        [3]

    Source: C. Northcutt et al., "Confident Learning: Estimating Uncertainty in Dataset Labels"
    (2021), for the number; J. Kuan, J. Mueller, "Model-agnostic label quality scoring to detect
    real-world label errors" (2022), for the order.
    """
    numbers = np.arange(told.shape[1])
    limits = [told[labels == one, one].mean() if (labels == one).any() else 2 for one in numbers]
    counted = np.where(told >= limits, told, -1.0)
    count = int(((counted.max(axis=1) >= 0) & (counted.argmax(axis=1) != labels)).sum())
    own = told[np.arange(len(labels)), labels]
    others = np.flatnonzero(told.argmax(axis=1) != labels)
    return others[np.argsort(own[others], kind="stable")][:count]


def find_wrong_labels(images: LookedThrough, seed: int = 0) -> list[Finding]:
    """Asks heads that are solved on the features of the others about every image.

    Args:
        images: The images, with features; each of one class.
        seed: Of the folds. Default 0.

    Raises:
        DataError: If there are too few images to leave any out.
        OutOfTimeError: If time is limited and up.
    """
    assert images.features is not None
    labels, task = images.labels, images.data.task
    parts = partition(labels, task, seed=seed, content=images.together)
    told = out_of_fold(images.features, labels, task, parts)
    if task == "binary":
        told = np.concatenate([1 - told, told], axis=1)
    names = images.data.class_names
    groups = []
    for row in doubted_labels(labels, told):
        other = int(told[row].argmax())
        own = told[row, labels[row]]
        why = f"looks like {names[other]}: {told[row, other]:.0%}, and {own:.0%} for its label"
        groups.append(Group((int(row),), why, names[other]))
    return [Finding("label", tuple(groups))] if groups else []
