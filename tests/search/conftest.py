"""One tuner for all searches of a module, so that equal programs are compiled once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune import FineTuner
from finetune.data import ImageData
from finetune.search.runner import Runner
from finetune.search.search_result import SearchResult
from finetune.search.study import read_trials
from finetune.search.trials import Job, Outcome, Trial

EPOCHS = 4


@pytest.fixture(scope="module")
def tuner(make_backbone) -> FineTuner:
    """Six combinations: three depths, the last of them head only, and two rates."""
    return FineTuner(
        make_backbone(),
        preprocess="tf",
        freeze_depth=[7, 10, 1.0],
        learning_rate=[1e-3, 1e-2],
        epochs=EPOCHS,
        head_epochs=3,
        refit=0,  # what trials come to is what is looked at
        calibrate=False,
    )


@pytest.fixture
def search(tuner: FineTuner, data: ImageData, tmp_path: Path) -> Callable[..., SearchResult]:
    """Searches in the test's own folder."""

    def run(**options: Any) -> SearchResult:
        return tuner.search(data, **{"out": tmp_path / "study", "verbose": 0, **options})

    return run


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the trials that are trained from now on, in order."""
    names: list[str] = []
    run = Runner.run

    def noted(self: Runner, job: Job, **options: Any) -> Outcome:
        names.append(job.name)
        return run(self, job, **options)

    monkeypatch.setattr(Runner, "run", noted)
    return names


@pytest.fixture
def same_board() -> Callable[[Path, Path], None]:
    """Asserts that two studies differ in nothing but times."""

    def compare(one: Path, other: Path) -> None:
        for left, right in zip(read_trials(one), read_trials(other), strict=True):
            assert _fixed(left) == _fixed(right)
            metrics = [trial.outcome and trial.outcome.metrics for trial in (left, right)]
            assert metrics[0] == pytest.approx(metrics[1], abs=1e-5)

    return compare


def _fixed(trial: Trial) -> tuple:
    steps = [(step.until, step.outcome and step.outcome.epochs) for step in trial.steps]
    return trial.name, trial.values, trial.status, trial.same_as, steps


@pytest.fixture
def early_study() -> dict[str, Any]:
    """What `study.json` of version 0.1.0 said."""
    return {
        "strategy": "grid",
        "max_trials": 5,
        "epochs": 1,
        "seed": 0,
        "data": "abc",
        "batch_size": 16,
        "monitor": "val_accuracy",
        "settings": {},
    }
