"""Configuration files: options by their names in Python, as TOML."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetune.cli.signatures import Option
from finetune.cli.values import check_value
from finetune.exceptions import ArgumentError, StorageError
from finetune.support import ONLY_PYTHON, did_you_mean, open_regular

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

# Far more than all options take.
_MOST_BYTES = 2**20


def with_config(
    path: Path | None, options: Sequence[Option], data: str | None, given: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """What a command is to do: what was typed, and for the rest what a file says.

    Args:
        path: The file; None for none.
        options: What may stand in it, besides "data".
        data: Images, as typed; None where nothing was.
        given: Options that were typed, by name.

    Returns:
        The images, and all options.

    Raises:
        ArgumentError: If the file is no TOML, names something unknown or holds a value that the
            option does not take; or if neither names the images.
        StorageError: If the file cannot be read.
    """
    known = {} if path is None else read_config(path, options)
    images = data if data is not None else known.pop("data", None)
    if images is None:
        raise ArgumentError(
            'Expected images: an image folder or a TFDS name as DATA, or as data = "..." in the '
            "file of --config. Received neither."
        )
    known.pop("data", None)
    return images, {**known, **given}


def read_config(path: Path, options: Sequence[Option]) -> dict[str, Any]:
    """The values of a configuration file, by option.

    Args:
        path: The file.
        options: What may stand in it, besides "data".

    Returns:
        The values.

    Raises:
        ArgumentError: If it is no TOML, names something unknown, or holds a value that the
            option does not take.
        StorageError: If it cannot be read.
    """
    try:
        with open_regular(path) as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
        content = tomllib.loads(text.decode("utf-8", "surrogateescape"))
    except OSError as error:
        raise StorageError(
            f"Expected a TOML file that can be read at {path}: {error}. Name another with --config."
        ) from error
    except (ValueError, RecursionError) as error:  # tomllib's own, and of what is nested too deep
        raise ArgumentError(f"Expected TOML in {path}, but {error}.") from error
    if missing := content.pop(ONLY_PYTHON, None):
        told = ", ".join(map(str, missing)) if isinstance(missing, list) else missing
        raise ArgumentError(
            f"{path} is of a run that was given {told} in Python, which no "
            "file can hold. Repeat it from Python, or take that line out and name what to use."
        )
    by_name = {option.name: option for option in options if option.kinds}
    values = {}
    for name, value in content.items():
        if name == "data" and isinstance(value, str):
            values[name] = value
        elif name in by_name:
            try:
                values[name] = check_value(by_name[name], value)
            except ArgumentError as error:
                raise ArgumentError(f"{path}: {error}") from error
        else:
            hint = did_you_mean(name, ["data", *by_name])
            raise ArgumentError(
                f"{path}: {name!r} is no option of this command.{hint} `--help` lists them; in the "
                "file, - is written as _."
            )
    return values
