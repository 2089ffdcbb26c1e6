"""What may be given as images, and what is said where it is something else."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from finetune import FineTuner
from finetune.exceptions import ArgumentError, DataError, ImageSizeError
from tiny import SIZE, make_images


def make_tuner(backbone, **options):
    return FineTuner(backbone, preprocess="tf", freeze_depth=7, learning_rate=0.01, **options)


def dataset_of(size=SIZE):
    images = np.zeros((6, size, size, 3), np.uint8)
    return tf.data.Dataset.from_tensor_slices((images, np.arange(6) % 3))


IMAGES, LABELS = make_images(4)


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        (
            (IMAGES, LABELS, None),
            ArgumentError,
            "Expected an ImageData, a tf.data.Dataset, or images and labels with "
            "validation_data=(images, labels); received ndarray and validation_data of type "
            "NoneType.",
        ),
        (
            (None, None, (IMAGES, LABELS)),
            ArgumentError,
            "Expected an ImageData, a tf.data.Dataset, or images and labels with "
            "validation_data=(images, labels); received NoneType and validation_data of type "
            "tuple.",
        ),
        (
            (dataset_of(), None, (IMAGES, LABELS)),
            ArgumentError,
            "Expected validation_data as a tf.data.Dataset like the training images, received "
            "tuple.",
        ),
    ],
)
def test_images_that_come_without_what_validates_are_refused(backbone, given, error, told):
    images, labels, validation = given
    trainer = make_tuner(backbone).trainer
    with pytest.raises(error) as caught:
        trainer.source(images, labels, validation, None, trainer.settings())
    assert str(caught.value) == told


def test_images_that_bring_their_own_validation_images_take_no_others(backbone, data):
    trainer = make_tuner(backbone).trainer
    with pytest.raises(ArgumentError) as caught:
        trainer.source(data, None, (IMAGES, LABELS), None, trainer.settings())
    assert str(caught.value) == (
        "validation_data does not go with an ImageData, which brings its own. Give it to "
        "load_data(validation=...)."
    )


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        (
            dataset_of(size=SIZE // 2).batch(2),
            ImageSizeError,
            f"Expected images of ({SIZE}, {SIZE}) pixels, as in image_size; the dataset's are "
            f"({SIZE // 2}, {SIZE // 2}). Resize the dataset, or leave image_size out.",
        ),
        (
            dataset_of(),
            ImageSizeError,
            "Expected batches of images of one size, shape (None, height, width, 3); received "
            f"({SIZE}, {SIZE}, 3). Resize and batch the dataset first.",
        ),
        (
            tf.data.Dataset.range(4),
            DataError,
            "Expected a dataset of (images, labels), received elements TensorSpec(shape=(), "
            "dtype=tf.int64, name=None).",
        ),
    ],
)
def test_a_dataset_that_does_not_fit_is_refused_with_what_it_has(backbone, given, error, told):
    trainer = make_tuner(backbone, num_classes=3, image_size=SIZE).trainer
    with pytest.raises(error) as caught:
        trainer.source(given, None, given, None, trainer.settings())
    assert str(caught.value) == told


def test_images_of_another_number_of_classes_than_before_are_refused(backbone, data):
    trainer = make_tuner(backbone, num_classes=4).trainer
    with pytest.raises(ArgumentError) as caught:
        trainer.source_of(data, trainer.settings())
    assert str(caught.value) == (
        "Expected images of 4 classes, as in num_classes or in the data before, received 3."
    )


def test_without_images_the_number_of_classes_has_to_be_said(backbone, data):
    trainer = make_tuner(backbone).trainer
    source = make_tuner(backbone).trainer.source_of(data, trainer.settings())
    with pytest.raises(ArgumentError) as caught:
        trainer.prepare(trainer.settings(), source)
    assert str(caught.value) == "num_classes is not known: pass it, or train on an ImageData."


def test_keras_on_another_backend_is_refused(backbone, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ArgumentError) as caught:
        make_tuner(backbone)
    assert str(caught.value) == (
        "Expected Keras to run on TensorFlow, but its backend is 'jax'. Set "
        "KERAS_BACKEND=tensorflow."
    )
