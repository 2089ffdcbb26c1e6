"""Learning-rate range test: one short training with a growing rate, to see where the loss falls."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from finetune.api.fine_tuner import FineTuner
from finetune.compat import all_layers
from finetune.data import ImageData
from finetune.exceptions import ArgumentError, TrainingError
from finetune.reuse import RowBatches
from finetune.support import (
    assign,
    check_number,
    expected_tracing,
    new_figure,
    same_random_state,
    save_figure,
    tidy,
    values_of,
)
from finetune.training import program_for
from finetune.tuning import LARGEST_RATE, Settings

# All four as in fastai: the test ends at this multiple of the lowest loss, and suggestions leave
# out the first tenth, where the mean is still of few batches, and the last steps, which diverge.
DIVERGED = 4
SMOOTHING = 0.98
_SKIPPED_SHARE = 10
_SKIPPED_LAST = 5

# Fewer leave next to nothing to judge by.
_FEWEST_STEPS = 20


@dataclass(frozen=True)
class LearningRates:
    """What a range test saw, and the rates that it suggests.

    Args:
        rates: Learning rate of each step, growing.
        losses: Smoothed loss at each step.
        batch_losses: Loss of each step's batch alone, made comparable with the others: less
            what the same batch costs where nothing is learned, plus the mean of that.
        valley: Rate at half of the longest fall of the smoothed loss.
        steep: Rate where the smoothed loss falls fastest.
        limit: The last rate before the smoothed loss rises above where it began.
        diverged: Whether the test ended early because the loss grew.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    batch_losses: tuple[float, ...]
    valley: float
    steep: float
    limit: float
    diverged: bool

    def __str__(self) -> str:
        end = f"diverged at {self.rates[-1]:.1e}" if self.diverged else "did not diverge"
        return (
            f"valley {self.valley:.1e}, steep {self.steep:.1e}, limit {self.limit:.1e} "
            f"({len(self.rates)} steps from {self.rates[0]:.0e}, {end})"
        )

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """Draw the losses over the rate, the suggestions marked.

        Args:
            path: Image file; the ending says which kind, such as ".png" or ".svg".

        Returns:
            The path.

        Raises:
            ArgumentError: If the ending is of no kind of image that can be written.
            StorageError: If the file cannot be written.
        """
        from matplotlib.ticker import LogLocator, NullFormatter  # late: it takes a while to load

        figure = new_figure(7, 4.2)
        axes = figure.subplots()
        blue, orange, green, violet = "#1f5fa8", "#d1600a", "#2b8a3e", "#7b3fa0"
        axes.plot(
            self.rates, self.batch_losses, ".", color="#9aa5b1", markersize=5, label="one batch"
        )
        axes.plot(self.rates, self.losses, color=blue, linewidth=2, label="smoothed")
        for name, rate, color, marker in (
            ("valley", self.valley, orange, "o"),
            ("steep", self.steep, green, "s"),
            ("limit", self.limit, violet, "D"),
        ):
            loss = self.losses[self.rates.index(rate)]
            axes.axvline(rate, color=color, linewidth=1, linestyle="--", alpha=0.6)
            axes.plot(
                rate,
                loss,
                marker,
                color=color,
                markersize=8,
                markeredgecolor="white",
                linestyle="none",
                label=f"{name}  {rate:.1e}",
                zorder=3,
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=20))
        axes.xaxis.set_minor_formatter(NullFormatter())
        tidy(axes, xlabel="learning rate", ylabel="training loss", ylim=_visible(self))
        axes.legend(loc="upper left", edgecolor="none", framealpha=0.9)
        return save_figure(figure, path)


