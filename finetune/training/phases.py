"""The loop that goes through the phases of a training."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras

from finetune.compat import SwapAverages
from finetune.exceptions import DamagedFileError, OutOfTimeError, TrainingError
from finetune.reuse import Source
from finetune.support import assign, current_deadline, expected_tracing, values_of
from finetune.training.chance import standard_error
from finetune.training.head import loss_of
from finetune.training.head_store import TrainedHead
from finetune.training.plan import Phase, Training
from finetune.training.program import Program
from finetune.training.progress import PhaseCallback
from finetune.training.records import HEAD, BestEpoch, TrainingRecord, logs_of
from finetune.training.relays import InTime, Pause, Replay, StateKeeper, StopRelay
from finetune.training.schedules import StepRates, rate_table, schedule_callbacks
from finetune.training.session import Session, refuse_callbacks
from finetune.training.shared import SharedBackbone
from finetune.training.solved_heads import can_be_solved, solved_head
from finetune.training.states import SavedState, StateFile, TrainingState

log = logging.getLogger("finetune")


@expected_tracing()
def train(
    shared: SharedBackbone,
    training: Training,
    source: Source,
    *,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: Sequence[PhaseCallback] = (),
    initial_epoch: int = 0,
    until: int | None = None,
    file: StateFile | None = None,
) -> TrainingRecord:
    """Go through the phases and leave the best epoch's weights in the model.

    Where time is limited and up (`finetune.support.time_limit`), it ends with the epochs that are
    over, and the record says that it is not finished.

    Args:
        shared: The backbone with whatever was computed for earlier trainings; its model is
            trained from the weights that it holds now.
        training: What to do.
        source: Training and validation images.
        callbacks: Keras callbacks. They see the whole model and one training, see `Session`. A
            head that trials share reaches them as one epoch, its best one.
        progress: Callbacks that only show: they see every epoch that is really trained.
        initial_epoch: Epoch to start the last phase from; above 0 the phases before it are
            left out, as for KerasTuner's Hyperband.
        until: Number of epochs of the last phase after which to pause, to be gone on with from
            `file`. Default: go through to the end.
        file: Where the state is kept, see `StateKeeper`. If it holds one, training goes on from
            there; a head that trials share has a state of its own, see `HeadStore`.

    Returns:
        What happened. After Ctrl-C that is what happened until then, if there is a best epoch.

    Raises:
        TrainingError: If no epoch had a finite loss, or there is no epoch to train.
        ArgumentError: If a callback cannot do here what it promises.
        OutOfTimeError: If time was up before there was a best epoch.
    """
    for phase in training.phases:
        refuse_callbacks(callbacks, phase.schedule)
    model = shared.assembly(training.head).model
    session = Session(callbacks, model)
    record = TrainingRecord(monitor=training.monitor)
    best = BestEpoch(record)
    last = training.phases[-1]
    resumed = initial_epoch if last.epochs else 0
    state = _load(file, shared, training, source)
    first_epoch = 0
    unchanged = shared.head_only
    for phase in training.phases:
        if not phase.epochs or (resumed and phase is not last):
            continue
        head_only = phase.freeze_depth >= shared.head_only
        shares_head = (
            head_only
            and not first_epoch
            and phase is not last
            and (source.reuse or can_be_solved(shared, training.head, phase, source))
        )
        over = state is not None and phase.name != state.phase
        if over:
            log.debug("Phase %s was over when training stopped.", phase.name)
        elif shares_head:
            head = _shared_head(shared, training, phase, source, progress)
            if callbacks:  # which may look into the optimizer, though it is not needed any more
                program = program_for(shared, training, phase, source, phase.freeze_depth)
                program.restart(phase.learning_rate)
            session.show(first_epoch, logs_of(head.epochs[head.best]))
            best.adopt(head, phase.name, shared.assembly(training.head).classifier.variables)
        else:
            with _leaving_the_best(record):
                _run_phase(
                    shared,
                    training,
                    phase,
                    source,
                    best,
                    session,
                    [*progress],
                    first_epoch=first_epoch,
                    resumed=resumed,
                    unchanged=unchanged,
                    until=until if phase is last else None,
                    file=file,
                    state=state,
                )
            best.restore()
            state = None
        alone = phase.name == HEAD and head_only and unchanged == shared.head_only
        if alone and not over and record.finished and record.best >= 0:
            error = standard_error(shared, training.head, source, record.monitor)
            best.allow_for_chance(error)
        first_epoch += 1 if shares_head else phase.epochs
        unchanged = min(unchanged, phase.freeze_depth)
        if record.interrupted or not (over or record.finished):
            break
    session.end(logs_of(record.epochs[-1]) if record.epochs else {})
    best.restore()  # a callback may have put back what it holds for the best
    if not record.epochs:
        raise TrainingError("Expected at least one epoch in one of the phases, received none.")
    if record.best < 0:
        tried = {row["phase"]: row["learning_rate"] for row in reversed(record.epochs)}
        rates = ", ".join(f"{rate:.3g} in phase {phase!r}" for phase, rate in tried.items())
        raise TrainingError(
            f"Expected a finite loss, but no epoch ended with one (learning rate {rates}). Lower "
            "the learning rate, or clip_norm."
        )
    model.stop_training = False
    # Compiled for callbacks alone: who saves it now wants the model, not its optimizer.
    model.compiled = False
    return record


@contextmanager
def _leaving_the_best(record: TrainingRecord) -> Iterator[None]:
    """After Ctrl-C, and where time is up, there is the best epoch until then, if there is any."""
    try:
        yield
    except KeyboardInterrupt:
        if record.best < 0:
            raise
        record.interrupted = True
    except OutOfTimeError:
        if record.best < 0:
            raise
        record.finished = False


def _load(
    file: StateFile | None, shared: SharedBackbone, training: Training, source: Source
) -> TrainingState | None:
    """The state to go on from, if there is one."""
    if file is None:
        return None
    return file.load(lambda saved: _held_by(saved, shared, training, source))


def _held_by(
    saved: SavedState, shared: SharedBackbone, training: Training, source: Source
) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
    """What the state of a phase holds the values of."""
    unchanged = shared.head_only
    for phase in training.phases:
        if phase.epochs and phase.name == saved.phase:
            trainee = program_for(shared, training, phase, source, unchanged).trainee
            return trainee.variables, trainee.optimizer.variables, trainee.variables
        if phase.epochs:
            unchanged = min(unchanged, phase.freeze_depth)
    names = ", ".join(phase.name for phase in training.phases)
    raise DamagedFileError(f"expected a state of {names}, received {saved.phase!r}")


def _shared_head(
    shared: SharedBackbone,
    training: Training,
    phase: Phase,
    source: Source,
    progress: Sequence[PhaseCallback],
) -> TrainedHead:
    """Solve or train the head once for all trials that start from it, and put its weights in."""
    weights = tuple(sorted((training.class_weight or {}).items()))
    name = shared.frozen.identity.name
    classifier = shared.assembly(training.head).classifier
    if can_be_solved(shared, training.head, phase, source):
        task, outputs = training.head.task, training.head.outputs
        key = repr((name, "solved", task, outputs, training.label_smoothing, weights, source.key))
        variables = classifier.trainable_variables
        make = partial(solved_head, shared, training, phase, source, progress)
    else:
        order = (training.seed, source.batch_size, source.key, training.monitor)
        key = repr((name, training.head, phase, training.label_smoothing, weights, *order))
        variables = classifier.variables
        make = partial(_train_head, shared, training, phase, source, progress, key)
    head = shared.heads.get(key, variables)
    if head is None:
        with shared.heads.alone(key):
            head = shared.heads.get(key, variables)  # another process may have made it
            if head is None:
                head = make()
                if head.finished:
                    shared.heads.put(key, head)
    if head.finished:
        assign(variables, head.weights)
    return head


def _train_head(
    shared: SharedBackbone,
    training: Training,
    phase: Phase,
    source: Source,
    progress: Sequence[PhaseCallback],
    key: str,
) -> TrainedHead:
    """Train the head; where its state is kept, it goes on from that."""
    record = TrainingRecord(monitor=training.monitor)
    best = BestEpoch(record)
    path = shared.heads.state_file(key)
    file = StateFile(path) if path is not None else None
    with _leaving_the_best(record):
        _run_phase(
            shared,
            training,
            phase,
            source,
            best,
            None,
            [*progress],
            unchanged=phase.freeze_depth,
            file=file,
            state=_load(file, shared, training, source),
        )
    best.restore()
    if record.best < 0:
        raise TrainingError(
            "Expected a finite loss, but no epoch of the head phase ended with one. Lower "
            "head_learning_rate, and check that the images are 0..255 pixels."
        )
    return TrainedHead(
        record.epochs,
        record.rates[phase.name],
        record.best,
        values_of(shared.assembly(training.head).classifier.variables),
        record.finished,
        record.interrupted,
    )


@expected_tracing()
def seconds_per_epoch(
    shared: SharedBackbone, training: Training, source: Source, steps: int = 4
) -> float:
    """Measure an epoch of the last phase on a few steps; the weights are then to be reset.

    Args:
        shared: The backbone.
        training: What is going to be done.
        source: Training and validation images.
        steps: Number of steps that are timed. Default 4.

    Returns:
        Seconds, validation included; 0 where the last phase has no epochs.
    """
    phase = training.phases[-1]
    if not phase.epochs:
        return 0.0
    program = program_for(shared, training, phase, source, shared.head_only)
    batches, validation = shared.batches(program, source, seed=training.seed)
    program.restart(phase.learning_rate)
    steps = min(steps, batches.steps)
    options = {"shuffle": False, "verbose": 0}
    # One step of each kind prepares what is compiled, and is not timed.
    program.trainee.fit(
        batches.dataset(),
        steps_per_epoch=1,
        validation_data=validation.dataset(),
        validation_steps=1,
        **options,
    )
    started = time.perf_counter()
    program.trainee.fit(batches.dataset(), steps_per_epoch=steps, **options)
    trained = (time.perf_counter() - started) / steps
    started, steps = time.perf_counter(), min(steps, validation.steps)
    program.trainee.evaluate(validation.dataset(), steps=steps, verbose=0)
    validated = (time.perf_counter() - started) / steps
    return trained * batches.steps + validated * validation.steps


def program_for(
    shared: SharedBackbone, training: Training, phase: Phase, source: Source, unchanged: int
) -> Program:
    """The compiled step of a phase, see `SharedBackbone.program`."""
    return shared.program(
        training.head,
        source,
        freeze_depth=phase.freeze_depth,
        unchanged=unchanged,
        batch_norm=phase.batch_norm,
        optimizer=phase.optimizer,
        layer_decay=phase.layer_decay,
        label_smoothing=training.label_smoothing,
    )


def _run_phase(
    shared: SharedBackbone,
    training: Training,
    phase: Phase,
    source: Source,
    best: BestEpoch,
    session: Session | None,
    progress: list[PhaseCallback],
    *,
    unchanged: int,
    first_epoch: int = 0,
    resumed: int = 0,
    until: int | None = None,
    file: StateFile | None = None,
    state: TrainingState | None = None,
) -> None:
    """Train one phase; the first `unchanged` layers still hold the pretrained weights."""
    if state is None:  # else there may be a best epoch in it, which is worth the time
        current_deadline().check("training was to begin")
    program = program_for(shared, training, phase, source, unchanged)
    batches, validation = shared.batches(program, source, seed=training.seed)
    program.restart(phase.learning_rate)
    best.start_phase(phase.name, first_epoch, phase.epochs, program.trainee.variables)
    if state is not None:
        resumed = state.epochs
        program.set_values(state.variables, state.optimizer)
        best.resume(state.record, state.best)
        if state.record.finished or (until is not None and resumed >= until):
            return
        current_deadline().check("training was to go on")
    steps = batches.steps
    table = rate_table(phase.schedule, phase.learning_rate, steps * phase.epochs, phase.warm_up)
    rates = StepRates(table, first_step=steps * resumed)
    rates.rates.extend(best.record.rates.get(phase.name, []))
    best.record.rates[phase.name] = rates.rates
    stateful = schedule_callbacks(phase.schedule, first_epoch)
    if phase.patience is not None:
        loss = loss_of(training.monitor)
        stateful.append(keras.callbacks.EarlyStopping(loss, mode="min", patience=phase.patience))
    internal = [rates, *stateful]
    if phase.optimizer.ema is not None:
        internal.append(SwapAverages(inside=state is not None))
    seen = [session] if session is not None and session.callbacks else []
    watchers = [keras.callbacks.TerminateOnNaN(), *seen, best, *progress]
    watchers.append(InTime())
    if until is not None:
        watchers.append(Pause(first_epoch + until - 1))
    relays: list[keras.callbacks.Callback] = [StopRelay(program.model, program.trainee)]
    if state is not None:
        relays.append(Replay(stateful, best.record.phase(phase.name), first_epoch))
    if file is not None:
        relays.append(StateKeeper(file, program, best, phase.name, first_epoch))
    for shown in progress:
        shown.start_phase(phase.name, phase.epochs, first_epoch)
    try:
        program.fit(
            batches,
            validation,
            [*internal, *watchers, *relays],
            epochs=phase.epochs,
            resumed=resumed,
            offset=first_epoch,
            class_weight=training.class_weight,
        )
    finally:
        for shown in progress:
            shown.end_phase(best.record)
