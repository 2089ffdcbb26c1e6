"""Training on several GPUs of one machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from finetune.exceptions import ArgumentError


def resolve_distribution(distribution: Any) -> tf.distribute.Strategy | None:
    """The strategy that an argument stands for.

    Args:
        distribution: None for one device; "mirrored" for all GPUs of this machine, each with a
            copy of the model and its part of every batch; or a `tf.distribute.Strategy`.

    Returns:
        The strategy, or None.

    Raises:
        ArgumentError: If it is none of these.

    Example:
        >>> resolve_distribution(None) is None
        True
    """
    if distribution is None or isinstance(distribution, tf.distribute.Strategy):
        return distribution
    if distribution == "mirrored":
        return tf.distribute.MirroredStrategy()
    raise ArgumentError(
        "Expected distribution to be 'mirrored', a tf.distribute.Strategy or None, received "
        f"{distribution!r}."
    )


@contextmanager
def scope(distribution: tf.distribute.Strategy | None) -> Iterator[None]:
    """Make variables where the strategy wants them; without one, as ever."""
    if distribution is None:
        yield
    else:
        with distribution.scope():
            yield
