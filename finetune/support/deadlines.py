"""Time that is limited: what takes long asks now and then whether there is any left."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from finetune.exceptions import OutOfTimeError


@dataclass
class Deadline:
    """When time is up.

    Args:
        seconds: How long there is, in all; None for ever.
        started: When that began, by the clock of `time.monotonic`. Default: now.

    Example:
        >>> Deadline(None).reached, Deadline(0.0).reached
        (False, True)
    """

    seconds: float | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds that are left, below 0 where they are over; infinite where there is no end."""
        if self.seconds is None:
            return math.inf
        return self.started + self.seconds - time.monotonic()

    @property
    def reached(self) -> bool:
        """Whether time is up."""
        return self.left <= 0

    def within(self, share: float) -> bool:
        """Whether no more than this share of the time has passed, 0 to 1."""
        return self.seconds is None or self.left >= (1 - share) * self.seconds

    def check(self, so_far: str) -> None:
        """Go no further where time is up.

        Args:
            so_far: What has been done by now, as the end of a sentence.

        Raises:
            OutOfTimeError: If time is up.
        """
        if self.reached:
            raise self.error(so_far)

    def error(self, so_far: str) -> OutOfTimeError:
        """What to raise where time is up; the argument is that of `check`."""
        return OutOfTimeError(
            f"Expected a result within {round(self.seconds or 0, 1):g} s, but time was up when "
            f"{so_far}. Give a longer time_budget, fewer images, or a smaller image_size."
        )


_NO_END = Deadline()

_current: ContextVar[Deadline] = ContextVar("deadline", default=_NO_END)


def current_deadline() -> Deadline:
    """The deadline of what is being done, see `time_limit`."""
    return _current.get()


@contextmanager
def time_limit(seconds: float | None) -> Iterator[Deadline]:
    """Limit the time of what is done within; of limits within each other the first to end counts.

    It travels in the context, not from argument to argument: between a search and the loop that
    takes long, such as decoding images, lie functions that people call without a limit too.

    Args:
        seconds: From now; None for no limit of its own.

    Returns:
        A context, in which `current_deadline` is the deadline that it gives.

    Example:
        >>> with time_limit(60), time_limit(3600) as deadline:
        ...     deadline.seconds
        60
    """
    own, outer = Deadline(seconds), _current.get()
    deadline = own if own.left < outer.left else outer
    token = _current.set(deadline)
    try:
        yield deadline
    finally:
        _current.reset(token)
