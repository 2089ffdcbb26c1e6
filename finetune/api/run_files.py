"""The files of a run: configuration, history, metrics, environment and model."""

import json
from pathlib import Path
from typing import Any

from finetune.api.result import FineTuneResult
from finetune.report import REPORT_FILES
from finetune.support import as_csv, environment, write_text
from finetune.training import EVENTS
from finetune.tuning import Trainer, write_arguments

# All that any version wrote.
FILES = (
    *("config.json", "config.toml", "environment.json", EVENTS, "history.csv"),
    *("learning_rates.csv", "metrics.json", "model.keras", "out_of_fold.csv"),
    *REPORT_FILES,
)


def write_files(result: FineTuneResult, trainer: Trainer, folder: Path) -> None:
    """Write all files of a run.

    Args:
        result: The run.
        trainer: What trained it.
        folder: Where to.

    Raises:
        StorageError: If a file cannot be written.
    """
    write_text(folder / "config.json", _json(result.config))
    write_arguments(folder, trainer, result.data, "fit", {})
    write_text(folder / "history.csv", as_csv(result.history))
    write_text(folder / "learning_rates.csv", as_csv(_rates(result)))
    write_text(folder / "environment.json", _json(environment()))
    if result.cross_validation:
        rows = result.cross_validation.rows(result.data.class_names)
        write_text(folder / "out_of_fold.csv", as_csv(rows))
    result.save(folder / "model.keras")
    write_text(folder / "metrics.json", _json(result.metrics()))


def _rates(result: FineTuneResult) -> list[dict[str, Any]]:
    return [
        {"phase": phase, "step": step, "learning_rate": rate}
        for phase, rates in result.record.rates.items()
        for step, rate in enumerate(rates, start=1)
    ]


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, default=str) + "\n"
