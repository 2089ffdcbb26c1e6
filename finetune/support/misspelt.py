"""Names that do not exist: which one may have been meant."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that names the nearest of the names that exist.

    Args:
        name: What was given: a name with a slip in it, or the initials of one.
        known: The names that exist.

    Returns:
        The question, after a space; nothing where no name is near.

    Example:
        >>> did_you_mean("lr", ["epochs", "learning_rate"])
        " Did you mean 'learning_rate'?"
    """
    found = nearest(name, known)
    return f" Did you mean {found!r}?" if found else ""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The nearest of the names that exist, or None where no name is near.

    Args:
        name: See `did_you_mean`.
        known: Likewise.
    """
    names = list(known)
    found = [one for one in names if "_" in one and _initials(one) == name]
    found = found or difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    return found[0] if found else None


def _initials(name: str) -> str:
    return "".join(word[:1] for word in name.split("_"))
