"""How good heads on kept features are by the number of images that they are solved on."""

from dataclasses import dataclass

import numpy as np

from finetune.support import current_deadline
from finetune.training import choose_penalty, head_says, partition

# Shares of the images of four folds that heads are solved on.
SHARES = (0.25, 0.5, 0.75, 1.0)

# Times that the images are divided into folds, and drawn anew.
_DIVISIONS = 3

# Folds that judge the penalty: all five take longer than the curve, and say the same or next to it.
_JUDGES = 2

# Probabilities below this are no more certain: float32 would make some of them 0.
_LEAST = 1e-7


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """What heads that were solved on more and more images said of images that they did not know.

    Args:
        images: Number of images that the heads were solved on, on average, (points,).
        wrong: Whether an image was taken for another class, (divisions, points, n).
        losses: The cross-entropy of what was said of it, likewise.
    """

    images: np.ndarray
    wrong: np.ndarray
    losses: np.ndarray


def learning_curve(
    features: np.ndarray, labels: np.ndarray, *, divisions: int = _DIVISIONS, seed: int = 0
) -> LearningCurve:
    """Solve heads on 25, 50, 75 and 100% of the images of four folds, and ask about the fifth.

    Of every class the same share is taken, and what a head was solved on, the next one is solved on
    too. The penalty on the weights is chosen once, on all images; for fewer of them its mean over
    the images is larger, which is the same belief about the weights.

    Args:
        features: (n, d), of different images: a copy would tell the answer.
        labels: Class number of each, (n,); two images or more of every class.
        divisions: Times that the images are divided into folds anew. Default 3.
        seed: Of the folds, and of the order in which images are taken. Default 0.

    Returns:
        What was said of every image, once in every division and at every share.

    Raises:
        DataError: If there are too few images to leave any out.
        OutOfTimeError: If time is limited and up.

    Example:
        >>> values = np.random.default_rng(0).normal(size=(80, 3))
        >>> found = learning_curve(values, (values[:, 0] > 0).astype(int), divisions=2)
        >>> found.images.tolist(), found.wrong.shape
        ([16.0, 32.0, 48.0, 64.0], (2, 4, 80))

    Source: J. Hestness et al., "Deep Learning Scaling is Predictable, Empirically" (2017), for
    nested shares of one data set.
    """
    classes = int(labels.max()) + 1
    strength = choose_penalty(features, labels, _JUDGES) * len(labels)
    shape = (divisions, len(SHARES), len(labels))
    wrong, losses = np.zeros(shape, bool), np.zeros(shape)
    counts = np.zeros(shape)
    for division in range(divisions):
        random = np.random.default_rng((seed, division))
        order = random.permutation(len(labels))
        folds_seed = int(random.integers(2**31))
        for left_out in partition(labels, "multiclass", seed=folds_seed):
            current_deadline().check("what to photograph next was being worked out")
            kept = order[~np.isin(order, left_out)]
            for place, share in enumerate(SHARES):
                rows = first_of_each_class(labels, kept, share)
                told = head_says(
                    features[rows],
                    labels[rows],
                    "multiclass",
                    features[left_out],
                    classes,
                    strength / len(rows),
                )
                own = told[np.arange(len(left_out)), labels[left_out]]
                wrong[division, place, left_out] = told.argmax(axis=1) != labels[left_out]
                losses[division, place, left_out] = -np.log(np.maximum(own, _LEAST))
                counts[division, place, left_out] = len(rows)
    return LearningCurve(counts.mean(axis=(0, 2)), wrong, losses)


def first_of_each_class(labels: np.ndarray, order: np.ndarray, share: float) -> np.ndarray:
    """That share of the images of each class, those that come first, at least one of each.

    Args:
        labels: Class number of every image.
        order: Positions of images.
        share: 0 to 1.

    Example:
        >>> first_of_each_class(np.array([0, 1, 0, 1, 0]), np.array([4, 3, 2, 1, 0]), 0.5).tolist()
        [4, 2, 3]
    """
    chosen = []
    for number in np.unique(labels[order]):
        own = order[labels[order] == number]
        chosen.append(own[: max(1, round(share * len(own)))])
    return np.concatenate(chosen)
