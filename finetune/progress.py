"""What is shown while training goes on: phase, epoch, loss, accuracy and time left."""

import time
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

_TITLES = {"head": "Head", "fine_tune": "Fine-tuning"}


class PhaseCallback(keras.callbacks.Callback):
    """A callback that is told when a phase begins."""

    def start_phase(self, name: str, epochs: int, first_epoch: int) -> None:
        """Called before the phase's training begins."""


class TrainingProgress(PhaseCallback):
    """A bar per phase on a terminal; a line per phase where there is none.

    Args:
        console: Where to write.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._bar: Progress | None = None
        self._name = ""
        self._epochs = 0
        self._first = 0
        self._started = 0.0
        self._text = ""

    def start_phase(self, name: str, epochs: int, first_epoch: int) -> None:
        """Open the phase's bar."""
        self._name = _TITLES.get(name, name)
        self._epochs = epochs
        self._first = first_epoch
        self._text = "compiling"

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Show the bar."""
        self._started = time.monotonic()
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description:<12}"),
                BarColumn(24),
                TextColumn("{task.completed:>3.0f}/{task.total:.0f}"),
                TextColumn("{task.fields[text]}"),
                console=self._console,
            )
            self._bar.start()
            self._task = self._bar.add_task(self._name, total=self._epochs, text=self._text)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Move the bar on."""
        done = epoch - self._first + 1
        seconds = time.monotonic() - self._started
        left = seconds / done * (self._epochs - done)
        self._text = describe_epoch(logs or {})
        if self._bar is not None:
            ends = f"  {left:.0f}s left" if done < self._epochs else ""
            self._bar.update(self._task, completed=done, text=self._text + ends)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the bar."""
        seconds = time.monotonic() - self._started
        if self._bar is not None:
            self._bar.update(self._task, text=f"{self._text}  {seconds:.0f}s")
            self._bar.stop()
            self._bar = None
        else:
            self._console.print(f"{self._name}: {self._text}  {seconds:.0f}s", highlight=False)


def describe_epoch(logs: dict[str, Any]) -> str:
    """Loss and metric of an epoch, training and validation, in one line."""
    metric = next((m for m in ("accuracy", "mae") if m in logs), None)
    parts = [f"loss {logs['loss']:.4f}"] if "loss" in logs else []
    if metric:
        parts.append(f"{metric} {logs[metric]:.3f}")
    if "val_loss" in logs:
        parts.append(f"| validation loss {logs['val_loss']:.4f}")
        if metric:
            parts.append(f"{metric} {logs[f'val_{metric}']:.3f}")
    return " ".join(parts)
