"""Canaries: that Keras notes variables before it makes them."""

import keras
import numpy as np

from finetune.compat import declared_bytes

NOTE = "The note of variables that are not made yet (Keras) changed: hostile files are sized by it."


def dense(units):
    return lambda: keras.layers.Dense(units).build((None, 10))


def test_what_is_declared_is_counted_without_the_memory_for_it():
    assert declared_bytes(dense(10**12)) == 4 * 11 * 10**12, NOTE


def test_what_fails_counts_up_to_there():
    def build():
        dense(5)()
        raise ValueError

    assert declared_bytes(build) == 4 * 11 * 5


def test_no_later_scope_of_keras_makes_them():
    declared_bytes(dense(10**12))
    with keras.StatelessScope():  # would ask for 44 terabytes at its end
        keras.layers.Dense(2).build((None, 3))
    assert np.shape(keras.layers.Dense(2)(np.ones((1, 3)))) == (1, 2)
