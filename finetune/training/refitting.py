"""Refit: a training that is over is done once more, on the validation images too.

Validation images choose the epoch, and settings in a search. Once that is done they are as good as
any for training: of a few hundred images a fifth more is worth having. Nothing is chosen by them
any more, so how long to train is taken from the training before; or from the schedule, where that
falls to nothing: few images choose an epoch by luck, and weights that were left at a high rate are
worse than any that came to rest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from finetune.compat import SwapAverages
from finetune.exceptions import TrainingError
from finetune.reuse import VALIDATION, Source
from finetune.support import (
    accuracy_interval,
    assign,
    current_deadline,
    expected_tracing,
    first_not_finite,
    squared_error_interval,
    values_of,
)
from finetune.training.ensembles import average
from finetune.training.head import ACCURACY, loss_of
from finetune.training.phases import program_for
from finetune.training.plan import Phase, Training
from finetune.training.program import Program
from finetune.training.progress import AGAIN, PhaseCallback
from finetune.training.records import HEAD, TrainingRecord, best_row
from finetune.training.relays import InTime
from finetune.training.schedules import FALLING, StepRates, rate_table
from finetune.training.shared import SharedBackbone
from finetune.training.solved_heads import can_be_solved, solve_on_all


@dataclass(frozen=True)
class Refitted:
    """What a refit has done.

    Args:
        images: Number of images that were trained on.
        program: What was trained last; None where that was a head, which was solved.
        remark: Why one of several trainings was taken, where their weights are no good averaged.
    """

    images: int
    program: Program | None
    remark: str = ""


@expected_tracing()
def refit(
    shared: SharedBackbone,
    training: Training,
    source: Source,
    record: TrainingRecord,
    seeds: int = 1,
    progress: Sequence[PhaseCallback] = (),
    after_head: Callable[[], None] | None = None,
) -> Refitted:
    """Train on training and validation images together, for as long as was best before.

    Args:
        shared: The backbone; its model is trained from the weights that it holds now: pretrained
            ones, and a new head.
        training: What was done before.
        source: Training and validation images that are stored.
        record: What happened then: each phase ends after the epoch that was best in it, and the
            phase of the best epoch of all is the last one, which goes to its end if its rate falls
            to nothing there.
        seeds: Times that the last phase is trained, with the images in other orders; the weights
            are then averaged. Default 1.
        progress: Callbacks that only show.
        after_head: Called once the head has been trained on all images, and nothing else has: the
            shared model is the head alone then.

    Returns:
        What was done, for `check_refit`.

    Raises:
        TrainingError: If the loss is not finite.
        OutOfTimeError: If time is limited and up before the end.

    Source of the average: M. Wortsman et al., "Model soups" (2022).
    """
    unchanged = shared.head_only
    *before, (last, epochs) = _lengths(training, record)
    for phase, length in before:
        seed = training.seed
        _again(shared, training, source, record, phase, length, unchanged, seed, progress)
        unchanged = min(unchanged, phase.freeze_depth)
        if phase.name == HEAD and after_head is not None:
            after_head()
    program, remark = _averaged(
        shared, training, source, record, last, epochs, unchanged, seeds, progress
    )
    if last.name == HEAD and after_head is not None:
        after_head()
    images = len(source.labels("train")) + len(source.labels("validation"))
    return Refitted(images, program, remark)


@expected_tracing()
def check_refit(
    shared: SharedBackbone, refitted: Refitted, source: Source, record: TrainingRecord
) -> None:
    """Refuse a refit that knows the validation images less well than the training before it.

    It was trained on them, and the other had not seen them: then it has not come to fit, as may
    happen with few steps at a high rate, and nobody would notice, for nothing is left to validate.

    Args:
        shared: The backbone; its model is as the refit left it.
        refitted: What was done.
        source: The same images.
        record: What happened in the training before.

    Raises:
        TrainingError: If its loss is higher, and its accuracy below the 95% interval of that
            before (of values: the loss above its interval). Where few images chose an epoch, it
            looks better on them than it is.
    """
    program, before = refitted.program, record.best_epoch
    if program is None:  # the solution of a convex problem
        return
    loss = loss_of(record.monitor)
    _, validation = shared.batches(program, source, seed=0)
    program.adjustable.smooth(0)  # as the training before was validated
    found: Any = program.trainee.evaluate(
        validation.dataset(), steps=validation.steps, verbose=0, return_dict=True
    )
    now = {f"val_{name}": value for name, value in found.items()}
    images = len(source.labels(VALIDATION))
    if ACCURACY in now:
        measured = [loss, ACCURACY]
        lowest, _ = accuracy_interval(before[ACCURACY], images)
        worse = now[ACCURACY] < lowest and now[loss] > before[loss]
    else:
        measured = [loss]
        _, highest = squared_error_interval(before[loss], images)
        worse = now[loss] > highest
    if not worse:
        return
    then, received = (
        ", ".join(f"{name.removeprefix('val_')} {row[name]:.3f}" for name in measured)
        for row in (before, now)
    )
    raise TrainingError(
        "Expected a model that was trained on the validation images to know them at least as well "
        f"as the one before, which was not ({then}), received {received}: it has not come to fit. "
        "Lower learning_rate, or raise epochs."
    )


def describe_refit(images: int, times: int) -> str:
    """What was done, for people.

    Example:
        >>> describe_refit(1200, 3)
        'Trained again on 1,200 images, training and validation together, 3 times'
    """
    repeated = f", {times} times" if times > 1 else ""
    return f"Trained again on {images:,} images, training and validation together{repeated}"


def _averaged(
    shared: SharedBackbone,
    training: Training,
    source: Source,
    record: TrainingRecord,
    phase: Phase,
    epochs: int,
    unchanged: int,
    seeds: int,
    progress: Sequence[PhaseCallback],
) -> tuple[Program | None, str]:
    """Go through the last phase so many times from one start, and average the weights.

    Returns:
        What was trained, or None if it was solved; and why one was taken alone, if it was.
    """
    model = shared.assembly(training.head).model
    start = values_of(model.variables)
    program, remark = None, ""
    states, losses = [], []
    for seed in range(training.seed, training.seed + seeds):
        assign(model.variables, start)
        program = _again(shared, training, source, record, phase, epochs, unchanged, seed, progress)
        states.append(values_of(model.variables))
        if program is None:  # what is solved has no order of images
            return None, ""
        if seeds > 1:
            losses.append(_loss(shared, program, source))
    if program is not None and seeds > 1:
        assign(model.variables, average(states))
        loss = _loss(shared, program, source)
        # Trainings that went to different valleys have a mean on the hill between them.
        if not loss <= np.mean(losses):
            remark = (
                f"Of {seeds} trainings on all images the one with the lowest training loss, "
                f"{min(losses):.3f}, is taken: averaged, their weights have {loss:.3f}, above the "
                f"mean of theirs, {np.mean(losses):.3f}."
            )
            assign(model.variables, states[int(np.argmin(losses))])
    return program, remark


def _again(
    shared: SharedBackbone,
    training: Training,
    source: Source,
    record: TrainingRecord,
    phase: Phase,
    epochs: int,
    unchanged: int,
    seed: int,
    progress: Sequence[PhaseCallback],
) -> Program | None:
    """Go through one phase on all images; gives what was trained, or None if it was solved."""
    current_deadline().check("the training on all images was to begin")
    if can_be_solved(shared, training.head, phase, source):
        solve_on_all(shared, training, source)
        return None
    program = program_for(shared, training, phase, source, unchanged)
    batches = shared.all_batches(program, source, seed=seed)
    program.restart(phase.learning_rate)
    callbacks: list[keras.callbacks.Callback] = [
        StepRates(_rates(phase, record, batches.steps)),
        keras.callbacks.TerminateOnNaN(),
        *progress,
        InTime(),
    ]
    if phase.optimizer.ema is not None:
        callbacks.append(SwapAverages(inside=False))
    for shown in progress:
        shown.start_phase(AGAIN, epochs, 0)
    try:
        program.fit(
            batches,
            None,
            callbacks,
            epochs=epochs,
            resumed=0,
            offset=0,
            class_weight=training.class_weight,
        )
    finally:
        for shown in progress:
            shown.end_phase(TrainingRecord())
    lost = first_not_finite(shared.assembly(training.head).model.variables)
    if lost is not None:
        raise TrainingError(
            f"Expected a finite loss on all images, but {lost} is lost (learning rate "
            f"{phase.learning_rate:.3g})."
        )
    return program


def _loss(shared: SharedBackbone, program: Program, source: Source) -> float:
    """The loss of all images, as the model is now."""
    batches = shared.all_batches(program, source, seed=0)
    result: Any = program.trainee.evaluate(
        batches.dataset(), steps=batches.steps, verbose=0, return_dict=True
    )
    return result["loss"]


def _lengths(training: Training, record: TrainingRecord) -> list[tuple[Phase, int]]:
    """The phases up to that of the best epoch, with the number of epochs of each."""
    found = []
    for phase in training.phases:
        if record.best_epoch["phase"] == phase.name:
            settles = phase.schedule in FALLING and phase.patience is None
            found.append((phase, phase.epochs if settles else record.best_epoch["epoch"]))
            break
        best = best_row(record.phase(phase.name), record.monitor)
        if best is not None:
            found.append((phase, best["epoch"]))
    return found


def _rates(phase: Phase, record: TrainingRecord, steps: int) -> np.ndarray:
    """The rate of every step; where losses decided it, that of each epoch as it was before."""
    table: Any = rate_table(
        phase.schedule, phase.learning_rate, steps * phase.epochs, phase.warm_up
    )
    if table is not None:
        return table
    used = [row["learning_rate"] for row in record.phase(phase.name)]
    return np.repeat(np.asarray(used, "float32"), steps)
