"""Callbacks that end their process at once, as a crash or a lack of memory does."""

import os
import signal
from pathlib import Path

import keras


class DiesOnce(keras.callbacks.Callback):
    """Kills the first process that ends an epoch, and no other one.

    Args:
        mark: File that says that it has been done.
    """

    def __init__(self, mark: Path) -> None:
        super().__init__()
        self.mark = mark

    def on_epoch_end(self, epoch, logs=None):
        try:
            os.close(os.open(self.mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


class AlwaysDies(keras.callbacks.Callback):
    """Kills every process that trains."""

    def on_train_begin(self, logs=None):
        os.kill(os.getpid(), signal.SIGKILL)
