"""Mixed precision by flag, without touching the user's global setting."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

from finetune.exceptions import ArgumentError

_POLICIES = ("float32", "mixed_float16", "mixed_bfloat16")


def policy_name(mixed_precision: bool | str) -> str:
    """The Keras dtype policy that a flag stands for.

    Args:
        mixed_precision: False for float32; True for "mixed_bfloat16", or "mixed_float16" on
            GPUs that lack bfloat16 (compute capability below 8.0); or a policy's name.

    Returns:
        The policy's name.

    Raises:
        ArgumentError: If it is neither a flag nor one of these names.

    Example:
        >>> policy_name(False), policy_name("mixed_float16")
        ('float32', 'mixed_float16')
    """
    if mixed_precision is False:
        return "float32"
    if mixed_precision is True:
        for gpu in tf.config.list_physical_devices("GPU"):
            capability = tf.config.experimental.get_device_details(gpu).get("compute_capability")
            if capability and capability < (8, 0):
                return "mixed_float16"
        return "mixed_bfloat16"
    if mixed_precision not in _POLICIES:
        raise ArgumentError(
            f"Expected mixed_precision to be True, False or one of {_POLICIES}, "
            f"received {mixed_precision!r}."
        )
    return mixed_precision


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Build layers under a dtype policy, and put the user's own back afterwards."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
