"""Output that never ends the work it tells of, however it fails."""

import sys
from collections.abc import Callable
from typing import Any, TextIO

from rich.console import Console


class SteadyOutput:
    """A stream to write to that never raises.

    Letters that it has no room for become "?". Once it fails, because its reader has gone or its
    device is full, what is still to be said is dropped: a training is worth more than its output.

    Args:
        find: Finds the stream; asked each time, for tests and notebooks put others in its place.

    Attributes:
        error: Why it failed; None while it works.

    Example:
        >>> import io
        >>> terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        >>> output = SteadyOutput(lambda: terminal)
        >>> output.write("naïve")
        5
        >>> output.flush()
        >>> terminal.buffer.getvalue()
        b'na?ve'
    """

    def __init__(self, find: Callable[[], TextIO | None]) -> None:
        self._find = find
        self.error: Exception | None = None

    def write(self, text: str) -> int:
        """Write what can be written."""
        stream = self._find()
        if stream is not None and self.error is None:
            try:
                try:
                    stream.write(text)
                except UnicodeEncodeError:
                    encoding = stream.encoding or "ascii"
                    stream.write(text.encode(encoding, "replace").decode(encoding))
            except (OSError, ValueError) as error:  # ValueError: it was closed
                self.error = error
        return len(text)

    def flush(self) -> None:
        """Pass on what was written."""
        stream = self._find()
        if stream is not None and self.error is None:
            try:
                stream.flush()
            except (OSError, ValueError) as error:
                self.error = error

    def __getattr__(self, name: str) -> Any:
        """Whatever else is asked of it, such as whether it is a terminal, the stream answers."""
        return getattr(self._find(), name)


def new_console(*, quiet: bool = False) -> Console:
    """A console for plain lines, which shows texts as they are: folders may be named "[red]"."""
    output: Any = SteadyOutput(_standard_output)
    console = Console(file=output, quiet=quiet, markup=False, emoji=False, highlight=False)
    # A terminal breaks lines between words; what goes elsewhere keeps them whole.
    console.soft_wrap = not console.is_terminal
    return console


def _standard_output() -> TextIO | None:
    # While it shows a bar, rich puts a stream there that writes to the console again.
    return getattr(sys.stdout, "rich_proxied_file", sys.stdout)
