"""The state of a training after an epoch, kept in a file so that it can go on from there."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from finetune.exceptions import DamagedFileError, StorageError
from finetune.support import read_arrays, set_aside, write_arrays
from finetune.training.records import TrainingRecord

log = logging.getLogger("finetune")


@dataclass
class TrainingState:
    """All that a training needs to go on as if it had never stopped.

    Args:
        phase: Name of the phase.
        epochs: Number of its epochs that are over.
        record: What happened until then.
        variables: Values of what is trained, random states included.
        optimizer: Values of the optimizer's variables.
        best: Values of what is trained, at the best epoch until then.
    """

    phase: str
    epochs: int
    record: TrainingRecord
    variables: list[np.ndarray]
    optimizer: list[np.ndarray]
    best: list[np.ndarray]


@dataclass
class SavedState:
    """What a state says of itself, see `TrainingState`.

    Args:
        phase: Name of the phase.
        epochs: Number of its epochs that are over.
        record: What happened until then.
        lengths: Numbers of arrays of variables, of the optimizer and of the best epoch.
    """

    phase: str
    epochs: int
    record: TrainingRecord
    lengths: tuple[int, int, int]

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise ValueError(f"expected epochs to be 0 or more, received {self.epochs}")


# What the arrays of a state have to be like: variables, those of the optimizer, the best epoch's.
Variables = Callable[[SavedState], tuple[Sequence[Any], Sequence[Any], Sequence[Any]]]


@dataclass(frozen=True)
class StateFile:
    """Where a training keeps its state.

    Args:
        path: File that is written after epochs.
        start: File of another training to go on from, where `path` does not exist yet.
    """

    path: Path
    start: Path | None = None

    def save(self, state: TrainingState) -> None:
        """Take the place of the state before.

        Raises:
            StorageError: If it cannot be written; the state before is still there then.
        """
        groups = (state.variables, state.optimizer, state.best)
        meta = {
            "phase": state.phase,
            "epochs": state.epochs,
            "record": asdict(state.record),
            "lengths": [len(group) for group in groups],
        }
        write_arrays(self.path, meta, [array for group in groups for array in group])

    def load(self, variables: Variables) -> TrainingState | None:
        """The last state; None for a training that has to begin at its beginning.

        Args:
            variables: From what a state says of itself to what it has to hold values of. It raises
                DamagedFileError for a state of another training.
        """
        for path in (self.path, self.start):
            if path is not None and path.exists():
                try:
                    return _read(path, variables)
                except DamagedFileError as error:
                    log.warning(
                        "Not a state of this training (%s); now %s.", error, set_aside(path)
                    )
        return None


@dataclass(frozen=True)
class SpareStateFile(StateFile):
    """A state that a training can do without: where it cannot be written, it goes on.

    For a training whose result is written in the end in any case.
    """

    failed: list[Path] = field(default_factory=list, repr=False)

    def save(self, state: TrainingState) -> None:
        """Take the place of the state before, where there is room for it."""
        try:
            super().save(state)
        except StorageError as error:
            if not self.failed:
                log.warning("Training goes on, but cannot be taken up again if it ends: %s", error)
            self.failed.append(self.path)


def _read(path: Path, variables: Variables) -> TrainingState:
    def expected(saved: SavedState) -> list[Any]:
        groups = variables(saved)
        lengths = tuple(len(group) for group in groups)
        if lengths != saved.lengths:
            raise DamagedFileError(f"expected lengths {lengths}, received {saved.lengths}")
        return [variable for group in groups for variable in group]

    saved, arrays = read_arrays(path, SavedState, expected)
    rest = iter(arrays)
    groups = [[next(rest) for _ in range(length)] for length in saved.lengths]
    return TrainingState(saved.phase, saved.epochs, saved.record, *groups)
