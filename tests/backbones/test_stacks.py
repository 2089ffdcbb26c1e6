"""Stacks of blocks within one layer: laid open where that computes the same, else left whole."""

import keras
import numpy as np
import pytest

from finetune.backbones import leaf_layers, open_stack
from finetune.reuse.graph import flatten


class Block(keras.layers.Layer):
    def __init__(self, number, **kwargs):
        super().__init__(name=f"block_{number}", **kwargs)
        self.inner = keras.Sequential([keras.layers.Dense(4, name="dense")], name="inner")

    def call(self, inputs):
        return inputs + self.inner(inputs)


class Stack(keras.layers.Layer):
    """Makes its last layer first, and calls it last."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.last = keras.layers.LayerNormalization(name="last")
        self.blocks = [Block(number) for number in range(3)]

    def call(self, inputs):
        for block in self.blocks:
            inputs = block(inputs)
        return self.last(inputs)


class WithTokens(Stack):
    """Holds a variable itself, which a graph of its layers would lack."""

    def build(self, shape):
        self.tokens = self.add_weight(shape=(4,), name="tokens")

    def call(self, inputs):
        return super().call(inputs + self.tokens)


class KnowsItsValues(Stack):
    """Does what only values can tell."""

    def call(self, inputs):
        inputs = super().call(inputs)
        return inputs if keras.utils.is_keras_tensor(inputs) else inputs * 2

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape)


def model_with(layer, shape=(5, 4)):
    inputs = keras.Input(shape)
    return keras.Model(inputs, keras.layers.Dense(2, name="top")(layer(inputs)))


def test_layers_of_a_stack_come_in_the_order_of_their_calls():
    stack = Stack()
    model = model_with(stack)
    assert [layer.name for layer in open_stack(stack)] == [
        *(f"block_{n}" for n in range(3)),
        "last",
    ]
    assert [layer.name for layer in leaf_layers(model)][1:] == ["dense"] * 3 + ["last", "top"]


def test_the_blocks_of_a_stack_are_steps_of_the_flat_model_which_computes_the_same():
    stack = Stack(name="encoder")
    model = model_with(keras.Sequential([stack], name="holder"))
    flat = flatten(model)
    names = [layer.name for layer in flat.layers]
    assert names[1:] == ["block_0", "block_1", "block_2", "last", "top"]
    batch = np.random.default_rng(0).standard_normal((3, 5, 4)).astype("float32")
    np.testing.assert_allclose(flat(batch), model(batch), rtol=1e-6)
    assert {id(v) for v in flat.variables} == {id(v) for v in model.variables}


@pytest.mark.parametrize(
    ("make", "shape", "why"),
    [
        (KnowsItsValues, (5, 4), "its blocks alone compute something else"),
        (Stack, (None, 4), "the size of its inputs is not fixed"),
    ],
)
def test_a_stack_that_cannot_be_laid_open_stays_whole_and_the_log_says_why(
    make, shape, why, caplog
):
    model = model_with(make(name="encoder"), shape)
    with caplog.at_level("INFO", logger="finetune"):
        flat = flatten(model)
    assert [layer.name for layer in flat.layers][1:] == ["encoder", "top"]
    (record,) = caplog.records
    assert record.getMessage().startswith(f"encoder counts as one step of the model: {why}")


@pytest.mark.parametrize(
    "layer",
    [WithTokens(), Block(0), keras.layers.MultiHeadAttention(2, 2), keras.layers.Dense(4)],
    ids=lambda layer: type(layer).__name__,
)
def test_what_is_no_stack_of_blocks_alone_stays_whole(layer):
    inputs = keras.Input((5, 4))
    model = keras.Model(inputs, layer(inputs, inputs) if "Multi" in str(layer) else layer(inputs))
    assert open_stack(layer) == []
    assert flatten(model).layers[1] is layer


def test_stacks_whose_blocks_have_equal_names_stay_whole():
    inputs = keras.Input((5, 4))
    model = keras.Model(inputs, Stack(name="second")(Stack(name="first")(inputs)))
    assert [layer.name for layer in flatten(model).layers][1:] == ["first", "second"]
