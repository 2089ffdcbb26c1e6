"""Canaries: how Keras keeps the graph of a model."""

import keras
import pytest
from keras import layers

from finetune.compat import calls_of

WALK = "`Function._nodes_by_depth` (Keras) changed: cuts, folding, blocks and probes go by it. "


@pytest.fixture
def residual():
    inputs = keras.Input((8,), name="inputs")
    first = layers.Dense(4, name="first")(inputs)
    second = layers.Dense(4, name="second")(first)
    return keras.Model(inputs, layers.Add(name="add")([first, second]))


def names(model):
    return [call.operation.name for call in calls_of(model)]


@pytest.mark.parametrize(
    "name", ["MobileNetV2", "DenseNet121", pytest.param("NASNetMobile", marks=pytest.mark.slow)]
)
def test_each_call_comes_once_and_after_those_whose_outputs_it_takes(name):
    model = getattr(keras.applications, name)(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    made = set()
    for call in calls_of(model):
        assert made >= {id(tensor) for tensor in call.inputs}, (
            WALK + f"Deepest first, '{call.operation.name}' comes before what it is made of."
        )
        made |= {id(tensor) for tensor in call.outputs}
    assert sorted(names(model)) == sorted(layer.name for layer in model.layers), (
        WALK + "It no longer has one node for each layer that is called once."
    )


def test_calls_hold_the_tensors_that_the_model_is_made_of(residual):
    calls = {call.operation.name: call for call in calls_of(residual)}
    assert calls["inputs"].is_input and calls["inputs"].outputs[0] is residual.inputs[0], (
        WALK + "The call of an input no longer stands apart as the one that takes no tensors."
    )
    assert calls["add"].inputs == (*calls["first"].outputs, *calls["second"].outputs), (
        WALK + "`Node.input_tensors` are no longer the tensors that the calls before have made."
    )
    assert calls["add"].outputs[0] is residual.outputs[0], (
        WALK + "`Node.output_tensors` are no longer the model's own tensors."
    )
    part = keras.Model(residual.inputs, list(calls["first"].outputs))
    assert part.layers[-1] is residual.get_layer("first"), (
        WALK + "A part of the model can no longer be built up to a tensor that a call holds."
    )


def test_a_sequential_model_has_the_calls_of_its_layers():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(4, name="a"), layers.Dense(2)])
    calls = calls_of(model)
    assert [call.operation for call in calls[1:]] == model.layers, (
        WALK + "`keras.Function` over the ends of a Sequential no longer shows its layers."
    )
    assert calls[0].outputs[0] is model.inputs[0] and calls[-1].outputs[0] is model.outputs[0], (
        WALK + "`keras.Function` over the ends of a Sequential no longer has its own tensors."
    )


def test_a_layer_that_is_called_twice_has_two_calls():
    shared = layers.Dense(8, name="shared")
    inputs = keras.Input((8,))
    model = keras.Model(inputs, shared(shared(inputs)))
    shared(inputs)  # a call outside the model
    assert names(model)[1:] == ["shared", "shared"], (
        WALK + "It no longer has exactly one node for each call within the model."
    )


def test_tensors_given_by_keyword_are_inputs():
    query, value = keras.Input((4, 8)), keras.Input((4, 8))
    outputs = layers.MultiHeadAttention(2, 4)(query, value=value)
    call = calls_of(keras.Model([query, value], outputs))[-1]
    assert {id(tensor) for tensor in call.inputs} == {id(query), id(value)}, (
        WALK + "`Node.input_tensors` leaves out tensors that were given by keyword."
    )


def test_models_within_count_as_one_call():
    inner = keras.Sequential([keras.Input((8,)), layers.Dense(4)], name="inner")
    inputs = keras.Input((8,))
    assert names(keras.Model(inputs, inner(inputs)))[1:] == ["inner"], (
        WALK + "A model within a model is no longer one node; `flatten` inlines it by that."
    )
