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
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from finetune.exceptions import DamagedFileError, StudyError
from finetune.search.saved import (
    Beginning,
    OldBeginning,
    Surroundings,
    read_study,
    read_trial,
)
from finetune.search.trials import Trial
from finetune.support import (
    STUDY,
    contents,
    described,
    hold,
    is_run,
    read_json,
    remove_partial,
    set_aside,
    write_text,
)
from finetune.tuning import differences, digest_of

log = logging.getLogger("finetune")

_Record = TypeVar("_Record")

_FOLDERS = ("trials", "states", "weights", "heads")


class Study:
    """A study's folder, held by this process alone.

    Args:
        folder: The folder; made if there is none.
        wanted: What decides the outcome of the search. A folder that was begun with something else
            is refused.
        environment: What it runs on, see `finetune.support.environment`. A folder that was begun
            with other versions is gone on with, and a warning names them.
        translate: Brings what version 0.1.0 wrote into today's form.

    Attributes:
        name: Digest of what it was begun with. Every trial bears one of it and its own values.

    Raises:
        StudyError: If another process works on it, it was begun with other arguments, or it is
            something else than a study.
        StorageError: If it cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        wanted: Beginning,
        environment: dict[str, Any],
        translate: Callable[[OldBeginning], Beginning],
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
            beginning = self._begin(wanted, translate)
            self.name = digest_of(beginning.arguments)
            self._compare(environment)
            self.trials = {trial.name: trial for trial in self._own_trials(beginning)}
            self._set_orphans_aside()
        except BaseException:
            self.close()
            raise
        steps = [step for trial in self.trials.values() for step in trial.steps]
        self._events = max((max(s.asked, s.told or 0) for s in steps), default=0)
        self.clock = max((step.clock for step in steps), default=0.0)

    def _begin(
        self, wanted: Beginning, translate: Callable[[OldBeginning], Beginning]
    ) -> Beginning:
        """What the study was begun with, which is what is wanted, or an error."""
        path = self.folder / STUDY
        known = _read(path, read_study, mend=True)
        if known is None:
            wanted.write(path)
            return wanted
        beginning = translate(known) if isinstance(known, OldBeginning) else known
        if told := differences(beginning.arguments, wanted.arguments, "in the study"):
            raise StudyError(
                f"The study in {self.folder} was begun with something else:\n"
                + "\n".join(f"  {line}" for line in told)
                + "\nGive the same again to go on with it, or another folder with out= (--out)."
            )
        if beginning is not known:
            # From now on everything is compared; the trials of then are its own.
            trials = read_trials(self.folder)
            beginning.unnamed = [trial.name for trial in trials if trial.digest is None]
            beginning.write(path)
        return beginning

    def _set_orphans_aside(self) -> None:
        """States and weights of trials that there are not: others may get their numbers."""
        for path in sorted(self.folder.glob("states/*.npz")) + sorted(
            self.folder.glob("weights/*.npz")
        ):
            if path.stem not in self.trials:
                log.warning("Of no trial of the study: %s; now %s.", path, set_aside(path).name)

    def _own_trials(self, beginning: Beginning) -> Iterator[Trial]:
        for trial in read_trials(self.folder, mend=True):
            old = trial.digest is None and trial.name in beginning.unnamed
            if old or trial.digest == self._digest(trial):
                yield trial
                continue
            log.warning(
                "Trial %s in %s was trained with other arguments than the study, or nobody knows "
                "with which, and is trained again: its file is now %s.",
                *(trial.name, self.folder, set_aside(trial_file(self.folder, trial.name)).name),
            )

    def _digest(self, trial: Trial) -> str:
        return digest_of({"study": self.name, "trial": trial.name, "values": trial.values})

    def _compare(self, environment: dict[str, Any]) -> None:
        path = self.folder / "environment.json"
        known = _read(path, _read_surroundings, mend=True)
        if known is None:
            write_text(path, json.dumps(environment, indent=2) + "\n")
            return
        before, now = known.packages, environment["packages"]
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
        """Put a trial on disk, which says what it was trained with."""
        self.trials[trial.name] = trial
        trial.digest = self._digest(trial)
        path = trial_file(self.folder, trial.name)
        write_text(path, json.dumps(asdict(trial), indent=1, default=float) + "\n")

    def close(self) -> None:
        """Let other processes have the folder."""
        self._lock.release()


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
    if not (folder / STUDY).exists():
        raise StudyError(
            f"Expected a study's folder, as `finetune search --out` makes it, but there is no "
            f"{STUDY} in {folder}."
        )
    paths = sorted((folder / "trials").glob("*"))
    own = [path for path in paths if path.name[0] != "." and ".damaged" not in path.name]
    trials = [_read(path, read_trial, mend=mend) for path in own]
    return [trial for trial in trials if trial is not None]


def begun_with(folder: Path, max_trials: int | None) -> int | None:
    """Number of trials that a study was begun with, or what is wanted where there is none yet."""
    known = _read(folder / STUDY, read_study, mend=False)
    return max_trials if known is None else known.begun_with.max_trials


def read_monitor(folder: Path) -> str:
    """The quantity that decides in a study, "val_accuracy" or "val_loss"."""
    known = _read(folder / STUDY, read_study, mend=False)
    return "val_accuracy" if known is None else known.monitor


def _read_surroundings(path: Path) -> Surroundings:
    return read_json(path, Surroundings)


def _read(path: Path, read: Callable[[Path], _Record], *, mend: bool) -> _Record | None:
    """What a file says; None, and a line that names it, where it is damaged."""
    if not path.exists():
        return None
    try:
        return read(path)
    except DamagedFileError as error:
        if mend:
            log.warning("Not of this study, and now %s: %s", set_aside(path).name, error)
        else:
            log.warning("Not of this study: %s", error)
        return None
