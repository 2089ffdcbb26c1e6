"""Frozen layers act in training as they do in inference; what trains keeps its behaviour."""

import keras
import numpy as np
import pytest
from keras import layers

from finetune.backbones import apply_freeze_depth
from finetune.reuse.inference import in_inference_mode
from tiny import Hidden

IMAGE = (8, 8, 3)


RANDOM = {
    "dropout": lambda: layers.Dropout(0.5, name="random"),
    "noise": lambda: layers.GaussianNoise(1.0, name="random"),
    # Not a flip, which leaves one of 256 batches of four as they are.
    "augmentation": lambda: layers.RandomRotation(0.5, name="random"),
    "attention with dropout": lambda: Attention(name="random"),
    "hidden dropout": lambda: Hidden(name="random"),
}


class Attention(layers.Layer):
    def __init__(self, name):
        super().__init__(name=name)
        self.attention = layers.MultiHeadAttention(1, 2, dropout=0.5, name="within")

    def call(self, inputs):
        return self.attention(inputs, inputs)


def model_with(*made):
    x = keras.Input(IMAGE)
    y = layers.Conv2D(3, 1, name="first")(x)
    for layer in made:
        y = layer(y)
    return keras.Model(x, layers.Dense(2, name="last")(layers.Flatten(name="flat")(y)), name="net")


def images():
    return np.random.default_rng(0).uniform(0, 1, (4, *IMAGE)).astype("float32")


@pytest.mark.parametrize("kind", RANDOM)
def test_a_frozen_layer_acts_as_in_inference_when_training(kind):
    model = model_with(RANDOM[kind]())
    apply_freeze_depth(model, "random")
    x = images()
    expected = model(x, training=False)
    assert np.abs(model(x, training=True) - expected).max() > 1e-3
    np.testing.assert_array_equal(in_inference_mode(model)(x, training=True), expected)


@pytest.mark.parametrize("kind", RANDOM)
def test_a_layer_that_trains_keeps_its_behaviour(kind):
    model = model_with(RANDOM[kind]())
    apply_freeze_depth(model, 2)
    x = images()
    quiet = in_inference_mode(model)
    assert np.abs(quiet(x, training=True) - model(x, training=False)).max() > 1e-3


def test_what_comes_after_a_frozen_dropout_is_told_that_it_trains():
    model = model_with(layers.Dropout(0.5, name="frozen"), Hidden(name="hidden"))
    apply_freeze_depth(model, "frozen")
    quiet, x = in_inference_mode(model), images()
    assert np.abs(quiet(x, training=True) - model(x)).max() > 1e-3


def test_it_holds_in_fit_within_another_model():
    model = model_with(layers.Dropout(0.5, name="frozen"))
    apply_freeze_depth(model, len(model.layers))
    x = keras.Input(IMAGE)
    outer = keras.Model(x, layers.Dense(1, name="top")(in_inference_mode(model)(x)))
    outer.compile("sgd", "mse")
    value, target = images(), np.ones((4, 1), "float32")
    expected = outer.evaluate(value, target, verbose=0)
    assert outer.fit(value, target, verbose=0).history["loss"] == [pytest.approx(expected)]


def test_layers_variables_and_ends_stay_the_same():
    model = model_with(layers.Dropout(0.5, name="frozen"))
    apply_freeze_depth(model, "frozen")
    quiet = in_inference_mode(model)
    for name in ("variables", "trainable_variables", "layers"):
        found, expected = getattr(quiet, name), getattr(model, name)
        assert [id(item) for item in found] == [id(item) for item in expected], name
    assert (quiet.inputs, quiet.outputs, quiet.name) == (model.inputs, model.outputs, "net")


def test_a_model_without_such_layers_is_returned_as_it_is():
    model = model_with(layers.BatchNormalization(name="norm"))
    apply_freeze_depth(model, "norm")
    assert in_inference_mode(model) is model


def test_a_model_that_is_no_graph_is_in_inference_mode_where_all_of_it_is_frozen():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3)
            self.dropout = layers.Dropout(0.5)

        def call(self, inputs, training=None):
            return self.dropout(self.dense(inputs), training=training)

    model, x = Own(), images()
    expected = model(x)
    apply_freeze_depth(model, 2)
    np.testing.assert_array_equal(in_inference_mode(model)(x, training=True), expected)
    apply_freeze_depth(model, 1)
    assert in_inference_mode(model) is model
