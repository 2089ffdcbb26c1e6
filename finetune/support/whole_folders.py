"""Folders that are whole or not there, as `files` has it for files."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from finetune.exceptions import ArgumentError, FineTuneError
from finetune.support.files import partial_beside
from finetune.support.folders import contents, not_writable


@contextmanager
def whole_folder(place: Path, mark: str, *, overwrite: bool = False) -> Iterator[Path]:
    """Write a folder that appears once it is whole; after an error nothing of it is left.

    Args:
        place: Where it is to be.
        mark: A file that each folder of the kind holds. Only one that does is replaced.
        overwrite: Whether one that is there is replaced, once the new one is whole.

    Yields:
        The folder to write to, beside the place.

    Raises:
        ArgumentError: If something is there that may not be replaced.
        StorageError: If it cannot be written.
    """
    target = place.resolve()
    _check(place, mark, overwrite)
    partial, old = partial_beside(target), partial_beside(target)
    try:
        partial.mkdir(parents=True)
        yield partial
        _check(place, mark, overwrite)  # it took a while, in which others may have written there
        if target.exists():
            os.rename(target, old)
        os.rename(partial, target)
    except FineTuneError:  # some of which are an OSError too
        raise
    except OSError as error:
        raise not_writable(place, error) from error
    finally:
        if old.exists() and not target.exists():
            os.rename(old, target)
        for left in (partial, old):
            shutil.rmtree(left, ignore_errors=True)


def _check(place: Path, mark: str, overwrite: bool) -> None:
    if place.is_file():
        raise ArgumentError(
            f"Expected a folder to write to, but {place} is a file. Name another place with out= "
            "(--out)."
        )
    names = contents(place)
    if not names:
        return
    if mark not in names:
        raise ArgumentError(
            f"Expected a new or an empty folder, but {place} holds files without {mark} among "
            "them. Name another one with out= (--out)."
        )
    if not overwrite:
        raise ArgumentError(
            f"{place} is there already. Replace it with overwrite=True (--overwrite), or name "
            "another folder with out= (--out)."
        )
