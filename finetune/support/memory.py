"""How much memory this process may still take."""

from pathlib import Path

import psutil


def free_memory(root: Path = Path("/")) -> int:
    """Bytes that are free on this machine, within the limits of the container that this runs in.

    Args:
        root: Where `proc` and `sys` are. Default: the root of the file system.

    Returns:
        What may be taken without another process being short of it, or this one being ended by a
        control group (of version 1 or 2) that allows less than the machine has.

    Example:
        >>> free_memory() > 0
        True
    """
    limits = [_left(group, *names) for group, names in _groups(root)]
    return min([psutil.virtual_memory().available, *(left for left in limits if left is not None)])


# Files of a control group: its limit, what it uses, and the line of its statistics for pages of
# files that could be given back.
_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_VERSION_2 = ("memory.max", "memory.current", "inactive_file")


def _groups(root: Path) -> list[tuple[Path, tuple[str, str, str]]]:
    """The control groups that limit this process: its own, and those around it."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # no Linux, or none that tells
        return []
    found = []
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if not controllers:
            base, names = root / "sys/fs/cgroup", _VERSION_2
        elif "memory" in controllers.split(","):
            base, names = root / "sys/fs/cgroup/memory", _VERSION_1
        else:
            continue
        # Within a container its own group may be mounted as if it were the outermost one.
        own = base / place.lstrip("/")
        found += [(group, names) for group in (own, *own.parents) if group.is_relative_to(base)]
    return found


def _left(group: Path, limit: str, usage: str, reclaimable: str) -> int | None:
    """Bytes that a control group may still take; None where it has no limit."""
    try:
        most = int((group / limit).read_text())
        used = int((group / usage).read_text())
        statistics = (group / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):  # the outermost group has no limit, others "max"
        return None
    back = next((int(n) for name, n in map(str.split, statistics) if name == reclaimable), 0)
    return max(0, most - (used - back))
