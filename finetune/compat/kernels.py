"""What TensorFlow keeps of functions that it has run."""

from typing import Any

from tensorflow.python.eager import context


def forget_kernels() -> None:
    """Let go of what TensorFlow has made of the functions that were run, and keeps for ever.

    It has an entry for every function, by a name that no other ever has, also after the function is
    gone. Those that are there still are made anew when they are called next, and TensorFlow's old
    random operations, those with a state, begin anew where they were given a seed. Keras does the
    same in `keras.utils.clear_session`, which also forgets how layers are numbered.

    Example:
        >>> import tensorflow as tf
        >>> double = tf.function(lambda x: 2 * x)
        >>> before = double(tf.constant(3))
        >>> forget_kernels()
        >>> int(double(tf.constant(3)))
        6
    """
    current: Any = context.context()  # declared as if there could be none
    current.clear_kernel_cache()
