"""What can be told of images before they are trained on, without a backbone and at once."""

from weakref import WeakKeyDictionary

from finetune.checks.class_counts import find_imbalance
from finetune.checks.copied import find_copies, same_key
from finetune.checks.findings import ERROR, LOOK, Finding
from finetune.checks.looked_through import LookedThrough
from finetune.checks.picture_quality import find_poor_pictures
from finetune.data import ImageData
from finetune.support import as_text

# Looking at them takes a third of a second for a thousand.
_MOST = 20_000

# What a picture may lack.
_POOR = ("blank", "dark", "blurred")


# Told when images are loaded and shown in the report of a run: looked at once.
_known: WeakKeyDictionary[ImageData, tuple[Finding, ...]] = WeakKeyDictionary()


def remarks_on(data: ImageData) -> list[str]:
    """What is to be told of images before they are trained on, a line each.

    Args:
        data: The images.

    Returns:
        What loading them told, see `DataReport`, and what `quick_remarks` finds.
    """
    return [*str(data.report).splitlines(), *quick_remarks(data)]


def quick_findings(data: ImageData) -> tuple[Finding, ...]:
    """Looks through images as far as that takes next to no time.

    Args:
        data: The images.

    Returns:
        Copies of one image, as far as loading found them, and poor pictures; those that matter
        most first. Nothing of more than 20,000 images.

    Example:
        >>> import numpy as np
        >>> from finetune.data import load_data
        >>> pixels = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), "uint8")
        >>> pixels[5] = 0
        >>> [finding.kind for finding in quick_findings(load_data((pixels, [0, 1] * 30)))]
        ['blank']
    """
    if data not in _known:
        images = LookedThrough(data)
        found: list[Finding] = []
        if data.splits and len(images.ids) <= _MOST:
            found += find_copies(images, same_key(images.together))
            found += find_poor_pictures(images)
        _known[data] = tuple(one for one in found if one.weight in (ERROR, LOOK))
    return _known[data]


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
    exact = {*data.report.contradicting}
    for finding in quick_findings(data):
        if finding.kind in _POOR:
            name = as_text(images.ids[finding.groups[0].rows[0]])
            told.append(f"{finding.title}: {len(finding.groups)}, such as {name}")
        elif finding.kind == "two labels":
            near = [
                row
                for group in finding.groups
                if any(images.ids[row] not in exact for row in group.rows)
                for row in group.rows
            ]
            if near:
                names = ", ".join(as_text(images.ids[row]) for row in near[:4])
                told.append(
                    f"Near copies of one image under different labels: {len(near)}: {names}"
                )
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
