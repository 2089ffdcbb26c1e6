"""Intervals for the figures that are reported."""

from scipy import stats


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
