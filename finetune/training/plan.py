"""What one training is to do, as data: its phases, its head and the weight of each class."""

from dataclasses import dataclass, field

from finetune.backbones import BatchNorm
from finetune.exceptions import ArgumentError
from finetune.training.head import Head
from finetune.training.optimizers import OptimizerSettings
from finetune.training.schedules import WARM_UP, Schedule


@dataclass(frozen=True)
class Phase:
    """One stretch of training with its own frozen part, optimizer and rate.

    Args:
        name: What the history calls it, such as "head" or "fine_tune".
        freeze_depth: Number of backbone layers, from the input, that stay frozen; all of
            them for a phase that trains the head alone.
        learning_rate: Rate at the start (the peak, for schedules that warm up), above 0.
        epochs: Most epochs to train, 0 or more.
        schedule: See `finetune.training.build_schedule`. Defaults to "constant".
        warm_up: Likewise. Defaults to 0.3.
        patience: Epochs without a lower validation loss after which the phase ends early;
            None to go through all epochs.
        solve: Whether a linear head is solved where it can be, see `finetune.training.solving`,
            in the place of being trained.
        optimizer: Which optimizer. A new one is made for every phase.
        batch_norm: "frozen" or "adapt", see `finetune.backbones.apply_freeze_depth`.
        layer_decay: Factor on the rate from each trained layer to the one before it; None
            for one rate everywhere.
    """

    name: str
    freeze_depth: int
    learning_rate: float
    epochs: int
    schedule: Schedule = "constant"
    warm_up: float = WARM_UP
    patience: int | None = None
    solve: bool = False
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    batch_norm: BatchNorm = "frozen"
    layer_decay: float | None = None

    def __post_init__(self) -> None:
        if not self.learning_rate > 0:
            raise ArgumentError(
                f"Expected a learning rate above 0 in phase {self.name!r}, "
                f"received {self.learning_rate!r}."
            )
        if self.epochs < 0:
            raise ArgumentError(
                f"Expected 0 epochs or more in phase {self.name!r}, received {self.epochs!r}."
            )


@dataclass(frozen=True)
class Training:
    """Everything that one training needs besides the data.

    Args:
        phases: What to do, in order.
        head: What is on top of the backbone.
        label_smoothing: See `finetune.training.loss_for`.
        class_weight: Weight of each class number in the loss, or None.
        seed: Seed of the order of the images.
        monitor: The quantity that decides which epoch is the best, one of `SELECT`.
    """

    phases: tuple[Phase, ...]
    head: Head
    label_smoothing: float = 0.0
    class_weight: dict[int, float] | None = None
    seed: int = 0
    monitor: str = "val_loss"
