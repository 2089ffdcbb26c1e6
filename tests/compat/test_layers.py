"""Canaries: what Keras' layers keep of layers and variables."""

import keras
import numpy as np
import pytest
from keras import layers

from finetune.compat import (
    all_layers,
    inner_layers,
    is_from_keras,
    keras_class,
    own_state,
    own_variables,
    seed_generators,
)

FLATTEN = "`Layer._flatten_layers` (Keras) changed: freezing goes by it, leaf by leaf. "
OWN = "`Layer._trainable_variables` (Keras) changed: freezing sets the flags of what is in it. "
STATE = "`Layer._non_trainable_variables` (Keras) changed: what may be cached goes by it. "
SEEDS = "`Layer._seed_generators` (Keras) changed: augmentation is drawn anew by it. "
HOME = "Keras defines its layers elsewhere: which layers count as one, and cache, go by it. "


class Block(layers.Layer):
    """Holds variables and layers of its own, and one layer twice."""

    def __init__(self):
        super().__init__(name="block")
        self.inner = keras.Sequential([layers.Dense(4, name="dense")], name="inner")
        self.norm = layers.BatchNormalization(name="norm")
        self.again = [self.norm]
        self.noise = keras.random.SeedGenerator(0)

    def build(self, shape):
        self.token = self.add_weight(shape=(4,), name="token")
        self.counter = self.add_weight(shape=(), name="counter", trainable=False)
        self.inner.build(shape)
        self.norm.build((*shape[:-1], 4))

    def call(self, x):
        return self.norm(self.inner(x)) + self.token


@pytest.fixture
def block():
    block = Block()
    block.build((None, 8))
    return block


def names(items):
    return [item.name for item in items]


def test_all_layers_are_listed_once_and_those_that_hold_others_first(block):
    found = [layer for layer in all_layers(block) if not isinstance(layer, layers.InputLayer)]
    assert names(found) == ["block", "inner", "dense", "norm"], (
        FLATTEN + "It no longer lists a layer and all within it once, what holds others first."
    )


def test_layers_in_a_list_and_in_a_wrapper_are_found():
    wrapper = layers.TimeDistributed(layers.Dense(2, name="dense"), name="wrapper")
    model = keras.Sequential([keras.Input((3, 4)), wrapper], name="model")
    assert names(all_layers(model))[-2:] == ["wrapper", "dense"], (
        FLATTEN + "It no longer looks into wrappers."
    )


def test_inner_layers_are_those_directly_within(block):
    assert names(inner_layers(block)) == ["inner", "norm"], (
        FLATTEN + "`include_self=False, recursive=False` is no longer one level of layers."
    )


def test_a_plain_operation_holds_no_layers():
    assert all_layers(keras.ops.add) == []


@pytest.mark.parametrize("frozen", [False, True])
def test_own_variables_are_those_made_to_be_trained_frozen_or_not(block, frozen):
    block.trainable = not frozen
    assert names(own_variables(block)) == ["token"], (
        OWN + "It no longer is exactly what the layer itself made to be trained, frozen or not."
    )
    assert names(own_variables(block.norm)) == ["gamma", "beta"], (
        OWN + "It no longer is what a batch normalization trains."
    )


def test_the_flag_of_an_own_variable_freezes_it_alone(block):
    (token,) = own_variables(block)
    token.trainable = False
    assert names(block.trainable_variables) == ["kernel", "bias", "gamma", "beta"], (
        OWN + "Its variables are no longer those whose flag decides what trains."
    )
    assert own_variables(block) == [token], OWN + "A variable leaves it when it is frozen."


@pytest.mark.parametrize("frozen", [False, True])
def test_own_state_is_what_no_training_changes(block, frozen):
    block.trainable = not frozen
    assert names(own_state(block)) == ["counter"], (
        STATE + "It no longer is exactly the layer's own state, without seeds and inner layers."
    )
    assert own_state(block.inner.layers[0]) == [], STATE + "A dense layer has state."


def test_seed_generators_of_inner_layers_are_found_and_bear_their_seeds(block):
    augment = keras.Sequential([layers.RandomFlip(seed=3), layers.RandomZoom(0.1), block])
    found = [generator.get_config()["seed"] for generator in seed_generators(augment)]
    assert found == [3, None, 0], (
        SEEDS + "It no longer lists the generators of a layer with the seeds they were given."
    )


def test_what_a_layer_draws_is_a_function_of_the_state_of_its_generators():
    pixels = np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 3)).astype("float32")
    augment = layers.RandomBrightness(0.5, seed=1)
    (generator,) = seed_generators(augment)
    drawn = []
    for state in ([5, 7], [6, 7], [5, 7]):
        generator.state.assign(state)
        drawn.append(np.asarray(augment(pixels, training=True)))
    assert np.array_equal(drawn[0], drawn[2]), SEEDS + "Its state does not decide what is drawn."
    assert not np.array_equal(drawn[0], drawn[1]), SEEDS + "Its state has no influence."


def test_layers_that_keras_does_not_export_are_its_own():
    model = keras.applications.ConvNeXtTiny(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    exported = [item for item in vars(layers).values() if isinstance(item, type)]
    hidden = {type(layer) for layer in model.layers}.difference(exported, [keras.Sequential])
    assert hidden, (
        "`keras.layers` (Keras) now exports all layers of a ConvNeXt: see whether `is_from_keras` "
        "can go by what is exported, and needs no place of definition any more."
    )
    assert all(is_from_keras(cls) for cls in hidden), (
        HOME + f"Expected all classes in a ConvNeXt within the package keras, found {hidden}."
    )
    assert not is_from_keras(Block), HOME + "A user's class passes for one of Keras'."


def test_a_layer_of_the_users_own_derives_from_the_bare_layer(block):
    assert keras_class(block) is keras.Layer, (
        HOME + "The first class of Keras' that a custom layer derives from is not `keras.Layer`."
    )


def test_a_derived_layer_is_of_the_family_it_derives_from():
    derived = type("Derived", (layers.MultiHeadAttention,), {"__module__": "elsewhere"})
    assert keras_class(derived(2, 4)) is layers.MultiHeadAttention, (
        HOME + "A subclass of a layer of Keras' is no longer told as one of its family."
    )


def test_functional_and_sequential_models_are_called_by_keras_own_code():
    inputs = keras.Input((8,))
    for model in (keras.Model(inputs, layers.Dense(2)(inputs)), keras.Sequential([inputs])):
        owner = next(cls for cls in type(model).__mro__ if "call" in vars(cls))
        assert is_from_keras(owner), HOME + "Plain models no longer pass for graphs to be split."
