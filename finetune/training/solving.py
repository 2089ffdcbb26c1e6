"""Linear heads on kept features are solved: what they minimise is convex, so there is one answer.

The penalty that keeps weights small does what dropout and an early end do where a head is trained,
and is chosen by cross-validation on the training images alone.
"""

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold
from threadpoolctl import threadpool_limits

from finetune.support import current_deadline

log = logging.getLogger("finetune")

# Strengths of the penalty on standardized features, the strongest first: each answer is near the
# next one, which is begun from it.
_PENALTIES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
_FOLDS = 5

# Where the loss has risen by this share, weaker penalties are worse still.
_RISEN = 1.02

# The penalty is chosen on so many images at most; that more of them change it, is not to be seen.
_MOST_IMAGES = 3000

# Where there are too few images to choose.
_CAUTIOUS = 1.0

_STEPS = 500


@dataclass(frozen=True)
class Solution:
    """The weights of a linear head.

    Args:
        kernel: (features, units).
        bias: (units,).
        penalty: What each squared weight costs, half of it, on standardized features; the loss is
            the mean over the images.
    """

    kernel: np.ndarray
    bias: np.ndarray
    penalty: float


def solve(
    features: np.ndarray,
    labels: np.ndarray,
    task: str,
    *,
    class_weight: dict[int, float] | None = None,
    views: int = 1,
    penalty: float | None = None,
) -> Solution:
    """Fit a linear head: logistic regression for classes and labels, ridge regression for values.

    Args:
        features: (views * n, d), view by view.
        labels: (n,) or, for several labels or values an image, (n, outputs). Each class has at
            least one image.
        task: See `finetune.training.TASKS`.
        class_weight: Weight of each class number, or None for equal ones.
        views: Copies of each image among the rows. A copy is in the fold of its image.
        penalty: See `Solution`, above 0. Default: chosen by cross-validation on these images, which
            takes most of the time.

    Returns:
        Weights for the features as they are.

    Raises:
        OutOfTimeError: If time is limited and up.

    Example:
        >>> values = np.random.default_rng(0).normal(size=(200, 3))
        >>> found = solve(values, (values[:, 0] > 0).astype(int), "binary")
        >>> found.kernel.shape, bool(found.kernel[0] > 5 * abs(found.kernel[1]))
        ((3, 1), True)

    Source: A. E. Hoerl, R. W. Kennard, "Ridge Regression" (1970), for the penalty; that a linear
    classifier on frozen features is the baseline that fine-tuning has to beat: S. Kornblith et
    al., "Do Better ImageNet Models Transfer Better?" (2019).
    """
    rows, middle, spread = _standardized(features)
    # More threads are slower on matrices of so few columns: 10 times on 2 cores, measured.
    with threadpool_limits(1):
        if task == "multilabel":
            columns = labels.T.astype(int)
            found = [_solve(rows, column, "binary", None, views, penalty) for column in columns]
            kernel, bias = (np.concatenate([one[part] for one in found], -1) for part in (0, 1))
            used = float(np.median([one[2] for one in found]))
        else:
            kernel, bias, used = _solve(rows, labels, task, class_weight, views, penalty)
    if task == "multiclass" and kernel.shape[1] == 1:  # of two classes the second one's share
        kernel, bias = (np.concatenate([-part, part], axis=-1) / 2 for part in (kernel, bias))
    kernel = kernel / spread[:, np.newaxis]
    return Solution(kernel.astype("float32"), (bias - middle @ kernel).astype("float32"), used)


def choose_penalty(features: np.ndarray, labels: np.ndarray, folds_asked: int = _FOLDS) -> float:
    """The penalty that `solve` would choose for classes, or what fewer folds say of it.

    Args:
        features: See `solve`.
        labels: Class number of each image, (n,).
        folds_asked: Of five folds so many judge, each in proportion of the time. Default all.

    Raises:
        OutOfTimeError: If time is limited and up.
    """
    rows, _, _ = _standardized(features)
    with threadpool_limits(1):
        make = partial(_Classification, None)
        return _chosen(make, rows, labels, 1, "multiclass", folds_asked)


