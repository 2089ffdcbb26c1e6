"""Real architectures, small, with batch norm that is not the identity."""

from functools import lru_cache

import keras
import numpy as np
import pytest
from keras import applications

from finetune.compat import all_layers

FAMILIES = {
    "MobileNetV2": (applications.MobileNetV2, 64, {"alpha": 0.35}),
    "ResNet50": (applications.ResNet50, 32, {}),
    "EfficientNetV2B0": (applications.EfficientNetV2B0, 32, {}),
    "DenseNet121": (applications.DenseNet121, 32, {}),
    "ConvNeXtTiny": (applications.ConvNeXtTiny, 32, {}),
}


def randomize(model: keras.Model) -> keras.Model:
    """Makes every batch norm count, and no channel explode."""
    rng = np.random.default_rng(0)
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.moving_mean.shape
            layer.moving_mean.assign(rng.uniform(-0.5, 0.5, shape))
            layer.moving_variance.assign(rng.uniform(0.5, 2.0, shape))
            if layer.scale:
                layer.gamma.assign(rng.uniform(0.5, 1.5, shape))
            if layer.center:
                layer.beta.assign(rng.uniform(-0.5, 0.5, shape))
    return model


@lru_cache
def build(family: str) -> keras.Model:
    cls, size, options = FAMILIES[family]
    keras.utils.set_random_seed(1)
    body = cls(weights=None, include_top=False, input_shape=(size, size, 3), **options)
    pooled = keras.layers.GlobalAveragePooling2D()(body.output)
    return randomize(keras.Model(body.input, keras.layers.Dense(3, name="logits")(pooled)))


@pytest.fixture(scope="session", name="randomize")
def _randomize():
    return randomize


@pytest.fixture(scope="session", params=sorted(FAMILIES))
def architecture(request) -> keras.Model:
    return build(request.param)


@pytest.fixture(scope="session")
def mobilenet() -> keras.Model:
    return build("MobileNetV2")
