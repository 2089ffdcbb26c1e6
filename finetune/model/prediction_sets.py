"""Prediction sets: the classes that an image may be of, with a stated chance that one is right.

Split conformal prediction. Images that neither trained nor chose anything say how low the
probability of the true class may be: a class is in the set of an image if it is at least as
probable. Of all ways to make such sets this has the smallest ones on average, and anyone can do it
with one number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from finetune.exceptions import ArgumentError
from finetune.support import check_number

# The custom of statistics, for sets as for alarms.
COVERAGE = 0.95

# Where the images come from that prediction sets are made of.
SET_ASIDE, FOLDS = "set aside", "folds"

# Rounding of (n + 1) times a share.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class PredictionSets:
    """What prediction sets are made of.

    Args:
        probabilities: Of images that the model was not trained on the probability that it gives to
            the true class, the lowest first.
        origin: "set aside": the images had no part in the making of the model, so that of new
            images like them the stated share has the true class in its set, on average over such
            images. "folds": it was said by models that were trained like this one on four fifths
            of the images, or so: close, but no guarantee (docs/doubt.md).

    Raises:
        ArgumentError: If they are not sorted probabilities, or of another origin.

    Example:
        >>> sets = PredictionSets(tuple(np.linspace(0.05, 0.99, 39)))
        >>> round(sets.least(0.95), 3), sets.most_coverage
        (0.075, 0.975)

    Source: M. Sadinle, J. Lei and L. Wasserman, "Least Ambiguous Set-Valued Classifiers with
    Bounded Error Levels", JASA 114 (2019); V. Vovk et al., "Algorithmic Learning in a Random
    World" (2005).
    """

    probabilities: tuple[float, ...]
    origin: str = SET_ASIDE

    def __post_init__(self) -> None:
        values = np.asarray(self.probabilities)
        if not (len(values) and 0 <= values[0] <= values[-1] <= 1 and (np.diff(values) >= 0).all()):
            raise ArgumentError("Expected sorted probabilities, received something else.")
        if self.origin not in (SET_ASIDE, FOLDS):
            raise ArgumentError(f"Expected an origin of sets, received {self.origin!r}.")

    @property
    def most_coverage(self) -> float:
        """The highest share that so many images can promise."""
        return len(self.probabilities) / (len(self.probabilities) + 1)

    def least(self, coverage: float = COVERAGE) -> float:
        """The probability from which on a class is in a set.

        Args:
            coverage: Share of images whose set holds the true class, between 0 and 1.

        Raises:
            ArgumentError: If it is no such share, or so few images cannot promise it.
        """
        check_number("coverage", coverage, above=0, below=1)
        return float(self.probabilities[self._outside(coverage) - 1])

    def range(self, coverage: float = COVERAGE) -> tuple[float, float]:
        """Between what the share lies in 95% of cases, from these images being those they are.

        Args:
            coverage: The share that is meant.
        """
        outside = self._outside(coverage)
        low, high = stats.beta.ppf(
            (0.025, 0.975), len(self.probabilities) + 1 - outside, outside
        ).tolist()
        return low, high

    def _outside(self, coverage: float) -> int:
        """How many of the images may be less probable than the least, with that one."""
        count = len(self.probabilities)
        outside = int((count + 1) * (1 - coverage) + _ROUNDING)
        if not outside:
            raise ArgumentError(
                f"Expected a coverage of at most {self.most_coverage:.3f}, received {coverage:g}: "
                f"{count} images can promise no more. Set more images aside."
            )
        return outside


def sets_from(probabilities: np.ndarray, labels: np.ndarray, origin: str) -> PredictionSets:
    """Make sets of what was said of images.

    Args:
        probabilities: Of each class, float (n, classes).
        labels: Number of the true class of each image.
        origin: See `PredictionSets`.
    """
    of_true = probabilities[np.arange(len(labels)), labels.astype(int)]
    return PredictionSets(tuple(np.sort(of_true).astype(float).tolist()), origin)


def members(probabilities: np.ndarray, least: float) -> np.ndarray:
    """Which classes are in the set of each image; the most probable one always is.

    Args:
        probabilities: Of each class, float32 (n, classes).
        least: The probability from which on a class is in a set.

    Returns:
        Boolean (n, classes).

    Example:
        >>> members(np.float32([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25]]), 0.3).astype(int).tolist()
        [[1, 0, 0], [1, 1, 0]]
    """
    inside = probabilities >= np.asarray(least, probabilities.dtype)
    inside[np.arange(len(inside)), probabilities.argmax(axis=1)] = True
    return inside


def in_words(names: Sequence[str]) -> str:
    """Several classes as people name them.

    Example:
        >>> in_words(["nike", "adidas"]), in_words(list("abcdefgh"))
        ('nike or adidas', 'a, b, c, d or 4 more')
    """
    *before, last = [*names[:4], f"{len(names) - 4} more"] if len(names) > 5 else names
    return f"{', '.join(before)} or {last}" if before else last
