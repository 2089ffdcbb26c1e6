"""A tiny pretrained-like backbone and images to train it on, and what else several tests need."""

import json
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from finetune.support import write_arrays

SIZE = 16

# A name as it may come from people: nothing of it may act where it is shown.
EVIL = "<script>alert(1)</script>\"'&"


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


class Hidden(keras.layers.Layer):
    """A dropout that the signature of its holder does not show."""

    def __init__(self, name):
        super().__init__(name=name)
        self.dropout = keras.layers.Dropout(0.5, name="within")

    def call(self, inputs):
        return self.dropout(inputs)


def rewrite_arrays(path: Path, change: Callable[[dict, list[np.ndarray]], object]) -> None:
    """Change what a file of `write_arrays` holds: its record and its arrays."""
    with np.load(path) as file:
        described = json.loads(str(file["meta"]))
        arrays = [file[name] for name in file.files if name != "meta"]
    change(described["meta"], arrays)
    write_arrays(path, described["meta"], arrays)


def build_colour_model_with_places(names: tuple[str, ...] = ("red", "green", "blue")):
    """As `build_colour_model`, of the whole image and with a head: 4 x 4 places speak for it."""
    from finetune.backbones import load_backbone
    from finetune.model import FineTunedModel, ModelCard
    from finetune.training import Head, assemble

    pixels = keras.Input((8, 8, 3))
    network = keras.Model(pixels, keras.layers.AveragePooling2D(2)(pixels))
    whole = assemble(load_backbone(network, preprocess=None), Head("multiclass", 3)).model
    whole.get_layer("head").get_layer("predictions").set_weights([np.eye(3) / 255, np.zeros(3)])
    return FineTunedModel(whole, ModelCard("multiclass", names, (8, 8), "pad"))


def build_colour_model(task: str = "multiclass") -> keras.Model:
    """Names the strongest colour of the left half of an image of 8 x 8 pixels: red, green, blue."""
    layers = keras.layers
    pixels = keras.Input((8, 8, 3))
    left = layers.Cropping2D(((0, 0), (0, 4)))(layers.Rescaling(1 / 255)(pixels))
    pooled = layers.GlobalAveragePooling2D()(left)
    return keras.Model(pixels, layers.Softmax()(pooled) if task == "multiclass" else pooled)
