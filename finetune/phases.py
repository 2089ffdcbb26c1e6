"""Phases as data, the loop that goes through them, and which epoch is kept."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from finetune.exceptions import ArgumentError, TrainingError
from finetune.freezing import BatchNorm
from finetune.heads import Head, monitor_for
from finetune.optimizers import OptimizerSettings
from finetune.progress import PhaseCallback
from finetune.reuse.shared import SharedBackbone, TrainedHead
from finetune.reuse.source import Source
from finetune.schedules import Schedule, StepRates, build_schedule, schedule_callbacks

HEAD = "head"
FINE_TUNE = "fine_tune"


@dataclass(frozen=True)
class Phase:
    """One stretch of training with its own frozen part, optimizer and rate.

    Args:
        name: What the history calls it, such as "head" or "fine_tune".
        freeze_depth: Number of backbone layers, from the input, that stay frozen; all of
            them for a phase that trains the head alone.
        learning_rate: Rate at the start (the peak, for schedules that warm up), above 0.
        epochs: Most epochs to train, 0 or more.
        schedule: See `finetune.schedules.build_schedule`. Defaults to "constant".
        patience: Epochs without a lower validation loss after which the phase ends early;
            None to go through all epochs.
        optimizer: Which optimizer. A new one is made for every phase.
        batch_norm: "frozen" or "adapt", see `finetune.freezing.apply_freeze_depth`.
        layer_decay: Factor on the rate from each trained layer to the one before it; None
            for one rate everywhere.
    """

    name: str
    freeze_depth: int
    learning_rate: float
    epochs: int
    schedule: Schedule = "constant"
    patience: int | None = None
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    batch_norm: BatchNorm = "frozen"
    layer_decay: float | None = None

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise ArgumentError(
                f"Expected a learning rate above 0 in phase {self.name!r}, "
                f"received {self.learning_rate!r}."
            )
        if self.epochs < 0:
            raise ArgumentError(
                f"Expected 0 epochs or more in phase {self.name!r}, received {self.epochs!r}."
            )


@dataclass
class TrainingRecord:
    """What happened in training, epoch by epoch over all phases.

    Args:
        epochs: One entry per epoch: "phase", "epoch" (counted from 1 within the phase),
            "loss", the metrics, the same with "val_" before them, "learning_rate" and
            "seconds".
        rates: The learning rate of every optimizer step, by phase.
        best: Index in `epochs` of the epoch whose weights were kept.
        monitor: The quantity that decided.
        interrupted: Whether the user stopped training before its end.
    """

    epochs: list[dict[str, Any]] = field(default_factory=list)
    rates: dict[str, list[float]] = field(default_factory=dict)
    best: int = -1
    monitor: str = "val_accuracy"
    interrupted: bool = False

    @property
    def best_epoch(self) -> dict[str, Any]:
        """The epoch whose weights were kept."""
        return self.epochs[self.best]

    def phase(self, name: str) -> list[dict[str, Any]]:
        """The epochs of one phase."""
        return [epoch for epoch in self.epochs if epoch["phase"] == name]


def epoch_score(row: dict[str, Any], monitor: str) -> tuple[float, float]:
    """What epochs are compared by, higher is better: the monitored quantity, then the loss."""
    return (-row["val_loss"] if monitor == "val_loss" else row[monitor]), -row["val_loss"]


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
        self._started = 0.0

    def start_phase(self, name: str, first_epoch: int, variables: Sequence[Any]) -> None:
        """Hold on to the variables that this phase is going to change."""
        self._phase = name
        self._first = first_epoch
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
        self.record.best = len(self.record.epochs) + head.best
        self.record.epochs.extend(head.epochs)
        self.record.rates[phase] = head.rates
        self._score = epoch_score(head.epochs[head.best], self.record.monitor)
        self._variables = list(variables)
        self._keep()

    def restore(self) -> None:
        """Put the best epoch's weights back."""
        for variable, value in self._weights:
            variable.assign(value)

    def _keep(self) -> None:
        self._weights = [(v, keras.ops.convert_to_numpy(v)) for v in self._variables]


class _StopRelay(keras.callbacks.Callback):
    """Callbacks ask the whole model to stop; what is being trained is a part of it."""

    def __init__(self, whole: keras.Model, trainee: keras.Model) -> None:
        super().__init__()
        self._whole = whole
        self._trainee = trainee

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._whole.stop_training = False

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._trainee.stop_training = self._whole.stop_training

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._trainee.stop_training = self._whole.stop_training


@dataclass(frozen=True)
class Training:
    """Everything that one training needs besides the data.

    Args:
        phases: What to do, in order.
        head: What is on top of the backbone.
        label_smoothing: See `finetune.heads.loss_for`.
        class_weight: Weight of each class number in the loss, or None.
        seed: Seed of the order of the images.
    """

    phases: tuple[Phase, ...]
    head: Head
    label_smoothing: float = 0.0
    class_weight: dict[int, float] | None = None
    seed: int = 0


