"""Functions of TensorFlow whose weights are part of them."""

from typing import Any


def with_constants(function: Any) -> Any:
    """A concrete function with all that it reads from outside as constants within it.

    Args:
        function: A `tf.types.experimental.ConcreteFunction` that changes no variable.

    Returns:
        One of the same inputs and outputs that knows no variable; what it gives is a list.

    Example:
        >>> import tensorflow as tf
        >>> weight = tf.Variable(3.0)
        >>> triple = tf.function(lambda x: x * weight)
        >>> fixed = with_constants(triple.get_concrete_function(tf.TensorSpec((), tf.float32)))
        >>> _ = weight.assign(5.0)
        >>> float(fixed(tf.constant(2.0))[0])
        6.0
    """
    # Without it LiteRT cannot calibrate for int8 (READ_VARIABLE), and tf2onnx makes inputs of the
    # tensors that a Normalization layer holds. What is public freezes a file that was saved first.
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(function, lower_control_flow=False)
