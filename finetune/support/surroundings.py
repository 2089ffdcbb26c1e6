"""What is around a training and must not be changed by it, or not disturb it."""

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def same_random_state() -> Iterator[None]:
    """Leave the global random numbers as they were.

    Keras draws the seed of whatever is given none from Python's; nothing here draws from
    TensorFlow's.
    """
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def expected_tracing() -> Iterator[None]:
    """Do without TensorFlow's warning that much is traced.

    A step is compiled for each structure, once. As all of them are Keras' same function,
    TensorFlow takes that for an oversight.
    """
    logger = logging.getLogger("tensorflow")

    def wanted(record: logging.LogRecord) -> bool:
        return "triggered tf.function retracing" not in record.getMessage()

    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)
