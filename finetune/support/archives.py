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
