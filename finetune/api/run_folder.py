"""The folder of a run: claimed at the start, gone on with after a stop, whole at the end.

    run.json   what is trained, on which images, and whether it is over
    state.npz  the state after the last epoch, until the run is over

The files of the run come last, and all at once (see `run_files`).
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.api.run_files import FILES
from finetune.exceptions import RunFolderError, StorageError, TrainingError
from finetune.support import (
    RUN,
    contents,
    described,
    hold,
    is_run,
    new_folder,
    not_writable,
    read_json,
    release,
    remove_partial,
    write_text,
)
from finetune.training import EVENTS, SpareStateFile
from finetune.tuning import differences

_STATE = "state.npz"
_PARTIAL = ".partial"


class RunFolder:
    """The folder of one run, held by this process. Made by `claim`.

    Args:
        place: Where the run is to be found in the end.
        folder: Where it is worked on: there, or beside a run that it is to replace.
        shown: The place as it was given.
    """

    def __init__(self, place: Path, folder: Path, shown: Path) -> None:
        self._place = place
        self._folder = folder
        self.shown = shown

    def begun_with(self) -> dict[str, Any]:
        """Arguments of `FineTuner` of an unfinished run in the folder, as JSON; else none."""
        mark = _read_mark(self._folder) if contents(self._folder) else _Mark()
        known = mark.identity.get("FineTuner")
        return known if isinstance(known, dict) and not mark.finished else {}

    def begin(self, identity: dict[str, Any]) -> SpareStateFile:
        """Note what is going to be trained, or go on with what was.

        Args:
            identity: All that decides what comes out, as JSON can hold it.

        Returns:
            Where the state of the training is kept; it exists where there is one to go on from.

        Raises:
            RunFolderError: If the folder holds an unfinished run of something else.
            StorageError: If it cannot be written.
        """
        wanted = json.loads(json.dumps(identity, default=str))
        if contents(self._folder):
            known = _read_mark(self._folder).identity
            differing = differences(known, wanted, "in it")
            if differing and self._folder == self._place:
                raise RunFolderError(
                    f"{self.shown} holds an unfinished run of something else:\n"
                    + "\n".join(f"  {line}" for line in differing)
                    + "\nGive the same again to go on with it, replace it with overwrite=True "
                    "(--overwrite), or name another folder with out= (--out)."
                )
            if differing:  # a replacement that nobody waits for any more
                _remove(self._folder)
        write_text(self._folder / RUN, _mark(wanted, finished=False))
        return SpareStateFile(self._folder / _STATE)

    @property
    def events(self) -> Path:
        """The file that tells of the training while it goes on."""
        return self._folder / EVENTS

    def finish(self, write: Callable[[Path], None], *, over: bool) -> Path:
        """Write the files of the run, all of them or none.

        Args:
            write: Writes them to a folder.
            over: Whether nothing is left to train. Only then a run takes the place of another.

        Returns:
            Where they are.

        Raises:
            StorageError: If they cannot be written there; it says where they are instead.
        """
        partial = self._folder / _PARTIAL
        shutil.rmtree(partial, ignore_errors=True)
        try:
            write(partial)
            identity = _read_mark(self._folder).identity
            write_text(partial / RUN, _mark(identity, finished=over))
            # From here on no room is needed.
            for name in sorted(os.listdir(partial), key=lambda name: name == RUN):
                os.replace(partial / name, self._folder / name)
            partial.rmdir()
            if not over:
                return self.shown if self._folder == self._place else self._folder
            if self._folder != self._place:
                _take_place(self._folder, self._place)
            # Last of all: who is killed before goes on from it.
            (self._place / _STATE).unlink(missing_ok=True)
            return self.shown
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise StorageError(f"{str(error).rstrip(chr(46))}. {_elsewhere(write)}") from error

    def give_up(self, error: BaseException) -> None:
        """Leave nothing of a run of which there is nothing to go on with."""
        worthless = isinstance(error, TrainingError) or not (self._folder / _STATE).exists()
        if worthless and contents(self._folder) <= {RUN, EVENTS, _STATE, _PARTIAL}:
            for name in (RUN, EVENTS, _STATE):
                (self._folder / name).unlink(missing_ok=True)
            shutil.rmtree(self._folder / _PARTIAL, ignore_errors=True)
            if self._folder != self._place:
                with suppress(OSError):
                    self._folder.rmdir()


@contextmanager
def claim(out: str | os.PathLike[str] | None, *, overwrite: bool) -> Iterator[RunFolder]:
    """Hold the folder of a run from its beginning to its end.

    A run that ends in an error before there is anything to go on with leaves no folder behind.

    Args:
        out: The folder; None for a new one under "runs/".
        overwrite: Whether a run that is there is replaced, once the new one is whole.

    Raises:
        RunFolderError: If the folder is in use, or holds something else.
        StorageError: If it cannot be written.
    """
    first = not Path("runs").exists()
    place = new_folder() if out is None else Path(out).resolve()
    shown = place if out is None else Path(out)
    for beside in (_beside(place, "new"), _beside(place, "old")):
        if beside.is_symlink():  # of somebody who wants us to write elsewhere
            raise RunFolderError(f"Expected a folder or nothing at {beside}, but it is a link.")
    _finish_replacing(place)
    made = [parent for parent in (place, *place.parents) if not parent.exists()]
    if out is None:
        made = [place, place.parent] if first else [place]
    _check(place, shown, overwrite)
    lock = hold(place, RunFolderError)
    try:
        _check(place, shown, overwrite)  # another process may have been quicker
        remove_partial(place)
        replaced = overwrite and bool(contents(place))
        run = RunFolder(place, _beside(place, "new") if replaced else place, shown)
        try:
            yield run
        except BaseException as error:
            run.give_up(error)
            raise
    finally:
        release(lock)
        with suppress(OSError):  # what is in use stays
            for parent in made:
                parent.rmdir()


def _check(place: Path, shown: Path, overwrite: bool) -> None:
    """Refuse a folder that is neither new, nor empty, nor of a run that may be written."""
    names = contents(place)
    if not names:
        return
    if not is_run(place):
        raise RunFolderError(
            f"Expected a new or an empty folder for the run, but {shown} {described(place)}. Name "
            "another one with out= (--out)."
        )
    if overwrite:
        _refuse_foreign(place)
    if not overwrite and _read_mark(place).finished:
        _tidy(place)
        raise RunFolderError(
            f"{shown} holds a finished run, which stays as it is. Name another folder with out= "
            "(--out), or replace it with overwrite=True (--overwrite)."
        )


def _tidy(place: Path) -> None:
    """Remove what a process left in a finished run that was killed at its very end."""
    left = place / _STATE, place / _PARTIAL
    if not any(path.exists() for path in left):
        return
    with suppress(OSError, StorageError):  # it stays as it is
        lock = hold(place, RunFolderError)
        left[0].unlink(missing_ok=True)
        shutil.rmtree(left[1], ignore_errors=True)
        release(lock)


@dataclass(frozen=True)
class _Mark:
    """What a run says of itself.

    Args:
        finished: Whether nothing is left to train; so is a run that does not say.
        identity: All that decides what comes out of it.
    """

    finished: bool = True
    identity: dict[str, Any] = field(default_factory=dict)


def _read_mark(folder: Path) -> _Mark:
    try:
        return read_json(folder / RUN, _Mark)
    except StorageError:  # it is missing, damaged, or of another version
        return _Mark()


def _mark(identity: dict[str, Any], *, finished: bool) -> str:
    return json.dumps({"finished": finished, "identity": identity}, indent=2) + "\n"


def _beside(place: Path, what: str) -> Path:
    return place.with_name(f".{place.name}.{what}")


def _take_place(folder: Path, place: Path) -> None:
    """Put the new run in the place of the old one, which is gone only then."""
    old = _beside(place, "old")
    os.rename(place, old)
    os.rename(folder, place)
    shutil.rmtree(old)


def _remove(folder: Path) -> None:
    """Remove a run, and nothing else."""
    _refuse_foreign(folder)
    shutil.rmtree(folder)


def _refuse_foreign(folder: Path) -> None:
    foreign = sorted(contents(folder) - {*FILES, RUN, _STATE, _PARTIAL})
    if foreign:
        raise RunFolderError(
            f"Expected nothing but a run to replace in {folder}, but it holds "
            f"{', '.join(foreign[:3])} too. Move that away, or name another folder with out= "
            "(--out)."
        )


def _finish_replacing(place: Path) -> None:
    """Where a process was killed between the two renames, undo the first."""
    old = _beside(place, "old")
    if not old.exists():
        return
    try:
        if place.exists():
            _remove(old)
        else:
            os.rename(old, place)
    except OSError as error:
        raise not_writable(place, error) from error


def _elsewhere(write: Callable[[Path], None]) -> str:
    """Write the files to the first place that has room for them; says where."""
    for parent in (tempfile.gettempdir(), os.curdir, os.path.expanduser("~")):
        try:
            folder = Path(tempfile.mkdtemp(prefix="finetune-run-", dir=parent))
        except OSError:
            continue
        try:
            write(folder)
            return f"The run is whole, but in {folder}."
        except StorageError:
            shutil.rmtree(folder, ignore_errors=True)
    return "There was no room for the run in any other place either."
