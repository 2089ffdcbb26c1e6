"""Training and validation images as the reuse of frozen work needs to see them."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from finetune.data import ImageData
from finetune.reuse.batches import RowBatches

TRAIN = "train"
VALIDATION = "validation"


class Source(Protocol):
    """Images that can be trained on, whole or as features computed from them.

    Attributes:
        reuse: Whether frozen work may be computed once and kept.
        views: Number of augmented copies of each training image that are kept.
        batch_size: Images in a batch.
        key: What the features depend on besides the model; equal keys mean equal images.
    """

    reuse: bool
    views: int
    batch_size: int
    key: str

    def pixels(self, split: str, *, seed: int | None, first_epoch: int) -> Any:
        """What Keras' `fit` is fed with to train or validate on whole images."""
        ...

    def passes(self, split: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches of (pixels, labels) of one pass over the images, view by view."""
        ...

    def labels(self) -> np.ndarray:
        """Labels of the training images."""
        ...


@dataclass(frozen=True)
class StoredSource:
    """Images of an `ImageData` that holds them.

    Args:
        data: The images.
        reuse: Whether frozen work is kept.
        views: Augmented copies kept of each training image; 1 without augmentation.
    """

    data: ImageData
    reuse: bool
    views: int = 1

    @property
    def batch_size(self) -> int:
        """Images in a batch."""
        return self.data.batch_size

    @property
    def key(self) -> str:
        """Content of the images and how the views of them were made."""
        augment = self.data.augment
        if augment is None:
            return self.data.fingerprint
        described = json.dumps(_without_names(keras.saving.serialize_keras_object(augment)))
        digest = hashlib.sha256(described.encode()).hexdigest()[:16]
        return f"{self.data.fingerprint}/{self.views} views/{digest}"

    def pixels(self, split: str, *, seed: int | None, first_epoch: int = 0) -> RowBatches:
        """Images in the order of the seed, augmented anew in every epoch."""
        images = self.data.splits[split]
        return RowBatches(
            (images.images,),
            images.labels,
            batch_size=self.batch_size,
            seed=seed,
            augment=self.data.augment if split == TRAIN else None,
            first_epoch=first_epoch,
        )

    def passes(self, split: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Every image once for each view, in stored order."""
        images = self.data.splits[split]
        augment = self.data.augment if split == TRAIN else None
        for _ in range(self.views if split == TRAIN else 1):
            yield from RowBatches((images.images,), images.labels, batch_size=64, augment=augment)

    def labels(self) -> np.ndarray:
        """Labels of the training images."""
        return self.data.splits[TRAIN].labels


def _without_names(config: Any) -> Any:
    """A layer's configuration without the names that Keras counts up at every call."""
    if isinstance(config, dict):
        return {k: _without_names(v) for k, v in sorted(config.items()) if k != "name"}
    if isinstance(config, (list, tuple)):
        return [_without_names(value) for value in config]
    return config


@dataclass(frozen=True)
class StreamSource:
    """Batched `tf.data` datasets, whose augmentation cannot be seen.

    Args:
        train: Batches of (float pixels 0..255, labels).
        validation: The same.
        reuse: Whether one pass over the datasets stands for all epochs.
        batch_size: Images in a batch.
    """

    train: tf.data.Dataset
    validation: tf.data.Dataset
    reuse: bool
    batch_size: int
    views: int = 1

    @property
    def key(self) -> str:
        """Nothing is known of the content: features belong to these very objects."""
        return f"stream/{id(self.train)}/{id(self.validation)}"

    def _dataset(self, split: str) -> tf.data.Dataset:
        return self.train if split == TRAIN else self.validation

    def pixels(self, split: str, *, seed: int | None, first_epoch: int = 0) -> tf.data.Dataset:
        """The dataset as it is: the order of its images is its own."""
        return self._dataset(split)

    def passes(self, split: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """One pass over the dataset."""
        return iter(self._dataset(split).as_numpy_iterator())

    def labels(self) -> np.ndarray:
        """Labels of the training images, for which it goes through them once."""
        return np.concatenate([labels for _, labels in self.train.as_numpy_iterator()])
