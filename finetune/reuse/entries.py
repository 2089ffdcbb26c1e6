"""One entry of features: numpy files in a folder, complete and unharmed or not there at all."""

import contextlib
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np

from finetune.exceptions import DamagedFileError
from finetune.support import read_json

# Rows wait in memory until there are so many, for every point of a pass: with 128 MB, memory grew
# by 0.2 GB up to 60,000 images. Smaller files would only be more of them, 3,000 in 50 GB as it is.
SHARD_BYTES = 16 * 2**20
DONE = "entry.json"
_SHARD = re.compile(r"\d+-\d+\.npy")


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


@dataclass(frozen=True)
class Shard:
    """What is known of one file.

    Args:
        file: Its name.
        shape: Shape of its array.
        dtype: Type of its values.
        crc32: Checksum of its content: a disk that errs is noticed, and 4 GB take a second.
    """

    file: str
    shape: list[int]
    dtype: str
    crc32: int


@dataclass(frozen=True)
class Entry:
    """What is known of an entry.

    Args:
        key: All that its values depend on, in words.
        arrays: The files of each array, in order.
    """

    key: str
    arrays: list[list[Shard]]


class EntryWriter:
    """Writes one entry, shard by shard. Whoever has one holds the lock on the entry.

    Args:
        folder: The store's folder.
        key: What the entry depends on.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._key = key
        self._entry = folder / digest_of(key)
        self._partial = folder / f"{self._entry.name}.{secrets.token_hex(8)}.partial"
        self._shards: list[list[Shard]] = []
        self._waiting: list[list[np.ndarray]] = []

    def add(self, arrays: Sequence[np.ndarray]) -> None:
        """Add rows to each array of the entry."""
        if not self._waiting:
            self._waiting = [[] for _ in arrays]
            self._shards = [[] for _ in arrays]
            self._partial.mkdir(mode=0o700)
        for waiting, rows in zip(self._waiting, arrays, strict=True):
            waiting.append(rows)
        if sum(rows.nbytes for rows in self._waiting[0]) >= SHARD_BYTES:
            self._flush()

    def finish(self) -> None:
        """Write what is left and make the entry valid, once all of it is on the disk."""
        self._flush()
        described = json.dumps(asdict(Entry(self._key, self._shards)))
        (self._partial / DONE).write_text(described)
        for written in (*self._partial.iterdir(), self._partial):
            _sync(written)
        with contextlib.suppress(FileNotFoundError):
            take_away(self._entry)  # one that could not be trusted
        os.rename(self._partial, self._entry)
        _sync(self._entry.parent)

    def abandon(self) -> None:
        """Remove what was written and not finished; the writer can begin again."""
        shutil.rmtree(self._partial, ignore_errors=True)
        self._shards, self._waiting = [], []

    def _flush(self) -> None:
        for number, (waiting, shards) in enumerate(zip(self._waiting, self._shards, strict=True)):
            if waiting:
                name = f"{number}-{len(shards):05}.npy"
                rows = np.concatenate(waiting)
                checksum = _save(self._partial / name, rows)
                shards.append(Shard(name, [*rows.shape], rows.dtype.name, checksum))
                waiting.clear()


def _save(path: Path, rows: np.ndarray) -> int:
    """Write what `numpy.save` does, without a copy of it in memory; gives its checksum."""
    header = io.BytesIO()
    described = np.lib.format.header_data_from_array_1_0(rows)
    np.lib.format.write_array_header_1_0(header, described)
    with open(path, "wb") as file:
        file.write(header.getbuffer())
        file.write(rows.data)
    return zlib.crc32(rows.data, zlib.crc32(header.getbuffer()))


def read_entry(entry: Path, key: str, rows: int) -> list[Shards]:
    """Read an entry and compare it with what it should be.

    Raises:
        DamagedFileError: If it is something else.
        OSError: If it cannot be read.
    """
    described = read_json(entry / DONE, Entry)
    if described.key != key or not described.arrays or not all(described.arrays):
        raise DamagedFileError(f"{entry / DONE} is of something else.")
    arrays = described.arrays
    found = [Shards([_map(entry, shard) for shard in shards]) for shards in arrays]
    lengths = {len(array) for array in found}
    if lengths != {rows}:
        raise DamagedFileError(f"{entry} has {sorted(lengths)} rows, expected {rows}.")
    return found


def _map(entry: Path, shard: Shard) -> np.ndarray:
    if not _SHARD.fullmatch(shard.file):
        raise DamagedFileError(f"{entry / DONE} names a file {shard.file!r}.")
    try:
        content = np.memmap(entry / shard.file, "uint8", "r")
    except ValueError as error:
        raise DamagedFileError(f"{entry / shard.file} cannot be read: {error}.") from error
    if zlib.crc32(content.data) != shard.crc32:
        raise DamagedFileError(
            f"{entry / shard.file} does not have the checksum that it was written with."
        )
    try:
        values = np.load(entry / shard.file, mmap_mode="r", allow_pickle=False)
    # What numpy raises, between them, on files that hold no plain array.
    except (ArithmeticError, EOFError, SyntaxError, TokenError, TypeError, ValueError) as error:
        raise DamagedFileError(f"{entry / shard.file} holds no array: {error}.") from error
    if [*values.shape] != shard.shape or values.dtype.name != shard.dtype:
        raise DamagedFileError(f"{entry / shard.file} holds another array than is said of it.")
    return values


def take_away(entry: Path) -> None:
    """Remove an entry all at once: removed file by file it would be in the way of its writers."""
    away = entry.with_name(f"{entry.name}.{secrets.token_hex(8)}.partial")
    os.rename(entry, away)
    if away.is_dir() and not away.is_symlink():
        shutil.rmtree(away, ignore_errors=True)
    else:
        away.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk before anything after it is."""
    if path.is_dir() and os.name == "nt":  # folders cannot be opened there
        return
    opened = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def digest_of(key: str) -> str:
    """Name of the entry that depends on this."""
    return hashlib.sha256(key.encode()).hexdigest()[:24]
