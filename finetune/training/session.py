"""What a user's callbacks see: one training, however many phases it has."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from finetune.exceptions import ArgumentError
from finetune.training.schedules import Schedule

# They compare epochs with those before, which is right within a phase alone: the loss rises when
# layers are unfrozen.
_COUNTING = (keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau)
_SETS_RATE = (keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau)


def refuse_callbacks(
    callbacks: Sequence[keras.callbacks.Callback], schedule: Schedule = "constant"
) -> None:
    """Refuse callbacks that could not do here what they promise.

    Args:
        callbacks: What a user passed.
        schedule: How the rate moves, see `build_schedule`.

    Raises:
        ArgumentError: If there is such a callback; the text says what to use in its place.
    """
    for callback in callbacks:
        name = type(callback).__name__
        if not isinstance(callback, keras.callbacks.Callback):
            raise ArgumentError(f"Expected Keras callbacks, received a {name}.")
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ArgumentError(
                f"{name} would put an epoch's weights back, but not the phase and the optimizer "
                "that belong to them. A search with `FineTuner.search(out=...)` goes on where it "
                "was."
            )
        if isinstance(callback, keras.callbacks.SwapEMAWeights):
            raise ArgumentError(
                f"{name} needs an optimizer that averages weights, and with one they are swapped "
                "already. Leave it out and pass ema=0.99."
            )
        if isinstance(callback, _SETS_RATE) and schedule != "constant":
            raise ArgumentError(
                f"{name} sets the learning rate, but so does schedule={schedule!r}. "
                "Leave the callback out and pass schedule='plateau' or a function of epoch and "
                "rate; or pass schedule='constant' with it."
            )


def _to_all(name: str) -> Callable[..., None]:
    def call(self: "Session", *args: Any, **kwargs: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, name)(*args, **kwargs)

    call.__doc__ = f"Call `{name}` of all of them."
    return call


class Session(keras.callbacks.Callback):
    """Makes one training of the phases: it begins with the first of them and ends with the last.

    As in one `fit` of Keras, `set_model` and `on_train_begin` are called once, and so is
    `on_train_end`, by `end`. Some callbacks refuse to begin twice, others write their file anew.

    Args:
        callbacks: What sees the training.
        model: The whole model.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback], model: keras.Model) -> None:
        super().__init__()
        self.callbacks = list(callbacks)
        self._whole = model
        self._begun = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """A phase begins."""
        for callback in self.callbacks:
            if not self._begun:
                callback.set_model(self._whole)
                callback.on_train_begin(logs)
            elif isinstance(callback, _COUNTING):
                callback.on_train_begin(logs)
        self._begun = True

    def set_params(self, params: dict[str, Any]) -> None:
        """What a phase is like."""
        for callback in self.callbacks:
            callback.set_params(params)

    def show(self, epoch: int, logs: dict[str, Any]) -> None:
        """Show a phase that was trained before, as one epoch."""
        self.set_params({"epochs": epoch + 1, "steps": None, "verbose": 0})
        self.on_train_begin()
        self.on_epoch_begin(epoch)
        self.on_epoch_end(epoch, logs)

    def end(self, logs: dict[str, Any]) -> None:
        """The last phase is over."""
        if self._begun:
            for callback in self.callbacks:
                callback.on_train_end(logs)

    on_epoch_begin = _to_all("on_epoch_begin")
    on_epoch_end = _to_all("on_epoch_end")
    on_train_batch_begin = _to_all("on_train_batch_begin")
    on_train_batch_end = _to_all("on_train_batch_end")
    on_test_begin = _to_all("on_test_begin")
    on_test_end = _to_all("on_test_end")
    on_test_batch_begin = _to_all("on_test_batch_begin")
    on_test_batch_end = _to_all("on_test_batch_end")
