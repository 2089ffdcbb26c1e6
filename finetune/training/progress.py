"""What is shown while training goes on: phase, epoch, loss, accuracy and time left."""

import time
from typing import Any

import keras
from rich.console import Console
from rich.progress import Progress, TextColumn

from finetune.support import new_bar, start_bar, stop_bar
from finetune.training.records import HEAD, TrainingRecord, best_row, was_solved

# In a log file: often enough to see that it lives, seldom enough to read.
_SECONDS_BETWEEN_LINES = 10

# Columns of a terminal from which on an epoch is shown whole.
_WIDE = 80

# What is said of a head that needed no epochs.
_SOLVED = "(solved)"

# What a phase is called that is trained on all images.
AGAIN = "again"
_TITLES = {"head": "Head", "fine_tune": "Fine-tuning", AGAIN: "All images"}


class PhaseCallback(keras.callbacks.Callback):
    """A callback that is told when a phase begins and ends."""

    def start_phase(self, name: str, epochs: int, first_epoch: int) -> None:
        """Called before the phase's training begins."""

    def end_phase(self, record: TrainingRecord) -> None:
        """Called when the phase is over, also where it was stopped or failed.

        Args:
            record: All epochs until then.
        """


class TrainingProgress(PhaseCallback):
    """A bar per phase on a terminal; where there is none, a line every ten seconds.

    Args:
        console: Where to write.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._bar: Progress | None = None
        self._phase = ""
        self._epochs = 0
        self._first = 0
        self._started = 0.0
        self._printed = 0.0
        self._text = ""

    def start_phase(self, name: str, epochs: int, first_epoch: int) -> None:
        """Open the phase's bar."""
        self._phase = name
        self._epochs = epochs
        self._first = first_epoch
        self._text = ""
        self._started = self._printed = time.monotonic()
        if self._console.is_terminal:
            self._bar = bar = new_bar(
                self._console,
                TextColumn("{task.description:<11}"),
                TextColumn("{task.completed:>3.0f}/{task.total:.0f}"),
                TextColumn("{task.fields[text]}"),
                beside=80 if self._wide else 54,
            )
            task = self._task = bar.add_task(self._title, total=epochs, text="compiling")
            start_bar(bar, lambda text: bar.update(task, text=text))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Move the bar on."""
        done = epoch - self._first + 1
        seconds = time.monotonic() - self._started
        left = seconds / done * (self._epochs - done)
        self._text = describe_epoch(logs or {})
        if self._bar is not None:
            ends = f"  {left:.0f}s left" if done < self._epochs else ""
            text = self._text if self._wide else describe_validation(logs or {}) or self._text
            self._bar.update(self._task, completed=done, text=text + ends)
        elif time.monotonic() - self._printed > _SECONDS_BETWEEN_LINES and done < self._epochs:
            self._printed = time.monotonic()
            text = f"{self._title} {done}/{self._epochs}: {self._text}  {left:.0f}s left"
            self._console.print(text)

    def end_phase(self, record: TrainingRecord) -> None:
        """Close the bar, and say how good the phase became instead of how its last epoch was."""
        told = _outcome(record, self._phase, self._epochs)
        text = f"{told}  {time.monotonic() - self._started:.0f}s"
        if self._bar is not None:
            done = self._epochs if told.endswith(_SOLVED) else None
            self._bar.update(self._task, text=text, completed=done)
            stop_bar(self._bar)
            self._bar = None
        elif told:
            done = f" {len(record.phase(self._phase))}/{self._epochs}" if self._epochs > 1 else ""
            self._console.print(f"{self._title}{done}: {text}")

    @property
    def _wide(self) -> bool:
        """Whether there is room for the training images beside the validation images."""
        return self._console.width >= _WIDE

    @property
    def _title(self) -> str:
        return _TITLES.get(self._phase, self._phase)


def _outcome(record: TrainingRecord, phase: str, epochs: int) -> str:
    """The best epoch of a phase, and what else is to be known of its end."""
    rows = record.phase(phase)
    best = best_row(rows, record.monitor)
    if best is None:
        return "the loss was not finite" if rows else ""
    if was_solved(best):
        return f"{describe_validation(best)} {_SOLVED}"
    note = ""
    if phase != HEAD and record.best_epoch["phase"] == HEAD:
        note = ", head kept"
    elif record.finished and rows[-1]["epoch"] < epochs:
        note = ", early stop"
    return f"{describe_validation(best)} (epoch {best['epoch']}{note})"


def describe_validation(logs: dict[str, Any]) -> str:
    """What `describe_epoch` says of the validation images."""
    return describe_epoch({name: value for name, value in logs.items() if name.startswith("val_")})


def describe_epoch(logs: dict[str, Any]) -> str:
    """Loss and metric of an epoch, training and validation, in one line of at most 50 signs.

    Example:
        >>> describe_epoch({"loss": 0.5, "accuracy": 0.75, "val_loss": 0.6, "val_accuracy": 0.7})
        'loss 0.5000 acc 0.750 | val loss 0.6000 acc 0.700'
    """
    parts = []
    for prefix, title in (("", ""), ("val_", "val ")):
        if f"{prefix}loss" in logs:
            text = f"{title}loss {logs[f'{prefix}loss']:.4f}"
            for metric, short in (("accuracy", "acc"), ("mae", "mae")):
                if f"{prefix}{metric}" in logs:
                    text += f" {short} {logs[f'{prefix}{metric}']:.3f}"
            parts.append(text)
    return " | ".join(parts)
