"""What the report of a run shows of a search: its trials."""

from pathlib import Path

from finetune.report import Board, write_figure, write_page
from finetune.search.board import board_rows
from finetune.search.ranking import Ranked, rank
from finetune.search.study import read_monitor, read_trials
from finetune.search.trial_curves import draw_search
from finetune.search.trials import Outcome
from finetune.training import loss_of


def board_of(ranking: list[Ranked], monitor: str) -> Board:
    """The trials of a search as its report shows them.

    Args:
        ranking: All trials, the best first.
        monitor: The quantity that decides.
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
    return Board(monitor, trials)


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
