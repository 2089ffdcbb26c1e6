"""How a search goes: the arguments of `FineTuner.search`, as data."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import keras
import keras_tuner

from finetune.search.combining import check_combine
from finetune.support import LARGEST_SEED, check_number
from finetune.tuning import describe

# What decides no trial, and why: it may change while a search goes on.
NOT_COMPARED = {
    "max_trials": "how far a search goes",
    "time_budget": "how far a search goes",
    "executions": "how many seeds the finalists have",
    "keep": "how many finalists there are",
    "combine": "what is made of the trials at the end",
    "max_slowdown": "what is made of the trials at the end",
    "max_failures": "when a search gives up",
    "workers": "where trials are trained",
    "ray_address": "where trials are trained",
    "gpus_per_trial": "where trials are trained",
    "epochs": "stands with FineTuner's own, whose place it takes",
    "out": "where the study is",
    "verbose": "what is shown",
}


@dataclass(frozen=True)
class SearchOptions:
    """How a search goes. The names are those of `FineTuner.search`, which describes them."""

    strategy: str | keras_tuner.Oracle
    max_trials: int | None
    time_budget: str | float | None
    epochs: int | None
    executions: int
    keep: int
    combine: str
    max_slowdown: float
    max_failures: int
    workers: int
    ray_address: str | None
    gpus_per_trial: float | None
    callbacks: Sequence[keras.callbacks.Callback]
    seed: int
    out: str | os.PathLike[str] | None
    verbose: Any

    def __post_init__(self) -> None:
        for name in ("executions", "keep", "workers", "max_failures"):
            check_number(name, getattr(self, name), least=1, most=10**4, whole=True)
        check_combine(self.combine, self.max_slowdown)
        check_number("max_trials", self.max_trials, least=1, whole=True, optional=True)
        check_number("epochs", self.epochs, least=0, most=10**6, whole=True, optional=True)
        check_number("gpus_per_trial", self.gpus_per_trial, least=0, optional=True)
        check_number("seed", self.seed, least=0, most=LARGEST_SEED, whole=True)

    @property
    def on_ray(self) -> bool:
        """Whether trials are trained by other processes, which Ray looks after."""
        return self.workers > 1 or self.ray_address is not None

    def deciding(self) -> dict[str, Any]:
        """Those that decide how trials are drawn and trained, as JSON can hold them."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["callbacks"] = [*self.callbacks]
        if not isinstance(self.strategy, str):  # what it holds is what it was told so far
            values["strategy"] = type(self.strategy).__name__
        return {name: describe(value) for name, value in values.items() if name not in NOT_COMPARED}

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
