"""Features on disk: numpy files in one folder per entry, complete and unharmed or not there at all.

Entries lie in a folder of our own, which only its owner can write to. An entry says in words what
its values depend on, and holds a checksum of every file. What cannot be trusted in any way is
computed again.
"""

import contextlib
import logging
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from finetune.exceptions import StorageError
from finetune.reuse.entries import DONE, EntryWriter, Shards, digest_of, read_entry, take_away
from finetune.support import locked

log = logging.getLogger("finetune")

# By this name and first line tools that make backups know a cache: https://bford.info/cachedir/
_MARK = "CACHEDIR.TAG"
_MARK_TEXT = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# Features that finetune (keras-finetuner) keeps. They can be deleted at any time.\n"
)
_FOLDER = "finetune-features"
# As `tempfile` names what is to become that folder.
_MADE = re.compile(rf"{_FOLDER}-[a-z0-9_]{{8}}")
_ENTRY = re.compile(r"[0-9a-f]{24}")
_PARTIAL = re.compile(r"([0-9a-f]{24})\.[0-9a-f]{16}\.partial")


class FeatureStore:
    """Entries of features in a folder, found again by what they depend on.

    An entry is written to a folder of its own and renamed when it is complete, so a killed process
    leaves no half entry. Who writes an entry holds a lock on it, so that of several processes that
    need the same features one computes them and the others wait.

    Args:
        place: Folder in which the store makes its own.
        limit: Bytes that all entries together may take; the ones not used for longest go first.

    Attributes:
        folder: Where the entries lie.
    """

    def __init__(self, place: Path, limit: int) -> None:
        self.folder = place / _FOLDER
        self._limit = limit

    def read(self, key: str, rows: int) -> list[Shards] | None:
        """The arrays of an entry, memory-mapped; None where there is none that can be trusted.

        Every file is read once and compared with its checksum.

        Args:
            key: What the entry depends on.
            rows: Number of rows that each array must have.

        Raises:
            StorageError: If the folder is not ours.
        """
        entry = self.folder / digest_of(key)
        if not (entry / DONE).exists():
            return None
        _require_own(self.folder)
        try:
            arrays = read_entry(entry, key, rows)
            os.utime(entry / DONE)
        except OSError as error:
            if not (entry / DONE).exists():  # another process makes room
                return None
            log.warning("Features are computed again, for the kept ones are damaged: %s", error)
            with contextlib.suppress(OSError):
                take_away(entry)
            return None
        return arrays

    @contextlib.contextmanager
    def writing(self, keys: Sequence[str]) -> Iterator[list[EntryWriter]]:
        """Writers for new entries; waits while another process writes one of them.

        What was waited for is there afterwards: look again. An entry that is not finished within
        the context is dropped.

        Args:
            keys: What each entry depends on.

        Raises:
            StorageError: If the folder is not ours.
            OSError: If it cannot be made or locked.
        """
        folder = self._own_folder()
        self._remove_abandoned()
        with contextlib.ExitStack() as stack:
            # Always in the same order: two processes would else wait for each other.
            for digest in sorted({digest_of(key) for key in keys}):
                stack.enter_context(locked(_lock_of(folder, digest), "computing the features"))
            writers = [EntryWriter(folder, key) for key in keys]
            for writer in writers:
                stack.callback(writer.abandon)
            yield writers

    def free(self) -> int:
        """Bytes that may still be written, a tenth of the disk left to others."""
        usage = shutil.disk_usage(self._own_folder())
        return min(self._limit, usage.free - usage.total // 10)

    def prune(self) -> None:
        """Remove the entries not used for longest until the limit holds."""
        entries = []
        for entry in self._named(_ENTRY):
            with contextlib.suppress(OSError):  # another process was quicker, or it is none
                used = (entry / DONE).stat().st_mtime
                size = sum(file.stat().st_size for file in entry.iterdir())
                entries.append((used, size, entry))
        total = 0
        for _, size, entry in sorted(entries, reverse=True):
            total += size
            if total > self._limit:
                with contextlib.suppress(OSError):  # gone already, or held open by a reader
                    take_away(entry)

    def seconds_per_byte(self) -> float:
        """How long the disk takes, measured by writing through to it."""
        block = np.random.default_rng(0).bytes(8 * 2**20)
        with tempfile.TemporaryFile(dir=self._own_folder()) as file:
            started = time.perf_counter()
            file.write(block)
            file.flush()
            os.fsync(file.fileno())
            return (time.perf_counter() - started) / len(block)

    def _own_folder(self) -> Path:
        """The folder, made where it is missing: mark and all at once."""
        if not self.folder.exists():
            self.folder.parent.mkdir(0o700, parents=True, exist_ok=True)
            made = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}-", dir=self.folder.parent))
            try:
                (made / _MARK).write_text(_MARK_TEXT)
                os.rename(made, self.folder)
            except OSError:
                shutil.rmtree(made, ignore_errors=True)
                if not self.folder.exists():  # else another process was quicker
                    raise
        _require_own(self.folder)
        return self.folder

    def _remove_abandoned(self) -> None:
        """Remove what killed processes left: nobody holds the lock on it, on any machine."""
        for partial in self._named(_PARTIAL):
            lock = _lock_of(self.folder, partial.name.split(".")[0])
            with contextlib.suppress(Timeout), FileLock(lock, timeout=0, mode=0o600):
                shutil.rmtree(partial, ignore_errors=True)
        # Folders that were to become this one. Who is at it right now is too late, and sees that.
        for made in _listed(self.folder.parent):
            if _MADE.fullmatch(made.name) and not made.is_symlink():
                with contextlib.suppress(OSError):  # another process was quicker, or it is not ours
                    if {file.name for file in made.iterdir()} <= {_MARK}:
                        shutil.rmtree(made)

    def _named(self, kind: re.Pattern[str]) -> list[Path]:
        _require_own(self.folder)
        return [
            path
            for path in self.folder.iterdir()
            if kind.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
        ]


def _lock_of(folder: Path, digest: str) -> Path:
    return folder / f"{digest}.lock"


def _listed(folder: Path) -> list[Path]:
    """What is in a folder; nothing, where one may write into it and not read it."""
    with contextlib.suppress(PermissionError):
        return [*folder.iterdir()]
    return []


def _require_own(folder: Path) -> None:
    """Refuse a folder that we did not make, or that others may write to.

    Raises:
        StorageError: If it is one.
        OSError: If it cannot be looked at.
    """
    seen = folder.lstat()
    has_users = hasattr(os, "geteuid")
    if not stat.S_ISDIR(seen.st_mode):
        why = "it is no folder"
    elif has_users and seen.st_uid != os.geteuid():
        why = "it belongs to another user"
    elif has_users and seen.st_mode & 0o022:
        why = "other users can write to it"
    elif not (folder / _MARK).is_file():
        why = f"it has no {_MARK}, so something else made it"
    else:
        return
    raise StorageError(
        f"Expected {folder} to be a folder that finetune made for you alone, but {why}. Move it "
        "away, or name another place with cache_dir (or the environment variable FINETUNE_CACHE)"
    )
