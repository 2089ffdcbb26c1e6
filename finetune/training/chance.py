"""How far what few validation images say of a head may be a matter of chance."""

from typing import Any

import numpy as np

from finetune.reuse import VALIDATION, Source
from finetune.training.head import ACCURACY, Head, loss_for, right_answers
from finetune.training.shared import SharedBackbone


def standard_error(shared: SharedBackbone, head: Head, source: Source, monitor: str) -> float:
    """Standard error, over the validation images, of what decides between epochs.

    Args:
        shared: The backbone, with a head that is trained and nothing else that is.
        head: Which head.
        source: The images. Of a dataset that may be another in each pass nothing is known.
        monitor: What decides, one of `SELECT`; the calibrated loss varies as the other one does.

    Returns:
        0 where it cannot be known: from fewer than two images too.
    """
    if not (source.reuse or source.stored):
        return 0.0
    outputs = shared.say(head, source, VALIDATION)
    labels = shared.pooled(source, VALIDATION).labels
    values = (
        right_answers(labels, outputs, head.task).reshape(len(labels), -1).mean(axis=1)
        if monitor == ACCURACY
        else _losses(labels, outputs, head.task)
    )
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _losses(labels: np.ndarray, outputs: np.ndarray, task: str) -> np.ndarray:
    """The loss of each image."""
    targets = labels if task == "multiclass" else labels.reshape(outputs.shape)
    losses: Any = loss_for(task).call(targets.astype("float32"), outputs)
    return np.asarray(losses)
