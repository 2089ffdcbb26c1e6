"""Where in its work a process is, so that it can be killed at a moment within one stage.

The moment is kept by a timer of the operating system: nothing of Python, or of what is being done,
can delay it or tidy up before it. (SIGALRM, of which nobody takes notice, ends a process as
SIGKILL does.)
"""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STAGES = ("loading", "extraction", "head", "epochs", "writing", "report")

# What changes a file or a folder, by the names of Python's audit events.
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}
# Longest that a change of a small file takes.
_WRITING = 0.002


@dataclass(frozen=True)
class Moment:
    """When a process is to be killed.

    Args:
        stage: One of `STAGES`. "writing" is entered at each change of a file.
        entry: Which time that the stage is entered, from 0.
        seconds: How long after that, and at the end of the stage at the latest.
    """

    stage: str
    entry: int
    seconds: float


class Watch:
    """Kills this process at a moment, or notes which stages it went through.

    Args:
        moment: When to kill it; None to let it end.
        within: Folder of the files whose changes count.
    """

    def __init__(self, moment: Moment | None, within: Path) -> None:
        self.passed: list[tuple[str, float]] = []
        self._moment = moment
        self._within = str(within)
        self._entries = 0
        self._in_head = False
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        sys.addaudithook(self._change)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Whatever is done within it belongs to this stage."""
        started = time.perf_counter()
        armed = self._enter(name)
        try:
            yield
        finally:
            if armed:
                os.kill(os.getpid(), signal.SIGKILL)
            self.passed.append((name, time.perf_counter() - started))

    def stage_of(self, name: str | None, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function whose calls are a stage; None for one of epochs, of the head or others."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            with self.stage(name or ("head" if self._in_head else "epochs")):
                return function(*args, **kwargs)

        return watched

    def heads(self, alone: Callable[..., Any]) -> Callable[..., Any]:
        """Epochs within it are those of the head."""

        @contextlib.contextmanager
        def watched(*args: Any) -> Iterator[None]:
            with alone(*args):
                self._in_head = True
                try:
                    yield
                finally:
                    self._in_head = False

        return watched

    def write(self, path: Path) -> None:
        """Write down which stages were passed, and how long they took."""
        path.write_text(json.dumps(self.passed))

    def _enter(self, name: str) -> bool:
        moment = self._moment
        if moment is None or moment.stage != name:
            return False
        self._entries += 1
        if self._entries <= moment.entry:
            return False
        signal.setitimer(signal.ITIMER_REAL, max(moment.seconds, 1e-6))
        return True

    def _change(self, event: str, args: tuple[Any, ...]) -> None:
        writes = event == "open" and (
            (isinstance(args[1], str) and args[1].strip("rbt")) or args[2] & 3
        )
        if (writes or event in _CHANGES) and str(args[0]).startswith(self._within):
            self.passed.append(("writing", _WRITING))
            self._enter("writing")
