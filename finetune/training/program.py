"""Program: a compiled training step that trials of the same structure share."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from finetune.reuse import Batches, RowBatches
from finetune.support import assign
from finetune.training.adjustable import Adjustable, PlainValidation


@dataclass
class Program:
    """A compiled training step, used again by every trial of the same structure.

    Args:
        model: The whole model, which callbacks see.
        trainee: The part of it that is run in training, compiled; it shares its variables.
        point: Where in the model the trainee begins: "pixels", "pooled" or the name of a cut.
        freeze: Sets the trainable flags that the step was compiled for.
        compile: Compiles the whole model with the same optimizer, for callbacks that measure it.
        fresh: The optimizer's variables before the first step.
        adjustable: How much dropout, smoothing and decay the step has.
        began: Images that trainees began with, by their points, those of every epoch counted.
    """

    model: keras.Model
    trainee: keras.Model
    point: str
    freeze: Callable[[], None]
    compile: Callable[[], None]
    fresh: list[np.ndarray]
    adjustable: Adjustable
    began: Counter[str] = field(default_factory=Counter)

    def restart(self, learning_rate: float) -> None:
        """Make the optimizer as good as new, and show it to callbacks on the whole model."""
        self.freeze()
        optimizer = self.trainee.optimizer
        assign(optimizer.variables, self.fresh)
        optimizer.learning_rate = learning_rate
        if self.adjustable.amounts.weight_decay is not None:  # else the optimizer's own default
            optimizer.weight_decay = self.adjustable.amounts.weight_decay
        self.compile()

    def set_values(self, variables: Sequence[np.ndarray], optimizer: Sequence[np.ndarray]) -> None:
        """Go on from these values of what is trained and of the optimizer."""
        assign(self.trainee.variables, variables)
        assign(self.trainee.optimizer.variables, optimizer)

    def fit(
        self,
        batches: Batches,
        validation: Batches | None,
        callbacks: Sequence[keras.callbacks.Callback],
        *,
        epochs: int,
        resumed: int,
        offset: int,
        class_weight: dict[int, float] | None,
    ) -> None:
        """Train; callbacks see the whole model.

        The loss of the validation images is without label smoothing.

        Args:
            batches: Training batches.
            validation: Validation batches; None to go without.
            callbacks: Keras callbacks.
            epochs: Epoch to end before.
            resumed: Epoch to begin with.
            offset: What callbacks see added to the number of an epoch.
            class_weight: Weight of each class number in the loss.
        """
        kept = [part for part in (batches, validation) if isinstance(part, RowBatches)]

        def count(*_: Any) -> None:
            self.began[self.point] += sum(part.images for part in kept)

        seen = keras.callbacks.CallbackList(
            [
                PlainValidation(self.adjustable),
                *callbacks,
                keras.callbacks.LambdaCallback(on_epoch_end=count),
            ],
            model=self.model,
            epochs=offset + epochs,
            steps=batches.steps,
            verbose=0,
        )
        self.trainee.history = None
        self.trainee.fit(
            batches.dataset(resumed, epochs - resumed),
            steps_per_epoch=batches.steps,
            validation_data=None if validation is None else validation.dataset(),
            callbacks=seen,
            initial_epoch=offset + resumed,
            epochs=offset + epochs,
            class_weight=class_weight,
            shuffle=False,  # the order comes with the batches
            verbose=0,
        )
