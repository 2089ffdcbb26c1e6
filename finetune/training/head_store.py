"""Heads that were trained to convergence, for trials to start from."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from finetune.exceptions import DamagedFileError
from finetune.support import locked, read_arrays, set_aside, write_arrays
from finetune.training.epoch_rows import check_epochs

log = logging.getLogger("finetune")


@dataclass
class TrainedHead:
    """A head that was trained to convergence, for trials to start from.

    Args:
        epochs: What the record says of its epochs.
        rates: Rate of every step.
        best: Index of the epoch that was kept.
        weights: Its variables' values at that epoch.
        finished: Whether nothing is left to train; until then no other trial starts from it.
        interrupted: Whether the user stopped it.
    """

    epochs: list[dict[str, Any]]
    rates: list[float]
    best: int
    weights: list[np.ndarray]
    finished: bool = True
    interrupted: bool = False


@dataclass
class _SavedHead:
    """What a file says of a head besides its weights, see `TrainedHead`."""

    epochs: list[dict[str, Any]]
    rates: list[float]
    best: int

    def __post_init__(self) -> None:
        if self.best < 0:
            raise ValueError(f"expected best to be 0 or more, received {self.best}")
        check_epochs(self.epochs, self.best)


class HeadStore:
    """Keeps trained heads by all that they depend on.

    Attributes:
        folder: Where they are kept for other processes too, so that a resumed search, and every
            worker, goes on from the very same head. None: in memory only.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.known: dict[str, TrainedHead] = {}

    def get(self, key: str, variables: Sequence[Any]) -> TrainedHead | None:
        """The head, or None where none was trained yet.

        Args:
            key: What it depends on.
            variables: What its weights are the values of.
        """
        if key not in self.known and self.folder is not None and self._file(key).exists():
            try:
                meta, weights = read_arrays(
                    self._file(key), _SavedHead, lambda meta: variables, finite=True
                )
                self.known[key] = TrainedHead(meta.epochs, meta.rates, meta.best, weights)
                self._tidy(key)  # who kept it may have been killed before it could
            except DamagedFileError as error:
                log.warning("Not a head (%s); now %s.", error, set_aside(self._file(key)).name)
        return self.known.get(key)

    @contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Let no other process train the head meanwhile; it may have done so before, so look again.

        Raises:
            OutOfTimeError: If time is limited, and up while another process trains it.
        """
        if self.folder is None:
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self._file(key).with_suffix(".lock")
        with locked(lock, "training the head"):
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)

    def put(self, key: str, head: TrainedHead) -> None:
        """Keep a head that is finished; its state is of no use any more."""
        self.known[key] = head
        if self.folder is not None:
            meta = {"epochs": head.epochs, "rates": head.rates, "best": head.best}
            write_arrays(self._file(key), meta, head.weights)
            self._tidy(key)

    def state_file(self, key: str) -> Path | None:
        """Where the state of a head is kept while it trains; None for nowhere."""
        return self._file(key).with_suffix(".state.npz") if self.folder is not None else None

    def _tidy(self, key: str) -> None:
        """Remove what nobody needs once the head is there.

        Who waits for the lock has it open; who comes later finds the head.
        """
        for suffix in (".state.npz", ".lock"):
            self._file(key).with_suffix(suffix).unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self.known)

    def _file(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"
