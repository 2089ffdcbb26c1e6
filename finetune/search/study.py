"""The study: one folder that holds a search, and survives whatever ends the process.

    study.json        what is searched, with what, on which images; how it was begun
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
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from finetune.exceptions import StudyError
from finetune.search.trials import Outcome, Step, Trial
from finetune.support import (
    STUDY,
    contents,
    described,
    hold,
    is_run,
    remove_partial,
    set_aside,
    write_text,
)
from finetune.tuning import differences, digest_of

log = logging.getLogger("finetune")

_FOLDERS = ("trials", "states", "weights", "heads")


class Study:
    """A study's folder, held by this process alone.

    Args:
        folder: The folder; made if there is none.
        arguments: What decides the outcome of the search, as JSON can hold it. A folder that
            was begun with others is refused.
        environment: What it runs on, see `finetune.support.environment`. A folder that was begun
            with other versions is gone on with, and a warning names them.
        begun_with: What may change, as it is now: the study keeps how it was at its beginning.
        translate: Brings arguments that version 0.1.0 wrote into today's form.

    Attributes:
        name: Digest of the arguments. Every trial bears that of those it was trained with.

    Raises:
        StudyError: If another process works on it, it was begun with other arguments, or it is
            something else than a study.
        StorageError: If it cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        arguments: dict[str, Any],
        environment: dict[str, Any],
        begun_with: dict[str, Any] | None = None,
        translate: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
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
            remove_partial(folder, *(folder / name for name in _FOLDERS))
            about = self._check(_About(arguments, begun_with or {}), translate)
            self.name = digest_of(about.arguments)
            self._compare(environment)
            self.trials = {trial.name: trial for trial in self._own_trials(about)}
        except BaseException:
            self.close()
            raise
        steps = [step for trial in self.trials.values() for step in trial.steps]
        self._events = max((max(s.asked, s.told or 0) for s in steps), default=0)
        self.clock = max((step.clock for step in steps), default=0.0)

    def _check(self, wanted: "_About", translate: Any) -> "_About":
        """What the study was begun with, which is what is wanted, or an error."""
        path = self.folder / "study.json"
        content = _read_json(path) if path.exists() else None
        if content is None:
            wanted.write(path)
            return wanted
        old = "settings" in content
        if old and translate is not None:
            known = _About(translate(content), {"max_trials": content.get("max_trials")})
        else:
            known = _About.read(content)
        if told := differences(known.arguments, wanted.arguments, "in the study"):
            raise StudyError(
                f"The study in {self.folder} was begun with something else:\n"
                + "\n".join(f"  {line}" for line in told)
                + "\nGive the same again to go on with it, or another folder with out= (--out)."
            )
        if old:
            # From now on everything is compared; the trials of then are its own.
            trials = read_trials(self.folder)
            known.unnamed = [trial.name for trial in trials if trial.study is None]
            known.write(path)
        return known

    def _own_trials(self, about: "_About") -> Iterator[Trial]:
        for trial in read_trials(self.folder, mend=True):
            if trial.study == self.name or (trial.study is None and trial.name in about.unnamed):
                yield trial
                continue
            files = [find(self.folder, trial.name) for find in (trial_file, state_file)]
            files.append(weights_file(self.folder, trial.name))
            moved = [set_aside(path).name for path in files if path.exists()]
            log.warning(
                "Trial %s in %s was trained with other arguments than the study, or nobody knows "
                "with which, and is trained again: its files are now %s.",
                *(trial.name, self.folder, ", ".join(moved)),
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
        """Put a trial on disk, which from then on bears the study's name."""
        self.trials[trial.name] = trial
        trial.study = self.name
        path = trial_file(self.folder, trial.name)
        write_text(path, json.dumps(asdict(trial), indent=1, default=float) + "\n")

    def close(self) -> None:
        """Let other processes have the folder."""
        self._lock.release()


@dataclass
class _About:
    """What `study.json` says.

    Args:
        arguments: What decides the outcome of the search.
        begun_with: What may change, as it was at the beginning.
        unnamed: Trials of version 0.1.0, which bear no study's name and are its own all the same.
    """

    arguments: dict[str, Any]
    begun_with: dict[str, Any]
    unnamed: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, content: dict[str, Any]) -> "_About":
        beside = {name: content.pop(name, None) for name in ("begun_with", "unnamed")}
        return cls(content, beside["begun_with"] or {}, beside["unnamed"] or [])

    def write(self, path: Path) -> None:
        content = {**self.arguments, "begun_with": self.begun_with}
        if self.unnamed:
            content["unnamed"] = self.unnamed
        write_text(path, json.dumps(content, indent=2) + "\n")


def trial_file(folder: Path, name: str) -> Path:
    """Where a trial is kept."""
    return folder / "trials" / f"{name}.json"


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


def read_beginning(folder: Path) -> dict[str, Any]:
    """What may change in a study, as it was at its beginning; empty where there is none yet."""
    if not (folder / "study.json").exists():
        return {}
    known = _read_json(folder / "study.json", mend=False) or {}
    return known.get("begun_with", known)  # version 0.1.0 kept it beside the rest


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
