"""What a check found: as a table, as rows, as JSON, and as fixes that people decide on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from finetune.checks.findings import ERROR, LOOK, Finding, Group
from finetune.checks.looked_through import LookedThrough
from finetune.checks.next_images import ImagePlan
from finetune.data import KEEP, LEAVE_OUT, Fix
from finetune.support import as_html, as_plain_text, as_text, to_frame

# What may be left out without looking: no model can learn anything right of it.
_LEFT_OUT = ("blank", "two labels")

# Of each finding the table names so many images.
_NAMED = 3


@dataclass(frozen=True, eq=False)
class CheckResult:
    """What was found among images. Made by `check`. Nothing was changed: it says where to look.

    Args:
        images: The images.
        findings: What was found, what matters most first.
        left_out: Checks that could not be done, with the reason.
        backbone: Whose features were used; "" where none were.
        seconds: Wall time.
        folder: Where `check.json`, `check.html` and `fixes.csv` were written.
        plan: What more images would bring, and of which classes; None where that was not asked for,
            or cannot be said.
    """

    images: LookedThrough
    findings: tuple[Finding, ...]
    left_out: tuple[str, ...]
    backbone: str
    seconds: float
    folder: Path | None = None
    plan: ImagePlan | None = None

    def finding(self, kind: str) -> Finding | None:
        """What was found of one kind, such as "label" or "leak"; None where nothing was."""
        return next((one for one in self.findings if one.kind == kind), None)

    def rows(self) -> list[dict[str, Any]]:
        """One row for each image of each finding: those of one group have its number."""
        return [
            {"kind": finding.kind, "weight": finding.weight, "group": number, **row}
            for finding in self.findings
            for number, group in enumerate(finding.groups)
            for row in self._rows_of(group)
        ]

    def to_pandas(self) -> Any:
        """The rows as a `pandas.DataFrame`.

        Raises:
            ArgumentError: If pandas is not installed.
        """
        return to_frame(self.rows())

    def to_dict(self) -> dict[str, Any]:
        """As it stands in `check.json`."""
        data = self.images.data
        return {
            "images": len(self.images.ids),
            "classes": list(data.class_names),
            "counts": data.counts,
            "backbone": self.backbone,
            "left_out": list(self.left_out),
            "seconds": round(self.seconds, 1),
            "plan": self.plan.to_dict() if self.plan else None,
            "findings": [
                {
                    "kind": finding.kind,
                    "title": finding.title,
                    "weight": finding.weight,
                    "groups": [
                        {"why": as_text(group.why), "images": self._rows_of(group, alone=False)}
                        for group in finding.groups
                    ],
                }
                for finding in self.findings
            ],
        }

    def fixes(self) -> list[Fix]:
        """What could be done: to be looked at and edited before `fixes=` obeys it.

        Left out are images that show nothing and copies of one image under two labels; all else
        that is doubted is kept, with the class that is more likely where there is one.
        """
        fixes: dict[str, Fix] = {}
        for finding in self.findings:
            if finding.weight not in (ERROR, LOOK):
                continue
            action = LEAVE_OUT if finding.kind in _LEFT_OUT else KEEP
            for group in finding.groups:
                for row in group.rows:
                    content = self.images.content[row]
                    why = f"{finding.title.lower()}: {as_text(group.why)}"
                    fixes.setdefault(
                        content,
                        Fix(content, action, group.suggestion, self.images.ids[row], why),
                    )
        return [*fixes.values()]

    def table(self) -> str:
        """What was found, a line a kind."""
        table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for heading in ("", "found", "images", "such as"):
            table.add_column(heading, justify="right" if heading == "images" else "left")
        for finding in self.findings:
            images = sum(len(group.rows) for group in finding.groups) or len(finding.groups)
            table.add_row(finding.weight, finding.title, f"{images:,}", self._such_as(finding))
        return as_plain_text(table) if self.findings else "Nothing odd was found."

    def summary(self) -> str:
        """The table, and what was not checked."""
        classes = len(self.images.data.class_names)
        of = f" of {classes} classes" if classes else ""
        with_features = f", with features of {self.backbone}" if self.backbone else ""
        lines = [f"{len(self.images.ids):,} images{of}{with_features}", self.table()]
        lines += [f"Not checked: {one}" for one in self.left_out]
        if self.findings:
            lines.append("Look at them: nothing was changed, and not all that is odd is wrong.")
        if self.plan:
            lines.append(f"\n{self.plan}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        kinds = ", ".join(f"{len(one.groups)} x {one.kind}" for one in self.findings)
        return f"<CheckResult: {len(self.images.ids):,} images, {kinds or 'nothing odd'}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        rows = [(one.weight, one.title, str(len(one.groups))) for one in self.findings]
        return as_html(f"{len(self.images.ids):,} images", rows, ("", "found", ""))

    def _rows_of(self, group: Group, alone: bool = True) -> list[dict[str, Any]]:
        why: Mapping[str, Any] = {"why": as_text(group.why)} if alone else {}
        more = {"suggestion": group.suggestion} if group.suggestion else {}
        if not group.rows:
            return [{**why}] if alone else []
        return [
            {
                "image": as_text(self.images.ids[row]),
                "class": self.images.class_of(row),
                "split": self.images.split_of[row],
                "content": self.images.content[row],
                **more,
                **why,
            }
            for row in group.rows
        ]

    def _such_as(self, finding: Finding) -> str:
        group = finding.groups[0]
        names = [as_text(self.images.ids[row]) for row in group.rows]
        if not names:
            return as_text(group.why)
        shown = " = ".join(names[:_NAMED]) + " ..." * (len(names) > _NAMED)
        return f"{shown} ({as_text(group.why)})"
