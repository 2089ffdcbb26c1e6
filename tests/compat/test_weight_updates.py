"""Canaries: how Keras' optimizers tell variables apart, and how averages are swapped."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from finetune.compat import SwapAverages, sum_between_devices_only, with_rate_factors

INDEX = "`Optimizer._get_variable_index` (Keras) changed: `layer_decay` goes by it. "
SUM = "`Optimizer._all_reduce_sum_gradients` (Keras) changed: memory over fits goes by it. "
SWAP = "`SwapEMAWeights._ema_weights_in_model` (Keras) changed: resuming with `ema` goes by it. "


def variables():
    return [keras.Variable(np.ones(2, "float32"), name=name) for name in ("slow", "quick")]


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("cls", [keras.optimizers.SGD, keras.optimizers.AdamW])
def test_each_variable_moves_at_its_own_rate(cls, compiled):
    slow, quick = variables()
    # Weight decay is no part of `update_step`, and moves a variable whose factor is 0 as well.
    optimizer = with_rate_factors(cls, [(slow, 0.0)])(0.5, weight_decay=0.0)
    optimizer.build([slow, quick])

    def step():
        optimizer.apply([keras.ops.ones(2), keras.ops.ones(2)], [slow, quick])

    (tf.function(step) if compiled else step)()
    assert np.all(np.asarray(slow) == 1) and np.all(np.asarray(quick) < 1), (
        INDEX + "A variable in `update_step` no longer leads to its place in "
        "`_trainable_variables`, in the order in which the optimizer was built."
    )


def test_variables_of_one_path_have_their_own_rates():
    slow, quick = (keras.Variable(np.ones(2, "float32"), name="kernel") for _ in range(2))
    assert slow.path == quick.path
    optimizer = with_rate_factors(keras.optimizers.SGD, [(slow, 0.1), (quick, 0.5)])(1.0)
    optimizer.apply([keras.ops.ones(2), keras.ops.ones(2)], [slow, quick])
    assert (float(slow[0]), float(quick[0])) == pytest.approx((0.9, 0.5))


def test_what_arrives_in_a_step_is_not_the_variable_of_keras():
    arrived = []

    class Watched(keras.optimizers.SGD):
        def update_step(self, gradient, variable, learning_rate):
            arrived.append(variable)

    (variable, _) = variables()
    Watched().apply([keras.ops.ones(2)], [variable])
    assert arrived[0] is not variable, (
        "`Optimizer.update_step` (Keras) is now given Keras' own variables: `with_rate_factors` "
        "can take those, and needs nothing private any more."
    )


def traced_graph(optimizer):
    """The graph of a step that was traced with an optimizer, if it is still there."""
    (variable, _) = variables()
    optimizer.build([variable])

    @tf.function
    def step():
        optimizer.apply([keras.ops.ones(2)], [variable])

    step()
    graph = weakref.ref(step.get_concrete_function().graph)
    del step
    gc.collect()
    return graph()


def test_a_step_of_keras_stays_for_ever_and_without_the_sum_it_does_not():
    assert traced_graph(keras.optimizers.SGD()) is not None, (
        "TensorFlow lets go of the steps of Keras' optimizers by now: `sum_between_devices_only` "
        "is needed no more."
    )
    optimizer = keras.optimizers.SGD()
    sum_between_devices_only(optimizer)
    assert traced_graph(optimizer) is None, SUM + "The graph of a step is kept for another reason."


def test_between_devices_gradients_are_summed_as_ever():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        (variable, _) = variables()
        optimizer = keras.optimizers.SGD(0.5)
        sum_between_devices_only(optimizer)
        optimizer.build([variable])
    summed = []

    @tf.function
    def step():
        strategy.run(lambda: optimizer.apply([keras.ops.ones(2)], [variable]))
        summed.extend(op for op in tf.compat.v1.get_default_graph().get_operations())

    step()
    assert np.asarray(variable).tolist() == [0.5, 0.5]
    assert any(op.type == "IdentityN" for op in summed), SUM + "Devices no longer sum."


@pytest.mark.parametrize("inside", [False, True])
def test_averages_are_swapped_out_only_where_they_are_in_the_model(inside):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(use_ema=True), loss="mse")
    model.optimizer.build(model.trainable_variables)
    kernel = model.layers[-1].kernel
    (aside,) = [v for v in model.optimizer.variables if v.shape == (1, 1)]
    weight, average = 1.0, 2.0
    kernel.assign([[average if inside else weight]])
    aside.assign([[weight if inside else average]])
    callback = SwapAverages(inside)
    callback.set_model(model)
    callback.set_params({"epochs": 2})
    callback.on_epoch_begin(0)
    assert (float(kernel[0, 0]), float(aside[0, 0])) == (weight, average), (
        SWAP + "It no longer says, when an epoch begins, whether the averages are in the model."
    )
    callback.on_epoch_end(0)
    assert (float(kernel[0, 0]), float(aside[0, 0])) == (average, weight), (
        SWAP + "After an epoch the averages are no longer in the model, the weights in their place."
    )
