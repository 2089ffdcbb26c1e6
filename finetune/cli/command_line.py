"""What surrounds every command: output that may fail, signals that may come."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer
from typer.core import TyperGroup

from finetune.support import SteadyOutput, nearest

# Newer versions of typer bring classes of click along, older ones take click's.
_UsageError: Any = typer.BadParameter.__base__

# What a shell reports for a command that Ctrl-C ended.
STOPPED = 128 + signal.SIGINT


class CommandLine(TyperGroup):
    """The commands, with a terminal that may go away at any moment."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run the command that was typed; ends with its exit code, as click does."""
        with _stopped_by_signals() as received, _steady_streams() as output:
            try:
                result = super().main(*arguments, **options)
            except SystemExit as end:
                raise SystemExit(_exit_code(end.code, received, output)) from end
        return result

    def invoke(self, ctx: Any) -> Any:
        """Run a command; an option that it does not have is told with the nearest that it has."""
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            _suggest(error)
            raise


def _suggest(error: Any) -> None:
    """Put the option that may have been meant into an error about one that there is not."""
    asked = getattr(error, "option_name", None)
    if asked is None or error.ctx is None or not hasattr(error, "possibilities"):
        return
    options = [name for option in error.ctx.command.params for name in option.opts]
    known = {name.lstrip("-").replace("-", "_"): name for name in options if name[:2] == "--"}
    found = nearest(asked.lstrip("-").replace("-", "_"), known)
    if found is not None:
        error.possibilities = [known[found]]


def _exit_code(code: Any, received: list[int], output: SteadyOutput) -> Any:
    if received and code == STOPPED:
        return 128 + received[0]
    output.flush()
    if output.error is None:
        return code
    # Nobody sees what is left to be written: it must not fail once more when Python ends.
    print(f"Error: The output could not be written: {output.error}.", file=sys.stderr)
    _drop(output)
    return code or 1


@contextmanager
def _steady_streams() -> Iterator[SteadyOutput]:
    """Let nothing that is written raise; gives standard output, which knows if it failed."""
    _fill_descriptors()
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w") as nowhere:
        # A stream that is closed is None, which some libraries write to when they are imported.
        streams = [stream or nowhere for stream in before]
        output, errors = (SteadyOutput(lambda stream=stream: stream) for stream in streams)
        sys.stdout = output  # pyright: ignore[reportAttributeAccessIssue]
        sys.stderr = errors  # pyright: ignore[reportAttributeAccessIssue]
        try:
            yield output
        finally:
            errors.flush()
            if errors.error is not None:
                _drop(errors)
            sys.stdout, sys.stderr = before


def _fill_descriptors() -> None:
    """Where a standard stream is closed, the next file that is opened would take its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _drop(output: SteadyOutput) -> None:
    """Send what a failed stream still holds to nowhere."""
    try:
        number = output.fileno()
    except (OSError, ValueError):  # a stream without a file, as in tests, or a closed one
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


@contextmanager
def _stopped_by_signals() -> Iterator[list[int]]:
    """Make a request to end, or a terminal that closes, act like Ctrl-C.

    Gives the signals that came. After the first one the others are passed over: they come in
    pairs, and would stop the writing of what the first one stopped.
    """
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if not received:
            received.append(number)
            raise KeyboardInterrupt

    known = [
        number
        for name in ("SIGTERM", "SIGHUP")
        # A command begun with nohup is to outlive its terminal.
        if (number := getattr(signal, name, None)) is not None
        and signal.getsignal(number) == signal.SIG_DFL
    ]
    if threading.current_thread() is not threading.main_thread():
        known = []  # only there can they be heard
    for number in known:
        signal.signal(number, stop)
    try:
        yield received
    finally:
        for number in known:
            signal.signal(number, signal.SIG_DFL)
