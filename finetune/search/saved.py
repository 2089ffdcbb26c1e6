"""What a study's files say, read so that nothing in them can do harm or pass for what it is not."""

import json
import math
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from finetune.exceptions import DamagedFileError
from finetune.search.trials import COMPLETED, FAILED, PAUSED, PRUNED, RUNNING, Outcome, Step, Trial
from finetune.support import read_json, write_text

# No search takes as long (seconds), or does as many things.
_MOST = 10**9


@dataclass
class BegunWith:
    """What may change while a study goes on, as it was at its beginning."""

    max_trials: int | None = None


@dataclass
class Beginning:
    """What `study.json` says.

    Args:
        monitor: The quantity that decides.
        search: Arguments of `FineTuner.search` that decide the outcome.
        FineTuner: Those of `FineTuner`.
        load_data: Those of `load_data`.
        images: Fingerprint of the images.
        begun_with: What may change, as it was at the beginning.
        unnamed: Trials of version 0.1.0, which bear no digest and are the study's all the same.
    """

    monitor: str
    search: dict[str, Any]
    FineTuner: dict[str, Any]
    load_data: dict[str, Any]
    images: str
    begun_with: BegunWith = field(default_factory=BegunWith)
    unnamed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        _check_monitor(self.monitor)

    @property
    def arguments(self) -> dict[str, Any]:
        """What decides the outcome; `FineTuner` says what the monitor is."""
        names = ("search", "FineTuner", "load_data", "images")
        return {name: getattr(self, name) for name in names}

    def write(self, path: Path) -> None:
        """Put it on disk."""
        write_text(path, json.dumps(asdict(self), indent=2) + "\n")


@dataclass
class OldBeginning:
    """What `study.json` of version 0.1.0 says."""

    strategy: str
    max_trials: int | None
    epochs: int
    seed: int
    data: str
    batch_size: int
    monitor: str
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        _check_monitor(self.monitor)

    @property
    def begun_with(self) -> BegunWith:
        """What may change, as it was at the beginning."""
        return BegunWith(self.max_trials)


@dataclass
class Surroundings:
    """What `environment.json` says."""

    packages: dict[str, str]


def read_study(path: Path) -> Beginning | OldBeginning:
    """Read `study.json`.

    Raises:
        DamagedFileError: If it holds something else.
        StorageError: If it cannot be read.
    """
    old = "settings" in read_json(path, dict[str, Any])
    return read_json(path, OldBeginning if old else Beginning)


def read_trial(path: Path) -> Trial:
    """Read the file of a trial.

    Raises:
        DamagedFileError: If it holds something else, or what cannot be.
        StorageError: If it cannot be read.
    """
    trial = read_json(path, Trial)
    problem = _problem(trial, path.stem)
    if problem is not None:
        raise DamagedFileError(f"{path} cannot be used: {problem}.")
    return trial


def _check_monitor(monitor: str) -> None:
    if not re.fullmatch(r"val_[a-z0-9_]+", monitor):
        raise ValueError(f"expected a monitor such as val_accuracy, received {monitor!r}")


def _problem(trial: Trial, name: str) -> str | None:
    """What cannot be in a trial, if there is anything."""
    if trial.name != name:
        return f"it is of trial {trial.name!r}"
    if trial.status not in (RUNNING, PAUSED, COMPLETED, PRUNED, FAILED):
        return f"there is no status {trial.status!r}"
    for key, value in trial.values.items():
        plain = isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value))
        if not plain:
            return f"values.{key} is {value!r}"
    if not trial.steps:
        return "it has no steps"
    problems = (_problem_of_step(step) for step in trial.steps)
    return next((problem for problem in problems if problem), None)


def _problem_of_step(step: Step) -> str | None:
    numbers = {"asked": step.asked, "told": step.told or 0, "clock": step.clock}
    outcome = step.outcome
    if outcome is not None:
        numbers |= {"epochs": outcome.epochs, "n": outcome.n, "seconds": outcome.seconds}
    for name, number in numbers.items():
        if not 0 <= number <= _MOST:
            return f"{name} is {number!r}"
    return None if outcome is None else _problem_of_outcome(outcome)


def _problem_of_outcome(outcome: Outcome) -> str | None:
    if outcome.score is not None and outcome.score not in outcome.metrics.values():
        return f"the score {outcome.score!r} is none of the metrics"
    for name, value in outcome.metrics.items():
        if name.endswith("accuracy") and not 0 <= value <= 1:
            return f"metrics.{name} is {value!r}"
    for number, row in enumerate(outcome.history):
        numbers = [value for key, value in row.items() if key != "phase"]
        if not isinstance(row.get("phase"), str) or not all(
            isinstance(value, (int, float)) for value in numbers
        ):
            return f"history[{number}] is no epoch"
    return None