@expected_tracing()
def find_learning_rate(
    tuner: FineTuner,
    data: ImageData,
    *,
    low: float = 1e-7,
    high: float = 1.0,
    steps: int = 100,
    smoothing: float = SMOOTHING,
    settings: Settings | None = None,
) -> LearningRates:
    """Test which learning rates the second phase can use.

    The head is trained first, as in every training, and shared with it. Then the layers above
    the freeze depth are trained for some steps while the rate grows by the same factor from
    each to the next; and once more on the same batches at the lowest rate, to tell what the
    rate does from how the batches differ. The frozen layers' outputs are kept, so this takes
    seconds. Afterwards weights, optimizer and global random state are what they were.

    Args:
        tuner: Its settings say what is trained, its schedule apart.
        data: Images; only the training images decide.
        low: Rate of the first step, above 0. Default 1e-7.
        high: Rate of the last step, above `low`. Default 1.
        steps: Number of optimizer steps, 20 or more. Default 100.
        smoothing: Share of the mean loss that is kept from step to step, 0 to 1 exclusive.
            Default 0.98.
        settings: The values to train with. Default: the tuner's, the first of each
            space where there is something to choose.

    Returns:
        Rates, losses, and three suggestions; docs/learning-rate.md says what they are worth.

    Raises:
        ArgumentError: If an argument is not allowed, or no layer is left to train.
        TrainingError: If the loss diverges before there is anything to judge by.

    Example:
        >>> from finetune import load_data
        >>> layers = [keras.layers.Conv2D(4, 3, name=name) for name in ("first", "second")]
        >>> model = keras.Sequential([keras.Input((16, 16, 3)), *layers])
        >>> images = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), "uint8")
        >>> data = load_data((images, [0, 1, 2] * 8), image_size=16)
        >>> tuner = FineTuner(model, preprocess="tf", freeze_depth="first")
        >>> found = find_learning_rate(tuner, data, high=1e-3, steps=20)
        >>> bool(1e-7 <= found.valley <= 1e-3)
        True

    Source: L. N. Smith, "Cyclical Learning Rates for Training Neural Networks" (2017); the
    smoothing, the end and two of the suggestions are those of fastai's `lr_find`.
    """
    check_number("low", low, above=0)
    check_number("high", high, most=LARGEST_RATE)
    if not low < high:
        raise ArgumentError(f"Expected 0 < low < high, received low={low!r} and high={high!r}.")
    check_number("steps", steps, least=_FEWEST_STEPS, most=10**6, whole=True)
    check_number("smoothing", smoothing, least=0, below=1)
    with same_random_state():
        settings = tuner.trainer.settings() if settings is None else settings
        source = tuner.trainer.source_of(data, settings)
        shared, training = tuner.trainer.prepare(settings, source)
        phase = training.phases[-1]
        if phase.freeze_depth >= shared.head_only:
            raise ArgumentError(
                "Expected a freeze depth that leaves layers to train in the second phase, received "
                f"{phase.freeze_depth} of {shared.head_only} layers. Give a smaller freeze_depth."
            )
        model = shared.assembly(training.head).model
        with _same_model(model, data.augment):
            if settings.head_epochs:
                _, record = tuner.trainer.train(replace(settings, epochs=0), source)
                if record.interrupted:
                    raise KeyboardInterrupt
            else:
                shared.reset(training.head)
            program = program_for(shared, training, phase, source, shared.head_only)

            def run(rates: np.ndarray) -> _RangeTest:
                batches, _ = shared.batches(program, source, seed=training.seed)
                test = _RangeTest(rates, smoothing, same=isinstance(batches, RowBatches))
                program.restart(low)
                program.trainee.fit(
                    batches.dataset(0, math.ceil(len(rates) / batches.steps)),
                    steps_per_epoch=len(rates),
                    callbacks=[test],
                    class_weight=training.class_weight,
                    shuffle=False,  # the order comes with the batches
                    verbose=0,
                )
                return test

            # After a converged head, batches differ more from each other than the rate changes
            # them. So they are gone through at the lowest rate too, with the same dropout.
            with _same_model(model, data.augment):
                moved = run(np.geomspace(low, high, steps))
            still = run(np.full(len(moved.losses), low))
    return _judge(moved, still, smoothing)


