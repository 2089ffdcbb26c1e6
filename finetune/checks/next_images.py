"""What more images would bring, and of which classes: a plan of what to photograph next."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from finetune.checks.learning_curve import LearningCurve, learning_curve
from finetune.checks.looked_through import LookedThrough
from finetune.checks.power_law import extrapolate
from finetune.data import ImageData
from finetune.exceptions import DataError, OutOfTimeError
from finetune.support import accuracy_interval, in_one_line

# Fewer images of a class leave one or two of it to the head that is solved on a quarter.
_FEWEST = 8

# Times as many images as there are. Further out an interval says next to nothing.
_TIMES = {1: "all there are", 2: "twice as many", 4: "4 times as many"}

# Points between that are drawn.
_DRAWN = 24

# A gain that may be so large at most, with twice the images, is not worth taking them.
_FLAT = 0.01

# Images that resamples are drawn from too, half of them wrong, so that no error among few images is
# not taken for none among all: Agresti and Coull's "plus four".
_PLUS = (0.0, 0.0, 1.0, 1.0)

# Classes that are named.
_NAMED = 3

# At the end of a run it is to take a second or two. More is done where it is asked for.
_MOST_IMAGES, _MOST_CLASSES = 1200, 20
_QUICK_DIVISIONS = 1


@dataclass(frozen=True)
class Estimate:
    """How good heads are that are solved on so many images.

    Args:
        images: Number of images.
        accuracy: Share of images of which they say the class, 0 to 1.
        interval: 95% interval of the accuracy.
        loss: Cross-entropy.
        loss_interval: 95% interval of it.
    """

    images: int
    accuracy: float
    interval: tuple[float, float]
    loss: float
    loss_interval: tuple[float, float]

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.accuracy:.3f} [{low:.3f}, {high:.3f}]"


@dataclass(frozen=True)
class ClassNeed:
    """How much a class is in need of images.

    Args:
        name: Of the class.
        images: Its different images.
        recall: Share of them that heads solved on all others know, 0 to 1.
        interval: 95% interval of it.
    """

    name: str
    images: int
    recall: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class ImagePlan:
    """What more images of these kinds would bring, to heads on the features of a frozen backbone.

    Intervals are of images and draws: percentiles of resamples of both, each with a law that ends
    at a floor and one that does not. They do not cover that new images are of another kind.

    Args:
        images: Number of different images that are known.
        divisions: Times that they were divided into folds and drawn anew.
        measured: What was measured, of a quarter of the images of four folds, half, three quarters
            and all.
        expected: What follows for all images, twice and four times as many.
        curve: The same for the numbers of images between, to be drawn.
        gain: What twice as many images add to the accuracy.
        gain_interval: 95% interval of it.
        flat: Whether that is less than a point, to the upper end of the interval.
        classes: All classes, those first of which images are needed most.
        first: Names of the classes to photograph next, three at most; none where it is flat.
        sentence: What is to be made of it.
    """

    images: int
    divisions: int
    measured: tuple[Estimate, ...]
    expected: tuple[Estimate, ...]
    curve: tuple[Estimate, ...]
    gain: float
    gain_interval: tuple[float, float]
    flat: bool
    classes: tuple[ClassNeed, ...]
    first: tuple[str, ...]
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """As it stands in `check.json`, `metrics.json` and `result.json`."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"Heads on the features of {self.images:,} different images:"]
        width = len(f"{self.expected[-1].images:,}")
        for name, one in zip(_TIMES.values(), self.expected, strict=True):
            lines.append(f"  {one.images:>{width},} images, {name + ':':<16} accuracy {one}")
        lines.append(self.sentence)
        if self.first:
            names = ", ".join(in_one_line(name) for name in self.first)
            lines.append(f"Photograph next: {names}")
        return "\n".join(lines)


def plan_images(
    features: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    together: Sequence[str] | np.ndarray,
    *,
    divisions: int = 5,
    seed: int = 0,
) -> ImagePlan:
    """Work out what more images would bring.

    Of near copies the first one counts: a second adds nothing, and would tell the answer.

    Args:
        features: Pooled features of a frozen backbone, (n, d).
        labels: Class number of each image, (n,).
        class_names: In the order of their numbers.
        together: A digest of each image, the same for near copies.
        divisions: See `learning_curve`. Default 5.
        seed: Likewise; of the resamples, too. Default 0.

    Returns:
        The plan.

    Raises:
        DataError: If a class has fewer than 8 different images.
        OutOfTimeError: If time is limited and up.

    Example:
        >>> random = np.random.default_rng(0)
        >>> labels = np.arange(80) % 2
        >>> values = random.normal(size=(80, 4)) + labels[:, np.newaxis]
        >>> plan = plan_images(values, labels, ["boots", "shoes"], [*map(str, range(80))])
        >>> [one.images for one in plan.measured], [one.images for one in plan.expected]
        ([16, 32, 48, 64], [80, 160, 320])
        >>> 0 < plan.expected[0].interval[0] < plan.expected[0].accuracy
        True

    Source: J. Hestness et al. (2017), see `fit_power_law`; T. Viering and M. Loog, "The Shape of
    Learning Curves: a Review" (2022), for what can go wrong; A. Agresti and B. Coull (1998) for
    intervals where next to nothing is wrong.
    """
    _, first = np.unique(np.asarray(together), return_index=True)
    rows = np.sort(first)
    features, labels = features[rows], labels[rows]
    counts = np.bincount(labels, minlength=len(class_names))
    few = [
        f"{in_one_line(class_names[int(number)])} ({counts[number]})"
        for number in np.argsort(counts, kind="stable")
        if counts[number] < _FEWEST
    ]
    if few:
        more = f" and {len(few) - _NAMED} more" if len(few) > _NAMED else ""
        raise DataError(
            f"Expected at least {_FEWEST} different images of every class, to say what more of "
            f"them bring; received fewer of {', '.join(few[:_NAMED])}{more}. Photograph those "
            "first."
        )
    curve = learning_curve(features, labels, divisions=divisions, seed=seed)
    return _plan(curve, labels, class_names, seed)


