"""The run folder: configuration, history, metrics, environment and model, written atomically."""

import csv
import io
import json
import os
import platform
import sys
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import tensorflow as tf

from finetune.exceptions import StorageError
from finetune.files import write_text
from finetune.result import FineTuneResult

_PACKAGES = ("keras-finetuner", "keras", "tensorflow", "keras-tuner", "numpy", "pillow")


def write_run(result: FineTuneResult) -> None:
    """Write all files of a run into its folder.

    Args:
        result: The run.

    Raises:
        StorageError: If a file cannot be written.
    """
    folder = result.folder
    write_text(folder / "config.json", _json(result.config))
    write_text(folder / "history.csv", _table(result.history))
    write_text(folder / "learning_rates.csv", _table(_rates(result)))
    write_text(folder / "environment.json", _json(environment()))
    result.save(folder / "model.keras")
    # Last, so that whoever finds it finds the rest as well.
    write_text(folder / "metrics.json", _json(result.metrics()))


def new_folder(prefix: str = "") -> Path:
    """A folder under "runs/" that does not exist yet, named by the time of day."""
    stem = Path("runs") / f"{prefix}{datetime.now():%Y%m%d-%H%M%S}"
    folder, number = stem, 1
    while folder.exists():
        number += 1
        folder = stem.with_name(f"{stem.name}-{number}")
    return folder


def check_writable(folder: Path) -> Path:
    """Try the run folder before any work is done, so that a bad place is known at once.

    Nothing is left behind: a run that fails before its end makes no empty folder.

    Raises:
        StorageError: If it cannot be made or written.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
        for place in made:
            place.rmdir()
    except OSError as error:
        raise StorageError(
            f"Expected a run folder that can be written, but {folder} cannot: {error}. Name "
            "another one with out=."
        ) from error
    return folder


def environment() -> dict[str, Any]:
    """What the run ran on: versions, processor, GPUs."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # tensorflow-cpu and its like go by other names
            continue
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
        "packages": versions,
    }


def _rates(result: FineTuneResult) -> list[dict[str, Any]]:
    return [
        {"phase": phase, "step": step, "learning_rate": rate}
        for phase, rates in result.record.rates.items()
        for step, rate in enumerate(rates, start=1)
    ]


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, default=str) + "\n"


def _table(rows: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
