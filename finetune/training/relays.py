"""Callbacks with which training is stopped, kept and gone on with."""

import time
from collections.abc import Sequence
from typing import Any

import keras

from finetune.support import current_deadline, values_of
from finetune.training.program import Program
from finetune.training.records import BestEpoch
from finetune.training.schedules import rate_of
from finetune.training.states import StateFile, TrainingState

# So much training is lost at most when a process is killed. To write the state of every epoch that
# is shorter took 5 of 100 s in a search of EfficientNetV2B0 on 300 images.
SECONDS_BETWEEN_STATES = 10.0


class StopRelay(keras.callbacks.Callback):
    """Callbacks ask the whole model to stop; what is being trained is a part of it.

    Args:
        whole: The model that callbacks see.
        trainee: The part that is trained.
    """

    def __init__(self, whole: keras.Model, trainee: keras.Model) -> None:
        super().__init__()
        self._whole = whole
        self._trainee = trainee

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Nobody has asked yet."""
        self._whole.stop_training = False

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Pass the wish on."""
        self._trainee.stop_training = self._whole.stop_training

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Pass the wish on."""
        self._trainee.stop_training = self._whole.stop_training


class Pause(keras.callbacks.Callback):
    """Stops after an epoch, as if the user had: the number of epochs stays what it was.

    Args:
        epoch: Number of the last epoch, as callbacks count.
    """

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop if it was the last one."""
        if epoch >= self._epoch:
            self.model.stop_training = True  # pyright: ignore[reportOptionalMemberAccess]


class InTime(keras.callbacks.Callback):
    """Begins no epoch and no step once time is up, see `finetune.support.time_limit`.

    An epoch that is cut is lost. Its validation is not cut: that takes a small part of what the
    epoch took, which all of it would be lost for.
    """

    def __init__(self) -> None:
        super().__init__()
        self._deadline = current_deadline()

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Raise if it is time."""
        self._deadline.check("no epoch was over yet")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop if it is time, as if the user had: the number of epochs stays what it was."""
        if self._deadline.reached:
            self.model.stop_training = True  # pyright: ignore[reportOptionalMemberAccess]


class Replay(keras.callbacks.Callback):
    """Shows other callbacks the epochs before, which they forget when training begins.

    Args:
        callbacks: Which ones.
        rows: The epochs.
        first_epoch: Number of the first of them, as callbacks count.
    """

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        rows: Sequence[dict[str, Any]],
        first_epoch: int,
    ) -> None:
        super().__init__()
        self._callbacks = callbacks
        self._rows = rows
        self._first_epoch = first_epoch

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Go through the epochs; the rate that they led to is already in the optimizer."""
        optimizer: Any = self.model.optimizer  # pyright: ignore[reportOptionalMemberAccess]
        rate = rate_of(optimizer)
        for number, row in enumerate(self._rows):
            for callback in self._callbacks:
                callback.on_epoch_end(self._first_epoch + number, dict(row))
        optimizer.learning_rate = rate


class StateKeeper(keras.callbacks.Callback):
    """Writes the state of the training after an epoch: the last one, and one every ten seconds.

    It has to come after all that may end the training.

    Args:
        file: Where to.
        program: What is trained.
        best: Record, and values at the best epoch.
        phase: Name of the phase.
        first_epoch: Number of its first epoch, as callbacks count.
    """

    def __init__(
        self, file: StateFile, program: Program, best: BestEpoch, phase: str, first_epoch: int
    ) -> None:
        super().__init__()
        self._file = file
        self._program = program
        self._best = best
        self._phase = phase
        self._first_epoch = first_epoch
        self._written = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write it, if it is time."""
        stopped = self.model.stop_training  # pyright: ignore[reportOptionalMemberAccess]
        ends = self.params["epochs"]  # pyright: ignore[reportOptionalSubscript]
        last = stopped or epoch + 1 == ends
        if not last and time.monotonic() - self._written < SECONDS_BETWEEN_STATES:
            return
        trainee = self._program.trainee
        self._file.save(
            TrainingState(
                self._phase,
                epoch - self._first_epoch + 1,
                self._best.record,
                values_of(trainee.variables),
                values_of(trainee.optimizer.variables),
                self._best.best_values(),
            )
        )
        self._written = time.monotonic()
