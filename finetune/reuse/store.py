"""Features on disk: numpy files in one folder per entry, complete or not there at all."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil

# Rows wait in memory until there are so many, for every point of a pass: with 128 MB, memory grew
# by 0.2 GB up to 60,000 images. Smaller files would only be more of them, 3,000 in 50 GB as it is.
SHARD_BYTES = 16 * 2**20
_DONE = "entry.json"


class Shards:
    """Rows that lie in several memory-mapped numpy files, read like one array.

    Args:
        parts: The files' arrays in order, equal in all but their first axis.
    """

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])
        self.dtype = parts[0].dtype
        self.shape = (int(self._ends[-1]), *parts[0].shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def load(self) -> np.ndarray:
        """All rows, in memory."""
        return np.concatenate(self._parts)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        values = np.empty((len(rows), *self.shape[1:]), self.dtype)
        owners = np.searchsorted(self._ends, rows, side="right")
        for owner in np.unique(owners):
            chosen = owners == owner
            start = self._ends[owner] - len(self._parts[owner])
            values[chosen] = self._parts[owner][rows[chosen] - start]
        return values


class FeatureStore:
    """Entries of features in a folder, found again by what they depend on.

    An entry is written to a folder of its own and renamed when it is complete, so a killed
    process leaves no half entry, and two processes do not disturb each other.

    Args:
        folder: Where the entries lie.
        limit: Bytes that all entries together may take; the ones not used for longest go first.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self._limit = limit

    def read(self, key: str) -> tuple[list[Shards], np.ndarray] | None:
        """The arrays and labels of an entry, memory-mapped; None where there is none."""
        entry = self.folder / _digest(key)
        found = _read(entry, key)
        if found is not None:
            with contextlib.suppress(FileNotFoundError):  # another process makes room
                os.utime(entry / _DONE)
        return found

    def writer(self, key: str) -> "EntryWriter":
        """A writer for a new entry."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._remove_abandoned()
        return EntryWriter(self.folder, key)

    def free(self) -> int:
        """Bytes that may still be written, a tenth of the disk left to others."""
        self.folder.mkdir(parents=True, exist_ok=True)
        usage = shutil.disk_usage(self.folder)
        return min(self._limit, usage.free - usage.total // 10)

    def prune(self) -> None:
        """Remove the entries not used for longest until the limit holds."""
        entries = []
        for done in self.folder.glob(f"*/{_DONE}"):
            if done.parent.suffix == ".partial":  # about to be renamed by its writer
                continue
            with contextlib.suppress(FileNotFoundError):  # another process was quicker
                size = sum(file.stat().st_size for file in done.parent.iterdir())
                entries.append((done.stat().st_mtime, size, done.parent))
        total = 0
        for _, size, entry in sorted(entries, reverse=True):
            total += size
            if total > self._limit:
                with contextlib.suppress(OSError):  # gone already, or held open by a reader
                    _take_away(entry)

    def seconds_per_byte(self) -> float:
        """How long the disk takes, measured by writing through to it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        probe = self.folder / f".probe-{os.getpid()}"
        block = np.random.default_rng(0).bytes(8 * 2**20)
        started = time.perf_counter()
        try:
            with open(probe, "wb") as file:
                file.write(block)
                file.flush()
                os.fsync(file.fileno())
        finally:
            probe.unlink(missing_ok=True)
        return (time.perf_counter() - started) / len(block)

    def _remove_abandoned(self) -> None:
        for partial in self.folder.glob("*.partial"):
            writer = int(partial.name.split(".")[1])
            if not psutil.pid_exists(writer):
                shutil.rmtree(partial, ignore_errors=True)


class EntryWriter:
    """Writes one entry, shard by shard.

    Args:
        folder: The store's folder.
        key: What the entry depends on.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._key = key
        self._entry = folder / _digest(key)
        self._partial = folder / f"{self._entry.name}.{os.getpid()}.partial"
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(parents=True)
        self._names: list[list[str]] = []
        self._waiting: list[list[np.ndarray]] = []

    def add(self, arrays: Sequence[np.ndarray]) -> None:
        """Add rows to each array of the entry."""
        if not self._waiting:
            self._waiting = [[] for _ in arrays]
            self._names = [[] for _ in arrays]
        for waiting, rows in zip(self._waiting, arrays, strict=True):
            waiting.append(rows)
        if sum(rows.nbytes for rows in self._waiting[0]) >= SHARD_BYTES:
            self._flush()

    def finish(self, labels: np.ndarray) -> None:
        """Write what is left and make the entry valid."""
        self._flush()
        np.save(self._partial / "labels.npy", labels)
        (self._partial / _DONE).write_text(json.dumps({"key": self._key, "arrays": self._names}))
        while _read(self._entry, self._key) is None:
            with contextlib.suppress(FileNotFoundError):
                _take_away(self._entry)  # what is there is damaged
            try:
                os.rename(self._partial, self._entry)
                return
            except OSError as error:
                # Another process has written it since; it may be pruned again before it is read.
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        self.abandon()  # the other's entry is as good

    def abandon(self) -> None:
        """Remove what was written."""
        shutil.rmtree(self._partial, ignore_errors=True)

    def _flush(self) -> None:
        for number, (waiting, names) in enumerate(zip(self._waiting, self._names, strict=True)):
            if waiting:
                name = f"{number}-{len(names):05}.npy"
                np.save(self._partial / name, np.concatenate(waiting))
                names.append(name)
                waiting.clear()


def _take_away(entry: Path) -> None:
    """Remove an entry all at once: removed file by file it would be in the way of its writers."""
    away = entry.with_name(f"{entry.name}-removed.{os.getpid()}.partial")
    shutil.rmtree(away, ignore_errors=True)
    os.rename(entry, away)
    shutil.rmtree(away, ignore_errors=True)


def _read(entry: Path, key: str) -> tuple[list[Shards], np.ndarray] | None:
    try:
        described = json.loads((entry / _DONE).read_text())
        if described["key"] != key:
            return None
        arrays = [
            Shards([np.load(entry / name, mmap_mode="r") for name in names])
            for names in described["arrays"]
        ]
        return arrays, np.load(entry / "labels.npy")
    except (OSError, ValueError, KeyError):
        # Missing, or damaged from outside: computed again and written anew.
        return None


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:24]
