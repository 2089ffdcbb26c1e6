"""What the report of a run shows of a search: its trials, also while it runs."""

import logging
import time
from datetime import datetime
from pathlib import Path

from finetune.report import Board, write_figure, write_page
from finetune.search.board import board_rows
from finetune.search.ranking import Ranked, rank
from finetune.search.study import read_monitor, read_trials
from finetune.search.trial_curves import draw_search
from finetune.search.trials import Outcome
from finetune.training import loss_of

log = logging.getLogger("finetune")

# The page of a search that runs is written this often at most, and takes this share of its time.
_SECONDS_BETWEEN_PAGES = 10.0
_SHARE_OF_TIME = 0.02


def board_of(ranking: list[Ranked], monitor: str, under_way: str = "") -> Board:
    """The trials of a search as its report shows them.

    Args:
        ranking: All trials, the best first.
        monitor: The quantity that decides.
        under_way: See `Board`.
    """
    trials = []
    for row, entry in zip(board_rows(ranking), ranking, strict=True):
        outcome = entry.trial.outcome or Outcome()
        loss = outcome.metrics.get(loss_of(monitor))
        trials.append(
            {
                **row,
                "error": None,  # a traceback names files of this machine
                "freeze_depth": outcome.freeze_depth,
                "block": outcome.block,
                "loss": entry.score
                if entry.score is not None and loss_of(monitor) == monitor
                else loss,
                "history": outcome.history,
            }
        )
    return Board(monitor, trials, under_way)


def report_study(folder: Path) -> Path:
    """Make the report of a search, and its figures, from its folder alone, also while it runs.

    Args:
        folder: The study's folder.

    Returns:
        The page, `report.html` in the folder.

    Raises:
        StudyError: If there is no study.
        StorageError: If it cannot be read or written.
    """
    monitor = read_monitor(folder)
    ranking = rank(read_trials(folder), monitor)
    page = write_page(folder, board_of(ranking, monitor))
    if any(entry.score is not None for entry in ranking):
        write_figure(folder, "search", draw_search(ranking, monitor))
    return page


class LivePage:
    """The page of a search while it runs: written anew after a job, unless that was just done.

    A page that cannot be written is told once, and ends no search.

    Args:
        folder: The study's folder.
        monitor: The quantity that decides.

    Attributes:
        page: Where it is; None before it was written.
    """

    def __init__(self, folder: Path, monitor: str) -> None:
        self._folder = folder
        self._monitor = monitor
        self._next = 0.0
        self.page: Path | None = None

    def show(self, ranking: list[Ranked], far: str) -> None:
        """Write the page, if it is time.

        Args:
            ranking: All trials, the best first.
            far: How far the search is.
        """
        started = time.monotonic()
        if started < self._next:
            return
        told = f"{far}, at {datetime.now():%H:%M:%S}. Load the page again to see what came after."
        first = self.page is None
        try:
            self.page = write_page(self._folder, board_of(ranking, self._monitor, told))
        except Exception as error:  # whatever it is, the search matters more
            log.warning("The search goes on without its page: %s", error)
            self._next = float("inf")
            return
        if first:
            log.info("Look at it while it runs: %s", self.page)
        took = time.monotonic() - started
        self._next = started + max(_SECONDS_BETWEEN_PAGES, took / _SHARE_OF_TIME)
