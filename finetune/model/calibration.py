"""Calibration: probabilities that are right as often as they say.

Label smoothing keeps a network from being as sure as it could be, a long training without it makes
one surer than it should be. One number mends most of either: the temperature that logits are
divided by. It changes no answer. In a saved model it is part of the weights of the outputs.
"""

from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from finetune.backbones import ENSEMBLE, HEAD_LAYER
from finetune.exceptions import ArgumentError
from finetune.model.evaluation import score
from finetune.training import MEAN_LAYER, OUTPUT_LAYER, right_answers

_CLASSES = ("binary", "multiclass", "multilabel")

# Probabilities nearer to 0 or 1 than float32 can tell.
_LEAST = 1e-7

# How far from 1 a temperature is thought to be before there are images: its logarithm is 0 give or
# take so much. Where all of a few images are right, any smaller temperature has a lower loss.
_SPREAD = 0.5
_BOUNDS = (np.log(0.05), np.log(20.0))

# As in the paper; Keras' and scikit-learn's users know 10 to 20.
_BINS = 15
_RESAMPLES = 1000


@dataclass(frozen=True)
class Calibration:
    """How much a model's probabilities can be taken at their word.

    Expected calibration error: images are sorted into 15 bins by how sure the model is, and in each
    the mean of that is compared with the share that is right; the mean difference, weighted by the
    images in a bin. 0 is perfect, and what few images have by chance alone is not 0.

    Args:
        split: Where it was measured: "test", or "validation", where it is a little too small.
        n: Number of images there.
        sure: Mean probability of the answers.
        right: Share of the answers that are right.
        error: Expected calibration error.
        interval: Its 95% bootstrap interval.
        by_chance: The error that so many images have on average if the probabilities are perfect.
        by_chance_most: Above it are 2.5% of the errors then.
        temperature: What logits are divided by: below 1 the model becomes surer; 1 where it was
            not calibrated.
        before: The error before that; None where it was not.
        before_interval: Likewise.
    """

    split: str
    n: int
    sure: float
    right: float
    error: float
    interval: tuple[float, float]
    by_chance: float
    by_chance_most: float
    temperature: float = 1.0
    before: float | None = None
    before_interval: tuple[float, float] | None = None

    def __str__(self) -> str:
        before = ""
        if self.before is not None and self.before_interval is not None:
            before = ", before {:.3f} [{:.3f}, {:.3f}]".format(self.before, *self.before_interval)
        low, high = self.interval
        return (
            f"calibration error {self.error:.3f} [{low:.3f}, {high:.3f}]{before} ({self.split}, "
            f"n={self.n}; {self.by_chance:.3f} by chance alone)"
        )

    @property
    def remark(self) -> str:
        """What has to be said of the probabilities; empty where there is nothing to say."""
        if self.error <= self.by_chance_most:
            return ""
        how = "high" if self.sure > self.right else "low"
        advice = "" if self.before is not None else " calibrate=True can mend that."
        return (
            f"The probabilities are too {how}: {self.sure:.3f} on average, where {self.right:.3f} "
            f"of the answers are right; {self}.{advice}"
        )


def fit_temperature(labels: np.ndarray, outputs: np.ndarray, task: str) -> float:
    """Find the temperature at which predictions of images say best how often they are right.

    Args:
        labels: Labels of images that the model was not trained on.
        outputs: The model's probabilities, float (n, units).
        task: "binary", "multiclass" or "multilabel".

    Returns:
        The temperature with the lowest cross-entropy, 0.05 to 20; few images move it little from 1.

    Example:
        >>> labels = np.array([0, 1] * 50)
        >>> shy = np.where(labels[:, None] == [0, 1], 0.6, 0.4)  # always right
        >>> fit_temperature(labels, shy, "multiclass") < 0.3
        True

    Source: C. Guo et al., "On Calibration of Modern Neural Networks" (2017); the prior on its
    logarithm, normal with a standard deviation of 0.5, is ours.
    """
    logits = _logits(outputs, task)
    targets = labels.astype(int) if task == "multiclass" else labels.reshape(outputs.shape)

    def surprise(log_temperature: float) -> float:
        told = _log_likelihood(logits / np.exp(log_temperature), targets, task)
        return 0.5 * (log_temperature / _SPREAD) ** 2 - told

    found: Any = minimize_scalar(surprise, bounds=_BOUNDS, method="bounded")
    return float(np.exp(found.x))


def calibrated_loss(labels: np.ndarray, outputs: np.ndarray, task: str) -> float:
    """The mean cross-entropy of predictions at the temperature that `fit_temperature` finds.

    Example:
        >>> outputs = np.array([[0.6, 0.4], [0.4, 0.6]] * 50)  # right each time
        >>> calibrated_loss(np.array([0, 1] * 50), outputs, "multiclass") < 0.2
        True
    """
    warm = at_temperature(outputs, fit_temperature(labels, outputs, task), task)
    return score(labels, warm, task).loss


def at_temperature(outputs: np.ndarray, temperature: float, task: str) -> np.ndarray:
    """Probabilities as they would be with the logits divided by a temperature.

    Example:
        >>> at_temperature(np.array([[0.8, 0.2]]), 0.5, "multiclass").round(3).tolist()
        [[0.941, 0.059]]
    """
    logits = _logits(outputs, task) / temperature
    if task == "multiclass":
        return np.exp(log_softmax(logits, axis=-1)).astype(outputs.dtype)
    return (1 / (1 + np.exp(-logits))).astype(outputs.dtype)


