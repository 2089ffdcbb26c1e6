"""All checks, one after the other: those that take pixels alone, and those that take features."""

from collections.abc import Callable
from contextlib import suppress

import numpy as np

from finetune.checks.class_counts import find_imbalance
from finetune.checks.copied import find_copies, pairs_of_copies
from finetune.checks.file_headers import find_odd_files
from finetune.checks.findings import KINDS, Finding, Group
from finetune.checks.label_doubts import find_wrong_labels
from finetune.checks.looked_through import LookedThrough
from finetune.checks.outliers import find_outliers
from finetune.checks.picture_quality import find_poor_pictures
from finetune.exceptions import DataError


def look_through(
    images: LookedThrough,
    features_of: Callable[[np.ndarray], np.ndarray] | None = None,
    seed: int = 0,
) -> list[Finding]:
    """Checks images; with features all checks, without them those that need none.

    Args:
        images: The images.
        features_of: Computes features of pixels, as those of the images; None where there are none.
        seed: Of the folds, and of how copies are cut. Default 0.

    Returns:
        What was found, what matters most first.

    Raises:
        OutOfTimeError: If time is limited and up.
    """
    found = [
        *_unreadable(images),
        *find_copies(images, pairs_of_copies(images, features_of, seed)),
        *find_poor_pictures(images),
        *find_odd_files(images),
    ]
    if images.exclusive:
        found += find_imbalance(images.data.counts)
    if images.features is not None:
        found += find_outliers(images)
        if images.exclusive:
            with suppress(DataError):  # too few images to leave any out: the counts say so
                found += find_wrong_labels(images, seed)
    order = [*KINDS]
    return sorted(found, key=lambda finding: order.index(finding.kind))


def _unreadable(images: LookedThrough) -> list[Finding]:
    skipped = images.data.report.skipped
    return [Finding("unreadable", tuple(Group((), str(file)) for file in skipped))] * bool(skipped)
