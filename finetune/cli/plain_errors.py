"""Errors as people read them: one line each, and tracebacks in a file."""

import functools
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from finetune.cli.command_line import STOPPED
from finetune.cli.flags import as_flags
from finetune.exceptions import FineTuneError
from finetune.support import printable

# How TensorFlow and oneDNN say it; "room" and RandomZoom are not meant.
_SHORT_OF_MEMORY = re.compile(
    r"\bOOM\b|out of memory|memory exhausted|(allocat|creat)\w* (a )?memory", re.IGNORECASE
)


def with_plain_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command end with one readable message, whatever happens in it.

    Args:
        command: What is called.

    Returns:
        The same with the same signature. Refusals are told as they are. What nobody thought of
        is told in a line too, and its traceback is written to a file.
    """

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except typer.Exit:
            raise
        except FineTuneError as error:
            _tell(str(error))
            raise typer.Exit(1) from error
        except KeyboardInterrupt:
            print("Stopped.", file=sys.stderr)
            raise typer.Exit(STOPPED) from None
        except Exception as error:
            _tell(f"{_describe(error)}\n{_keep_traceback(error)}")
            raise typer.Exit(1) from error

    return run


def _tell(text: str) -> None:
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(Text.assemble(("Error:", "bold red"), " ", printable(as_flags(text))))


def _describe(error: Exception) -> str:
    """What happened, in a line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if isinstance(error, MemoryError) or _SHORT_OF_MEMORY.search(str(error)):
        return f"{said} Memory is exhausted: give a smaller batch_size, image_size or cache_budget."
    return said


def _keep_traceback(error: Exception) -> str:
    """Write the traceback where it is in nobody's way; says where."""
    text = "".join(traceback.format_exception(error))
    try:
        handle, place = tempfile.mkstemp(prefix="finetune-error-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{sys.argv}\n{text}")
    except OSError:  # no place for files at all: better here than nowhere
        return text
    return f"This is a mistake of this program, or of its surroundings. All of it is in {place}."
