"""Training and validation images as the reuse of frozen work needs to see them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import tensorflow as tf

from finetune.data import ImageData
from finetune.reuse.batches import Batches, RowBatches, StreamBatches
from finetune.reuse.identities import Identity, identity
from finetune.reuse.joined import JoinedRows

TRAIN = "train"
VALIDATION = "validation"
TEST = "test"


def pass_batch() -> int:
    """Images in a batch of a pass without training.

    On a CPU more are no quicker, and their early layers fill the memory: 64 took 0.37 GB more than
    16 for MobileNetV2 at 160 pixels. A GPU would wait for so few.
    """
    return 128 if tf.config.list_physical_devices("GPU") else 16


class Source(Protocol):
    """Images that can be trained on, whole or as features computed from them."""

    @property
    def reuse(self) -> bool:
        """Whether frozen work may be computed once and kept."""
        ...

    @property
    def stored(self) -> bool:
        """Whether the images are at hand, and how they are augmented is known."""
        ...

    @property
    def views(self) -> int:
        """Number of augmented copies of each training image that are kept."""
        ...

    @property
    def batch_size(self) -> int:
        """Images in a batch."""
        ...

    @property
    def key(self) -> str:
        """What the features depend on besides the model; equal keys mean equal images."""
        ...

    @property
    def persistent(self) -> bool:
        """Whether the key names content, so that features may outlive the process."""
        ...

    def pixels(self, split: str, *, seed: int | None) -> Batches:
        """What Keras' `fit` is fed with to train or validate on whole images."""
        ...

    def all_pixels(self, *, seed: int | None) -> Batches:
        """Training and validation images together, likewise."""
        ...

    def passes(self, split: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches of (pixels, labels) of one pass over the images, view by view."""
        ...

    def rows(self, split: str) -> int | None:
        """Number of feature rows, all views counted; None where that is not known."""
        ...

    def labels(self, split: str = TRAIN) -> np.ndarray:
        """Labels of the images, each once."""
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
    stored: bool = True

    @property
    def batch_size(self) -> int:
        """Images in a batch."""
        return self.data.batch_size

    @property
    def persistent(self) -> bool:
        """Whether it is known how the views were made."""
        return self._augmented is None or self._augmented.lasting

    @property
    def key(self) -> str:
        """The pixels of the images, what else is known of them, and how views were made."""
        return self._key

    @cached_property
    def _key(self) -> str:
        # The same files can be other pixels, of another decoder.
        digest = hashlib.blake2b(digest_size=16)
        for split in (TRAIN, VALIDATION):
            for image in self.data.splits[split].images:
                digest.update(image)
        parts = [self.data.fingerprint, f"pixels {digest.hexdigest()}"]
        if self._augmented is not None:
            parts.append(f"{self.views} views/{self._augmented.name}")
        return "/".join(parts)

    @cached_property
    def _augmented(self) -> Identity | None:
        augment = self.data.augment
        return None if augment is None else identity([augment], frozen=False)

    def pixels(self, split: str, *, seed: int | None) -> RowBatches:
        """Images in the order of the seed, augmented anew in every epoch."""
        images = self.data.splits[split]
        return RowBatches(
            (images.images,),
            images.labels,
            batch_size=self.batch_size,
            seed=seed,
            augment=self.data.augment if split == TRAIN else None,
        )

    def all_pixels(self, *, seed: int | None) -> RowBatches:
        """All of them in the order of the seed, augmented anew in every epoch."""
        train, validation = (self.data.splits[split] for split in (TRAIN, VALIDATION))
        return RowBatches(
            (JoinedRows(train.images, validation.images, views=1),),
            np.concatenate([train.labels, validation.labels]),
            batch_size=self.batch_size,
            seed=seed,
            augment=self.data.augment,
        )

    def passes(self, split: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Every image once for each view, in stored order."""
        images = self.data.splits[split]
        augment = self.data.augment if split == TRAIN else None
        batches = RowBatches(
            (images.images,), images.labels, batch_size=pass_batch(), augment=augment
        )
        for view in range(self.views if split == TRAIN else 1):
            for (pixels,), labels in batches.epoch(view):
                yield pixels, labels

    def rows(self, split: str) -> int:
        """Number of feature rows, all views counted."""
        return len(self.data.splits[split]) * (self.views if split == TRAIN else 1)

    def labels(self, split: str = TRAIN) -> np.ndarray:
        """Labels of the images, each once."""
        return self.data.splits[split].labels


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
    persistent: bool = False
    stored: bool = False

    @property
    def key(self) -> str:
        """Nothing is known of the content: features belong to these very objects."""
        return f"stream/{id(self.train)}/{id(self.validation)}"

    def _dataset(self, split: str) -> tf.data.Dataset:
        return self.train if split == TRAIN else self.validation

    def pixels(self, split: str, *, seed: int | None) -> StreamBatches:
        """The dataset as it is: the order of its images is its own."""
        return StreamBatches(self._dataset(split))

    def all_pixels(self, *, seed: int | None) -> StreamBatches:
        """One dataset after the other: the order of their images is their own."""
        return StreamBatches(self.train.concatenate(self.validation))

    def passes(self, split: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """One pass over the dataset."""
        yield from self._dataset(split).as_numpy_iterator()  # pyright: ignore[reportReturnType]

    def rows(self, split: str) -> int | None:
        """Number of images, if the dataset tells its length."""
        batches = int(self._dataset(split).cardinality())
        return batches * self.batch_size if batches > 0 else None

    def labels(self, split: str = TRAIN) -> np.ndarray:
        """Labels of the images, for which it goes through them once."""
        return np.concatenate([labels for _, labels in self._dataset(split).as_numpy_iterator()])