def suggest_valley(rates: Sequence[float], losses: Sequence[float]) -> float:
    """The rate at half of the longest fall: of the longest run of ever lower losses.

    Losses between those of the run may be higher.

    Args:
        rates: Growing learning rates.
        losses: Smoothed loss at each.

    Returns:
        One of the rates.

    Example:
        >>> suggest_valley([1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0], [9, 8, 7, 6, 5, 20])
        0.001

    Source: fastai's `valley`, which is by ESRI's developers.
    """
    falls = np.ones(len(losses), int)  # length of the longest fall that ends at each loss
    for end in range(1, len(losses)):
        higher = np.asarray(losses[:end]) > losses[end]
        falls[end] = 1 + max(falls[:end][higher], default=0)
    end = int(falls.argmax())
    return rates[max(end - int(falls[end]) + 1, 0) + (int(falls[end]) - 1) // 2]


def suggest_steep(rates: Sequence[float], losses: Sequence[float]) -> float:
    """The rate where the loss falls fastest, over the logarithm of the rate.

    Args:
        rates: Growing learning rates, two or more.
        losses: Smoothed loss at each.

    Returns:
        One of the rates.

    Example:
        >>> suggest_steep([1e-5, 1e-4, 1e-3, 1e-2], [9, 8, 5, 6])
        0.0001

    Source: fastai's `steep`.
    """
    slopes = np.diff(losses) / np.diff(np.log(rates))
    return rates[int(slopes.argmin())]


def suggest_limit(rates: Sequence[float], losses: Sequence[float]) -> float:
    """The last rate before the loss rises above where it began, and stays there.

    Args:
        rates: Growing learning rates.
        losses: Smoothed loss at each.

    Returns:
        One of the rates.

    Example:
        >>> suggest_limit([1e-5, 1e-4, 1e-3, 1e-2], [9, 8, 8.5, 20])
        0.001
    """
    return max(rate for rate, loss in zip(rates, losses, strict=True) if loss <= losses[0])


class _RangeTest(keras.callbacks.Callback):
    """Sets the rate of every step, records its loss, and ends training when that diverges."""

    def __init__(self, rates: np.ndarray, smoothing: float, *, same: bool) -> None:
        super().__init__()
        self.rates = rates
        self.same = same  # whether another run sees the same batches
        self.losses: list[float] = []
        self.diverged = False
        self._smoothing = smoothing
        self._lowest = math.inf

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        model: Any = self.model
        model.optimizer.learning_rate = self.rates[batch]
        model.reset_metrics()  # else the logs hold means over all batches so far

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        loss = float((logs or {})["loss"])
        self.diverged = not np.isfinite(loss)
        if not self.diverged:
            self.losses.append(loss)
            smoothed = _smooth(self.losses, self._smoothing)[-1]
            self._lowest = min(self._lowest, smoothed)
            self.diverged = smoothed > DIVERGED * self._lowest
        if self.diverged:
            self.model.stop_training = True  # pyright: ignore[reportOptionalMemberAccess]


def _smooth(losses: Sequence[float], share: float) -> list[float]:
    """Exponential moving mean, without the bias towards its start at 0."""
    mean, smoothed = 0.0, []
    for step, loss in enumerate(losses, start=1):
        mean = share * mean + (1 - share) * loss
        smoothed.append(mean / (1 - share**step))
    return smoothed


def _judge(moved: _RangeTest, still: _RangeTest, smoothing: float) -> LearningRates:
    """Compare a run with one on the same batches in which nothing was learned."""
    rates = tuple(map(float, moved.rates[: len(moved.losses)]))
    judged = slice(len(moved.rates) // _SKIPPED_SHARE, -_SKIPPED_LAST)
    if len(rates[judged]) < 2 or still.diverged:
        raise TrainingError(
            f"Expected the loss to stay finite for a while, but it diverged after {len(rates)} "
            "steps. Give a lower rate to start from (low), or check the images and labels."
        )
    batch_losses = np.array(moved.losses)
    if moved.same:
        batch_losses += np.mean(still.losses) - np.array(still.losses)
    losses = _smooth(batch_losses.tolist(), smoothing)
    return LearningRates(
        rates,
        tuple(losses),
        tuple(batch_losses.tolist()),
        valley=suggest_valley(rates[judged], losses[judged]),
        steep=suggest_steep(rates[judged], losses[judged]),
        limit=suggest_limit(rates[judged], losses[judged]),
        diverged=moved.diverged,
    )


@contextmanager
def _same_model(model: keras.Model, augment: keras.Layer | None) -> Iterator[None]:
    """Leave a model, its optimizer and its trainable flags as they were."""
    optimizer = getattr(model, "optimizer", None)
    variables = [
        *model.variables,
        *(optimizer.variables if optimizer is not None else []),
        *(augment.variables if augment is not None else []),  # a user's own draws from its state
    ]
    values = values_of(variables)
    layers = [(layer, layer.trainable) for layer in all_layers(model)]
    flags = [(variable, variable.trainable) for variable in model.variables]
    try:
        yield
    finally:
        for layer, trainable in layers:  # outermost first: a flag is passed on to what is within
            layer.trainable = trainable
        for variable, trainable in flags:
            variable.trainable = trainable
        model.optimizer = optimizer
        assign(variables, values)


def _visible(found: LearningRates) -> tuple[float, float]:
    """Losses to show: the fall in full, and of the rise no more than lets the fall be seen."""
    start, lowest = found.losses[0], min(found.losses)
    fall = max(start - lowest, 0.05 * abs(start))
    return lowest - 1.5 * fall, min(start + 4 * fall, max(found.losses) + fall)
