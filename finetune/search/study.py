"""The study: one folder that holds a search, and survives whatever ends the process.

    study.json        what is searched, with what, on which images
    environment.json  versions of the packages that it was begun with
    trials/0003.json  a trial: values, status, jobs and their outcomes
    states/0003.npz   state after its last epoch, while it may be gone on with
    weights/0003.npz  the best epoch's weights of the best few trials
    heads/            trained heads that trials start from
    model.keras       the best model, once the search is over

Every file is written whole or not at all. A trial's file is on disk before its job begins, and
again, with the outcome, before the next one does.
"""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from finetune.exceptions import StudyError
from finetune.search.trials import Outcome, Step, Trial
from finetune.support import STUDY, contents, described, hold, is_run, set_aside, write_text

log = logging.getLogger("finetune")


class Study:
    """A study's folder, held by this process alone.

    Args:
        folder: The folder; made if there is none.
        arguments: What decides the outcome of the search, as JSON can hold it. A folder that
            was begun with others is refused.
        environment: What it runs on, see `finetune.support.environment`. A folder that was begun
            with other versions is gone on with, and a warning names them.

    Raises:
        StudyError: If another process works on it, it was begun with other arguments, or it is
            something else than a study.
        StorageError: If it cannot be written.
    """

    def __init__(
        self, folder: Path, arguments: dict[str, Any], environment: dict[str, Any]
    ) -> None:
        self.folder = folder
        names = contents(folder)
        if is_run(folder) or (names and not names & {STUDY, "trials"}):
            raise StudyError(
                f"Expected a new or an empty folder for the study, or one to go on with, but "
                f"{folder} {described(folder)}. Name another one with out= (--out)."
            )
        self._lock = hold(folder, StudyError)
        try:
            self._check(arguments)
            self._compare(environment)
            self.trials = {trial.name: trial for trial in read_trials(folder, mend=True)}
        except BaseException:
            self.close()
            raise
        steps = [step for trial in self.trials.values() for step in trial.steps]
        self._events = max((max(s.asked, s.told or 0) for s in steps), default=0)
        self.clock = max((step.clock for step in steps), default=0.0)

    def _check(self, arguments: dict[str, Any]) -> None:
        path = self.folder / "study.json"
        wanted = json.loads(json.dumps(arguments, default=str))
        known = None
        if path.exists():
            known = _read_json(path)
        if known is None:
            write_text(path, json.dumps(wanted, indent=2) + "\n")
            return
        differing = [
            f"  {name}: {_short(known.get(name))} in the study, {_short(wanted.get(name))} now"
            for name in dict.fromkeys([*known, *wanted])
            if known.get(name) != wanted.get(name)
        ]
        if differing:
            raise StudyError(
                f"The study in {self.folder} was begun with something else:\n"
                + "\n".join(differing)
                + "\nGive the same again to go on with it, or another folder with out= (--out)."
            )

    def _compare(self, environment: dict[str, Any]) -> None:
        path = self.folder / "environment.json"
        known = _read_json(path) if path.exists() else None
        if known is None:
            write_text(path, json.dumps(environment, indent=2) + "\n")
            return
        before, now = known.get("packages", {}), environment["packages"]
        changed = [
            f"{name} {version}, now {now.get(name)}"
            for name, version in before.items()
            if now.get(name) != version
        ]
        if changed:
            log.warning(
                "The study in %s was begun with other versions (%s): trials from before and from "
                "now may differ by that.",
                *(self.folder, "; ".join(changed)),
            )

    def next_event(self) -> int:
        """Number of the next event."""
        self._events += 1
        return self._events

    def write(self, trial: Trial) -> None:
        """Put a trial on disk."""
        self.trials[trial.name] = trial
        path = self.folder / "trials" / f"{trial.name}.json"
        write_text(path, json.dumps(asdict(trial), indent=1, default=float) + "\n")

    def close(self) -> None:
        """Let other processes have the folder."""
        self._lock.release()


def state_file(folder: Path, name: str) -> Path:
    """Where the state of a trial is kept while it trains."""
    return folder / "states" / f"{name}.npz"


def weights_file(folder: Path, name: str) -> Path:
    """Where the weights of a trial's best epoch are kept."""
    return folder / "weights" / f"{name}.npz"


def read_trials(folder: Path, *, mend: bool = False) -> list[Trial]:
    """The trials of a study, in the order of their numbers.

    Args:
        folder: The study's folder.
        mend: Whether files that are no trials are renamed. Only who holds the study may do so.

    Raises:
        StudyError: If there is no study.
    """
    if not (folder / "study.json").exists():
        raise StudyError(
            f"Expected a study's folder, as `finetune search --out` makes it, but there is no "
            f"study.json in {folder}."
        )
    trials = []
    for path in sorted((folder / "trials").glob("*")):
        if path.name.startswith(".") or ".damaged" in path.name:
            continue
        content = _read_json(path, mend=mend)
        try:
            trial = _trial(content) if content is not None else None
            if trial is not None and f"{trial.name}.json" == path.name:
                trials.append(trial)
                continue
        except (KeyError, TypeError, AttributeError):
            pass  # told below
        if path.exists():
            _foreign(path, mend)
    return trials


def read_monitor(folder: Path) -> str:
    """The quantity that decides in a study, "val_accuracy" or "val_loss"."""
    known = _read_json(folder / "study.json", mend=False) or {}
    return known.get("monitor", "val_accuracy")


def _trial(content: dict[str, Any]) -> Trial:
    steps = [
        Step(**{**step, "outcome": Outcome(**step["outcome"]) if step["outcome"] else None})
        for step in content["steps"]
    ]
    return Trial(**{**content, "steps": steps})


def _read_json(path: Path, *, mend: bool = True) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, IsADirectoryError):
        content = None
    if isinstance(content, dict):
        return content
    _foreign(path, mend)
    return None


def _foreign(path: Path, mend: bool) -> None:
    if mend:
        log.warning("Damaged, or not of this study: %s; now %s.", path, set_aside(path).name)
    else:
        log.warning("Damaged, or not of this study: %s.", path)


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
