"""Canary: how TensorFlow makes constants of what a function reads."""

import keras
import numpy as np
import tensorflow as tf

from finetune.compat import with_constants

FREEZING = "`convert_variables_to_constants_v2` (TensorFlow) changed: exports are made with it. "


def test_weights_and_tensors_of_layers_become_constants():
    layers = [keras.layers.Normalization(mean=3.0, variance=4.0), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    signature = [tf.TensorSpec((None, 3), tf.float32, name="given")]
    traced = tf.function(model, input_signature=signature, autograph=False)
    fixed = with_constants(traced.get_concrete_function())
    assert not fixed.captured_inputs, FREEZING + "Something is still read from outside."
    assert [tensor.name for tensor in fixed.inputs] == ["given:0"], FREEZING + "Names are lost."
    for count in (1, 4):
        given = tf.random.normal((count, 3), seed=0)
        expected = model(given)
        (said,) = fixed(given)
        np.testing.assert_allclose(said, expected, atol=1e-6, err_msg=FREEZING)
