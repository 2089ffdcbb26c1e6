"""Rows that a dataset reads in Python live as long as it does, and no longer."""

import gc
from weakref import ref

import numpy as np
import tensorflow as tf

from finetune.data.reading_rows import read_rows


def squares():
    rows = np.arange(5.0) ** 2
    kinds = [tf.TensorSpec((), tf.float64)]
    return ref(rows), read_rows(tf.data.Dataset.range(5), rows, lambda r, n: (r[n],), kinds)


def test_rows_are_let_go_of_with_the_dataset():
    rows, dataset = squares()
    assert len(list(dataset)) == 5
    del dataset
    gc.collect()
    assert rows() is None


def test_rows_stay_while_anything_made_of_the_dataset_is_read():
    rows, dataset = squares()
    firsts = iter(dataset.batch(2).map(lambda numbers: numbers[0] + 1).prefetch(1))
    del dataset
    gc.collect()
    assert rows() is not None
    assert [float(one) for one in firsts] == [1.0, 5.0, 17.0]


def test_an_error_while_reading_is_told():
    rows = np.zeros(2)
    kinds = [tf.TensorSpec((), tf.float64)]
    dataset = read_rows(tf.data.Dataset.range(3), rows, lambda r, n: (r[n],), kinds)
    with np.testing.assert_raises_regex(Exception, "out of bounds"):
        list(dataset)
