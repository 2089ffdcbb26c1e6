"""Converters have much to say that is of no use to a user."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LOGGERS = ("absl", "tensorflow", "tf2onnx")


@contextmanager
def quietly() -> Iterator[None]:
    """Hold back notes and warnings of TensorFlow and tf2onnx: errors are raised, not logged."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
