"""Files that are whole or not there, whenever a process is killed."""

import os
import re
import secrets
import shutil
import stat
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from finetune.exceptions import DamagedFileError, StorageError

# Letters without a shape that change the direction of those that follow.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


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


def printable(text: str) -> str:
    r"""A text in which no letter commands a terminal, or turns round what stands beside it.

    Names of files and classes may hold anything. What is text in any language stays as it is, and
    so do the ends of lines.

    Example:
        >>> printable("caf\xe9\x1b[2J.png")
        'caf\xe9?[2J.png'
    """
    return "".join("?" if _commands(letter) else letter for letter in text)


def in_one_line(text: str) -> str:
    r"""The same for what stands in a line or a cell, such as a name.

    Example:
        >>> in_one_line("two\nlines")
        'two?lines'
    """
    return printable(text).replace("\n", "?")


def _commands(letter: str) -> bool:
    return letter != "\n" and (
        unicodedata.category(letter) in ("Cc", "Zl", "Zp") or letter in _TURNING
    )


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


# As `partial_beside` names them, and older versions, which took the number of the process.
_PARTIAL = re.compile(
    r"\.(process|[\w.-]+\.(json|npz|keras|toml|csv|html|png|svg|pdf))\.[0-9a-f]+\.partial"
)


def partial_beside(path: Path) -> Path:
    """A place for what is not whole yet, in the same folder, under a name that nobody can guess."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")


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
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
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
    partial = partial_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Anew: what others may have put there, such as a link, is not written to.
            with open(partial, "xb") as file:
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
