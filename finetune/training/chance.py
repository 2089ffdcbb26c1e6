"""How far what few validation images say of a head may be a matter of chance."""

from typing import Any

import numpy as np

from finetune.reuse import VALIDATION, Source
from finetune.training.head import ACCURACY, Head, loss_for
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
    each = _right if monitor == ACCURACY else _losses
    values = each(labels, outputs, head.task)
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _losses(labels: np.ndarray, outputs: np.ndarray, task: str) -> np.ndarray:
    """The loss of each image."""
    targets = labels if task == "multiclass" else labels.reshape(outputs.shape)
    losses: Any = loss_for(task).call(targets.astype("float32"), outputs)
    return np.asarray(losses)


def _right(labels: np.ndarray, outputs: np.ndarray, task: str) -> np.ndarray:
    """The share of right answers on each image: 0 or 1 where it is of one class."""
    if task == "multiclass":
        return (outputs.argmax(axis=1) == labels.reshape(-1)).astype(float)
    return ((outputs >= 0.5) == (labels.reshape(outputs.shape) >= 0.5)).mean(axis=1)
