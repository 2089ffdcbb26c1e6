"""A tiny pretrained-like backbone and images that the tests of training share."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

# Before TensorFlow is loaded: its start-up notes say nothing about the tests.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
from PIL import Image

from finetune.data import ImageData, load_data

SIZE = 16


def make_images(per_class: int, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise images, each class a little brighter in one channel: learnable, not trivial."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    images = random.normal(110, 40, (len(labels), SIZE, SIZE, 3))
    for row, label in enumerate(labels):
        images[row, :, :, label % 3] += 60
    return np.clip(images, 0, 255).astype("uint8"), labels


def build_backbone(seed: int = 3) -> keras.Model:
    """A residual network with batch norm: 14 layers, blocks at every place one tensor crosses."""
    layers = keras.layers

    def convolve(x, filters, strides, name):
        initializer = keras.initializers.HeNormal(seed=seed)
        x = layers.Conv2D(
            filters,
            3,
            strides,
            padding="same",
            use_bias=False,
            kernel_initializer=initializer,
            name=f"{name}_conv",
        )(x)
        return layers.BatchNormalization(name=f"{name}_bn")(x)

    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.ReLU(name="stem_relu")(convolve(inputs, 8, 2, "stem"))
    y = layers.ReLU(name="a_relu")(convolve(x, 8, 1, "a"))
    x = layers.Add(name="add")([x, convolve(y, 8, 1, "b")])
    x = layers.ReLU(name="c_relu")(convolve(x, 12, 2, "c"))
    x = layers.ReLU(name="d_relu")(convolve(x, 16, 1, "d"))
    model = keras.Model(inputs, x, name="tiny")
    random = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            width = layer.gamma.shape
            layer.gamma.assign(random.uniform(0.8, 1.2, width))
            layer.beta.assign(random.normal(0, 0.1, width))
            layer.moving_mean.assign(random.normal(0, 0.1, width))
            layer.moving_variance.assign(random.uniform(0.5, 1.5, width))
    return model


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the user's feature cache out of the tests, and the tests out of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FINETUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def make_backbone() -> Callable[[], keras.Model]:
    """Makes the tiny backbone, the same weights each time; 16 pixels, `preprocess="tf"`."""
    return build_backbone


@pytest.fixture
def backbone() -> keras.Model:
    """A fresh one, the same weights each time; 16 pixels, `preprocess="tf"`."""
    return build_backbone()


@pytest.fixture(scope="session")
def arrays() -> tuple[np.ndarray, np.ndarray]:
    """72 images of 3 classes."""
    return make_images(24)


@pytest.fixture(scope="session")
def data(arrays: tuple[np.ndarray, np.ndarray]) -> ImageData:
    """Three classes in 41 training, 14 validation and 17 test images, not augmented."""
    return load_data(arrays, image_size=SIZE, batch_size=16, test=1 / 6, augment="none")


@pytest.fixture(scope="session")
def augmented(data: ImageData) -> ImageData:
    """The same images with light augmentation."""
    return data.with_options(augment="light")


@pytest.fixture(scope="session")
def write_folder(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[int], Path]:
    """Writes an image folder of three classes."""

    def write(per_class: int) -> Path:
        root = tmp_path_factory.mktemp("images")
        images, labels = make_images(per_class)
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            folder = root / ("boots", "sandals", "sneakers")[label]
            folder.mkdir(exist_ok=True)
            Image.fromarray(image).save(folder / f"{number:03}.png")
        return root

    return write
