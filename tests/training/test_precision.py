"""Mixed precision by flag."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from finetune.exceptions import ArgumentError
from finetune.training.precision import dtype_policy, policy_name, with_policy


def test_flags_and_names(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    assert policy_name(True) == "mixed_bfloat16"
    assert policy_name(False) == "float32"
    assert policy_name("mixed_bfloat16") == "mixed_bfloat16"


def test_old_gpus_get_float16(monkeypatch):
    for capability, expected in [((7, 5), "mixed_float16"), ((9, 0), "mixed_bfloat16")]:
        details = {"compute_capability": capability}
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu"])
        monkeypatch.setattr(
            tf.config.experimental, "get_device_details", lambda gpu, found=details: found
        )
        assert policy_name(True) == expected


def test_unknown_names_are_refused():
    with pytest.raises(ArgumentError, match=r"one of .*'mixed_float16'.* received 'float8'"):
        policy_name("float8")


def test_the_users_own_policy_comes_back_after_an_error():
    before = keras.config.dtype_policy()
    with pytest.raises(RuntimeError), dtype_policy("mixed_bfloat16"):
        assert keras.layers.Dense(1).compute_dtype == "bfloat16"
        raise RuntimeError
    assert keras.config.dtype_policy() is before


def test_a_model_is_made_again_under_a_policy_with_its_weights_and_names(backbone):
    mixed = with_policy(backbone, "mixed_bfloat16")
    assert {layer.compute_dtype for layer in mixed.layers[1:]} == {"bfloat16"}
    assert mixed.output.dtype == "bfloat16"
    names = [layer.name for layer in mixed.layers[1:]]
    assert names == [layer.name for layer in backbone.layers[1:]]
    for one, other in zip(mixed.get_weights(), backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other, strict=True)
    assert {layer.compute_dtype for layer in backbone.layers[1:]} == {"float32"}


def test_layers_within_layers_are_under_the_policy_and_those_with_their_own_are_not():
    layers = keras.layers
    dense = layers.TimeDistributed(layers.Dense(4))
    inner = keras.Sequential([keras.Input((3, 4)), dense, layers.Dense(2, dtype="float64")])
    pixels = keras.Input((3, 4))
    mixed = with_policy(keras.Model(pixels, keras.ops.relu(inner(pixels)) + 1.0), "mixed_float16")
    wrapper, own = mixed.get_layer(inner.name).layers
    assert (wrapper.compute_dtype, wrapper.layer.compute_dtype) == ("float16", "float16")
    assert own.compute_dtype == "float64"


def test_a_model_that_is_mixed_already_stays_as_it_is(backbone):
    assert with_policy(backbone, "float32") is backbone
    mixed = with_policy(backbone, "mixed_bfloat16")
    assert with_policy(mixed, "float32") is mixed
    assert with_policy(mixed, "mixed_bfloat16") is mixed
    with pytest.raises(ArgumentError, match=r"but those of model 'tiny' are in .'mixed_bfloat16'"):
        with_policy(mixed, "mixed_float16")
