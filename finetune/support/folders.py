"""Folders that runs and studies are written to: each belongs to one process, and to one of them."""

import contextlib
import itertools
import os
import socket
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from finetune.exceptions import FineTuneError, StorageError
from finetune.support.files import is_partial, write_text

# What says that a folder is a run's or a study's, and which process works in it.
RUN = "run.json"
STUDY = "study.json"
_LOCK = "lock"

# Rights of a folder that is made for a run or a study, whose pictures are those of its user.
_OWN = 0o700
_HOLDER = "process"

# By these the runs of version 0.1.0 are known, which had no mark.
_EARLY_RUN = {"config.json", "metrics.json", "model.keras"}


def new_folder(prefix: str = "") -> Path:
    """Make a folder under "runs/", named by the time of day, that no other process has.

    Raises:
        StorageError: If it cannot be made.
    """
    stem = f"{prefix}{datetime.now():%Y%m%d-%H%M%S}"
    for number in itertools.count(1):
        folder = Path("runs") / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.parent.mkdir(exist_ok=True)
            folder.mkdir(mode=_OWN)
            return folder
        except FileExistsError as error:
            if not folder.parent.is_dir():
                raise not_writable(folder, error) from error
        except OSError as error:
            raise not_writable(folder, error) from error
    raise AssertionError  # there are always more numbers


def contents(folder: Path) -> set[str]:
    """Names of what is in a folder; empty where there is none.

    Without what says who works in it, and what a process that was killed was writing.

    Raises:
        StorageError: If that cannot be read.
    """
    try:
        names = {*os.listdir(folder)} - {_LOCK, _HOLDER}
        return {name for name in names if not is_partial(name)}
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise not_writable(folder, error) from error


def described(folder: Path) -> str:
    """What a folder that is not empty is, for people."""
    names = contents(folder)
    if STUDY in names:
        return "holds a study of `finetune search`"
    if RUN in names or names >= _EARLY_RUN:
        return "holds a run of `finetune fit`"
    shown = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
    return f"holds files that are of no run and no study ({shown})"


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run, finished or not."""
    names = contents(folder)
    return STUDY not in names and (RUN in names or names >= _EARLY_RUN)


def hold(folder: Path, refusal: type[FineTuneError]) -> FileLock:
    """Hold a folder until it is released or the process ends, however it ends.

    Args:
        folder: The folder; made if there is none.
        refusal: The error for a folder that another process holds.

    Returns:
        The lock.

    Raises:
        StorageError: If it cannot be written.
    """
    lock, holder = FileLock(folder / _LOCK, timeout=0), folder / _HOLDER
    try:
        folder.mkdir(_OWN, parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        known = holder.read_text(encoding="utf-8") if holder.exists() else "unknown"
        raise refusal(
            f"{folder} is being worked on by process {known}. Wait for it, or stop it, or name "
            "another folder with out= (--out)."
        ) from error
    except OSError as error:
        raise not_writable(folder, error) from error
    try:
        # Beside the lock, which not every system lets others read.
        write_text(holder, f"{os.getpid()} on {socket.gethostname()}")
    except StorageError:
        release(lock)
        with contextlib.suppress(OSError):  # it holds something else
            folder.rmdir()
        raise
    return lock


def release(lock: FileLock) -> None:
    """Let other processes have a folder, without a trace of this one."""
    folder = Path(lock.lock_file).parent
    for name in (_HOLDER, _LOCK):
        with contextlib.suppress(OSError):  # the folder may be gone, or read-only by now
            (folder / name).unlink(missing_ok=True)
    lock.release()


def not_writable(folder: Path, error: OSError) -> StorageError:
    """The error for a folder that cannot be made or written."""
    return StorageError(
        f"Expected a folder that can be written, but {folder} cannot: {error}. Name another one "
        "with out= (--out)."
    )
