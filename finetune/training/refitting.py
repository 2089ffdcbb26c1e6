"""Refit: a training that is over is done once more, on the validation images too.

Validation images choose the epoch, and settings in a search. Once that is done they are as good as
any for training: of a few hundred images a fifth more is worth having. Nothing is chosen by them
any more, so how long to train is taken from the training before.
"""

from typing import Any

import keras
import numpy as np

from finetune.compat import SwapAverages
from finetune.exceptions import TrainingError
from finetune.reuse import Source
from finetune.support import current_deadline, expected_tracing, first_not_finite
from finetune.training.phases import program_for
from finetune.training.plan import Phase, Training
from finetune.training.records import TrainingRecord, best_row
from finetune.training.relays import InTime
from finetune.training.schedules import StepRates, rate_table
from finetune.training.shared import SharedBackbone
from finetune.training.solved_heads import can_be_solved, solve_on_all


@expected_tracing()
def refit(
    shared: SharedBackbone, training: Training, source: Source, record: TrainingRecord
) -> int:
    """Train on training and validation images together, for as long as was best before.

    Args:
        shared: The backbone; its model is trained from the weights that it holds now: pretrained
            ones, and a new head.
        training: What was done before.
        source: Training and validation images that are stored.
        record: What happened then: each phase ends after the epoch that was best in it, and the
            phase of the best epoch of all is the last one.

    Returns:
        Number of images that were trained on.

    Raises:
        TrainingError: If the loss is not finite.
        OutOfTimeError: If time is limited and up before the end.
    """
    unchanged = shared.head_only
    for phase, epochs in _lengths(training, record):
        current_deadline().check("the training on all images was to begin")
        if can_be_solved(shared, training.head, phase, source):
            solve_on_all(shared, training, source)
            continue
        program = program_for(shared, training, phase, source, unchanged)
        batches = shared.all_batches(program, source, seed=training.seed)
        program.restart(phase.learning_rate)
        rates = _rates(phase, record, batches.steps)
        callbacks: list[keras.callbacks.Callback] = [
            StepRates(rates),
            keras.callbacks.TerminateOnNaN(),
            InTime(),
        ]
        if phase.optimizer.ema is not None:
            callbacks.append(SwapAverages(inside=False))
        program.fit(
            batches,
            None,
            callbacks,
            epochs=epochs,
            resumed=0,
            offset=0,
            class_weight=training.class_weight,
        )
        unchanged = min(unchanged, phase.freeze_depth)
    lost = first_not_finite(shared.assembly(training.head).model.variables)
    if lost is not None:
        raise TrainingError(f"Expected a finite loss on all images, but {lost} is lost.")
    return len(source.labels("train")) + len(source.labels("validation"))


def _lengths(training: Training, record: TrainingRecord) -> list[tuple[Phase, int]]:
    """The phases up to that of the best epoch, with the number of epochs of each."""
    found = []
    for phase in training.phases:
        if record.best_epoch["phase"] == phase.name:
            found.append((phase, record.best_epoch["epoch"]))
            break
        best = best_row(record.phase(phase.name), record.monitor)
        if best is not None:
            found.append((phase, best["epoch"]))
    return found


def _rates(phase: Phase, record: TrainingRecord, steps: int) -> np.ndarray:
    """The rate of every step; where losses decided it, that of each epoch as it was before."""
    table: Any = rate_table(phase.schedule, phase.learning_rate, steps * phase.epochs)
    if table is not None:
        return table
    used = [row["learning_rate"] for row in record.phase(phase.name)]
    return np.repeat(np.asarray(used, "float32"), steps)
