"""What can be told of images before they are trained on, without a backbone and at once."""

from weakref import WeakKeyDictionary

from finetune.checks.class_counts import find_imbalance
from finetune.checks.findings import NOTE
from finetune.checks.looked_through import LookedThrough
from finetune.checks.picture_quality import find_poor_pictures
from finetune.data import ImageData
from finetune.support import as_text

# Looking at them takes a third of a second for a thousand.
_MOST = 20_000


# Told when images are loaded and once more in the report of a run: looked at once.
_known: WeakKeyDictionary[ImageData, list[str]] = WeakKeyDictionary()


def remarks_on(data: ImageData) -> list[str]:
    """What is to be told of images before they are trained on, a line each.

    Args:
        data: The images.

    Returns:
        What loading them told, see `DataReport`, and what `quick_remarks` finds.
    """
    if data not in _known:
        _known[data] = quick_remarks(data)
    return [*str(data.report).splitlines(), *_known[data]]


def quick_remarks(data: ImageData) -> list[str]:
    """Looks through images as far as that takes next to no time; says only what was found.

    Copies of one image and what could not be read are in `data.report`, which tells of itself.

    Args:
        data: The images.

    Returns:
        A sentence for each kind of finding, and where more is to be had; empty where all is well.

    Example:
        >>> import numpy as np
        >>> from finetune.data import load_data
        >>> pixels = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), "uint8")
        >>> pixels[5] = 0
        >>> quick_remarks(load_data((pixels, [0, 1] * 30), image_size=16))[0]
        'Images that show nothing: 1, such as train/5'
    """
    images = LookedThrough(data)
    told = []
    if data.splits and len(images.ids) <= _MOST:
        together: dict[str, list[int]] = {}
        for row, key in enumerate(images.together):
            together.setdefault(key, []).append(row)
        exact = {*data.report.contradicting}
        near = [
            row
            for rows in together.values()
            if len({images.class_of(row) for row in rows}) > 1
            and any(images.ids[row] not in exact for row in rows)
            for row in rows
        ]
        if near:
            names = ", ".join(as_text(images.ids[row]) for row in near[:4])
            told.append(f"Near copies of one image under different labels: {len(near)}: {names}")
        told += [
            f"{finding.title}: {len(finding.groups)}, such as "
            f"{as_text(images.ids[finding.groups[0].rows[0]])}"
            for finding in find_poor_pictures(images)
            if finding.weight != NOTE
        ]
    if images.exclusive:
        told += [
            as_text(group.why)
            for finding in find_imbalance(data.counts)
            for group in finding.groups
            if " times " in group.why
        ]
    if told or data.report.leaked or data.report.near or data.report.contradicting:
        told.append("To look at them: finetune check")
    return told
