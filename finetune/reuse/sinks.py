"""Where the rows of a pass go: to disk, to memory, or both."""

import logging
from collections.abc import Callable, Sequence

import numpy as np

from finetune.exceptions import StorageError
from finetune.reuse.entries import EntryWriter

log = logging.getLogger("finetune")


class Room:
    """Bytes of memory that are left, for all points of a pass together.

    Args:
        free: How many.
        let_go: Makes more of them free, and tells how many; 0 where that is not possible.
    """

    def __init__(self, free: int, let_go: Callable[[], int]) -> None:
        self._free = free
        self._let_go = let_go

    def take(self, size: int) -> bool:
        """Take so many, whether or not they are left; False if they were not."""
        self._free -= size
        while self._free < 0:
            freed = self._let_go()
            if not freed:
                return False
            self._free += freed
        return True

    def give_back(self, size: int) -> None:
        """Have so many left again."""
        self._free += size


class Sink:
    """Takes the rows of one point: to disk for later runs, and to memory while they fit.

    Attributes:
        in_memory: Whether all rows are held in memory.
        beyond: Whether some value was too large for the dtype; then nothing is held or written.
    """

    def __init__(self, writer: EntryWriter | None, room: Room, dtype: str) -> None:
        self._writer = writer
        self._room = room
        self._dtype = dtype
        self._rows: list[list[np.ndarray]] = []
        self._held = 0
        self.in_memory = True
        self.beyond = False

    def add(self, arrays: Sequence[np.ndarray]) -> None:
        """Take the rows of one batch."""
        if self.beyond:
            return
        with np.errstate(over="ignore"):  # looked for below
            # Copied, as a view would hold memory of TensorFlow's pool, which never shrinks.
            arrays = [np.array(array, self._dtype) for array in arrays]
        if self._dtype != "float32" and not all(np.isfinite(array).all() for array in arrays):
            self.beyond = True
            if self._writer is not None:
                self._writer.abandon()
            self._let_go()
            return
        if self._writer is not None:
            try:
                self._writer.add(arrays)
            except OSError as error:
                self._give_up(error)
        if self.in_memory:
            self._rows.append(arrays)
            size = sum(array.nbytes for array in arrays)
            self._held += size
            if not self._room.take(size) and self._writer is not None:
                self._let_go()

    def finish(self) -> None:
        """Take no more."""
        if self._writer is not None and not self.beyond:
            try:
                self._writer.finish()
            except OSError as error:
                self._give_up(error)

    def arrays(self) -> list[np.ndarray]:
        """All rows; asked for once, for the batches that they came in are let go of."""
        batches, self._rows = self._rows, []
        return [np.concatenate(parts) for parts in zip(*batches, strict=True)]

    def _let_go(self) -> None:
        self.in_memory = False
        self._rows.clear()
        self._room.give_back(self._held)

    def _give_up(self, error: OSError) -> None:
        assert self._writer is not None
        self._writer.abandon()
        self._writer = None
        if not self.in_memory:
            raise StorageError(
                f"Features are too many for memory and cannot be kept on disk: {error}. Free some "
                "space, or name another place with cache_dir, or give more memory with "
                "cache_budget."
            ) from error
        log.warning("Features are not kept for later runs: %s.", error)
