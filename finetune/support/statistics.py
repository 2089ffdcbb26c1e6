"""Intervals for the figures that are reported."""

import numpy as np
from scipy import stats

# Values that are drawn at a time: all resamples of 50,000 images would take 8 GB.
_MOST_DRAWN = 20_000_000


def accuracy_interval(accuracy: float, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of an accuracy measured on `n` images.

    Args:
        accuracy: Share of images classified right, 0 to 1.
        n: Number of images, at least 1.
        confidence: Probability that the interval covers, 0 to 1. Defaults to 0.95,
            the field's custom.

    Returns:
        The lower and the upper end, both within 0 to 1.

    Example:
        >>> low, high = accuracy_interval(0.9, 100)
        >>> round(low, 3), round(high, 3)
        (0.826, 0.945)

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical
    inference", JASA 22 (1927).
    """
    interval = stats.binomtest(round(accuracy * n), n).proportion_ci(confidence, "wilson")
    return float(interval.low), float(interval.high)


def squared_error_interval(
    error: float, n: int, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of a mean squared error measured on `n` images, whose errors are normal.

    Args:
        error: Mean of the squared errors, at least 0.
        n: Number of images, at least 1.
        confidence: Probability that the interval covers, 0 to 1. Defaults to 0.95.

    Returns:
        The lower and the upper end.

    Example:
        >>> low, high = squared_error_interval(1.0, 100)
        >>> round(low, 3), round(high, 3)
        (0.772, 1.347)

    Source: the chi-squared interval of a variance, as in NIST/SEMATECH, "e-Handbook of Statistical
    Methods", 1.3.5.8 (2012).
    """
    tail = (1 - confidence) / 2
    low, high = (float(n * error / stats.chi2.ppf(share, n)) for share in (1 - tail, tail))
    return low, high


def bootstrap_interval(
    values: np.ndarray, *, confidence: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap interval of the mean of values measured on images.

    Args:
        values: One for each image, such as 1 for right and 0 for wrong, or the difference of two
            models on it. Shape (n,).
        confidence: Probability that the interval covers, 0 to 1. Defaults to 0.95.
        seed: Of the resampling. Defaults to 0.

    Returns:
        The lower and the upper end, by percentiles of 9,999 resamples (scipy's default).

    Example:
        >>> low, high = bootstrap_interval(np.array([1.0] * 90 + [0.0] * 10))
        >>> bool(0.8 < low < 0.9 < high < 1.0)
        True

    Source: B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7
    (1979).
    """
    if len(values) < 2 or np.all(values == values[0]):
        # Nothing varies: no resample has another mean.
        return float(np.mean(values)), float(np.mean(values))
    found = stats.bootstrap(
        (np.asarray(values),),
        np.mean,
        confidence_level=confidence,
        method="percentile",
        batch=max(1, _MOST_DRAWN // len(values)),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)
