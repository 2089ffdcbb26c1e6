"""Values as they are typed on a command line, or stand in a configuration file."""

import re
from typing import Any

from finetune.cli.signatures import Option
from finetune.exceptions import ArgumentError

_WORDS = {
    "none": "none",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "size": "a size such as 160x120",
    "mapping": "NAME=VALUE, or several separated by commas",
    "names": "names separated by commas",
}

_MAPPING = r"[^=,]+=[^=,]+(,[^=,]+=[^=,]+)*"


def read_text(option: Option, text: str) -> Any:
    """What a text says, of the kind that the option takes.

    Args:
        option: Says which kinds there are, and whether a space to search is allowed.
        text: As typed.

    Returns:
        The value; a list for choices (`A,B,C`), a pair for a range (`LOW:HIGH`).

    Raises:
        ArgumentError: If it is of no such kind.

    Example:
        >>> rate = Option("learning_rate", ("float",), True, "", "", "")
        >>> read_text(rate, "3e-4"), read_text(rate, "1e-5:1e-3"), read_text(rate, "1e-4,1e-3")
        (0.0003, (1e-05, 0.001), [0.0001, 0.001])
    """
    text = text.strip()
    if option.searchable and (space := _read_space(option.kinds, text)) is not None:
        return space
    found = _read_single(option.kinds, text)
    if found is None:
        raise refused(option, repr(text))
    return found[0]


def check_value(option: Option, value: Any) -> Any:
    """A value of a TOML file, of the kind that the option takes.

    Args:
        option: Says which kinds there are.
        value: As TOML has it; a text is read as on the command line.

    Returns:
        The value.

    Raises:
        ArgumentError: If it is of no such kind.

    Example:
        >>> check_value(Option("epochs", ("int",), True, "", "", ""), [5, 10])
        [5, 10]
    """
    kinds = option.kinds
    if isinstance(value, str):
        return read_text(option, value)
    if isinstance(value, list):
        if "names" in kinds and all(isinstance(entry, str) for entry in value):
            return value
        if option.searchable:
            return [check_value(option, entry) for entry in value]
    elif isinstance(value, bool):
        if "bool" in kinds:
            return value
    elif isinstance(value, int) and {"int", "float"} & {*kinds}:
        return value if "int" in kinds else float(value)
    elif (isinstance(value, float) and "float" in kinds) or (
        isinstance(value, dict) and "mapping" in kinds
    ):
        return _with_numbers(value) if isinstance(value, dict) else value
    raise refused(option, f"{value!r} of type {type(value).__name__}")


def refused(option: Option, received: str) -> ArgumentError:
    """The error for a value that an option does not take."""
    words = [_WORDS[kind] for kind in option.kinds]
    if option.searchable:
        words.append("several of them as A,B,C or LOW:HIGH")
    return ArgumentError(f"Expected {option.name} as {', or '.join(words)}; received {received}.")


def _read_single(kinds: tuple[str, ...], text: str) -> tuple[Any] | None:
    """The value of a text, in a tuple of its own; None where it is of none of the kinds."""
    if "none" in kinds and text.lower() == "none":
        return (None,)
    if "bool" in kinds and text.lower() in ("true", "false"):
        return (text.lower() == "true",)
    for kind, number in (("int", int), ("float", float)):
        if kind in kinds:
            try:
                return (number(text),)
            except ValueError:
                continue
    size = re.fullmatch(r"(\d+)\s*x\s*(\d+)", text)
    if "size" in kinds and size:
        return ((int(size[1]), int(size[2])),)
    if "mapping" in kinds and re.fullmatch(_MAPPING, text):
        pairs = (part.partition("=") for part in text.split(","))
        return (_with_numbers({name.strip(): _plain(value) for name, _, value in pairs}),)
    if "names" in kinds:
        return ([part.strip() for part in text.split(",") if part.strip()],)
    return (text,) if "str" in kinds else None


def _read_space(kinds: tuple[str, ...], text: str) -> list[Any] | tuple[Any, ...] | None:
    """Choices or a range; None where the text is a single value."""
    if "mapping" in kinds and re.fullmatch(_MAPPING, text):
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > 1:
        read = [_read_single(kinds, part) for part in parts]
        return [part[0] for part in read if part] if all(read) else None
    numeric = tuple(kind for kind in kinds if kind in ("int", "float"))
    ends = [_read_single(numeric, part.strip()) for part in text.split(":")]
    return tuple(end[0] for end in ends if end) if len(ends) == 2 and all(ends) else None


def _plain(text: str) -> Any:
    found = _read_single(("bool", "int", "float"), text.strip())
    return found[0] if found else text.strip()


def _with_numbers(mapping: dict[str, Any]) -> dict[Any, Any]:
    """The mapping with class numbers as numbers: TOML and command lines have texts for keys."""
    return {int(key) if key.isdecimal() else key: value for key, value in mapping.items()}
