"""What happened in training, and which epoch is kept."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from finetune.support import array_of
from finetune.training.epoch_rows import check_epochs
from finetune.training.head import lower_is_better
from finetune.training.head_store import TrainedHead

# Names of the phases.
HEAD = "head"
FINE_TUNE = "fine_tune"

# What the epochs of a head have beside what others have.
STANDARD_ERROR = "standard_error"
_NOT_SHOWN = ("phase", "epoch", "seconds", STANDARD_ERROR)


@dataclass
class TrainingRecord:
    """What happened in training, epoch by epoch over all phases.

    Args:
        epochs: One entry per epoch: "phase", "epoch" (counted from 1 within the phase),
            "loss", the metrics, the same with "val_" before them, "learning_rate" and
            "seconds"; of a head also "standard_error": how far chance moves what decides, over the
            validation images.
        rates: The learning rate of every optimizer step, by phase.
        best: Index in `epochs` of the epoch whose weights were kept.
        monitor: The quantity that decided.
        interrupted: Whether the user stopped training before its end.
        finished: Whether nothing is left to train: false where it was paused.
    """

    epochs: list[dict[str, Any]] = field(default_factory=list)
    rates: dict[str, list[float]] = field(default_factory=dict)
    best: int = -1
    monitor: str = "val_loss"
    interrupted: bool = False
    finished: bool = False

    def __post_init__(self) -> None:
        check_epochs(self.epochs, self.best, self.monitor)

    @property
    def best_epoch(self) -> dict[str, Any]:
        """The epoch whose weights were kept."""
        return self.epochs[self.best]

    def phase(self, name: str) -> list[dict[str, Any]]:
        """The epochs of one phase."""
        return [epoch for epoch in self.epochs if epoch["phase"] == name]


def logs_of(row: dict[str, Any]) -> dict[str, Any]:
    """What callbacks are shown of an epoch: its measurements."""
    return {name: value for name, value in row.items() if name not in _NOT_SHOWN}


def epoch_score(row: dict[str, Any], monitor: str) -> tuple[float, float]:
    """What epochs are compared by, higher is better: the monitored quantity, then the loss.

    A head counts for one standard error less than it was measured: it is kept where fine-tuning is
    shown to be worse, not where few images make it look so. (docs/results.md has what that brings.)

    Source: the one-standard-error rule of L. Breiman et al., "Classification and Regression Trees"
    (1984), with the fine-tuned model in the place of the simplest one.
    """
    score = -row[monitor] if lower_is_better(monitor) else row[monitor]
    return score - row.get(STANDARD_ERROR, 0.0), -row["val_loss"]


def best_row(rows: Sequence[dict[str, Any]], monitor: str) -> dict[str, Any] | None:
    """The best of some epochs; None where no loss was finite."""
    finite = [row for row in rows if np.isfinite(row["val_loss"])]
    return max(finite, key=lambda row: epoch_score(row, monitor), default=None)


def was_solved(row: dict[str, Any]) -> bool:
    """Whether an epoch stands for a head that was solved: it has no learning rate."""
    return row["phase"] == HEAD and row.get("learning_rate") == 0.0


class BestEpoch(keras.callbacks.Callback):
    """Records every epoch and keeps the weights of the best one, over all phases.

    Among equals in the monitored quantity the lower validation loss is better: on a few
    hundred validation images many epochs have the same accuracy.
    """

    def __init__(self, record: TrainingRecord) -> None:
        super().__init__()
        self.record = record
        self._score: tuple[float, float] | None = None
        self._weights: list[tuple[Any, Any]] = []
        self._variables: list[Any] = []
        self._phase = ""
        self._first = 0
        self._epochs = 0
        self._started = 0.0

    def start_phase(
        self, name: str, first_epoch: int, epochs: int, variables: Sequence[Any]
    ) -> None:
        """Hold on to the variables that this phase is going to change."""
        self.record.finished = False
        self._phase = name
        self._first = first_epoch
        self._epochs = epochs
        self._variables = list(variables)
        self._keep()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the epoch's clock."""
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Record the epoch, and keep its weights if it is the best so far."""
        row = {
            "phase": self._phase,
            "epoch": epoch - self._first + 1,
            **{name: float(value) for name, value in (logs or {}).items()},
            "seconds": time.perf_counter() - self._started,
        }
        self.record.epochs.append(row)
        # Whoever only pauses training says so after this.
        stopping = bool(self.model.stop_training)  # pyright: ignore[reportOptionalMemberAccess]
        self.record.finished = stopping or row["epoch"] >= self._epochs
        if not np.isfinite(row["val_loss"]):
            return
        score = epoch_score(row, self.record.monitor)
        if self._score is None or score > self._score:
            self._score = score
            self.record.best = len(self.record.epochs) - 1
            self._keep()

    def adopt(self, head: TrainedHead, phase: str, variables: Sequence[Any]) -> None:
        """Take over the epochs of a head that was trained before, whose weights are in."""
        self.record.interrupted = head.interrupted
        self.record.finished = head.finished
        self.record.best = len(self.record.epochs) + head.best
        self.record.epochs.extend(head.epochs)
        self.record.rates[phase] = head.rates
        self._score = epoch_score(head.epochs[head.best], self.record.monitor)
        self._variables = list(variables)
        self._keep()

    def allow_for_chance(self, error: float) -> None:
        """Note how far chance moves what a head that is trained was measured by.

        Args:
            error: Its standard error, see `finetune.training.chance`.
        """
        epochs = self.record.epochs
        epochs[:] = [
            {**row, STANDARD_ERROR: error} if row["phase"] == HEAD else row for row in epochs
        ]
        if self.record.best >= 0:
            self._score = epoch_score(self.record.best_epoch, self.record.monitor)

    def resume(self, record: TrainingRecord, values: Sequence[np.ndarray]) -> None:
        """Go on with an earlier record, in which the best epoch left these values.

        Called after `start_phase`.
        """
        self.record.__dict__.update(record.__dict__)
        self._score = epoch_score(record.best_epoch, record.monitor) if record.best >= 0 else None
        self._weights = list(zip(self._variables, values, strict=True))

    def best_values(self) -> list[np.ndarray]:
        """What this phase changes, as the best epoch left it."""
        return [value for _, value in self._weights]

    def restore(self) -> None:
        """Put the best epoch's weights back."""
        for variable, value in self._weights:
            variable.assign(value)

    def _keep(self) -> None:
        self._weights = [(v, array_of(v)) for v in self._variables]


def merged_history(record: TrainingRecord, *, head_as_one: bool) -> keras.callbacks.History:
    """What KerasTuner scores: each epoch that its callbacks saw, with plain numbers alone."""
    history = keras.callbacks.History()
    rows = record.epochs
    if head_as_one:
        best = best_row(record.phase(HEAD), record.monitor)
        rows = [*([] if best is None else [best]), *record.phase(FINE_TUNE)]
    for row in rows:
        for name, value in {**logs_of(row), "phase": float(row["phase"] != HEAD)}.items():
            history.history.setdefault(name, []).append(value)
    history.epoch = list(range(len(rows)))
    return history
