"""The values of one training, and what follows from them: optimizer, head and phases."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from finetune.backbones import BatchNorm
from finetune.data import check_image_size
from finetune.exceptions import ArgumentError
from finetune.support import LARGEST_SEED, check_number
from finetune.training import (
    FINE_TUNE,
    HEAD,
    OPTIMIZERS,
    Head,
    OptimizerSettings,
    Phase,
    build_schedule,
    layer_decay_factors,
    loss_for,
    policy_name,
)

# How a linear head on kept features is solved.
SOLVER = "lbfgs"

# Epochs without a lower validation loss after which a head has converged.
_HEAD_PATIENCE = 10

# What one training uses where a search would choose, and near what a search begins;
# docs/results.md has the measurements.
FREEZE_DEPTH = 0.35
LEARNING_RATE = 6e-4

# Keeps a few hundred images from being learned by heart; docs/results.md has the measurements.
_LABEL_SMOOTHING = 0.1

# Far above what any optimizer can use: larger ones are slips of the keyboard.
LARGEST_RATE = 10**6


@dataclass(frozen=True)
class Facts:
    """What the data decides about the model.

    Args:
        task: See `finetune.training.TASKS`.
        outputs: Number of classes, labels or regressed values.
        image_size: (height, width), or None while it is not known.
    """

    task: str
    outputs: int
    image_size: tuple[int, int] | None = None


def classification_task(classes: int) -> str:
    """The task of telling so many classes apart."""
    return "binary" if classes == 2 else "multiclass"


@dataclass(frozen=True)
class Settings:
    """The values of one trial, every choice made. The names are those of `FineTuner`."""

    backbone: Any
    weights: Any
    image_size: Any
    backbone_options: Any
    freeze_depth: Any
    learning_rate: float
    head_optimizer: str
    head_learning_rate: float
    head_epochs: int
    epochs: int
    optimizer: str
    schedule: Any
    warm_up: float
    dropout: float
    hidden_units: int
    label_smoothing: float | None
    class_weight: Any
    batch_norm: BatchNorm
    layer_decay: float | None
    clip_norm: float | None
    weight_decay: float | None
    ema: float | None
    mixed_precision: bool | str
    patience: int | None
    views: int
    augment: Any
    seed: int

    def check(self) -> None:
        """Refuse values that cannot work, whatever the data.

        Raises:
            ArgumentError: If there is one.
        """
        self.optimizer_settings()
        self._check_head_optimizer()
        policy_name(self.mixed_precision)
        Head("multiclass", 2, self.hidden_units, self.dropout)
        loss_for("multiclass", self.smoothing("multiclass"))
        check_number("warm_up", self.warm_up, least=0, below=1)
        build_schedule(self.schedule, 1.0, steps=1)
        if self.layer_decay is not None:
            layer_decay_factors([], self.layer_decay)
        for name in ("epochs", "head_epochs"):
            check_number(name, getattr(self, name), least=0, most=10**6, whole=True)
        if self.epochs + self.head_epochs == 0:
            raise ArgumentError("Expected epochs or head_epochs above 0, received 0 for both.")
        for name in ("learning_rate", "head_learning_rate"):
            check_number(name, getattr(self, name), above=0, most=LARGEST_RATE)
        check_number("patience", self.patience, least=0, whole=True, optional=True)
        check_number("views", self.views, least=1, most=10**4, whole=True)
        check_number("seed", self.seed, least=0, most=LARGEST_SEED, whole=True)
        if self.image_size is not None:
            check_image_size(self.image_size)
        if isinstance(self.class_weight, Mapping):
            for number, weight in self.class_weight.items():
                check_number("class numbers in class_weight", number, least=0, whole=True)
                check_number(f"class_weight[{number}]", weight, least=0, most=10**6)
        if self.batch_norm not in ("frozen", "adapt"):
            raise ArgumentError(
                f"Expected batch_norm to be 'frozen' or 'adapt', received {self.batch_norm!r}."
            )

    def optimizer_settings(self) -> OptimizerSettings:
        """Which optimizer trains the second phase."""
        return OptimizerSettings(self.optimizer, self.clip_norm, self.weight_decay, self.ema)

    def _check_head_optimizer(self) -> None:
        if self.head_optimizer == SOLVER and self.hidden_units:
            raise ArgumentError(
                f"Expected hidden_units=0 with head_optimizer={SOLVER!r}, which solves linear "
                f"heads, received {self.hidden_units!r}. Leave head_optimizer out, or name a Keras "
                "optimizer."
            )
        if self.head_optimizer not in ("auto", SOLVER, *OPTIMIZERS):
            raise ArgumentError(
                f"Expected head_optimizer to be 'auto', {SOLVER!r} or one of {OPTIMIZERS}, "
                f"received {self.head_optimizer!r}."
            )

    def smoothing(self, task: str) -> float:
        """Label smoothing for a task, see `finetune.training.TASKS`; given, or what suits it."""
        if self.label_smoothing is not None:
            return self.label_smoothing
        return _LABEL_SMOOTHING if task in ("binary", "multiclass") else 0.0

    def head(self, facts: Facts) -> Head:
        """What is put on top of the backbone."""
        return Head(facts.task, facts.outputs, self.hidden_units, self.dropout, self.seed)

    def phases(self, depth: int, head_only: int) -> list[Phase]:
        """The head phase and the fine-tune phase.

        Args:
            depth: Number of layers that stay frozen in the second phase.
            head_only: Number of layers of the backbone.

        Returns:
            Both; the second has no epochs where it could only train the head once more, which
            the first has done.
        """
        optimizer = self.optimizer_settings()
        solve = self.head_optimizer in ("auto", SOLVER)
        head = Phase(
            HEAD,
            head_only,
            self.head_learning_rate,
            self.head_epochs,
            patience=_HEAD_PATIENCE,
            solve=solve,
            # What trains the head where it cannot be solved.
            optimizer=replace(
                optimizer, name=optimizer.name if solve else self.head_optimizer, ema=None
            ),
        )
        tune = Phase(
            FINE_TUNE,
            depth,
            self.learning_rate,
            self.epochs,
            schedule=self.schedule,
            warm_up=self.warm_up,
            patience=self.patience,
            optimizer=optimizer,
            batch_norm=self.batch_norm,
            layer_decay=self.layer_decay,
        )
        head_alone_again = depth >= head_only and self.head_epochs > 0
        return [head, replace(tune, epochs=0)] if head_alone_again else [head, tune]

    def weights_of_classes(
        self, facts: Facts, labels: Callable[[], Any]
    ) -> dict[int, float] | None:
        """Weight of each class number in the loss; None for equal ones.

        Args:
            facts: Says whether there are classes.
            labels: Gives the labels of the training images, which only "balanced" needs.

        Raises:
            ArgumentError: If the value, or the task, does not allow it.
        """
        weight = self.class_weight
        if weight is None:
            return None
        if facts.task not in ("binary", "multiclass"):
            raise ArgumentError(f"class_weight has no meaning for task={facts.task!r}.")
        if isinstance(weight, Mapping):
            if weight and max(weight) >= facts.outputs:
                raise ArgumentError(
                    f"Expected class numbers below {facts.outputs} in class_weight, for so many "
                    f"classes there are, received {max(weight)}."
                )
            return {int(number): float(value) for number, value in weight.items()}
        if weight != "balanced":
            raise ArgumentError(
                "Expected class_weight to be {class number: weight}, 'balanced' or None, "
                f"received {weight!r}."
            )
        known = labels()
        classes = np.unique(known)
        values = compute_class_weight("balanced", classes=classes, y=known)
        return dict(zip(map(int, classes), map(float, values), strict=True))