def _standardized(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features around 0 with a deviation of 1, and what was taken off and divided by."""
    middle = features.mean(axis=0, dtype="float64")
    spread = features.std(axis=0, dtype="float64")
    spread[spread < 1e-6 * max(spread.max(), 1e-12)] = 1.0  # what never changes says nothing
    rows = features.astype("float32")
    rows -= middle.astype("float32")
    rows /= spread.astype("float32")
    return rows, middle, spread


def _solve(
    rows: np.ndarray,
    labels: np.ndarray,
    task: str,
    class_weight: dict[int, float] | None,
    views: int,
    penalty: float | None,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Kernel, bias and penalty on standardized features."""
    if task == "binary" and len(np.unique(labels)) < 2:
        return _constant(rows.shape[1], float(labels[0]), len(labels))
    make = _Regression if task == "regression" else _Classification
    if penalty is None:
        penalty = _chosen(lambda: make(class_weight), rows, labels, views, task)
    fitted = make(class_weight)
    fitted.fit(rows, np.concatenate([labels] * views), penalty)
    return *fitted.weights(), penalty


def _constant(features: int, label: float, images: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Of a label that all images have, or none: how sure so many images make one of it."""
    share = (label * images + 0.5) / (images + 1)
    bias = np.array([np.log(share / (1 - share))])
    return np.zeros((features, 1)), bias, _CAUTIOUS


class _Classification:
    """Logistic regression, of two classes or more."""

    def __init__(self, class_weight: dict[int, float] | None) -> None:
        self._model = LogisticRegression(
            class_weight=class_weight, max_iter=_STEPS, warm_start=True
        )
        self._weights = class_weight or {}

    def fit(self, rows: np.ndarray, labels: np.ndarray, penalty: float) -> None:
        """Find the weights, from those found before."""
        classes, counts = np.unique(labels, return_counts=True)
        weights = [self._weights.get(int(number), 1.0) for number in classes]
        total = float(np.dot(weights, counts))
        self._model.C = 1 / (penalty * total)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._model.fit(rows, labels)
        if self._model.n_iter_.max() >= _STEPS:
            # It is as near as a head that is trained comes.
            log.info("The head was left after %s steps of L-BFGS.", _STEPS)

    def losses(self, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Cross-entropy of each row."""
        kernel, bias = self.weights()
        scores = rows @ kernel + bias
        if scores.shape[1] == 1:
            scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
        told = log_softmax(scores, axis=1)
        place = np.searchsorted(self._model.classes_, labels)
        return -told[np.arange(len(rows)), place]

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Kernel and bias."""
        return self._model.coef_.T, np.atleast_1d(self._model.intercept_)


class _Regression:
    """Ridge regression, of one value or several."""

    def __init__(self, class_weight: dict[int, float] | None) -> None:
        self._model = Ridge()

    def fit(self, rows: np.ndarray, labels: np.ndarray, penalty: float) -> None:
        """Find the weights."""
        self._model.alpha = penalty * len(rows)
        self._model.fit(rows, labels.reshape(len(rows), -1).astype("float64"))

    def losses(self, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Squared error of each row."""
        kernel, bias = self.weights()
        return ((rows @ kernel + bias - labels.reshape(len(rows), -1)) ** 2).mean(axis=1)

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Kernel and bias."""
        return np.atleast_2d(self._model.coef_).T, np.atleast_1d(self._model.intercept_)


def _chosen(
    make: Callable[[], _Classification | _Regression],
    rows: np.ndarray,
    labels: np.ndarray,
    views: int,
    task: str,
    folds_asked: int = _FOLDS,
) -> float:
    """The penalty with the lowest loss on images that were left out, each of them once."""
    images = np.arange(len(labels))
    if len(images) > _MOST_IMAGES:
        images = np.sort(np.random.default_rng(0).permutation(images)[:_MOST_IMAGES])
    left_out_by_fold = folds(labels[images], task)[:folds_asked]
    if not left_out_by_fold:
        return _CAUTIOUS
    models = [make() for _ in left_out_by_fold]
    found: list[float] = []
    for penalty in _PENALTIES:
        losses = []
        for model, left_out in zip(models, left_out_by_fold, strict=True):
            current_deadline().check("the head was being solved")
            kept = np.delete(images, left_out)
            copies = (np.arange(views)[:, np.newaxis] * len(labels) + kept).ravel()
            model.fit(rows[copies], np.concatenate([labels[kept]] * views), penalty)
            out = images[left_out]
            losses.append(model.losses(rows[out], labels[out]))
        found.append(float(np.concatenate(losses).mean()))
        if found[-1] > _RISEN * min(found):
            break
    return _PENALTIES[int(np.argmin(found))]


def folds(labels: np.ndarray, task: str, seed: int = 0) -> list[np.ndarray]:
    """Positions of the images that each fold leaves out; none where there are too few.

    A class with one image is in no fold, for the others could not know it.

    Args:
        labels: See `solve`.
        task: Classes have the same share of every fold; several labels or values an image are
            not looked at.
        seed: Of the shuffling.

    Returns:
        One array a fold.

    Example:
        >>> [len(left_out) for left_out in folds(np.array([0, 1] * 20), "binary")]
        [8, 8, 8, 8, 8]
    """
    if task in ("regression", "multilabel"):
        parts = min(_FOLDS, len(labels))
        splitter = KFold(parts, shuffle=True, random_state=seed) if parts > 1 else None
        return [] if splitter is None else [out for _, out in splitter.split(labels)]
    classes, counts = np.unique(labels, return_counts=True)
    able = np.flatnonzero(np.isin(labels, classes[counts > 1]))
    if not len(able):
        return []
    parts = int(min(_FOLDS, counts[counts > 1].min()))
    splitter = StratifiedKFold(parts, shuffle=True, random_state=seed)
    return [able[out] for _, out in splitter.split(able, labels[able])]
