"""Locks between processes, also on other machines that share the folder."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from finetune.support.deadlines import current_deadline

log = logging.getLogger("finetune")

# Seconds between two looks at whether another process is done.
_POLL = 0.2


@contextlib.contextmanager
def locked(path: Path, work: str) -> Iterator[None]:
    """Hold a lock; where another process has it, say so and wait.

    Args:
        path: The lock's file, which stays.
        work: What is done under it, such as "computing the features".

    Raises:
        OutOfTimeError: If time is limited, and up before the other process is done.
        OSError: If the file cannot be made or locked.
    """
    try:
        lock = FileLock(path, timeout=0, mode=0o600).acquire()
    except Timeout:
        log.info("Waiting for another process, which is %s.", work)
        deadline = current_deadline()
        try:
            longest = -1 if deadline.seconds is None else max(deadline.left, 0)
            lock = FileLock(path, timeout=longest, mode=0o600).acquire(poll_interval=_POLL)
        except Timeout as timeout:
            raise deadline.error(f"another process was {work}") from timeout
    with lock:
        yield
