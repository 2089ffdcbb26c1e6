"""How the learning rate moves: Keras' schedules, worked out per step and recorded."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from finetune.exceptions import ArgumentError
from finetune.support import array_of

Schedule = str | keras.optimizers.schedules.LearningRateSchedule | Callable[..., float]

SCHEDULES = ("constant", "exponential", "piecewise", "cosine", "plateau")

# Those that end at a hundredth of the rate or less, whatever happens.
FALLING = ("exponential", "piecewise", "cosine")

# Shares of the phase: three tenths to warm up, as fastai's `fine_tune` does (docs/results.md has
# the measurements); drops at a half and three quarters (He et al., "Deep residual learning", 2015),
# an end at a hundredth.
WARM_UP = 0.3
DROPS = (0.5, 0.75)
DROP_FACTOR = 0.1
FINAL_FACTOR = 0.01


def build_schedule(
    schedule: Schedule, learning_rate: float, steps: int, warm_up: float = WARM_UP
) -> keras.optimizers.schedules.LearningRateSchedule | None:
    """Make the Keras schedule of one phase.

    Args:
        schedule: "constant"; "exponential" (falls to a hundredth over the phase);
            "piecewise" (a tenth at half, a hundredth at three quarters); "cosine" (linear
            warm-up, then cosine decay to zero); "plateau" (Keras'
            `ReduceLROnPlateau`, see `schedule_callbacks`); a Keras `LearningRateSchedule`,
            taken as it is; or a function of Keras' `LearningRateScheduler`.
        learning_rate: The rate to start from, or the peak for "cosine". Above 0.
        steps: Number of optimizer steps in the phase, at least 1.
        warm_up: Share of the steps in which "cosine" rises to the rate, 0 to 1 exclusive. Default
            0.3.

    Returns:
        The schedule, or None where the rate is not a function of the step: it is constant,
        or a callback sets it.

    Raises:
        ArgumentError: The name is not one of those above.

    Example:
        >>> schedule = build_schedule("cosine", 0.01, steps=100)
        >>> [round(float(schedule(step)), 4) for step in (0, 30, 65, 100)]
        [0.0, 0.01, 0.005, 0.0]
    """
    schedules = keras.optimizers.schedules
    if isinstance(schedule, schedules.LearningRateSchedule):
        return schedule
    if callable(schedule) or schedule in ("constant", "plateau"):
        return None
    if schedule == "exponential":
        return schedules.ExponentialDecay(learning_rate, steps, FINAL_FACTOR)
    if schedule == "piecewise":
        values = [learning_rate * DROP_FACTOR**drops for drops in range(len(DROPS) + 1)]
        return schedules.PiecewiseConstantDecay([int(share * steps) for share in DROPS], values)
    if schedule == "cosine":
        rising = int(warm_up * steps)
        return schedules.CosineDecay(
            0.0 if rising else learning_rate,
            max(steps - rising, 1),
            warmup_target=learning_rate if rising else None,
            warmup_steps=rising,
        )
    raise ArgumentError(
        f"Expected schedule to be one of {SCHEDULES}, a Keras LearningRateSchedule or a "
        f"function (epoch, rate) -> rate, received {schedule!r}."
    )


def rate_table(
    schedule: Schedule, learning_rate: float, steps: int, warm_up: float = WARM_UP
) -> np.ndarray | None:
    """Work out the rate of every step of a phase, all at once.

    Args:
        schedule: See `build_schedule`.
        learning_rate: Likewise.
        steps: Number of optimizer steps in the phase, at least 1.
        warm_up: Likewise.

    Returns:
        One rate a step, float32; None where the rate is not a function of the step.

    Raises:
        ArgumentError: See `build_schedule`.

    Example:
        >>> [round(float(rate), 3) for rate in rate_table("piecewise", 0.5, steps=4)]
        [0.5, 0.5, 0.5, 0.05]
    """
    if not isinstance(schedule, str):
        built = build_schedule(schedule, learning_rate, steps)
        return None if built is None else _evaluated(built, steps)
    unit = _unit_table(schedule, steps, warm_up)
    return None if unit is None else np.float32(learning_rate) * unit


@functools.lru_cache(maxsize=16)
def _unit_table(name: str, steps: int, warm_up: float) -> np.ndarray | None:
    """The table for a rate of 1, from which that of every trial follows."""
    built = build_schedule(name, 1.0, steps, warm_up)
    return None if built is None else _evaluated(built, steps)


def _evaluated(schedule: keras.optimizers.schedules.LearningRateSchedule, steps: int) -> np.ndarray:
    # Called step by step, 28,000 steps took 72 seconds.
    try:
        rates = tf.vectorized_map(
            lambda step: tf.cast(schedule(step), "float32"), tf.range(steps, dtype="int64")
        )
        return np.asarray(rates)
    except (TypeError, ValueError, AttributeError, NotImplementedError):
        # A schedule of the user's may calculate with plain numbers.
        return np.asarray([float(schedule(step)) for step in range(steps)], "float32")


def rate_of(optimizer: Any) -> float:
    """The rate that an optimizer uses now, whatever kind of variable holds it."""
    rate = optimizer.learning_rate
    if isinstance(rate, keras.Variable):
        return array_of(rate).item()
    return np.asarray(keras.ops.convert_to_numpy(rate)).item()


class _PhaseEpochs(keras.callbacks.LearningRateScheduler):
    """Counts epochs from the beginning of the phase, as the user's function expects."""

    def __init__(self, schedule: Callable[..., float], first_epoch: int) -> None:
        super().__init__(schedule)
        self._first_epoch = first_epoch

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_begin(epoch - self._first_epoch, logs)


def schedule_callbacks(schedule: Schedule, first_epoch: int = 0) -> list[keras.callbacks.Callback]:
    """Keras' own callbacks for the schedules that follow epochs instead of steps.

    Args:
        schedule: See `build_schedule`.
        first_epoch: Number that the phase's first epoch has for callbacks.

    Returns:
        The callbacks; none for a schedule that follows steps.
    """
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return []
    if callable(schedule):
        return [_PhaseEpochs(schedule, first_epoch)]
    if schedule == "plateau":
        return [keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.3, patience=2)]
    return []


class StepRates(keras.callbacks.Callback):
    """Sets the rate of every step, and records what was used.

    The rate stays a plain variable of the optimizer, so one compiled step serves every
    schedule, and callbacks (or a user's hand between epochs) may set it where there is
    no schedule.

    Args:
        table: The rate of each step, see `rate_table`; None to only record.
        first_step: The step that training starts from; above 0 when it is resumed.
    """

    def __init__(self, table: np.ndarray | None, first_step: int = 0) -> None:
        super().__init__()
        self._table = table
        self._step = first_step
        self.rates: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Set and record the rate of the step that begins."""
        optimizer: Any = self.model.optimizer  # pyright: ignore[reportOptionalMemberAccess]
        if self._table is not None:
            optimizer.learning_rate = self._table[min(self._step, len(self._table) - 1)]
        self.rates.append(rate_of(optimizer))
        self._step += 1

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Put the rate of the epoch's last step into the logs, as Keras' callbacks do."""
        if logs is not None and self.rates:
            logs["learning_rate"] = self.rates[-1]