def calibration(
    split: str, labels: np.ndarray, outputs: np.ndarray, task: str, temperature: float = 1.0
) -> Calibration:
    """Measure how far a model's probabilities can be taken at their word, see `Calibration`.

    Args:
        split: Name of the images.
        labels: Their labels.
        outputs: The model's probabilities before it was calibrated.
        task: "binary", "multiclass" or "multilabel".
        temperature: That of the model by now. Default 1: not calibrated.
    """
    now = outputs if temperature == 1.0 else at_temperature(outputs, temperature, task)
    sure, right = _sureness(now, labels, task)
    rng = np.random.default_rng(0)
    perfect = [_error(sure, rng.random(len(sure)) < sure) for _ in range(_RESAMPLES)]
    found = Calibration(
        *(split, len(labels), float(sure.mean()), float(right.mean())),
        *(_error(sure, right), _interval(sure, right)),
        *(float(np.mean(perfect)), float(np.quantile(perfect, 0.975)), temperature),
    )
    if temperature == 1.0:
        return found
    sure, right = _sureness(outputs, labels, task)
    return replace(found, before=_error(sure, right), before_interval=_interval(sure, right))


def reliability(
    labels: np.ndarray, outputs: np.ndarray, task: str
) -> list[tuple[int, float, float]]:
    """What a calibration curve shows: for each bin that holds answers how sure, how often right.

    Args:
        labels: Labels of images.
        outputs: The model's probabilities.
        task: "binary", "multiclass" or "multilabel".

    Returns:
        Number of answers, mean probability and share of right ones of each of the 15 bins in which
        there are any, the least sure first; see `Calibration`.

    Example:
        >>> outputs = np.float32([[0.99, 0.01], [0.97, 0.03], [0.45, 0.55]])
        >>> [(n, round(sure, 2), right) for n, sure, right in reliability(
        ...     np.array([0, 1, 1]), outputs, "multiclass")]
        [(1, 0.55, 1.0), (2, 0.98, 0.5)]
    """
    sure, right = _sureness(outputs, labels, task)
    bins = _bin_of(sure)
    return [
        (
            int((bins == one).sum()),
            float(sure[bins == one].mean()),
            float(right[bins == one].mean()),
        )
        for one in np.unique(bins)
    ]


def set_temperature(
    model: keras.Model, before: float, temperature: float, task: str
) -> keras.Model:
    """Have a model divide its logits by another temperature.

    Args:
        model: Made by this package, not for regression.
        before: The temperature that it has.
        temperature: The one that it gets.
        task: "binary", "multiclass" or "multilabel".

    Returns:
        The model itself, with other weights of its outputs; of an ensemble, which averages
        probabilities, a model around it.
    """
    if model.name.startswith(ENSEMBLE):
        return _with_layer(model, temperature, task)
    predictions = model.get_layer(HEAD_LAYER).get_layer(OUTPUT_LAYER)
    predictions.set_weights([w * (before / temperature) for w in predictions.get_weights()])
    return model


def gives_probabilities(task: str) -> bool:
    """Whether the outputs for a task are probabilities, not values."""
    return task in _CLASSES


def check_task(task: str) -> None:
    """Refuse tasks that know no probabilities.

    Raises:
        ArgumentError: If this is one.
    """
    if not gives_probabilities(task):
        raise ArgumentError(
            f"Expected a model of one of {_CLASSES}, received one for {task!r}: it gives no "
            "probabilities that could be calibrated."
        )


def _with_layer(ensemble: keras.Model, temperature: float, task: str) -> keras.Model:
    """The formula of `at_temperature` as layers behind the mean."""
    mean: Any = ensemble.get_layer(MEAN_LAYER).output
    p: Any = keras.ops.clip(mean, _LEAST, 1 - _LEAST)
    logits = keras.ops.log(p) if task == "multiclass" else keras.ops.log(p / (1 - p))
    cooled = keras.layers.Rescaling(1 / temperature, dtype="float32", name="temperature")(logits)
    activation = "softmax" if task == "multiclass" else "sigmoid"
    said = keras.layers.Activation(activation, dtype="float32", name="calibrated")(cooled)
    return keras.Model(ensemble.input, said, name=ensemble.name)


def _logits(outputs: np.ndarray, task: str) -> np.ndarray:
    p = np.clip(outputs.astype("float64"), _LEAST, 1 - _LEAST)
    return np.log(p) if task == "multiclass" else np.log(p) - np.log1p(-p)


def _log_likelihood(logits: np.ndarray, targets: np.ndarray, task: str) -> float:
    if task == "multiclass":
        told = log_softmax(logits, axis=-1)
        return float(told[np.arange(len(targets)), targets].sum())
    return float(-np.logaddexp(0, np.where(targets >= 0.5, -logits, logits)).sum())


def _sureness(outputs: np.ndarray, labels: np.ndarray, task: str) -> tuple[np.ndarray, np.ndarray]:
    """The probability of each answer, and whether it is right; of each label for "multilabel"."""
    sure = outputs.max(axis=1) if task == "multiclass" else np.maximum(outputs, 1 - outputs)
    return sure.ravel(), right_answers(labels, outputs, task).ravel()


def _error(sure: np.ndarray, right: np.ndarray) -> float:
    bins = _bin_of(sure)
    gaps = np.bincount(bins, right.astype(float) - sure, _BINS)
    return float(np.abs(gaps).sum() / len(sure))


def _bin_of(sure: np.ndarray) -> np.ndarray:
    return np.minimum((sure * _BINS).astype(int), _BINS - 1)


def _interval(sure: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, len(sure), len(sure)) for _ in range(_RESAMPLES)]
    low, high = np.quantile([_error(sure[rows], right[rows]) for rows in drawn], (0.025, 0.975))
    return float(low), float(high)
