"""Labelled images to measure a model on: whatever classes of the model's they have."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from finetune.data.dataset import DataReport
from finetune.data.decoded import decode, open_source, unreadable
from finetune.data.folder import scan_labelled
from finetune.data.labels import as_labels, encode_labels, listed
from finetune.exceptions import ArgumentError, DataError, MissingClassError


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """All labelled images of a source; nothing is held back, nothing is shuffled.

    Args:
        images: uint8 (n, h, w, 3), in memory or memory-mapped.
        labels: As those of `Split`, numbered as the model numbers its classes.
        parts: "train", "validation" or "test" for each image; "" where the source has no parts.
        report: What was skipped or ignored.
    """

    images: np.ndarray
    labels: np.ndarray
    parts: np.ndarray
    report: DataReport


def load_labelled(
    source: Any,
    *,
    image_size: tuple[int, int],
    resize: str,
    task: str,
    class_names: Sequence[str],
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
    memory_budget: int | None = None,
) -> LabelledImages:
    """Loads labelled images for a model that is there already.

    Args:
        source: A folder, a TFDS name or (images, labels) arrays, as `load_data` takes them, but
            with any of the model's classes. Labels that are numbers are the model's.
        image_size: (height, width) of the model.
        resize: How the model's images are resized.
        task: The model's task.
        class_names: The model's classes.
        data_dir: See `load_data`.
        download: See `load_data`.
        memory_budget: See `load_data`.

    Returns:
        The images, with the model's class numbers.

    Raises:
        ArgumentError: If the source is of another kind.
        MissingClassError: If the model does not know a class.
        DataError: If there is no readable image, or labels do not fit the task.
    """
    if isinstance(source, tf.data.Dataset):
        raise ArgumentError(
            "Expected a folder, a TFDS name, (images, labels) arrays or an ImageData; received a "
            "tf.data.Dataset: bring it into the model's form with load_data(dataset, "
            "validation=None), and measure the split 'train' of that."
        )
    opened = open_source(source, "labelled", data_dir, download, scan=scan_labelled)
    arrays = isinstance(source, (tuple, list))
    parts = {"": opened.parts["train"]} if arrays else opened.parts
    for part in parts.values():
        if isinstance(part.items, list):  # told before anything is decoded
            _check_known([item.label for item in part.items], class_names)
    decoded = decode(parts, image_size, resize, memory_budget)
    if not decoded.ids:
        if decoded.skipped:
            raise unreadable(decoded)
        raise DataError(f"Expected labelled images in {source}, found none.")
    _check_known(decoded.labels, class_names)
    labels = encode_labels(decoded.labels, task=task, class_names=class_names or None)
    return LabelledImages(
        decoded.images[: len(decoded.ids)],
        labels.values,
        np.array(decoded.parts),
        DataReport(tuple(decoded.skipped), opened.ignored),
    )


def _check_known(labels: Sequence[Any], class_names: Sequence[str]) -> None:
    raw = as_labels(labels)
    if raw.dtype.kind in "SUO" and class_names:
        texts = {label.decode() if isinstance(label, bytes) else label for label in raw.ravel()}
        unknown = sorted(str(text) for text in texts - set(class_names))
    elif raw.ndim == 1 and raw.dtype.kind in "iu" and class_names:
        unknown = [str(number) for number in np.unique(raw) if not 0 <= number < len(class_names)]
    else:
        return
    if unknown:
        raise MissingClassError(
            f"There are images of {listed(unknown)}, which the model does not know: its classes "
            f"are {listed(class_names)}. Leave these images out, or give them the model's names."
        )
