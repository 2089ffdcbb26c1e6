"""Runs one job in this process."""

import logging
import statistics
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import tensorflow as tf

from finetune.data import ImageData
from finetune.exceptions import StorageError
from finetune.files import write_arrays
from finetune.freezing import describe, resolve_depth
from finetune.records import FINE_TUNE
from finetune.reuse.shared import values_of
from finetune.reuse.source import VALIDATION
from finetune.search.trials import Job, Outcome
from finetune.settings import Settings
from finetune.states import StateFile
from finetune.tuner import FineTuner

log = logging.getLogger("finetune")

# What TensorFlow and Python raise when memory is short.
OUT_OF_MEMORY = (tf.errors.ResourceExhaustedError, MemoryError)


class Deadline(keras.callbacks.Callback):
    """Stops after the epoch in which time is up.

    Args:
        seconds: How long from now; None for ever.
    """

    def __init__(self, seconds: float | None) -> None:
        super().__init__()
        self._end = None if seconds is None else time.monotonic() + seconds
        self.reached = False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop if it is time."""
        if self._end is not None and time.monotonic() >= self._end:
            self.reached = True
            self.model.stop_training = True  # pyright: ignore[reportOptionalMemberAccess]


@dataclass
class Runner:
    """Trains the trials of a search, one after the other, on what they share.

    Args:
        tuner: Makes settings of hyperparameters, and trains.
        data: The images.
        folder: The study's folder.
        epochs: Epochs of the second phase, in the place of the tuner's own.
    """

    tuner: FineTuner
    data: ImageData
    folder: Path
    epochs: int

    def __post_init__(self) -> None:
        self.tuner.keep_heads(self.folder / "heads")

    def settings(self, job: Job) -> Settings:
        """The values that a job trains with."""
        space = keras_tuner.HyperParameters()
        space.values = dict(job.values)
        settings = self.tuner.settings(space)
        return replace(settings, epochs=self.epochs, seed=settings.seed + job.execution)

    def run(
        self,
        job: Job,
        *,
        seconds: float | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> Outcome:
        """Train a job; whatever goes wrong in it is in the outcome.

        Args:
            job: What to train.
            seconds: Time after which to stop, at the end of an epoch.
            callbacks: Keras callbacks.

        Returns:
            What became of it.

        Raises:
            StorageError: If the study cannot be written, which concerns every job.
        """
        started = time.perf_counter()
        try:
            try:
                return self._run(job, self.data, seconds, callbacks)
            except OUT_OF_MEMORY as error:
                smaller = max(1, self.data.batch_size // 2)
                log.warning(
                    "Trial %s: out of memory with batches of %d (%s); once more with %d.",
                    *(job.trial, self.data.batch_size, type(error).__name__, smaller),
                )
                self._state_path(job.name).unlink(missing_ok=True)
                return self._run(
                    job, self.data.with_options(batch_size=smaller), seconds, callbacks
                )
        except StorageError:
            raise
        except Exception:
            # Whatever it is concerns this trial: the search goes on, and the board tells.
            return Outcome(seconds=time.perf_counter() - started, error=traceback.format_exc())

    def _run(
        self,
        job: Job,
        data: ImageData,
        seconds: float | None,
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> Outcome:
        started = time.perf_counter()
        settings = self.settings(job)
        source = self.tuner.source_of(data, settings)
        start = self._state_path(job.after) if job.after else None
        deadline = Deadline(seconds)
        model, record = self.tuner.train(
            settings,
            source,
            callbacks=callbacks,
            until=job.until,
            pauses=[deadline],
            file=StateFile(self._state_path(job.name), start),
        )
        if record.interrupted:
            raise KeyboardInterrupt
        trained = record.phase(FINE_TUNE)
        backbone = self.tuner.backbone(settings).model
        depth = resolve_depth(backbone, settings.freeze_depth)
        frozen = describe(backbone, depth)
        outcome = Outcome(
            epochs=len(trained),
            finished=record.finished,
            seconds=time.perf_counter() - started,
            n=source.rows(VALIDATION) or 0,
            freeze_depth=depth,
            block=_where(frozen),
            # The first epoch of a job also compiles.
            epoch_seconds=statistics.median([row["seconds"] for row in trained[1:] or trained])
            if trained
            else None,
            batch_size=data.batch_size,
        )
        lost = next((row for row in trained if not np.isfinite(row["val_loss"])), None)
        if lost is not None:
            return replace(
                outcome,
                finished=True,
                error=f"The loss was not finite in epoch {lost['epoch']}: the learning rate "
                f"{settings.learning_rate:.1e} is too high, or clip_norm is needed.",
            )
        metrics = {
            name: float(value)
            for name, value in record.best_epoch.items()
            if name not in ("phase", "epoch", "seconds", "learning_rate")
        }
        wanted = self.epochs if job.until is None else job.until
        cut = deadline.reached and len(trained) < wanted and not outcome.finished
        self._write_weights(job.name, model)
        return replace(outcome, metrics=metrics, score=metrics[record.monitor], cut=cut)

    def measure(self, job: Job) -> float:
        """Seconds that an epoch of this job takes, measured on a few steps."""
        settings = self.settings(job)
        source = self.tuner.source_of(self.data, settings)
        # First what comes before all trials: features and the head.
        self.tuner.train(replace(settings, epochs=0), source)
        return self.tuner.seconds_per_epoch(settings, source)

    def _write_weights(self, name: str, model: keras.Model) -> None:
        path = self.folder / "weights" / f"{name}.npz"
        write_arrays(path, {"trial": name}, values_of(model.variables))

    def _state_path(self, name: str) -> Path:
        return self.folder / "states" / f"{name}.npz"


def _where(frozen: Any) -> str:
    """The freeze depth in words."""
    if frozen.depth >= frozen.layers:
        return "head only"
    if frozen.depth == 0:
        return "everything trains"
    return f"{frozen.block}{' (partly)' if frozen.partly else ''}"
