"""Files that are whole or not there, whenever a process is killed."""

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from finetune.exceptions import DamagedFileError, StorageError


def write_text(path: Path, text: str) -> None:
    """Write a text file; names of files in it keep their bytes, whatever these are.

    Raises:
        StorageError: If it cannot be written.
    """
    write_whole(path, lambda file: file.write(text.encode("utf-8", "surrogateescape")))


def as_text(name: str) -> str:
    r"""The name of a file, which may hold bytes of no letter, as text that all formats take.

    Example:
        >>> as_text("caf\udce9")
        'caf\\xe9'
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def open_regular(path: Path) -> IO[bytes]:
    """Open a file for reading, if it is one: a pipe would keep its reader waiting.

    Raises:
        DamagedFileError: If it is a folder, a pipe or a device.
        StorageError: If it cannot be opened.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DamagedFileError(f"{path} cannot be used: expected a regular file.")
        return open(path, "rb")
    except DamagedFileError:
        raise
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error}.") from error


# As `write_whole` names them, after the file and the process.
_PARTIAL = re.compile(r"\.(process|[\w.-]+\.(json|npz|keras|toml|csv|html))\.\d+\.partial")


def is_partial(name: str) -> bool:
    """Whether a file is one of ours that was not written to its end.

    Example:
        >>> [is_partial(name) for name in (".run.json.73.partial", "run.json", ".my.partial")]
        [True, False, False]
    """
    return _PARTIAL.fullmatch(name) is not None


def remove_partial(*folders: Path) -> None:
    """Remove what writers that were killed have left in folders; nobody else may write there."""
    for folder in folders:
        for path in folder.glob(".*.partial"):
            if is_partial(path.name):
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


def write_whole(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file that is whole or not there.

    Args:
        path: The file; its folder is made.
        write: Writes the content to an open file.

    Raises:
        StorageError: If it cannot be written.
    """
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