def plan_of(images: LookedThrough, seed: int = 0) -> ImagePlan:
    """The plan for images that are looked through: of those that are no test images.

    Args:
        images: The images, with features.
        seed: See `plan_images`. Default 0.

    Raises:
        DataError: If they are not of one class each, or of too few.
        OutOfTimeError: If time is limited and up.
    """
    assert images.features is not None
    if not images.exclusive:
        raise DataError(
            "Expected images of exactly one class each, to see what more of them bring; received "
            f"a {images.data.task} task. Leave the plan out."
        )
    rows = np.flatnonzero(np.array(images.split_of) != "test")
    return plan_images(
        images.features[rows],
        images.labels[rows],
        images.data.class_names,
        np.array(images.together)[rows],
        seed=seed,
    )


def quick_plan(
    data: ImageData, pooled: Callable[[str], np.ndarray | None], seed: int = 0
) -> ImagePlan | None:
    """The plan that the report of a run shows: from features that are there, in a second or two.

    Args:
        data: The images that were trained on.
        pooled: Gives the features of "train" and "validation" images; None where none are kept.
        seed: See `plan_images`. Default 0.

    Returns:
        The plan; None where there are too few images for one, so many that it would take longer, or
        time is limited and up.
    """
    parts = [name for name in ("train", "validation") if name in data.splits]
    count = sum(len(data.splits[name].ids) for name in parts)
    if (
        data.task not in ("binary", "multiclass")
        or not 0 < count <= _MOST_IMAGES
        or len(data.class_names) > _MOST_CLASSES
    ):
        return None
    features = [found for name in parts if (found := pooled(name)) is not None]
    if len(features) < len(parts):
        return None
    labels = np.concatenate([data.splits[name].labels for name in parts])
    together = [key for name in parts for key in data.kept_together(name)]
    # Of too few images the counts of the classes tell.
    with suppress(DataError, OutOfTimeError):
        return plan_images(
            np.concatenate(features),
            labels,
            data.class_names,
            together,
            divisions=_QUICK_DIVISIONS,
            seed=seed,
        )
    return None


def _plan(
    curve: LearningCurve, labels: np.ndarray, class_names: Sequence[str], seed: int
) -> ImagePlan:
    """What follows from what heads said."""
    count = len(labels)
    known = [times * count for times in _TIMES]
    between = np.geomspace(curve.images[0], known[-1], _DRAWN)
    wanted = np.array([*known, *between], float)
    errors = extrapolate(curve.images, curve.wrong, wanted, more=_PLUS, seed=seed)
    losses = extrapolate(curve.images, curve.losses, wanted, seed=seed)
    measured = _estimates(
        curve.images,
        (curve.wrong.mean(axis=(0, 2)), errors.points),
        (curve.losses.mean(axis=(0, 2)), losses.points),
    )
    found = _estimates(wanted, (errors.values, errors.resampled), (losses.values, losses.resampled))
    expected, drawn = found[: len(known)], found[len(known) :]
    gain = expected[1].accuracy - expected[0].accuracy
    ends = _interval(errors.resampled[:, 0] - errors.resampled[:, 1])
    flat = ends[1] < _FLAT
    classes = _in_need(curve, labels, class_names)
    return ImagePlan(
        images=count,
        divisions=len(curve.wrong),
        measured=measured,
        expected=expected,
        curve=drawn,
        gain=gain,
        gain_interval=ends,
        flat=flat,
        classes=classes,
        first=() if flat else _first(classes),
        sentence=_sentence(gain, ends, flat),
    )


def _sentence(gain: float, interval: tuple[float, float], flat: bool) -> str:
    low, high = (100 * end for end in interval)
    points = f"{100 * gain:+.1f} points [{low:+.1f}, {high:+.1f}] of accuracy"
    if flat:
        return (
            "More images of this kind are not expected to help: twice as many are expected to give "
            f"{points}."
        )
    return f"Twice as many images are expected to give {points}."


def _first(classes: Sequence[ClassNeed]) -> tuple[str, ...]:
    """The classes to photograph next: half of them, three at most, none that is always known."""
    count = min(_NAMED, len(classes) // 2)
    return tuple(one.name for one in classes[:count] if one.recall < 1)


def _estimates(
    images: np.ndarray,
    errors: tuple[np.ndarray, np.ndarray],
    losses: tuple[np.ndarray, np.ndarray],
) -> tuple[Estimate, ...]:
    """For each number of images what was found, from values and resamples of them."""
    (wrong, wrongs), (loss, all_losses) = errors, losses
    return tuple(
        Estimate(
            round(float(number)),
            float(1 - wrong[place]),
            _interval(1 - wrongs[:, place]),
            float(loss[place]),
            _interval(all_losses[:, place]),
        )
        for place, number in enumerate(images)
    )


def _interval(resampled: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(low), float(high)


def _in_need(
    curve: LearningCurve, labels: np.ndarray, class_names: Sequence[str]
) -> tuple[ClassNeed, ...]:
    """The classes, those first whose images are known the least."""
    known = 1 - curve.wrong[:, -1].mean(axis=0)
    found = []
    for number, name in enumerate(class_names):
        own = known[labels == number]
        recall = float(own.mean())
        found.append(ClassNeed(name, len(own), recall, accuracy_interval(recall, len(own))))
    return tuple(sorted(found, key=lambda one: (one.recall, one.images)))
