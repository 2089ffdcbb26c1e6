"""Runs one job in this process."""

import copy
import logging
import statistics
import time
import traceback
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from finetune.backbones import FreezeDescription, describe, resolve_depth
from finetune.data import ImageData
from finetune.exceptions import ArgumentError, OutOfTimeError, StorageError
from finetune.reuse import VALIDATION
from finetune.search.study import state_file, weights_file
from finetune.search.trials import Job, KeptWeights, Outcome
from finetune.support import Deadline, time_limit, values_of, write_arrays
from finetune.training import (
    EVENTS,
    FINE_TUNE,
    HEAD,
    EventLog,
    StateFile,
    loss_of,
    refuse_callbacks,
    seconds_per_epoch,
)
from finetune.tuning import Settings, Trainer

log = logging.getLogger("finetune")

# What TensorFlow and Python raise when memory is short.
OUT_OF_MEMORY = (tf.errors.ResourceExhaustedError, MemoryError)

# Share of a time budget after which no freeze depth is measured any more: what is compiled for that
# takes long, and serves the trials at this depth alone.
_MEASURING = 0.25


@dataclass(frozen=True)
class Work:
    """What all jobs of a search have in common, as it travels to other processes.

    Args:
        trainer: Makes settings of hyperparameters, and trains.
        data: The images.
        folder: The study's folder.
        epochs: Epochs of the second phase, in the place of the trainer's own.
        callbacks: Keras callbacks, of which every job gets copies.
    """

    trainer: Trainer
    data: ImageData
    folder: Path
    epochs: int
    callbacks: tuple[keras.callbacks.Callback, ...] = ()

    def __post_init__(self) -> None:
        refuse_callbacks(self.callbacks, self.trainer.settings().schedule)
        try:
            copy.deepcopy(self.callbacks)
        except (TypeError, NotImplementedError, copy.Error) as error:
            raise ArgumentError(
                f"Expected callbacks that can be copied, one for each trial, but {error}. Open "
                "files and connections in on_train_begin instead of the constructor."
            ) from error

    def settings(self, values: dict[str, Any]) -> Settings:
        """What these hyperparameters are trained with."""
        space = keras_tuner.HyperParameters()
        space.values = dict(values)
        return replace(self.trainer.settings(space), epochs=self.epochs)

    def model(self, settings: Settings) -> keras.Model:
        """The model that trials with these settings share, as it is now."""
        source = self.trainer.source_of(self.data, settings)
        shared, training = self.trainer.prepare(settings, source)
        return shared.assembly(training.head).model

    def callbacks_of(self, job: Job) -> list[keras.callbacks.Callback]:
        """Callbacks for one job; what they log goes to a folder of its own.

        As KerasTuner's do, TensorBoard learns the hyperparameters, for its table of trials.
        """
        copies: list[Any] = copy.deepcopy([*self.callbacks])
        for callback in [*copies]:
            if isinstance(callback, keras.callbacks.TensorBoard):
                callback.log_dir = str(Path(callback.log_dir) / job.name)
                copies.append(hparams.KerasCallback(callback.log_dir, job.values, job.name))
        return copies


