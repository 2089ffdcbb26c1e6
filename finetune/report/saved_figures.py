"""What the files of a run or a study say, as far as a report tells it."""

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.checks import ImagePlan
from finetune.exceptions import DamagedFileError
from finetune.model import Calibration, DoubtMeasured
from finetune.report.evidence import EVIDENCE, Evidence, read_evidence
from finetune.reuse import Spared
from finetune.support import AnyFloat, read_json

METRICS, RESULT = "metrics.json", "result.json"
# The settings of the best trial of a search, for `finetune fit`.
BEST_TRIAL = "best.toml"

# No table of a run is longer; a file that is holds something else.
_MOST_ROWS = 1_000_000


@dataclass
class Measured:
    """A score, see `finetune.model.Score`."""

    loss: AnyFloat
    n: int
    accuracy: float | None = None
    interval: tuple[float, float] | None = None
    apart: "Measured | None" = None


@dataclass
class Folded(Measured):
    """A score over folds, see `CrossValidation`."""

    folds: int = 0


@dataclass
class Compared:
    """The best model against the head alone, see `Verdict`."""

    word: str
    split: str
    n: int
    tuned: float
    head_only: float
    difference: tuple[float, float]
    tuned_interval: tuple[float, float] | None = None


@dataclass
class BestTrial:
    """The trial that the model is of."""

    id: str
    hyperparameters: dict[str, Any]
    head_is_best: bool = False
    remark: str = ""


@dataclass
class MadeOf:
    """What the model was made of, see `Combined`."""

    how: str
    members: list[str]
    losses: dict[str, AnyFloat] = field(default_factory=dict)
    slowdown: float | None = None
    slower: list[str] = field(default_factory=list)


@dataclass
class Figures:
    """What `metrics.json` and `result.json` say; what only one of them knows has a default."""

    validation: Measured
    seconds: float
    test: Measured | None = None
    refitted: int = 0
    remarks: list[str] = field(default_factory=list)
    cross_validation: Folded | None = None
    calibration: Calibration | None = None
    doubt: DoubtMeasured | None = None
    spared: Spared | None = None
    plan: ImagePlan | None = None
    best_phase: str = ""
    best_epoch: int = 0
    best: BestTrial | None = None
    verdict: Compared | None = None
    combined: MadeOf | None = None
    trials: int = 0
    interrupted: bool = False


@dataclass
class Saved:
    """All that a folder says.

    Args:
        figures: What was measured; None while a search is not over.
        raw: The same, as it stands in the file.
        config: What a run was given.
        environment: What it ran on.
        epochs: A row an epoch, both phases.
        rates: The learning rate of every step, by phase.
        evidence: What was said of each image, and pictures; None where nothing of that is kept.
        command: What repeats it.
        alone: What trains the best trial of a search alone.
    """

    figures: Figures | None
    raw: dict[str, Any]
    config: dict[str, Any]
    environment: dict[str, Any]
    epochs: list[dict[str, Any]]
    rates: dict[str, list[float]]
    evidence: Evidence | None
    command: str
    alone: str = ""


def read_saved(folder: Path) -> Saved:
    """Read what a run or a study says of itself.

    Raises:
        DamagedFileError: If a file holds something else.
        StorageError: If a file cannot be read.
    """
    path = next((path for name in (METRICS, RESULT) if (path := folder / name).exists()), None)
    rates: dict[str, list[float]] = {}
    for row in _read_table(folder / "learning_rates.csv"):
        rates.setdefault(str(row.get("phase", "")), []).append(row.get("learning_rate", math.nan))
    return Saved(
        figures=None if path is None else read_json(path, Figures),
        raw={} if path is None else read_json(path, dict[str, Any]),
        config=_read_any(folder / "config.json"),
        environment=_read_any(folder / "environment.json"),
        epochs=_read_table(folder / "history.csv"),
        rates=rates,
        evidence=read_evidence(folder) if (folder / EVIDENCE).exists() else None,
        command=_command(folder / "config.toml"),
        alone=_command(folder / BEST_TRIAL),
    )


def _read_any(path: Path) -> dict[str, Any]:
    return read_json(path, dict[str, Any]) if path.exists() else {}


def _read_table(path: Path) -> list[dict[str, Any]]:
    """Rows of a table; all columns but "phase" are numbers."""
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                rows.append(
                    {
                        str(name): value if name == "phase" else float(value)
                        for name, value in row.items()
                        if value not in (None, "")
                    }
                )
                if len(rows) > _MOST_ROWS:
                    raise ValueError(f"it has more than {_MOST_ROWS:,} rows")
    except (ValueError, TypeError, csv.Error) as error:
        raise DamagedFileError(f"{path} cannot be used: {error}.") from error
    return rows


def _command(path: Path) -> str:
    """What the first line of `config.toml` says repeats it; empty where there is none."""
    if not path.exists():
        return ""
    with open(path, encoding="utf-8", errors="replace") as file:
        first = file.readline(1000).strip()
    _, told, command = first.partition("The same again: ")
    return command if told else ""
