"""Optimizers: by name, with clipping, averaging and rates that differ by layer."""

import keras
import numpy as np
import pytest

from finetune.backbones import leaf_layers
from finetune.exceptions import ArgumentError
from finetune.training.optimizers import (
    OPTIMIZERS,
    OptimizerSettings,
    build_optimizer,
    layer_decay_factors,
)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_name_is_a_keras_optimizer(name):
    optimizer = build_optimizer(OptimizerSettings(name.upper()), 0.25)
    assert type(optimizer).__name__.lower() == name
    assert float(optimizer.learning_rate) == 0.25


def test_settings_reach_keras():
    settings = OptimizerSettings("adamw", clip_norm=2.0, weight_decay=0.1, ema=0.9)
    optimizer = build_optimizer(settings, 0.1)
    assert optimizer.global_clipnorm == 2.0
    assert optimizer.weight_decay == 0.1
    assert optimizer.use_ema
    assert optimizer.ema_momentum == 0.9
    # Keras' own default where nothing was said.
    assert build_optimizer(OptimizerSettings("adamw"), 0.1).weight_decay == 0.004


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"name": "adm"}, "Expected optimizer to be one of .* received 'adm'"),
        ({"name": keras.optimizers.SGD}, "Expected optimizer to be one of"),
        ({"clip_norm": 0.0}, "Expected clip_norm above 0, or None, received 0.0"),
        ({"weight_decay": -1.0}, "weight_decay of 0 or more, or None, received -1.0"),
        ({"ema": 1.0}, "Expected ema above 0 and below 1, or None, received 1.0"),
    ],
)
def test_bad_settings_are_refused(arguments, text):
    with pytest.raises(ArgumentError, match=text):
        OptimizerSettings(**arguments)


@pytest.mark.parametrize("rate", [0, -1e-3, float("nan")])
def test_a_rate_is_above_0(rate):
    with pytest.raises(ArgumentError, match="learning rate above 0"):
        build_optimizer(OptimizerSettings(), rate)


@pytest.fixture
def stack():
    return keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(2, name="first"),
            keras.layers.ReLU(),
            keras.layers.Dense(2, name="second"),
            keras.layers.Dense(1, name="head"),
        ]
    )


def test_factors_fall_with_the_distance_from_the_head(stack):
    factors = layer_decay_factors(stack.layers[:-1], 0.5)
    first, second = stack.get_layer("first"), stack.get_layer("second")
    assert [(variable.path, factor) for variable, factor in factors] == [
        (second.kernel.path, 0.5),
        (second.bias.path, 0.5),
        (first.kernel.path, 0.25),
        (first.bias.path, 0.25),
    ]


def test_layers_of_one_name_in_different_models_have_factors_of_their_own():
    def inner():
        vector = keras.Input((4,))
        dense = keras.layers.Dense(4, use_bias=False, name="dense")
        return keras.Model(vector, dense(vector))

    vector = keras.Input((4,))
    model = keras.Model(vector, inner()(inner()(vector)))
    early, late = model.trainable_variables
    assert early.path == late.path
    factors = {id(v): factor for v, factor in layer_decay_factors(leaf_layers(model), 0.5)}
    assert factors == {id(early): 0.25, id(late): 0.5}


def test_what_no_layer_holds_has_the_factor_of_the_first_layer(stack):
    token = keras.Variable(np.zeros(2), name="class_token")
    factors = layer_decay_factors(stack.layers[:-1], 0.5, [token, stack.get_layer("first").kernel])
    assert [(variable.path, factor) for variable, factor in factors][3:] == [
        (stack.get_layer("first").bias.path, 0.25),
        ("class_token", 0.25),
    ]


def test_frozen_layers_do_not_count(stack):
    stack.get_layer("second").trainable = False
    factors = layer_decay_factors(stack.layers[:-1], 0.5)
    assert {factor for _, factor in factors} == {0.5}


@pytest.mark.parametrize("decay", [0, 1.5, -0.5])
def test_a_decay_above_1_or_not_above_0_is_refused(decay):
    with pytest.raises(ArgumentError, match=f"layer_decay above 0 and at most 1, received {decay}"):
        layer_decay_factors([], decay)


def test_a_step_of_sgd_is_the_rate_of_its_layer(stack):
    factors = layer_decay_factors(stack.layers[:-1], 0.5)
    optimizer = build_optimizer(OptimizerSettings("sgd"), 0.8, factors)
    variables = stack.trainable_variables
    before = [np.array(v) for v in map(keras.ops.convert_to_numpy, variables)]
    optimizer.apply([keras.ops.ones_like(v) for v in variables], variables)
    steps = {
        v.path: float(np.mean(old - keras.ops.convert_to_numpy(v)))
        for v, old in zip(variables, before, strict=True)
    }
    assert steps[stack.get_layer("head").kernel.path] == pytest.approx(0.8)
    assert steps[stack.get_layer("second").kernel.path] == pytest.approx(0.4)
    assert steps[stack.get_layer("first").kernel.path] == pytest.approx(0.2)


def test_the_step_of_adam_follows_the_factor_too(stack):
    variable = stack.get_layer("first").kernel
    optimizer = build_optimizer(OptimizerSettings("adam"), 0.1, [(variable, 0.5)])
    before = np.array(keras.ops.convert_to_numpy(variable))
    optimizer.apply([keras.ops.ones_like(variable)], [variable])
    assert before - keras.ops.convert_to_numpy(variable) == pytest.approx(0.05, rel=1e-4)
