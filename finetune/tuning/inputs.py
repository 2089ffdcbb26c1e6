"""What a tuner may be given as images, brought into the form that training takes."""

import logging
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from finetune.data import ImageData, check_datasets, check_image_size, load_data
from finetune.exceptions import ArgumentError, DataError, ImageSizeError
from finetune.reuse import Source, StoredSource, StreamSource
from finetune.tuning.settings import Facts, Settings, classification_task

log = logging.getLogger("finetune")


class Inputs:
    """Turns what `fit` was given into a `Source`, and learns from it what the model must be.

    Args:
        task: The task, where the user named it.
        num_classes: Number of classes, where the user named it.
        reuse: "auto", True or False, see `FineTuner`.
    """

    def __init__(self, task: str | None, num_classes: int | None, reuse: bool | str) -> None:
        self._task = task
        self._reuse = reuse
        self._sources: dict[Any, Source] = {}
        self._given: list[tuple[Any, Any, Any]] = []
        self.facts: Facts | None = None
        if num_classes is not None:
            self.facts = Facts(task or classification_task(num_classes), num_classes)

    def source(
        self, x: Any, y: Any, validation: Any, batch_size: int, settings: Settings
    ) -> Source:
        """The same source for the same objects, so that trials share what was computed."""
        key = (id(x), id(y), id(validation), settings.image_size, settings.views)
        key = (
            *key,
            id(settings.augment) if isinstance(settings.augment, keras.Layer) else settings.augment,
        )
        if key not in self._sources:
            self._sources[key] = self._make(x, y, validation, batch_size, settings)
            # Held with the source, so that no other object gets their ids.
            self._given.append((x, y, validation))
        return self._sources[key]

    def _make(self, x: Any, y: Any, validation: Any, batch_size: int, settings: Settings) -> Source:
        if isinstance(x, ImageData):
            if validation is not None:
                raise ArgumentError(
                    "validation_data does not go with an ImageData, which brings its own. Give it "
                    "to load_data(validation=...)."
                )
            return self.stored(x, settings)
        if isinstance(x, tf.data.Dataset):
            if not isinstance(validation, tf.data.Dataset):
                raise ArgumentError(
                    "Expected validation_data as a tf.data.Dataset like the training images, "
                    f"received {type(validation).__name__}."
                )
            for dataset in (x, validation):
                _check_end(dataset)
            self._learn_from_dataset(x, settings)
            *_, report = check_datasets({"train": x, "validation": validation})
            if str(report):
                log.warning(str(report))
            return self._stream(self._readied(x), self._readied(validation), batch_size)
        if x is None or y is None or not isinstance(validation, (tuple, list)):
            raise ArgumentError(
                "Expected an ImageData, a tf.data.Dataset, or images and labels with "
                "validation_data=(images, labels); received "
                f"{type(x).__name__} and validation_data of type {type(validation).__name__}."
            )
        images = np.asarray(x)
        data = load_data(
            (images, y),
            validation=tuple(validation),
            image_size=images.shape[1:3],
            batch_size=batch_size,
            augment="none",
            task=self._task or "auto",
        )
        return self.stored(data, settings)

    def _stream(
        self, train: tf.data.Dataset, validation: tf.data.Dataset, batch_size: int
    ) -> StreamSource:
        if self._reuse is not True:
            log.info(
                "Training on whole images in every epoch: the augmentation of a tf.data.Dataset "
                "cannot be seen. Pass stored images, or reuse=True if it has none."
            )
        return StreamSource(train, validation, self._reuse is True, batch_size)

    def stored(self, data: ImageData, settings: Settings) -> Source:
        """Training and validation images of an `ImageData` as `train` takes them."""
        if "validation" not in data.counts:
            raise DataError(
                "Expected validation images: they decide which epoch is kept, but there are none. "
                "Load the data with validation=0.2."
            )
        size = pair(settings.image_size)
        if size not in (None, data.image_size):
            data = data.at_size(size)
        if settings.augment is not None:
            data = data.with_options(augment=settings.augment)
        self.learn(data)
        if not data.splits:
            assert data.validation is not None  # counted above
            return self._stream(data.train, data.validation, data.batch_size)
        views = settings.views if data.augment is not None else 1
        return StoredSource(data, self._reuse is not False, views)

    def learn(self, data: ImageData) -> None:
        """Note what the model must be for these images."""
        if self._task not in (None, data.task):
            raise ArgumentError(
                f"Expected images for task={self._task!r}, received some for {data.task!r}. Give "
                "the task to load_data(task=...) too."
            )
        outputs = len(data.class_names)
        if data.task == "regression":
            shape = next(iter(data.splits.values())).labels.shape if data.splits else (0,)
            outputs = shape[1] if len(shape) > 1 else 1
        facts, known = Facts(data.task, outputs, data.image_size), self.facts
        if known is not None and known.outputs != facts.outputs:
            raise ArgumentError(
                f"Expected images of {known.outputs} classes, as in num_classes or in the data "
                f"before, received {facts.outputs}."
            )
        self.facts = facts

    def _learn_from_dataset(self, dataset: tf.data.Dataset, settings: Settings) -> None:
        spec: Any = dataset.element_spec
        if not isinstance(spec, tuple) or len(spec) != 2:
            raise DataError(f"Expected a dataset of (images, labels), received elements {spec}.")
        images, labels = spec
        if images.shape.rank != 4 or None in images.shape[1:3]:
            raise ImageSizeError(
                "Expected batches of images of one size, shape (None, height, width, 3); received "
                f"{images.shape}. Resize and batch the dataset first."
            )
        size = tuple(images.shape[1:3])
        if pair(settings.image_size) not in (None, size):
            raise ImageSizeError(
                f"Expected images of {pair(settings.image_size)} pixels, as in image_size; the "
                f"dataset's are {size}. Resize the dataset, or leave image_size out."
            )
        if self.facts is not None:
            self.facts = replace(self.facts, image_size=size)
            return
        columns = labels.shape[1] if labels.shape.rank == 2 else 1
        if columns == 1 and self._task != "regression":
            columns = 1 + max(int(np.max(batch)) for _, batch in dataset.as_numpy_iterator())
        self.facts = Facts(self._task or classification_task(columns), columns, size)

    def _readied(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """The dataset with class numbers as labels."""
        assert self.facts is not None  # learned before
        spec: Any = dataset.element_spec
        labels = spec[1]
        one_hot = labels.shape.rank == 2 and labels.shape[1] != 1
        if one_hot and self.facts.task in ("binary", "multiclass"):
            dataset = dataset.map(lambda images, rows: (images, tf.argmax(rows, axis=-1)))
        return dataset


def _check_end(dataset: tf.data.Dataset) -> None:
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise DataError("Expected a dataset that ends: leave out .repeat(), epochs are counted.")


def pair(size: Any) -> tuple[int, int] | None:
    """(height, width), where one number stands for both; None where it is not given."""
    return None if size is None else check_image_size(size)
