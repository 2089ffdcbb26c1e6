"""A run in MLflow: its settings, every epoch, and what it left, read off its folder."""

import importlib
import logging
import math
import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from finetune.api.result import FineTuneResult
from finetune.exceptions import ArgumentError
from finetune.search import SearchResult

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

log = logging.getLogger("finetune")

# What is kept beside the figures, where it is there.
_ARTIFACTS = (
    *("model.keras", "report.html", "config.toml", "best.toml", "metrics.json", "result.json"),
    *("history.csv", "environment.json"),
)
# MLflow refuses longer values.
_LONGEST = 6000


def check_mlflow() -> Any:
    """MLflow, which is no dependency of this package.

    Raises:
        ArgumentError: If it is not installed.
    """
    try:
        return importlib.import_module("mlflow")  # late: it is no dependency
    except ImportError as error:
        raise ArgumentError(
            "Expected MLflow to be installed for --mlflow. Run `pip install mlflow-skinny`, or "
            "`pip install mlflow`, which also shows what was logged."
        ) from error


def log_to_mlflow(result: FineTuneResult | SearchResult, experiment: str) -> None:
    """Log a run that is over to MLflow; of a search each trial as a run within.

    Where it goes is MLflow's own affair: the environment variable `MLFLOW_TRACKING_URI`, or
    `mlflow.set_tracking_uri`. A run that cannot be logged stays whole, and a warning says why.

    Args:
        result: Of `fine_tune` or `FineTuner.search`.
        experiment: Name of MLflow's experiment; made where there is none.

    Raises:
        ArgumentError: If MLflow is not installed.
    """
    mlflow = check_mlflow()
    try:
        _log(mlflow, result, experiment)
    except Exception as error:  # of the network, of a server, of MLflow: the run is whole
        log.warning(
            "The run in %s is whole, but was not logged to MLflow: %s: %s",
            *(result.folder, type(error).__name__, error),
        )


def _log(mlflow: Any, result: FineTuneResult | SearchResult, experiment: str) -> None:
    mlflow.set_experiment(experiment)
    folder = result.folder
    with mlflow.start_run(run_name=folder.name) as run:
        mlflow.log_params(_settings(folder))
        scores = {"validation": result.validation, "test": result.test}
        mlflow.log_metrics(
            {
                f"{split}_{name}": value
                for split, score in scores.items()
                if score is not None
                for name, value in (("accuracy", score.accuracy), ("loss", score.loss))
                if value is not None
            }
        )
        if isinstance(result, FineTuneResult):
            _log_epochs(mlflow, run, result.history)
        else:
            _log_trials(mlflow, result)
        for name in _ARTIFACTS:
            if (folder / name).exists():
                mlflow.log_artifact(os.fspath(folder / name))


def _log_trials(mlflow: Any, result: SearchResult) -> None:
    """Each trial as a run within that of the search."""
    for entry in result.ranking:
        trial, outcome = entry.trial, entry.trial.outcome
        with mlflow.start_run(run_name=trial.name, nested=True) as run:
            mlflow.log_params(_short(trial.values))
            mlflow.set_tag("status", trial.status)
            if entry.score is not None:
                mlflow.log_metric(result.monitor, entry.score)
            if outcome is not None:
                _log_epochs(mlflow, run, outcome.history)


def _log_epochs(mlflow: Any, run: Any, history: Iterable[Mapping[str, Any]]) -> None:
    """Every figure of every epoch, both phases counted through."""
    now = int(time.time() * 1000)
    metrics = [
        mlflow.entities.Metric(name, float(value), now, step)
        for step, row in enumerate(history, start=1)
        for name, value in row.items()
        if name not in ("phase", "epoch") and value is not None and math.isfinite(value)
    ]
    for start in range(0, len(metrics), 1000):  # as many as MLflow takes at a time
        some = metrics[start : start + 1000]
        mlflow.MlflowClient().log_batch(run.info.run_id, metrics=some)


def _settings(folder: Path) -> dict[str, str]:
    """What `config.toml` says; nothing where it is not there."""
    try:
        return _short(tomllib.loads((folder / "config.toml").read_text("utf-8")))
    except (OSError, ValueError):
        return {}


def _short(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value)[:_LONGEST] for name, value in values.items()}
