"""A curve that falls by a power of the number of images, and what it says of more of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Exponents that are tried. Hestness et al. found 0.07 to 0.35 for whole networks; heads on features
# of easy images fall faster.
_EXPONENTS = np.linspace(0.1, 1.5, 29)

_RESAMPLES = 300


@dataclass(frozen=True, eq=False)
class PowerLaws:
    """floor + scale * (images / reference) ** -exponent, several of them.

    Args:
        floor: What no number of images gets below, at least 0, (laws,).
        scale: What is above it at the reference, at least 0, (laws,).
        exponent: How fast that falls, (laws,).
        reference: Number of images.
    """

    floor: np.ndarray
    scale: np.ndarray
    exponent: np.ndarray
    reference: float

    def at(self, images: np.ndarray) -> np.ndarray:
        """The values for numbers of images, (laws, images)."""
        falling = (images / self.reference) ** -self.exponent[:, np.newaxis]
        return self.floor[:, np.newaxis] + self.scale[:, np.newaxis] * falling


def fit_power_laws(images: np.ndarray, values: np.ndarray, *, floor: bool = True) -> PowerLaws:
    """Find the power laws that are nearest to points, by weighted least squares.

    For each exponent the best floor and scale are a linear problem with one answer, so nothing is
    begun from a guess. A point weighs as its number of images: what fewer say differs more.

    Args:
        images: Numbers of images, ascending, (points,).
        values: Errors or losses, at least 0, (laws, points).
        floor: Whether there may be a floor. Default True.

    Returns:
        One law for each row of values; a flat one where more images are worse and a floor may be.

    Example:
        >>> images = np.array([100.0, 200, 300, 400])
        >>> law = fit_power_laws(images, 0.1 + 0.2 * (images[np.newaxis] / 400) ** -0.5)
        >>> law.floor.round(3), law.scale.round(3), law.exponent.round(2)
        (array([0.1]), array([0.2]), array([0.5]))

    Source: the form is that of C. Cortes et al., "Learning Curves: Asymptotic Values and Rate of
    Convergence" (1993), and J. Hestness et al., "Deep Learning Scaling is Predictable, Empirically"
    (2017); the way to fit it, G. Golub and V. Pereyra, "The Differentiation of Pseudo-Inverses and
    Nonlinear Least Squares Problems Whose Variables Separate" (1973).
    """
    reference = float(images[-1])
    weights = images / images.sum()
    middle = values @ weights
    found = []
    for exponent in _EXPONENTS:
        falling = (images / reference) ** -exponent
        alone = values @ (weights * falling) / (weights @ falling**2)  # the scale without a floor
        if floor:
            off = falling - weights @ falling
            scale = np.maximum(values @ (weights * off) / (weights @ off**2), 0)
            low = middle - scale * (weights @ falling)
            scale, low = np.where(low < 0, alone, scale), np.maximum(low, 0)
        else:
            scale, low = alone, np.zeros_like(alone)
        left = values - low[:, np.newaxis] - scale[:, np.newaxis] * falling
        found.append((left**2 @ weights, low, scale))
    errors, lows, scales = (np.stack(part) for part in zip(*found, strict=True))
    best = errors.argmin(axis=0)
    laws = np.arange(len(values))
    return PowerLaws(lows[best, laws], scales[best, laws], _EXPONENTS[best], reference)


@dataclass(frozen=True, eq=False)
class Extrapolated:
    """What is expected of other numbers of images.

    Args:
        values: Expected, (wanted,).
        resampled: Expected by each law of each resample, (2 * resamples, wanted).
        points: What was measured, by resample, (resamples, points).
    """

    values: np.ndarray
    resampled: np.ndarray
    points: np.ndarray


def extrapolate(
    images: np.ndarray,
    measured: np.ndarray,
    wanted: np.ndarray,
    *,
    more: Sequence[float] = (),
    seed: int = 0,
) -> Extrapolated:
    """Go on with what was measured: the mean of the laws with and without a floor.

    Points over a factor of four do not say where a curve ends, so both count, also in each of the
    resamples of images and divisions, which say how far to trust it: docs/plan.md has the figures.

    Args:
        images: Numbers of images, ascending, (points,).
        measured: Of every image, (divisions, points, n).
        wanted: Numbers of images.
        more: Values of further images that resamples are drawn from. Default: none.
        seed: Of the resamples. Default 0.

    Example:
        >>> errors = np.random.default_rng(0).random((2, 4, 400)) < [[0.4], [0.3], [0.25], [0.22]]
        >>> found = extrapolate(np.array([80.0, 160, 240, 320]), errors, np.array([640.0]))
        >>> low, high = np.quantile(found.resampled[:, 0], [0.025, 0.975])
        >>> bool(0.1 < low < found.values[0] < high < 0.3)
        True

    Source: B. Efron, "Bootstrap methods: another look at the jackknife" (1979), for the resamples.
    """
    divisions, points, count = measured.shape
    random = np.random.default_rng(seed)
    drawn = np.empty((_RESAMPLES, points))
    among = np.tile(np.array(more), (points, 1))
    for number in range(_RESAMPLES):
        chosen = measured[random.integers(divisions, size=divisions)].mean(axis=0)
        values = np.concatenate([chosen, among], axis=1)
        drawn[number] = values[:, random.integers(values.shape[1], size=count)].mean(axis=1)
    middle = measured.mean(axis=(0, 2))[np.newaxis]
    expected, resampled = (
        np.concatenate(
            [fit_power_laws(images, rows, floor=floor).at(wanted) for floor in (True, False)]
        )
        for rows in (middle, drawn)
    )
    return Extrapolated(expected.mean(axis=0), resampled, drawn)
