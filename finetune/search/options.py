"""How a search goes: the arguments of `FineTuner.search`, as data."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import keras
import keras_tuner

from finetune.exceptions import ArgumentError


@dataclass(frozen=True)
class SearchOptions:
    """How a search goes. The names are those of `FineTuner.search`, which describes them."""

    strategy: str | keras_tuner.Oracle
    max_trials: int | None
    time_budget: str | float | None
    epochs: int | None
    executions: int
    keep: int
    max_failures: int
    workers: int
    ray_address: str | None
    gpus_per_trial: float | None
    callbacks: Sequence[keras.callbacks.Callback]
    seed: int
    out: str | os.PathLike[str] | None
    verbose: Any

    def __post_init__(self) -> None:
        for name in ("executions", "keep", "workers"):
            value = getattr(self, name)
            if not value >= 1:
                raise ArgumentError(f"Expected {name} of 1 or more, received {value!r}.")

    def to_file(self) -> dict[str, Any]:
        """What a configuration file says of them; the tuner knows the epochs where they don't."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in ("out", "verbose"):  # of this run alone
            del values[name]
        if not self.callbacks:
            del values["callbacks"]
        if self.epochs is None:
            del values["epochs"]
        return values
