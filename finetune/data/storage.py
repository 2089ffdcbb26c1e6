"""Where decoded images lie: in memory, or in a temporary file once they exceed a budget."""

import errno
import os
import shutil
import tempfile
from collections.abc import Sequence

import numpy as np

from finetune.exceptions import StorageError
from finetune.support import free_memory


def allocate(shape: tuple[int, ...], memory_budget: int | None = None) -> np.ndarray:
    """Makes a uint8 array in memory or, above the budget, in a temporary file.

    The file has no name, so that nothing is left of it however the program ends. It is placed where
    Python places temporary files, which the environment variable `TMPDIR` changes.

    Args:
        shape: Shape of the array.
        memory_budget: Bytes that may be held in memory. Default: half of what is available.

    Returns:
        uint8 array, or memory-mapped uint8 array.

    Raises:
        StorageError: If the disk has no room for it.

    Example:
        >>> allocate((2, 3)).shape
        (2, 3)
    """
    size = int(np.prod(shape, dtype=np.int64))
    if memory_budget is None:
        memory_budget = free_memory() // 2
    if size <= memory_budget:
        return np.empty(shape, np.uint8)
    try:
        with tempfile.TemporaryFile(prefix="finetune-") as file:
            _reserve(file.fileno(), size)
            return np.memmap(file, np.uint8, mode="r+", shape=shape)
    except OSError as error:
        raise StorageError(
            f"The decoded images need {size / 1e9:.1f} GB and more than the memory budget of "
            f"{memory_budget / 1e9:.1f} GB, but {tempfile.gettempdir()} has no room for them "
            f"({error.strerror}). Choose another place with the environment variable TMPDIR, a "
            "smaller `image_size`, or raise `memory_budget`."
        ) from error


def reorder(array: np.ndarray, order: Sequence[int] | np.ndarray) -> None:
    """Puts rows in a new order in place: row i becomes what row `order[i]` was.

    Args:
        array: Changed in place, without a second copy in memory or on disk.
        order: A permutation of the row numbers.

    Example:
        >>> rows = np.array([10, 11, 12])
        >>> reorder(rows, [2, 0, 1])
        >>> rows.tolist()
        [12, 10, 11]
    """
    done = np.zeros(len(order), dtype=bool)
    for start in range(len(order)):
        if done[start] or order[start] == start:
            continue
        first, row = array[start].copy(), start
        while not done[row]:
            done[row] = True
            source = int(order[row])
            array[row] = first if source == start else array[source]
            row = source


def _reserve(file: int, size: int) -> None:
    """Takes the space now: writing to a mapped file on a full disk would kill the process."""
    if shutil.disk_usage(tempfile.gettempdir()).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.truncate(file, size)
