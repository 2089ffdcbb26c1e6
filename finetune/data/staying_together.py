"""Which images stay on one side of every split: copies of one image, exact and near ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from finetune.data.look_alikes import copy_limits, groups_of, looks_of, near_copies, stand_ins

# Each is compared with each: with more images loading would wait for it.
_MOST = 30_000

# Different pictures of a class: one for each split.
_LEAST = 3


def staying_together(
    images: np.ndarray, content: Sequence[str], classes: np.ndarray | None
) -> Mapping[str, str]:
    """Finds images that show the same picture, to be kept on one side of every split.

    Args:
        images: uint8 (n, h, w, 3).
        content: Digest of each image's content; those with the same one need not be found.
        classes: Class number of each image; None where there are no classes.

    Returns:
        For the content of each image that has near copies one content that stands for all of
        them. None for a class that shows fewer than three pictures, one for each split: it could
        not be split. None at all above 30,000 images.

    Example:
        >>> pixels = np.random.default_rng(0).integers(0, 256, (9, 40, 40, 3), np.uint8)
        >>> pixels[8] = pixels[0, :, ::-1]
        >>> staying_together(pixels, list("abcdefghi"), None)
        {'a': 'a', 'i': 'a'}
    """
    if len(content) > _MOST:
        return {}
    _, first = np.unique(np.asarray(content), return_index=True)
    rows: list[int] = sorted(first.tolist())
    different, names = _Rows(images, rows), [content[row] for row in rows]
    looks = looks_of(different)
    groups = groups_of(near_copies(looks, copy_limits(different, looks)), len(rows))
    found = stand_ins(names, groups)
    for label in np.unique(classes) if classes is not None else ():
        own = {str(content[row]) for row in np.flatnonzero(classes == label).tolist()}
        if len({found.get(name, name) for name in own}) < _LEAST:
            found = {name: key for name, key in found.items() if name not in own}
    return found


class _Rows(Sequence[np.ndarray]):
    """Some rows of an array, which is not copied: it may be larger than the memory."""

    def __init__(self, images: np.ndarray, rows: Sequence[int]) -> None:
        self._images, self._rows = images, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: Any) -> Any:
        return self._images[self._rows[place]]
