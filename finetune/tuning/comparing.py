"""What differs between two sets of arguments, in the user's words."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

_MISSING = object()


def digest_of(arguments: Mapping[str, Any]) -> str:
    """Names arguments; equal names mean equal arguments."""
    return hashlib.sha256(
        json.dumps(arguments, sort_keys=True, default=float).encode()
    ).hexdigest()[:16]


def differences(known: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> list[str]:
    """One line for each value that differs.

    Args:
        known: Groups of arguments by name, such as "FineTuner", as a folder has them.
        wanted: The same, as they are now.
        where: Where the known ones stand, such as "in the study".

    Returns:
        Lines; of an argument that stands in several groups they name the function.

    Example:
        >>> differences({"search": {"seed": 0, "strategy": "grid"}}, {
        ...     "search": {"seed": 0, "strategy": "random"}}, "in the study")
        ["strategy: 'grid' in the study, 'random' now"]
    """
    groups = [group for group in wanted.values() if isinstance(group, Mapping)]
    shared = {name for group in groups for name in group if sum(name in g for g in groups) > 1}
    lines = []
    for place, before, now in _differing(known, wanted, ()):
        group, *names = place
        label = _spelled_place(names) if names else str(group)
        if names and names[0] in shared:
            label += f" of {group}"
        if label == "images":
            lines.append(f"images: other ones, or split otherwise, than {where}")
            continue
        lines.append(f"{label}: {_spelled(before)} {where}, {_spelled(now)} now")
    return lines


def _differing(
    known: Any, wanted: Any, place: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], Any, Any]]:
    """Place, value in the study and value now, of each difference."""
    if _parts_differ(known, wanted, Mapping) and "pair" not in wanted:
        content = known.get("content"), wanted.get("content")
        if content[0] is not None and content[0] == content[1]:
            return  # whatever its file is called now
        rows = [
            row
            for key in dict.fromkeys([*known, *wanted])
            for row in _differing(
                known.get(key, _MISSING), wanted.get(key, _MISSING), (*place, key)
            )
        ]
        # A digest says little beside what can be read.
        told = [row for row in rows if row[0][-1] not in ("content", "of")]
        yield from told or ([(place, known, wanted)] if rows else [])
    elif _parts_differ(known, wanted, list) and len(known) == len(wanted):
        for number, (before, now) in enumerate(zip(known, wanted, strict=True)):
            yield from _differing(before, now, (*place, number))
    elif known != wanted:
        yield place, known, wanted


def _parts_differ(known: Any, wanted: Any, kind: type) -> bool:
    """Whether the difference lies within two values of this kind; plain lists are shown whole."""
    if not (isinstance(known, kind) and isinstance(wanted, kind)) or known == wanted:
        return False
    return kind is not list or any(isinstance(entry, (Mapping, list)) for entry in known)


def _spelled_place(names: list[str | int]) -> str:
    shown = [name for name in names if name != "config"]
    text = "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in shown)
    return text.removeprefix(".")


def _spelled(value: Any) -> str:
    """A value as users write it."""
    if value is _MISSING:
        return "nothing"
    if isinstance(value, Mapping):
        if "pair" in value:
            return f"({', '.join(map(_spelled, value['pair']))})"
        if "of" in value:
            content = f" (content {value['content']})" if "content" in value else ""
            return f"{value['of']}{content}"
        return "{" + ", ".join(f"{k}: {_spelled(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_spelled, value))}]"
    return repr(value)