def train(
    shared: SharedBackbone,
    training: Training,
    source: Source,
    *,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: Sequence[PhaseCallback] = (),
    initial_epoch: int = 0,
) -> TrainingRecord:
    """Go through the phases and leave the best epoch's weights in the model.

    Args:
        shared: The backbone with whatever was computed for earlier trainings; its model is
            trained from the weights that it holds now.
        training: What to do.
        source: Training and validation images.
        callbacks: Keras callbacks. They see the whole model. A head that trials share
            reaches them as one epoch, its best one.
        progress: Callbacks that only show: they see every epoch that is really trained.
        initial_epoch: Epoch to start the last phase from; above 0 the phases before it are
            left out, as for KerasTuner's Hyperband.

    Returns:
        What happened. After Ctrl-C that is what happened until then, if there is a best epoch.

    Raises:
        TrainingError: If no epoch had a finite loss, or there is no epoch to train.
    """
    model = shared.assembly(training.head).model
    record = TrainingRecord(monitor=monitor_for(training.head.task))
    best = BestEpoch(record)
    last = training.phases[-1]
    resumed = initial_epoch if last.epochs else 0
    first_epoch = 0
    unchanged = shared.head_only
    for phase in training.phases:
        if not phase.epochs or (resumed and phase is not last):
            continue
        head_only = phase.freeze_depth >= shared.head_only
        if source.reuse and head_only and not record.epochs and phase is not last:
            head = _shared_head(shared, training, phase, source, progress)
            _announce(callbacks, model, first_epoch, head.epochs[head.best])
            best.adopt(head, phase.name, shared.assembly(training.head).classifier.variables)
            first_epoch += 1
        else:
            try:
                _run_phase(
                    shared,
                    training,
                    phase,
                    source,
                    best,
                    [*callbacks],
                    [*progress],
                    first_epoch=first_epoch,
                    resumed=resumed,
                    unchanged=unchanged,
                )
            except KeyboardInterrupt:
                if record.best < 0:
                    raise
                record.interrupted = True
            first_epoch += phase.epochs
            best.restore()
            unchanged = min(unchanged, phase.freeze_depth)
        if record.interrupted:
            break
    if not record.epochs:
        raise TrainingError("Expected at least one epoch in one of the phases, received none.")
    if record.best < 0:
        raise TrainingError(
            "Expected a finite loss, but no epoch ended with one. Lower the learning rate, or "
            "limit the gradients with clip_norm=1.0."
        )
    model.stop_training = False
    return record


def _shared_head(
    shared: SharedBackbone,
    training: Training,
    phase: Phase,
    source: Source,
    progress: Sequence[PhaseCallback],
) -> TrainedHead:
    """Train the head once for all trials that start from it, and put its weights in."""
    weights = tuple(sorted((training.class_weight or {}).items()))
    order = (training.seed, source.batch_size, source.key)
    key = (training.head, phase, training.label_smoothing, weights, *order)
    variables = shared.assembly(training.head).classifier.variables
    if key not in shared.heads:
        record = TrainingRecord(monitor=monitor_for(training.head.task))
        best = BestEpoch(record)
        try:
            _run_phase(
                shared, training, phase, source, best, [], [*progress], unchanged=phase.freeze_depth
            )
        except KeyboardInterrupt:
            if record.best < 0:
                raise
            record.interrupted = True
        best.restore()
        if record.best < 0:
            raise TrainingError(
                "Expected a finite loss, but no epoch of the head phase ended with one. Lower "
                "head_learning_rate, and check that the images are 0..255 pixels."
            )
        values = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
        head = TrainedHead(
            record.epochs, record.rates[phase.name], record.best, values, record.interrupted
        )
        if head.interrupted:
            return head
        shared.heads[key] = head
    head = shared.heads[key]
    for variable, value in zip(variables, head.weights, strict=True):
        variable.assign(value)
    return head


def _announce(
    callbacks: Sequence[keras.callbacks.Callback],
    model: keras.Model,
    epoch: int,
    row: dict[str, Any],
) -> None:
    """Show callbacks a head that was trained before, as one epoch."""
    logs = {name: value for name, value in row.items() if name not in ("phase", "epoch", "seconds")}
    seen = keras.callbacks.CallbackList(list(callbacks), model=model, epochs=epoch + 1, verbose=0)
    seen.on_train_begin()
    seen.on_epoch_begin(epoch)
    seen.on_epoch_end(epoch, logs)
    seen.on_train_end(logs)


def _run_phase(
    shared: SharedBackbone,
    training: Training,
    phase: Phase,
    source: Source,
    best: BestEpoch,
    callbacks: list[keras.callbacks.Callback],
    progress: list[PhaseCallback],
    *,
    unchanged: int,
    first_epoch: int = 0,
    resumed: int = 0,
) -> None:
    """Train one phase; the first `unchanged` layers still hold the pretrained weights."""
    program = shared.program(
        training.head,
        source,
        freeze_depth=phase.freeze_depth,
        unchanged=unchanged,
        batch_norm=phase.batch_norm,
        optimizer=phase.optimizer,
        layer_decay=phase.layer_decay,
        label_smoothing=training.label_smoothing,
    )
    batches, validation = shared.batches(program, source, seed=training.seed)
    program.restart(phase.learning_rate)
    steps = batches.steps
    schedule = build_schedule(phase.schedule, phase.learning_rate, steps * phase.epochs)
    rates = StepRates(schedule, steps * phase.epochs, first_step=steps * resumed)
    internal = [rates, *schedule_callbacks(phase.schedule, first_epoch)]
    if phase.optimizer.ema is not None:
        internal.append(keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
    if phase.patience is not None:
        internal.append(keras.callbacks.EarlyStopping("val_loss", patience=phase.patience))
    best.start_phase(phase.name, first_epoch, program.trainee.variables)
    best.record.rates[phase.name] = rates.rates
    watchers = [keras.callbacks.TerminateOnNaN(), *callbacks, best, *progress]
    for shown in progress:
        shown.start_phase(phase.name, phase.epochs, first_epoch)
    try:
        program.fit(
            batches,
            validation,
            [*internal, *watchers, _StopRelay(program.model, program.trainee)],
            epochs=phase.epochs,
            resumed=resumed,
            offset=first_epoch,
            class_weight=training.class_weight,
        )
    finally:
        for shown in progress:
            shown.end_phase()
