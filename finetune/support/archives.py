"""Zip files that others may have written or damaged."""

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from finetune.exceptions import DamagedFileError, FineTuneError
from finetune.support.files import open_regular

# What zipfile and its readers raise, between them, on files that are no such thing.
_DAMAGED = (
    ArithmeticError,
    EOFError,
    KeyError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def read_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file for reading; whatever is found wrong with it within is one error.

    Raises:
        DamagedFileError: If it is no zip file, or not what is read from it within.
        StorageError: If it cannot be opened.
    """
    with open_regular(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                yield archive
        except FineTuneError:
            raise
        except _DAMAGED as error:
            raise DamagedFileError(f"{path} cannot be used: {error}.") from error


def read_member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """What a member of a zip file holds, if that is no more than it may be.

    What the archive says of its size is not believed.

    Args:
        archive: The opened file.
        name: Of the member.
        most: Bytes that it may have.

    Raises:
        ValueError: If it has more; `read_archive` says of which file.
    """
    with archive.open(name) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"expected at most {most:,} bytes of {name}, received more")
    return content
