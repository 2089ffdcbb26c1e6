"""A `tf.data` dataset of rows that are read in Python, and let go of with it."""

from collections.abc import Callable, Sequence
from typing import Any
from weakref import ref

import numpy as np
import tensorflow as tf


def read_rows(
    numbers: tf.data.Dataset,
    rows: Any,
    read: Callable[[Any, np.ndarray], Sequence[np.ndarray]],
    kinds: Sequence[tf.TensorSpec],
    *,
    stateful: bool = True,
) -> tf.data.Dataset:
    """Reads rows by the numbers of a dataset.

    Args:
        numbers: Dataset of what `read` is called with.
        rows: Has the rows. It lives as long as the dataset does.
        read: From it and a number, or an array of them, to arrays; holds no rows itself.
        kinds: Shape and type of each array.
        stateful: See `tf.numpy_function`. Default True.

    Returns:
        Dataset of tuples of tensors.

    Example:
        >>> squares = np.array([0.0, 1.0, 4.0])
        >>> rows = read_rows(
        ...     tf.data.Dataset.range(3), squares, lambda rows, number: (rows[number],),
        ...     [tf.TensorSpec((), tf.float64)])
        >>> [float(square) for (square,) in rows]
        [0.0, 1.0, 4.0]
    """
    # TensorFlow keeps every function that it is given here until the process ends, and all that
    # this function holds with it: images, or the features of all of them.
    known = ref(rows)

    def call(number: np.ndarray) -> list[np.ndarray]:
        return [*read(known(), number)]

    @tf.autograph.experimental.do_not_convert
    def load(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
        types = [kind.dtype for kind in kinds]
        tensors = tf.numpy_function(call, [number], types, stateful=stateful)
        for tensor, kind in zip(tensors, kinds, strict=True):
            tensor.set_shape(kind.shape)
        return tuple(tensors)

    dataset: Any = numbers.map(load)
    dataset.rows = rows
    return dataset
