"""Batches of stored rows in an order that depends on the seed and the epoch alone."""

import math
from collections.abc import Iterator
from functools import cached_property

import keras
import numpy as np
import tensorflow as tf

from finetune.data import augment_batch, read_rows
from finetune.reuse.entries import Shards
from finetune.reuse.joined import JoinedRows, PickedRows
from finetune.support import ready_ahead


class RowBatches:
    """Batches from arrays: images, or features that were computed from them.

    The same seed gives the same order whatever the rows hold, so a run on features can be
    compared step by step with a run on images, and a resumed run goes on in the same order.

    Args:
        inputs: Arrays whose rows belong together, each (views * n, ...); the rows of view v
            start at `v * n`. uint8 and float16 rows become float32.
        labels: One label or row of labels per image, (n, ...).
        batch_size: Images in a batch.
        seed: Seed of the order; None keeps the stored order.
        views: Number of copies of each image among the rows. In every epoch each image comes
            once; which of its copies moves on by one from epoch to epoch.
        augment: Layer that is applied anew to every batch, or None. What it draws depends on
            seed, epoch and step alone, too.
    """

    def __init__(
        self,
        inputs: tuple[np.ndarray | Shards | JoinedRows | PickedRows, ...],
        labels: np.ndarray,
        *,
        batch_size: int,
        seed: int | None = None,
        views: int = 1,
        augment: keras.Layer | None = None,
    ) -> None:
        self._inputs = inputs
        self._labels = labels
        self._batch_size = batch_size
        self._seed = seed
        self._views = views
        self._augment = augment
        self._orders: dict[int, np.ndarray] = {}

    @property
    def images(self) -> int:
        """Images in an epoch."""
        return len(self._labels)

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return math.ceil(self.images / self._batch_size)

    def batch(self, epoch: int, step: int) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """The inputs and labels of one batch."""
        images = self._order(epoch)[step * self._batch_size : (step + 1) * self._batch_size]
        rows = (images + epoch) % self._views * len(self._labels) + images
        inputs = tuple(self._prepare(values[rows], epoch, step) for values in self._inputs)
        return inputs, self._labels[images]

    def epoch(self, number: int) -> Iterator[tuple[tuple[np.ndarray, ...], np.ndarray]]:
        """The batches of one epoch."""
        return (self.batch(number, step) for step in range(self.steps))

    def dataset(self, first_epoch: int = 0, epochs: int = 1) -> tf.data.Dataset:
        """The batches of several epochs, one after the other, `steps` to an epoch.

        One dataset for all epochs: Keras starts a dataset anew for every epoch, and once more
        than it uses.
        """
        kinds = [tf.TensorSpec((None, *rows.shape[1:]), tf.float32) for rows in self._inputs]
        labels = tf.TensorSpec((None, *self._labels.shape[1:]), tf.as_dtype(self._labels.dtype))

        @tf.autograph.experimental.do_not_convert
        def paired(*tensors: tf.Tensor) -> tuple:
            *inputs, batch_labels = tensors
            return inputs[0] if len(inputs) == 1 else tuple(inputs), batch_labels

        numbers = tf.data.Dataset.range(
            first_epoch * self.steps, (first_epoch + epochs) * self.steps
        )
        batches = read_rows(numbers, self, _numbered, [*kinds, labels])
        return ready_ahead(batches.map(paired))

    def _order(self, epoch: int) -> np.ndarray:
        if self._seed is None:
            return np.arange(len(self._labels))
        if epoch not in self._orders:
            drawn = np.random.default_rng((self._seed, epoch)).permutation(len(self._labels))
            self._orders = {epoch: drawn}
        return self._orders[epoch]

    def _prepare(self, rows: np.ndarray, epoch: int, step: int) -> np.ndarray:
        values = rows.astype("float32", copy=False)
        if self._augment is None:
            return values
        return augment_batch(self._augment, values, self._seed or 0, epoch, step)


def _numbered(batches: RowBatches, number: np.ndarray) -> list[np.ndarray]:
    """The batch of a number, counted over all epochs."""
    inputs, labels = batches.batch(*divmod(int(number), batches.steps))
    return [*inputs, labels]


class StreamBatches:
    """The batches of a `tf.data` dataset, in the order that they come.

    Args:
        batches: The dataset.
    """

    def __init__(self, batches: tf.data.Dataset) -> None:
        self._batches = batches

    @cached_property
    def steps(self) -> int:
        """Batches in an epoch; counted by going through them where the dataset does not know."""
        known = int(self._batches.cardinality())
        return known if known >= 0 else sum(1 for _ in self._batches)

    def dataset(self, first_epoch: int = 0, epochs: int = 1) -> tf.data.Dataset:
        """The batches of several epochs, one after the other."""
        return self._batches.repeat(epochs)


Batches = RowBatches | StreamBatches
