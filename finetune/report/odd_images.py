"""What is odd among the images of a run, with pictures: harmful copies, and poor pictures."""

from dataclasses import replace

from finetune.checks import Finding, LookedThrough, quick_findings
from finetune.data import ImageData
from finetune.report.evidence import Gallery, Odd, OddGroup, OddImage
from finetune.report.looking import small_picture
from finetune.support import as_text

# What a report shows of all that a check finds, in this order.
_SHOWN = ("two labels", "leak", "blank", "dark", "blurred")

# Groups of a kind, images of a group, and pictures in all: `finetune check` has the others.
_MOST_GROUPS, _MOST_IMAGES, _MOST_PICTURES = 8, 4, 36


def with_odd_images(gallery: Gallery, data: ImageData) -> Gallery:
    """Add what was found among the images before they were trained on.

    Args:
        gallery: The images that a report shows.
        data: All images of the run.

    Returns:
        The gallery with some of them, and pictures of these.
    """
    images = LookedThrough(data)
    pictures: list[bytes] = []
    numbers: dict[int, int] = {}

    def shown(row: int) -> OddImage:
        if row not in numbers:
            numbers[row] = len(gallery.pictures) + len(pictures)
            pictures.append(small_picture(images.pixels[row]))
        name, label = as_text(images.ids[row]), as_text(images.class_of(row))
        return OddImage(numbers[row], name, label, images.split_of[row])

    def told(finding: Finding) -> Odd:
        groups: list[OddGroup] = []
        for group in finding.groups[:_MOST_GROUPS]:
            rows = group.rows[:_MOST_IMAGES]
            if len({*numbers, *rows}) > _MOST_PICTURES:
                break
            why = as_text(group.why)
            groups.append(OddGroup(why, tuple(map(shown, rows)), len(group.rows) - len(rows)))
        return Odd(finding.kind, finding.title, len(finding.groups), tuple(groups))

    found = {finding.kind: finding for finding in quick_findings(data)}
    odd = tuple(told(found[kind]) for kind in _SHOWN if kind in found)
    return replace(gallery, pictures=(*gallery.pictures, *pictures), odd=odd)
