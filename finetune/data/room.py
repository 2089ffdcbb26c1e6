"""How much memory images may take while many threads decode them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Room:
    """So much may be in use at a time; what is larger than all of it is let in alone.

    Args:
        size: How much there is.

    Example:
        >>> room = Room(10)
        >>> with room.taken(3):
        ...     room.free
        7
    """

    def __init__(self, size: int) -> None:
        self.size = self.free = size
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Waits until there is room, and takes it for the time of a `with` block."""
        amount = min(amount, self.size)
        with self._changed:
            self._changed.wait_for(lambda: self.free >= amount)
            self.free -= amount
        try:
            yield
        finally:
            with self._changed:
                self.free += amount
                self._changed.notify_all()
