"""A search, or one training, in a process of its own, to be killed."""

import csv
import hashlib
import json
import multiprocessing
import os
import signal
import zipfile
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from faults.stages import Moment
from finetune.search.study import read_trials

# Every process is started from one that has loaded TensorFlow but not used it, so that the time of
# a test goes into searching, not into loading.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])
)
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["faults.work"])

# What differs from run to run though all went well: times, and what is told while it goes on.
_OF_A_RUN = {"seconds", "clock", "epoch_seconds", "created", "parts", "spared"}
# Written by this test, by TensorFlow, or to say who works in the folder.
_NOT_OURS = {"passed.json", "lock", "process"}
_LOGS = {"events.jsonl", "environment.json"}


class Victim:
    """A search, or a training, that can be killed and started again.

    Args:
        folder: Its own: the study or the run, its cache, and its temporary files.
        images: Folder of the images.
        what: "search" or "fit".
        **options: Of `FineTuner.search`.
    """

    def __init__(self, folder: Path, images: Path, what: str = "search", **options: Any) -> None:
        self.place = folder
        self.folder = folder / what
        self._what = what
        self._images = images
        self._options = options
        self._seen: dict[tuple[str, Any], Any] = {}

    def start(self, moment: Moment | None = None) -> BaseProcess:
        """Start, or go on."""
        from faults.work import work

        process = _CONTEXT.Process(
            target=work,
            args=(self._what, str(self.place), str(self._images), moment),
            kwargs=self._options,
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

    def kill_at(self, moment: Moment) -> bool:
        """Start, to be killed at a moment of its work; whether it came that far."""
        process = self.start(moment)
        process.join(300)
        self.note()
        expected = (0, -signal.SIGALRM, -signal.SIGKILL)
        assert process.exitcode in expected, f"it ended with {process.exitcode}"
        return process.exitcode != 0

    def fill_up(self) -> bool:
        """Start on a disk that may be too small; whether an error said so."""
        from faults.work import NO_ROOM

        process = self.start()
        process.join(300)
        self.note()
        assert process.exitcode in (0, NO_ROOM), f"it ended with {process.exitcode}"
        return process.exitcode == NO_ROOM

    def finish(self) -> None:
        """Start, and wait for its end."""
        process = self.start()
        process.join(300)
        assert process.exitcode == 0, f"it ended with {process.exitcode}"

    def passed(self) -> list[tuple[str, float]]:
        """The stages that a process that was not killed went through, with their seconds."""
        return [
            (stage, took) for stage, took in json.loads((self.place / "passed.json").read_text())
        ]

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

    def ending(self) -> dict[str, Any]:
        """All that is left in the end, file by file, bit by bit, without what times say."""
        files = sorted(path for path in self.place.rglob("*") if path.is_file())
        return {
            str(path.relative_to(self.place)): self._content(path)
            for path in files
            if path.name not in _NOT_OURS and "__autograph" not in path.name
        }

    def leftovers(self) -> list[Path]:
        """Files that were being written when it was killed, and were left behind."""
        return [path for path in self.place.rglob("*") if ".partial" in path.name]

    def _content(self, path: Path) -> Any:
        if path.name in _LOGS or "cache" in path.parts or path.suffix == ".html":
            return "there"
        match path.suffix:
            case ".json":
                return _timeless(json.loads(path.read_text()))
            case ".csv":
                with open(path, newline="") as file:
                    return [_timeless(row) for row in csv.DictReader(file)]
            case ".npz":
                with np.load(path) as arrays:
                    named = {name: arrays[name] for name in arrays if name.startswith("array")}
                return _digests(named)
            case ".keras":
                with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as file:
                    return _weights(h5py.File(file, "r"))
        return path.read_bytes().replace(str(self.place).encode(), b"")


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(one) for key, one in value.items() if key not in _OF_A_RUN}
    return [_timeless(one) for one in value] if isinstance(value, list) else value


def _weights(file: h5py.File) -> dict[str, str]:
    found: dict[str, np.ndarray] = {}

    def look(name: str, thing: Any) -> None:
        if isinstance(thing, h5py.Dataset):
            found[name] = np.asarray(thing)

    file.visititems(look)
    return _digests(found)


def _digests(arrays: dict[str, np.ndarray]) -> dict[str, str]:
    return {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in arrays.items()}
