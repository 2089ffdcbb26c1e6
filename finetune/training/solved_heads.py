"""Heads that need no epochs: solved on the pooled features of the images."""

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from finetune.reuse import TRAIN, VALIDATION, Batches, Features, JoinedRows, RowBatches, Source
from finetune.support import assign, current_deadline, free_memory
from finetune.training.head import Head, loss_for, metrics_for
from finetune.training.head_store import TrainedHead
from finetune.training.plan import Phase, Training
from finetune.training.progress import PhaseCallback
from finetune.training.records import TrainingRecord
from finetune.training.shared import SharedBackbone
from finetune.training.solving import Solution, solve

log = logging.getLogger("finetune")

# Rows in a batch that is only measured: a head is one multiplication.
_MEASURED = 4096

# Bytes that a value takes while a head is solved: as it is kept, and standardized.
_BYTES = 8


def can_be_solved(shared: SharedBackbone, head: Head, phase: Phase, source: Source) -> bool:
    """Whether a head phase needs no training.

    Args:
        shared: The backbone.
        head: Has to be linear.
        phase: Says whether that is wanted.
        source: Its features have to fit into memory, and one pass has to tell them. There has to be
            an image of every class.
    """
    if not phase.solve or head.hidden_units or not (source.reuse or source.stored):
        return False
    # A dataset of the user's is gone through for its features, and not once more for its labels.
    labels = source.labels() if source.stored else shared.pooled(source, TRAIN).labels
    if head.task in ("binary", "multiclass"):
        classes = 2 if head.task == "binary" else head.outputs
        if len(np.unique(labels)) < classes:
            return False
    width = shared.assembly(head).classifier.input_shape[-1]
    needed = _BYTES * len(labels) * source.views * width
    if needed > free_memory() / 2:
        log.info("The head is trained: to solve it would take %.1f GB.", needed / 1e9)
        return False
    return True


def solved_head(
    shared: SharedBackbone,
    training: Training,
    phase: Phase,
    source: Source,
    progress: Sequence[PhaseCallback],
) -> TrainedHead:
    """Solve the head, put its weights in, and measure it.

    Args:
        shared: The backbone.
        training: What is to be done.
        phase: The head phase.
        source: Training and validation images.
        progress: Callbacks that only show.

    Returns:
        The head after one epoch, at a learning rate of 0: there is none.
    """
    started = time.perf_counter()
    current_deadline().check("the head was to be solved")
    for shown in progress:
        shown.start_phase(phase.name, 1, 0)
    train, validation = (shared.pooled(source, split) for split in (TRAIN, VALIDATION))
    solution = _solve(train.inputs[0], train.labels, training, source.views)
    variables = _put_in(shared, training, solution)
    loss, metrics = _measure(shared, training, train, training.label_smoothing)
    val_loss, val_metrics = _measure(shared, training, validation, 0.0)
    row = {
        "phase": phase.name,
        "epoch": 1,
        "loss": loss,
        **metrics,
        "val_loss": val_loss,
        **{f"val_{name}": value for name, value in val_metrics.items()},
        "learning_rate": 0.0,
        "seconds": time.perf_counter() - started,
    }
    record = TrainingRecord([row], {}, 0, training.monitor, finished=True)
    for shown in progress:
        shown.end_phase(record)
    return TrainedHead([row], [], 0, [np.array(variable) for variable in variables])


def solve_on_all(shared: SharedBackbone, training: Training, source: Source) -> None:
    """Solve the head on training and validation images together, and put its weights in."""
    train, validation = (shared.pooled(source, split) for split in (TRAIN, VALIDATION))
    rows = JoinedRows(train.inputs[0], validation.inputs[0], source.views)
    labels = np.concatenate([train.labels, validation.labels])
    _put_in(shared, training, _solve(rows, labels, training, source.views))


def _solve(rows: Any, labels: np.ndarray, training: Training, views: int) -> Solution:
    features = rows[np.arange(len(rows))]  # rows are taken by number where they lie on disk
    if training.head.task in ("binary", "multiclass"):
        labels = labels.reshape(-1)  # a dataset may have a column of them
    solution = solve(
        features, labels, training.head.task, class_weight=training.class_weight, views=views
    )
    log.info("The head was solved with a penalty of %g.", solution.penalty)
    return solution


def _put_in(shared: SharedBackbone, training: Training, solution: Solution) -> list[Any]:
    """The variables of the head, which now hold the solution."""
    variables = shared.assembly(training.head).classifier.trainable_variables
    assign(variables, [solution.kernel, solution.bias])
    return variables


def _measure(
    shared: SharedBackbone, training: Training, features: Features, label_smoothing: float
) -> tuple[float, dict[str, float]]:
    """Loss and metrics of the first view of each image."""
    classifier = shared.assembly(training.head).classifier
    task = training.head.task
    loss: Any = loss_for(task, label_smoothing)
    metrics: list[Any] = metrics_for(task)
    batches: Batches = RowBatches(features.inputs, features.labels, batch_size=_MEASURED)
    total = 0.0
    for (rows,), labels in batches.epoch(0):
        predicted = classifier(rows, training=False)
        total += float(loss(labels, predicted)) * len(labels)
        for metric in metrics:
            metric.update_state(labels, predicted)
    return total / len(features.labels), {m.name: float(m.result()) for m in metrics}
