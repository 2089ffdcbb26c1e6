"""The page of a check: what was found, picture by picture, and what is to be done about it."""

import base64
from typing import Any

from finetune.checks import CheckResult
from finetune.data import ACTIONS
from finetune.report.image_cards import BUDGET
from finetune.report.looking import small_picture
from finetune.report.plan_drawing import MOST_NEEDS, plan_drawing
from finetune.report.rendering import render_page

CHECK_PAGE = "check.html"

# Groups of a finding that are shown, and images of a group.
_MOST_GROUPS, _MOST_IMAGES = 100, 6
# Classes that can be chosen from in the page; with more a table is the better place.
_MOST_CLASSES = 100

_WORDS = {"error": "Mend first", "look": "Look at", "note": "Good to know"}


def render_check(result: CheckResult) -> str:
    """The page that shows what a check found, errors first.

    Args:
        result: What was found.
    """
    pictures = _Pictures(result)
    found = result.to_dict()
    sections = []
    for finding, told in zip(result.findings, found["findings"], strict=True):
        groups = []
        for group, described in zip(finding.groups, told["groups"], strict=True):
            if len(groups) == _MOST_GROUPS:
                break
            shown = group.rows[:_MOST_IMAGES]
            if any([pictures.take(row) for row in shown]) or not group.rows:
                images = [
                    {**image, "row": row}
                    for row, image in zip(shown, described["images"], strict=False)
                ]
                further = len(group.rows) - len(shown)
                groups.append({"why": described["why"], "images": images, "further": further})
        sections.append(
            {
                "kind": finding.kind,
                "title": finding.title,
                "weight": _WORDS[finding.weight],
                "count": len(finding.groups),
                "groups": groups,
                "decide": finding.weight != "note",
            }
        )
    classes = result.images.data.class_names if result.images.exclusive else []
    fixes = {fix.content: vars(fix) for fix in result.fixes()}
    return render_page(
        "check",
        found=found,
        plan=plan_drawing(found["plan"]) if found["plan"] else None,
        named=MOST_NEEDS,
        table=result.table(),
        sections=sections,
        pictures=pictures.addresses,
        fixes=fixes,
        actions=[action for action in ACTIONS if action != "relabel"],
        classes=classes[:_MOST_CLASSES] if len(classes) <= _MOST_CLASSES else [],
        decisions={"fixes": [*fixes.values()]},
    )


class _Pictures:
    """Small pictures of images, each in the page once, as far as there is room."""

    def __init__(self, result: CheckResult) -> None:
        self._pixels = result.images.pixels
        self._room = BUDGET
        self.addresses: dict[int, str] = {}

    def take(self, row: int) -> bool:
        """Whether the page has, or now gets, the picture of an image."""
        if row in self.addresses:
            return True
        content: Any = base64.b64encode(small_picture(self._pixels[row])).decode()
        address = f"data:image/webp;base64,{content}"
        if len(address) > self._room:
            return False
        self._room -= len(address)
        self.addresses[row] = address
        return True
