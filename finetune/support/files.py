"""Files that are whole or not there, whenever a process is killed."""

import json
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from finetune.exceptions import DamagedFileError, StorageError

_META = "meta"


def write_text(path: Path, text: str) -> None:
    """Write a text file.

    Raises:
        StorageError: If it cannot be written.
    """
    _write(path, lambda file: file.write(text.encode()))


def write_arrays(path: Path, meta: dict[str, Any], arrays: Sequence[np.ndarray]) -> None:
    """Write arrays, and what is known of them, in numpy's own format.

    Args:
        path: File to write, by custom ending in ".npz".
        meta: What JSON can hold.
        arrays: The arrays, in order.

    Raises:
        StorageError: If it cannot be written.
    """
    named: dict[str, Any] = {f"array_{number}": array for number, array in enumerate(arrays)}
    # Numpy's types of custom floats cannot be told from bytes when they are read back.
    kinds = [array.dtype.name for array in arrays]
    text = np.array(json.dumps({"meta": meta, "dtypes": kinds}))
    _write(path, lambda file: np.savez(file, **{_META: text}, **named))


def read_arrays(path: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Read what `write_arrays` wrote.

    Raises:
        DamagedFileError: If it is something else.
    """
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            described = json.loads(str(file[_META]))
            arrays = [
                file[f"array_{number}"].view(np.dtype(kind))
                for number, kind in enumerate(described["dtypes"])
            ]
            return described["meta"], arrays
    except (KeyError, ValueError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise DamagedFileError(f"{path} cannot be read: {error}.") from error


def remove_partial(*folders: Path) -> None:
    """Remove what writers that were killed have left in folders; nobody else may write there."""
    for folder in folders:
        for path in folder.glob(".*.partial"):
            path.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename a file that cannot be used, so that nothing is lost and nothing stumbles on it.

    Returns:
        Its new name.
    """
    number = 0
    while True:
        target = path.with_name(f"{path.name}.damaged{number or ''}")
        if not target.exists():
            os.replace(path, target)
            return target
        number += 1


def _write(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"Could not write {path}: {error}. Free some space or name another place."
        ) from error
