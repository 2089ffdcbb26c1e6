"""What `predict` takes: the pixels that training takes, and no others."""

import keras
import numpy as np
import pytest

from finetune.exceptions import DataError
from finetune.model import FineTunedModel, ModelCard

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def model() -> FineTunedModel:
    """Says how bright an image is: from 0 for black to 1 for white."""
    pixels = keras.Input((16, 16, 3))
    bright = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(pixels))
    outputs = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")(bright)
    outputs = keras.layers.Rescaling(1 / 3)(outputs)
    card = ModelCard("regression", (), (16, 16), "squash")
    return FineTunedModel(keras.Model(pixels, outputs), card)


@pytest.mark.parametrize("size", [16, 20])
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda x: x / 255, "all lie within 0..1. Multiply them by 255"),
        (lambda x: (x > 128).astype(np.uint8), "all lie within 0..1. Multiply them by 255"),
        (lambda x: x / 127.5 - 1, r"Pixels must be 0..255, got -1..1\. Scale them back"),
        (lambda x: x.astype(int) * 257, r"Pixels must be 0..255, got 0..65535\."),
        (lambda x: np.where(x < 9, np.nan, x), "Some pixels are NaN or infinite"),
        (lambda x: x.astype(str), "Pixels must be numbers 0..255, got an array of <U3"),
    ],
)
def test_pixels_that_training_refuses_are_refused(model, size, change, text):
    images = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)
    images[0, 0, 0, 0], images[0, 0, 0, 1] = 0, 255
    with pytest.raises(DataError, match=text):
        model.predict(change(images))


def test_floats_are_rounded_at_every_size_as_in_training(model):
    for size in (16, 20):
        (value,) = model.predict(np.full((1, size, size, 3), 127.6)).labels
        assert value == pytest.approx(128 / 255)


def test_one_black_image_among_others_is_an_image(model):
    images = PIXELS.copy()
    images[1] = 0
    assert model.predict(images).labels[1] == 0
    assert model.predict(images[1]).labels == [0]


@pytest.mark.parametrize("images", [[], PIXELS[:0]])
def test_no_image_at_all_is_refused(model, images):
    with pytest.raises(DataError, match="at least one readable image, received none: nothing was"):
        model.predict(images)
