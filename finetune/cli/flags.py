"""Messages of the package name arguments as Python spells them: here, as they are typed."""

import re
from functools import cache
from typing import Any

from finetune.cli.signatures import Option, read_options

# Where all arguments that can be typed are written.
_PLACES = (
    "finetune.data.load:load_data",
    "finetune.api.fine_tuner:FineTuner",
    "finetune.api.fine_tuner:FineTuner.search",
    "finetune.api.learning_rates:find_learning_rate",
    "finetune.api.one_call:fine_tune",
    "finetune.api.backbone_choice:compare",
    "finetune.export.exporting:export_model",
)


def _listed(found: re.Match[str]) -> str:
    return found[0].strip("()").rstrip(",").replace("'", "")


# What only Python has, as the command line has it or has it not.
_IN_WORDS: tuple[tuple[str, Any], ...] = (
    (r"[\w]+= \((--[a-z-]+)\)", r"\1"),
    (r"`finetune\.list_backbones\(\)`", "`finetune backbones`"),
    (r"`finetune\.compare\(data\)` \(finetune compare\)", "`finetune compare DATA`"),
    (r"\bcall fine_tune\b", "run `finetune fit`"),
    (r",? a Keras LearningRateSchedule or a function \(epoch, rate\) -> rate", ""),
    (r",? or a (Keras layer|keras_tuner\.Oracle)(?=, received)", ""),
    (r", a Keras layer, a function on Keras tensors,? or None", " or none"),
    (r"; a `keras\.Model`, or the path", "; the path"),
    # One of several words, as a tuple of Python's.
    (r"(?<=of )\('[^'()]*'(?:, '[^'()]*')*,?\)", _listed),
    (r"(, |\bor |\bpass )None\b", r"\1none"),
)
_VALUE = r"""(?:"[^"]*"|'[^']*'|\([^()]*\)|\[[^][]*\]|[\w.+-]*\w)"""


def as_flags(text: str) -> str:
    """Spells the arguments that a message names as options of the command line.

    Those in backticks, those with a value, and those whose name no other word has: one with an
    underscore.

    Args:
        text: The message.

    Returns:
        The same for people who type.

    Example:
        >>> as_flags("Load the data with validation=0.2, or name a place with cache_dir.")
        'Load the data with --validation 0.2, or name a place with --cache-dir.'
    """
    options = _options()

    def spell(found: re.Match[str]) -> str:
        name, value = found["name"], found["value"]
        if "_" not in name and "=" not in found[0] and not found["tick"]:
            return found[0]
        return _spell(options[name], value)

    names = "|".join(sorted(options, key=len, reverse=True))
    pattern = rf"(?P<tick>`?)(?<![\w./\\'-])(?P<name>{names})\b(?:=(?P<value>{_VALUE})?)?(?P=tick)"
    for python, typed in _IN_WORDS:
        text = re.sub(python, typed, text)
    # What was expected of an argument by its name alone.
    text = re.sub(rf"Expected ({names}) (?=to be |of \d|as a |above |below )", _expected, text)
    spelled = re.sub(pattern + r"(?![\w/\\]|\.\w)", spell, text)
    # Where a message names both already.
    return re.sub(r"(--[a-z-]+) \(\1\)", r"\1", spelled)


def _expected(found: re.Match[str]) -> str:
    return f"Expected {_options()[found[1]].flag} "


def _spell(option: Option, value: str | None) -> str:
    if value is None or ("bool" in option.kinds and value == "True"):
        return option.flag
    if "bool" in option.kinds and value == "False":
        return f"--no-{option.flag[2:]}"
    return f"{option.flag} {_typed(value)}"


def _typed(value: str) -> str:
    """A value as it is typed: 1e-5:1e-3 for a range, 0,50 for a list, a text without quotes."""
    if value[0] in "([":
        parts = (part.strip() for part in value[1:-1].split(","))
        return (":" if value[0] == "(" else ",").join(parts)
    return value.strip("'\"")


@cache
def _options() -> dict[str, Option]:
    """Every option that can be typed, by its name in Python."""
    found = (option for place in _PLACES for option in read_options(place, ""))
    return {option.name: option for option in found if option.kinds}
