"""Validation images that choose nothing: what a model says of them tells how much to doubt it."""

from collections.abc import Sequence

import numpy as np

from finetune.data.hold_back import position

# What prediction sets of 95% need: below, the largest score would have to be larger than all.
FEWEST = 19
# More images than these make no difference that could be seen.
_MOST = 2000


def set_aside(
    content: Sequence[str],
    classes: np.ndarray | None,
    trained: Sequence[str],
    share: float,
    *,
    seed: int = 0,
) -> np.ndarray:
    """Chooses the validation images that are set aside for calibration.

    As in `hold_back` the hash of an image's content and the seed decide, so copies of an image are
    on one side. No class is asked for its share: images that come later are not, either. A class
    whose validation images would all be set aside keeps the one with the largest hash.

    Args:
        content: Hex digest of each validation image's content.
        classes: Class number of each; None where there are no classes.
        trained: Digests of the training images, which are never set aside.
        share: Share to set aside, strictly between 0 and 1.
        seed: Another seed gives another choice. Default 0.

    Returns:
        Boolean array: True where the image is set aside; nowhere if they would be fewer than 19.

    Example:
        >>> names = [str(number) for number in range(60)]
        >>> aside = set_aside(names, None, ["0", "1"], 0.5)
        >>> int(aside.sum()), bool(aside[:2].any())
        (24, False)
        >>> int(set_aside(names[:30], None, [], 0.5).sum())
        0
    """
    where = {key: position(key, seed, "calibration") for key in set(content)}
    known = set(trained)
    aside = {key for key, place in where.items() if place < share and key not in known}
    names = np.asarray(content, dtype=object)
    for label in np.unique(classes) if classes is not None else ():
        group = set(names[classes == label])
        if group <= aside:
            aside.discard(max(group, key=where.__getitem__))
    # By the same order as all else, so that it is a chance that knows nothing of the images.
    aside = set(sorted(aside, key=where.__getitem__)[:_MOST])
    chosen = np.array([key in aside for key in content], dtype=bool)
    return chosen if chosen.sum() >= FEWEST else np.zeros(len(chosen), bool)
