"""What people decided about images: a table, keyed by content, that loading obeys."""

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.data.decoded import Decoded
from finetune.data.labels import listed
from finetune.exceptions import ArgumentError, DataError, DataNotFoundError
from finetune.support import as_csv, as_text, open_regular, write_text

LEAVE_OUT, RELABEL, KEEP = "leave out", "relabel", "keep"
ACTIONS = (LEAVE_OUT, RELABEL, KEEP)

# No table that people go through is larger.
_MOST_BYTES = 100 * 2**20


@dataclass(frozen=True)
class Fix:
    """What is to be done with one image, and with its exact copies.

    Args:
        content: Digest of its content, as in `Split.content`.
        action: "leave out", "relabel" or "keep".
        label: Name of the class that it is given; "" where it is not relabelled.
        path: Where it was found, for people: content is what counts.
        reason: Why, for people.
    """

    content: str
    action: str
    label: str = ""
    path: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Fixed:
    """What was done as a table of fixes says.

    Args:
        file: The table.
        left_out: Number of images that were left out.
        relabelled: Number of images that were given another label.
        unmet: Number of rows for whose image there was none.
    """

    file: str
    left_out: int
    relabelled: int
    unmet: int

    def __str__(self) -> str:
        told = f"As {self.file} says, {self.left_out} images were left out, {self.relabelled} given"
        lines = [f"{told} another label."]
        if self.unmet:
            lines.append(f"{self.unmet} of its rows are of images that are not here.")
        return " ".join(lines)


def write_fixes(path: Path, fixes: Iterable[Fix]) -> None:
    """Write a table of fixes.

    Raises:
        StorageError: If it cannot be written.
    """
    rows = [{**vars(fix), "path": as_text(fix.path)} for fix in fixes]
    names = dict.fromkeys(Fix.__dataclass_fields__, "")
    write_text(path, as_csv(rows) if rows else ",".join(names) + "\n")


def read_fixes(path: str | os.PathLike[str]) -> dict[str, Fix]:
    """Read a table of fixes, as it was written or edited by hand.

    Args:
        path: A CSV file with the columns "content" and "action", and "label" where it relabels.

    Returns:
        The fixes, by content.

    Raises:
        DataNotFoundError: If there is no such file.
        DataError: If a row cannot be understood, or two rows contradict each other.
        StorageError: If it cannot be read.
    """
    file = Path(path)
    if not file.exists():
        raise DataNotFoundError(
            f"There is no file {file}. Expected a table as `finetune check DATA --fix` writes it."
        )
    with open_regular(file) as opened:
        raw = opened.read(_MOST_BYTES + 1)
    if len(raw) > _MOST_BYTES:
        raise DataError(
            f"{file} has more than {_MOST_BYTES / 1e6:.0f} MB: it is no table of fixes."
        )
    # Excel writes a mark before the first letter.
    text = raw.decode("utf-8-sig", "backslashreplace")
    # Where commas stand for decimal points, it separates columns by semicolons.
    semicolons = ";" in text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=";" if semicolons else ",")
    try:
        rows = [*reader]
    except csv.Error as error:
        raise DataError(f"{file} is no table: {error}.") from error
    if missing := {"content", "action"} - {*(reader.fieldnames or ())}:
        raise DataError(
            f"Expected the columns content and action in {file}, but there is no "
            f"{listed(sorted(missing))}. Its columns are {listed(reader.fieldnames or ['none'])}."
        )
    fixes: dict[str, Fix] = {}
    for number, row in enumerate(rows, start=2):
        fix = _read_row({name: (value or "") for name, value in row.items() if name}, file, number)
        before = fixes.setdefault(fix.content, fix)
        if (before.action, before.label) != (fix.action, fix.label):
            raise DataError(
                f"{file}, row {number}: {fix.path or fix.content} is to be {_told(fix)}, but a row "
                f"before says {_told(before)}. Keep one of them."
            )
    return fixes


def apply_fixes(
    decoded: Decoded,
    path: str | os.PathLike[str],
    class_names: Sequence[str] | None,
) -> Fixed:
    """Do what a table of fixes says, before labels are encoded.

    Args:
        decoded: The images; changed in place.
        path: The table.
        class_names: Names of the classes where labels are their numbers; None where they are not
            known.

    Raises:
        ArgumentError: If a label is no class, or images have no classes.
        DataError: See `read_fixes`.
    """
    fixes = read_fixes(path)
    left_out = relabelled = 0
    kept: list[int] = []
    for row, content in enumerate(decoded.content):
        fix = fixes.get(content)
        if fix is not None and fix.action == LEAVE_OUT:
            left_out += 1
            continue
        if fix is not None and fix.action == RELABEL:
            decoded.labels[row] = _label(fix, decoded.labels, class_names)
            relabelled += 1
        kept.append(row)
    unmet = len({*fixes} - {*decoded.content})
    for place, row in enumerate(kept):  # rows only ever move up
        if place != row:
            decoded.images[place] = decoded.images[row]
    for name in ("parts", "ids", "content", "labels"):
        values = getattr(decoded, name)
        setattr(decoded, name, [values[row] for row in kept])
    if not decoded.ids:
        raise DataError(f"{path} leaves out every image. Take rows out of it, or add images.")
    return Fixed(as_text(os.fspath(path)), left_out, relabelled, unmet)


def _read_row(row: Mapping[str, str], file: Path, number: int) -> Fix:
    content, action = row["content"].strip(), row["action"].strip().lower().replace("_", " ")
    label = row.get("label", "").strip()
    if action not in ACTIONS:
        raise DataError(
            f"{file}, row {number}: expected an action of 'leave out', 'relabel' or 'keep', "
            f"received {row['action']!r}."
        )
    if not content or (action == RELABEL and not label):
        missing = "a label, the name of the class it is to have" if content else "a content"
        raise DataError(f"{file}, row {number}: expected {missing}, received none.")
    return Fix(
        *(content, action, label if action == RELABEL else ""),
        *(row.get("path", ""), row.get("reason", "")),
    )


def _label(fix: Fix, labels: Sequence[Any], class_names: Sequence[str] | None) -> Any:
    """The label that a fix names, of the kind that the others are of."""
    if isinstance(labels[0], str):
        known = sorted({*labels} | {*(class_names or ())})
        return _checked(fix, known)
    if getattr(labels[0], "ndim", 0) or getattr(labels[0], "dtype", None) in ("float32", "float64"):
        raise ArgumentError(
            f"Expected fixes that leave images out or keep them, for images that have no single "
            f"class; {fix.path or fix.content} is to be relabelled. Change the labels themselves."
        )
    names = class_names or [str(number) for number in range(int(max(labels)) + 1)]
    return type(labels[0])([*names].index(_checked(fix, names)))


def _checked(fix: Fix, names: Sequence[str]) -> str:
    if fix.label not in names:
        raise ArgumentError(
            f"{fix.path or fix.content} is to be relabelled as {fix.label!r}, which is no class. "
            f"Expected one of {listed(names)}."
        )
    return fix.label


def _told(fix: Fix) -> str:
    return (
        f"relabelled as {fix.label!r}"
        if fix.action == RELABEL
        else {
            LEAVE_OUT: "left out",
            KEEP: "kept",
        }[fix.action]
    )
