"""The log of events: what a training does, as it does it, for programs that look on."""

import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np

from finetune.training.progress import PhaseCallback
from finetune.training.records import TrainingRecord, was_solved

log = logging.getLogger("finetune")

EVENTS = "events.jsonl"


class EventLog(PhaseCallback):
    """Appends a line of JSON to a file for each phase that begins and each epoch that ends.

    What is gone on with after a kill appends to the same file: epochs of which no state had been
    kept stand there twice, as they were trained twice. A file that cannot be written is said once,
    and ends no training.

    Args:
        path: The file; other processes may append to it too.
        **named: What every line says besides, such as the trial.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "events.jsonl"
        >>> events = EventLog(path, trial="0003")
        >>> events.start_phase("fine_tune", 2, 0)
        >>> events.on_epoch_end(0, {"loss": 0.5})
        >>> [json.loads(line)["event"] for line in path.read_text().splitlines()]
        ['phase', 'epoch']
    """

    def __init__(self, path: Path, **named: Any) -> None:
        super().__init__()
        self._path = path
        self._named = named
        self._phase = ""
        self._first = 0
        self._lost = False

    def start_phase(self, name: str, epochs: int, first_epoch: int) -> None:
        """Note that a phase begins."""
        self._phase, self._first = name, first_epoch
        self._append("phase", {"epochs": epochs})

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note what came of an epoch."""
        self._append("epoch", {"epoch": epoch - self._first + 1, **(logs or {})})

    def end_phase(self, record: TrainingRecord) -> None:
        """Note what came of a head that was solved, which has no epochs."""
        for row in record.phase(self._phase):
            if was_solved(row):
                self._append("epoch", {**row, "solved": True})

    def _append(self, event: str, facts: dict[str, Any]) -> None:
        if self._lost:
            return
        row = {"time": round(time.time(), 3), "event": event, **self._named, "phase": self._phase}
        values = {name: _plain(value) for name, value in facts.items()}
        try:
            # One write: lines of several processes do not mix.
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row | values) + "\n")
        except OSError as error:
            self._lost = True
            log.warning("Events are not noted any more: %s: %s.", self._path, error.strerror)


def _plain(value: Any) -> Any:
    """As JSON has it, which knows no number that is not finite."""
    if isinstance(value, (bool, int, str)):
        return value
    number = float(value)
    return number if np.isfinite(number) else None
