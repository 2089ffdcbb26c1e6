"""What TensorFlow keeps of functions is let go of."""

import numpy as np
import tensorflow as tf

from finetune.compat import forget_kernels


def test_kernels_are_made_anew():
    """One that draws numbers has a state, by which a new one is told from an old one."""

    def draw():
        return tf.raw_ops.RandomUniform(shape=[4], dtype=tf.float32, seed=3, seed2=5).numpy()

    forget_kernels()
    first, second = draw(), draw()
    assert not np.array_equal(first, second)
    forget_kernels()
    np.testing.assert_array_equal(draw(), first)
