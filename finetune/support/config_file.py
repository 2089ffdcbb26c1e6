"""Arguments as a TOML file: what was used, in a form that the commands read again."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from finetune.support.files import write_text

# Key that lists what was given from Python and cannot stand in a file.
ONLY_PYTHON = "only_python"


def write_config(
    path: Path, arguments: Mapping[str, Any], command: str, *, only_python: Sequence[str] = ()
) -> None:
    """Write arguments to a TOML file.

    Args:
        path: The file.
        arguments: Values by name. None is written as "none", a range as "LOW:HIGH", a pair named
            "image_size" as "HxW"; what TOML cannot hold, such as a model, is listed by name.
        command: The command that does the same again, for people.
        only_python: Names of further arguments that a file cannot say.

    Raises:
        StorageError: If it cannot be written.
    """
    values, missing = {}, list(only_python)
    for name, value in arguments.items():
        try:
            if name not in missing:
                values[name] = _in_toml(name, value)
        except TypeError:
            missing.append(name)
    text = tomli_w.dumps({**({ONLY_PYTHON: missing} if missing else {}), **values})
    write_text(path, f"# The same again: {command}\n{text}")


def _in_toml(name: str, value: Any) -> Any:
    if value is None:
        return "none"
    if isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, tuple) and name == "image_size":
        return f"{value[0]}x{value[1]}"
    if isinstance(value, tuple) and len(value) == 2 and all(_is_number(entry) for entry in value):
        return f"{value[0]!r}:{value[1]!r}"
    if isinstance(value, (list, tuple)):
        return [_in_toml(name, entry) for entry in value]
    if isinstance(value, Mapping):
        return {str(key): _in_toml(name, entry) for key, entry in value.items()}
    raise TypeError(f"{type(value).__name__} cannot stand in a file")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
