"""Batches of stored rows in an order that depends on the seed and the epoch alone."""

import math

import keras
import numpy as np


class RowBatches(keras.utils.PyDataset):
    """Feeds Keras' `fit` from arrays: images, or features that were computed from them.

    The same seed gives the same order whatever the rows hold, so a run on features can be
    compared step by step with a run on images, and a resumed run goes on in the same order.

    Args:
        inputs: Arrays whose rows belong together, each (views * n, ...); the rows of view v
            start at `v * n`. uint8 rows are images and become float32.
        labels: One label or row of labels per image, (n, ...).
        batch_size: Images in a batch.
        seed: Seed of the order; None keeps the stored order.
        views: Number of copies of each image among the rows. In every epoch each image comes
            once; which of its copies moves on by one from epoch to epoch.
        augment: Layer that is applied anew to every batch, or None.
        first_epoch: Epoch that the first pass stands for; above 0 when training is resumed.
    """

    def __init__(
        self,
        inputs: tuple[np.ndarray, ...],
        labels: np.ndarray,
        *,
        batch_size: int,
        seed: int | None = None,
        views: int = 1,
        augment: keras.Layer | None = None,
        first_epoch: int = 0,
    ) -> None:
        super().__init__()
        self._inputs = inputs
        self._labels = labels
        self._batch_size = batch_size
        self._seed = seed
        self._views = views
        self._augment = augment
        self._epoch = first_epoch
        self._order = self._new_order()

    def __len__(self) -> int:
        return math.ceil(len(self._labels) / self._batch_size)

    def __getitem__(self, index: int) -> tuple:
        images = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        rows = (images + self._epoch) % self._views * len(self._labels) + images
        batch = tuple(self._prepare(values[rows]) for values in self._inputs)
        return batch[0] if len(batch) == 1 else batch, self._labels[images]

    def on_epoch_end(self) -> None:
        """Draw the order of the next epoch."""
        self._epoch += 1
        self._order = self._new_order()

    def _new_order(self) -> np.ndarray:
        if self._seed is None:
            return np.arange(len(self._labels))
        return np.random.default_rng((self._seed, self._epoch)).permutation(len(self._labels))

    def _prepare(self, rows: np.ndarray) -> np.ndarray:
        if rows.dtype == np.uint8:
            rows = rows.astype("float32")
        if self._augment is not None:
            rows = keras.ops.convert_to_numpy(self._augment(rows, training=True))
        return rows
