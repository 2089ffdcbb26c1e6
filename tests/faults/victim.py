"""A search in a process of its own, to be killed."""

import json
import multiprocessing
import os
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from finetune.search.study import read_trials

# Every search is started from a process that has loaded TensorFlow but not used it, so that
# the time of a test goes into searching, not into loading.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])
)
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["faults.work"])


class Victim:
    """A search that can be killed and started again.

    Args:
        folder: The study's folder.
        strategy: See `FineTuner.search`.
        **options: Likewise.
    """

    def __init__(self, folder: Path, strategy: str, **options: Any) -> None:
        self.folder = folder
        self._strategy = strategy
        self._options = options
        self._seen: dict[tuple[str, Any], Any] = {}

    def start(self) -> BaseProcess:
        """Start, or go on."""
        from faults.work import search

        process = _CONTEXT.Process(
            target=search, args=(str(self.folder), self._strategy), kwargs=self._options
        )
        process.start()
        return process

    def kill_after(self, seconds: float) -> bool:
        """Start, and kill with -9; whether it was still alive then."""
        process = self.start()
        process.join(seconds)
        alive = process.is_alive()
        process.kill()
        process.join()
        self.note()
        return alive

    def finish(self) -> None:
        """Start, and wait for its end."""
        process = self.start()
        process.join(180)
        assert process.exitcode == 0

    def note(self) -> None:
        """Remember what is finished; what was finished before must still be just the same."""
        now = self.outcomes()
        for key, outcome in self._seen.items():
            assert now.get(key) == outcome, f"{key} was lost or trained again"
        self._seen = now

    def outcomes(self) -> dict[tuple[str, Any], Any]:
        """Everything finished, its wall time included."""
        if not (self.folder / "study.json").exists():
            return {}
        return {
            (trial.name, step.until): step.outcome
            for trial in read_trials(self.folder)
            for step in trial.steps
            if step.outcome is not None
        }

    def board(self) -> list[tuple]:
        """What must not depend on kills."""
        return sorted(
            (
                trial.name,
                json.dumps(trial.values, sort_keys=True),
                trial.status,
                trial.outcome.epochs if trial.outcome else None,
                round(trial.outcome.score or 0, 4) if trial.outcome else None,
                round(trial.outcome.metrics["val_loss"], 3) if trial.outcome else None,
            )
            for trial in read_trials(self.folder)
        )

    def leftovers(self) -> list[Path]:
        """Files that were being written when it was killed, and were left behind."""
        return [path for path in self.folder.rglob(".*.partial")]
