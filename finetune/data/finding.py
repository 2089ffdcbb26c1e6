"""Image files below a folder: by their names, each folder once, nothing opened."""

import glob
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from finetune.exceptions import DataError, DataNotFoundError
from finetune.support import as_text

# Listed even where Pillow lacks a decoder (HEIC), so that such files are not passed over silently.
_SUFFIXES = "jpg jpeg jpe jfif png gif webp bmp dib tif tiff avif heic heif jp2 tga ppm pgm pbm pnm"
IMAGE_SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split(" "))

# What links in a circle count as, where they are passed over.
MET_BEFORE = "links to folders met before"
# What a file counts as that is no image by its name; so many are named.
STRAY = "stray files"
_MOST_STRAYS = 3


def find_images(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> list[Path]:
    """Expands files, folders and patterns to image files.

    Folders are searched to any depth, in sorted order; what is hidden or does not have an
    image's suffix is passed over. A file that is named itself is kept whatever its suffix.

    Args:
        paths: A file, a folder, a pattern as of a shell ("new/**/*.jpg"), or several of them.

    Returns:
        Image files, in the order given.

    Raises:
        DataNotFoundError: If a path does not exist, or nothing is as a pattern says.
        DataError: If a folder holds no image or cannot be read, or a path is neither file nor
            folder, such as a pipe.

    Example:
        >>> find_images([])
        []
    """
    single = isinstance(paths, (str, os.PathLike))
    found: list[Path] = []
    given = [Path(paths)] if single else map(Path, paths)
    for path in itertools.chain.from_iterable(map(_matching, given)):
        if path.is_dir():
            inside = list(walk(path, Ignored()))
            if not inside:
                raise DataError(f"No image in {path}: expected files such as .jpg or .png.")
            found += inside
        elif path.is_file():
            found.append(path)
        elif path.exists():
            raise DataError(f"Expected files or folders, but {path} is neither.")
        else:
            raise DataNotFoundError(f"No such file or folder: {path}.")
    return found


def _matching(path: Path) -> list[Path]:
    """What is as a pattern says; of what is there by that very name, or is no pattern, itself."""
    pattern = str(path)
    if not glob.has_magic(pattern) or os.path.lexists(path):
        return [path]
    found = sorted(map(Path, glob.glob(pattern, recursive=True)))
    if not found:
        raise DataNotFoundError(f"No file or folder is as the pattern {pattern} says.")
    return found


class Ignored(Counter[str]):
    """How many of what was passed over, by its kind; it knows the first few stray files by name.

    Example:
        >>> ignored = Ignored()
        >>> ignored.note(Path("shoes/notes.txt"))
        >>> ignored, ignored.strays
        (Ignored({'stray files': 1}), ['notes.txt'])
    """

    def __init__(self, *given: Any, strays: Iterable[str] = ()) -> None:
        super().__init__(*given)
        self.strays = [*strays][:_MOST_STRAYS]

    def note(self, entry: Path) -> None:
        """Count an entry."""
        kind = kind_of(entry)
        self[kind] += 1
        if kind == STRAY and len(self.strays) < _MOST_STRAYS:
            self.strays.append(as_text(entry.name))

    def __add__(self, other: Counter[str]) -> "Ignored":  # pyright: ignore
        further = getattr(other, "strays", [])
        return Ignored(super().__add__(other), strays=[*self.strays, *further])

    def __str__(self) -> str:
        """In words, with the names of some stray files."""
        told = []
        for kind, count in sorted(self.items()):
            text = f"{count:,} {_of_one(kind) if count == 1 else kind}"
            if kind == STRAY and self.strays:
                more = " ..." if count > len(self.strays) else ""
                text += f" ({', '.join(self.strays)}{more})"
            told.append(text)
        return ", ".join(told)


def _of_one(kind: str) -> str:
    return "link to a folder met before" if kind == MET_BEFORE else kind.removesuffix("s")


def walk(folder: Path, ignored: Ignored, above: Iterable[Path] = ()) -> Iterator[Path]:
    """Yields the image files below a folder in sorted order; links are followed.

    Args:
        folder: Where to begin.
        ignored: What is passed over is counted here, by its kind.
        above: Folders that are not entered again, as `folder` is not: a link to one of them
            would lead round in circles.

    Raises:
        DataError: If a folder cannot be read.
    """
    # By device and inode: a name says nothing where links lead to what was entered before.
    entered = {_identity(path) for path in (*above, folder)}
    unfinished = [iter(entries(folder))]
    while unfinished:
        for entry in unfinished[-1]:
            if is_hidden(entry.name):
                ignored.note(entry)
            elif os.path.isdir(entry):
                if (identity := _identity(entry)) in entered:
                    ignored[MET_BEFORE] += 1
                    continue
                entered.add(identity)
                unfinished.append(iter(entries(entry)))
                break
            elif is_image_name(entry.name):
                yield entry
            else:
                ignored.note(entry)
        else:
            unfinished.pop()


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, sorted.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(
            f"The folder {folder} cannot be read: {error.strerror}. Allow it, or leave it out."
        ) from error


def is_hidden(name: str) -> bool:
    """Whether a file or folder is one that operating systems hide or leave behind."""
    return name.startswith(".") or name in {"__MACOSX", "Thumbs.db", "desktop.ini"}


def is_image_name(name: str) -> bool:
    """Whether a file's name says that it is an image."""
    return not is_hidden(name) and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def kind_of(entry: Path) -> str:
    """What an entry that is passed over counts as."""
    folder = os.path.isdir(entry)
    if is_hidden(entry.name):
        return "hidden folders" if folder else "hidden files"
    return "other folders" if folder else STRAY


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino
