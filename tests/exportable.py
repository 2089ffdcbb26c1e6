"""Models of every kind, as small as can be told apart, and images for them: to be exported."""

import keras
import numpy as np

from finetune.model import FineTunedModel, ModelCard

SIZE = 16
NAMES = ("boots", "sandals", "sneakers")
UNITS = {"multiclass": 3, "binary": 1, "multilabel": 3, "regression": 2}
LAST = {"multiclass": "softmax", "binary": "sigmoid", "multilabel": "sigmoid"}


def card(task="multiclass", **changes):
    names = {"binary": NAMES[:2], "regression": ()}.get(task, NAMES)
    known = {"task": task, "class_names": names, "image_size": (SIZE, SIZE), "resize": "pad"}
    return ModelCard(**known | changes)


def features(pixels, seed=3, filters=8):
    """Convolution, batch norm, swish and pooling, with random weights of each its own."""
    initializer = keras.initializers.HeNormal(seed=seed)
    x = keras.layers.Conv2D(filters, 3, 2, kernel_initializer=initializer)(pixels)
    x = keras.layers.Activation("swish")(keras.layers.BatchNormalization()(x))
    return keras.layers.GlobalAveragePooling2D()(x)


def outputs(x, task="multiclass", seed=3):
    """A head whose answers differ from image to image: it is about the mean of what it is given."""
    initializer = keras.initializers.RandomNormal(stddev=1.0, seed=seed)
    dense = keras.layers.Dense(UNITS[task], LAST.get(task), kernel_initializer=initializer)
    return dense(keras.layers.BatchNormalization(center=False, scale=False, name="about")(x))


def about_the_mean(model):
    """The model, with the mean of its features over some images taken off."""
    layer = model.get_layer("about")
    found = np.asarray(keras.Model(model.input, layer.input)(images(48).astype("float32")))
    layer.set_weights([found.mean(axis=0), np.full(found.shape[1], found.var())])
    return model


def classifier(task="multiclass", filters=8, **changes):
    """Augmentation, which is off where a model is used, preparation, features and a head."""
    pixels = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.RandomFlip("horizontal", seed=1)(pixels)
    x = keras.layers.Rescaling(1 / 127.5, -1)(x)
    whole = about_the_mean(keras.Model(pixels, outputs(features(x, filters=filters), task)))
    return FineTunedModel(whole, card(task, **changes))


def images(count, seed=0, size=SIZE):
    """Images of many colours."""
    random = np.random.default_rng(seed)
    tint = random.integers(0, 160, (count, 1, 1, 3))
    return (tint + random.integers(0, 96, (count, size, size, 3))).astype("uint8")
