"""Folders that runs and studies are written to."""

from datetime import datetime
from pathlib import Path

from finetune.exceptions import StorageError


def new_folder(prefix: str = "") -> Path:
    """A folder under "runs/" that does not exist yet, named by the time of day."""
    stem = Path("runs") / f"{prefix}{datetime.now():%Y%m%d-%H%M%S}"
    folder, number = stem, 1
    while folder.exists():
        number += 1
        folder = stem.with_name(f"{stem.name}-{number}")
    return folder


def check_writable(folder: Path) -> Path:
    """Try the run folder before any work is done, so that a bad place is known at once.

    Nothing is left behind: a run that fails before its end makes no empty folder.

    Raises:
        StorageError: If it cannot be made or written.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
        for place in made:
            place.rmdir()
    except OSError as error:
        raise StorageError(
            f"Expected a run folder that can be written, but {folder} cannot: {error}. Name "
            "another one with out=."
        ) from error
    return folder