class Runner:
    """Trains the jobs of a search, one after the other, on what they share.

    Args:
        work: What they have in common.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._batched = {work.data.batch_size: work.data}
        work.trainer.keep_heads(work.folder / "heads")

    def run(self, job: Job, *, seconds: float | None = None) -> Outcome:
        """Train a job; whatever goes wrong in it is in the outcome.

        Args:
            job: What to train.
            seconds: Time after which to stop; the outcome is that of the epochs until then.

        Returns:
            What became of it.

        Raises:
            StorageError: If the study cannot be written, which concerns every job.
        """
        started = time.perf_counter()
        try:
            with time_limit(seconds) as deadline:
                return self._run(job, deadline)
        except StorageError:
            raise
        except OutOfTimeError as error:
            return Outcome(cut=True, error=str(error))
        except Exception as error:
            # Whatever it is concerns this trial: the search goes on, and the board tells.
            return Outcome(
                seconds=time.perf_counter() - started,
                error=traceback.format_exc() + _advice(error),
                batch_size=self._data(job).batch_size,
                out_of_memory=isinstance(error, OUT_OF_MEMORY),
            )

    def _data(self, job: Job) -> ImageData:
        """The images, in batches of the job's size; the same object for equal sizes."""
        size = job.batch_size or self._work.data.batch_size
        if size not in self._batched:
            self._batched[size] = self._work.data.with_options(batch_size=size)
        return self._batched[size]

    def _run(self, job: Job, deadline: Deadline) -> Outcome:
        started = time.perf_counter()
        work, data = self._work, self._data(job)
        settings = work.settings(job.values)
        settings = replace(settings, seed=settings.seed + job.execution)
        source = work.trainer.source_of(data, settings)
        start = state_file(work.folder, job.after) if job.after else None
        model, record = work.trainer.train(
            settings,
            source,
            callbacks=work.callbacks_of(job),
            progress=[EventLog(work.folder / EVENTS, trial=job.name)],
            until=job.until,
            file=StateFile(state_file(work.folder, job.name), start),
        )
        if record.interrupted:
            raise KeyboardInterrupt
        trained = record.phase(FINE_TUNE)
        backbone = work.trainer.shared(settings).backbone.model
        depth = resolve_depth(backbone, settings.freeze_depth)
        frozen = describe(backbone, depth)
        outcome = Outcome(
            epochs=len(trained),
            finished=record.finished,
            seconds=time.perf_counter() - started,
            n=source.rows(VALIDATION) or 0,
            freeze_depth=depth,
            block=_in_words(frozen),
            # The first epoch of a job also compiles.
            epoch_seconds=statistics.median([row["seconds"] for row in trained[1:] or trained])
            if trained
            else None,
            batch_size=data.batch_size,
            history=record.epochs,
        )
        lost = next((row for row in trained if not np.isfinite(row["val_loss"])), None)
        if lost is not None:
            return replace(
                outcome,
                finished=True,
                error=f"The loss was not finite in epoch {lost['epoch']}: the learning rate "
                f"{settings.learning_rate:.1e} is too high, or clip_norm.",
            )
        loss = loss_of(record.monitor)
        metrics = {
            name: float(value)
            for name, value in record.best_epoch.items()
            if name not in ("phase", "epoch", "seconds", "learning_rate")
        }
        wanted = work.epochs if job.until is None else job.until
        cut = deadline.reached and len(trained) < wanted and not outcome.finished
        write_arrays(
            weights_file(work.folder, job.name),
            asdict(KeptWeights(job.name, outcome.epochs)),
            values_of(model.variables),
        )
        return replace(
            outcome,
            metrics=metrics,
            score=metrics[record.monitor],
            lowest_loss=min(row[loss] for row in trained or record.epochs),
            cut=cut,
            head_kept=record.best_epoch["phase"] == HEAD,
        )

    def measure(self, job: Job, *, seconds: float | None = None) -> float:
        """Seconds that an epoch of this job takes, measured on a few steps; 0 for not known.

        Args:
            job: What to measure.
            seconds: Time after which to stop; most of it is left to the trials.

        Raises:
            OutOfTimeError: If not even the features, or an epoch of the head, were done in time.
        """
        trainer, settings = self._work.trainer, self._work.settings(job.values)
        source = trainer.source_of(self._work.data, settings)
        try:
            with time_limit(seconds) as deadline:
                # First what comes before all trials: features and the head.
                if not trainer.head_alone(settings, source) or not deadline.within(_MEASURING):
                    return 0.0
                return seconds_per_epoch(*trainer.prepare(settings, source), source)
        except OUT_OF_MEMORY as error:
            log.warning("An epoch could not be measured: out of memory (%s).", type(error).__name__)
            return 0.0


def _advice(error: Exception) -> str:
    """What to do about an error that smaller batches do not help against."""
    if not isinstance(error, OUT_OF_MEMORY):
        return ""
    return (
        "Memory was too short. If batches of one image do not fit, take a smaller image_size, a "
        "larger freeze_depth, mixed_precision, or a smaller backbone.\n"
    )


def _in_words(frozen: FreezeDescription) -> str:
    """The freeze depth in words."""
    if frozen.depth >= frozen.layers:
        return "head only"
    if frozen.depth == 0:
        return "everything trains"
    return frozen.place
