"""The board: all trials of a study, the best first, for people and for programs."""

from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from finetune.search.ranking import Ranked, own_first
from finetune.search.trials import Outcome, Trial
from finetune.support import accuracy_interval, as_plain_text, fits
from finetune.training import loss_of, lower_is_better, was_solved

# Shown in columns of their own.
_COLUMNS = ("freeze_depth", "learning_rate")


def board_rows(ranking: list[Ranked]) -> list[dict[str, Any]]:
    """The board as JSON holds it: one entry a trial.

    Returns:
        "id", "hyperparameters", "score" (of what decides) and "interval", "accuracy" and
        "accuracy_interval", "epochs", "seconds", "status" and "error" (the traceback, or None);
        "n" validation images, "executions", the number of seeds, and "remark", such as "head
        kept" (training did not improve on it) or "batch 16, out of memory at 32", or "".
    """
    rows = []
    for entry in ranking:
        trial, outcome = entry.trial, entry.trial.outcome or Outcome()
        rows.append(
            {
                "id": trial.trial,
                "hyperparameters": trial.values,
                "score": entry.score,
                "interval": list(entry.interval) if entry.interval else None,
                "accuracy": entry.accuracy,
                "accuracy_interval": list(entry.accuracy_interval)
                if entry.accuracy_interval
                else None,
                "n": outcome.n,
                "executions": len(entry.outcomes),
                "epochs": outcome.epochs,
                "seconds": round(trial.seconds, 3),
                "status": trial.status,
                "error": outcome.error,
                "remark": trial.remark,
            }
        )
    return rows


def render(ranking: list[Ranked], monitor: str) -> str:
    """The board as text.

    As wide as it is: nothing is cut off, unless a narrow terminal wants it narrower
    (`finetune.support.text_width`); then columns are left out that say the least.
    """
    columns = [column for column in _columns(ranking, monitor) if any(column.cells)]
    while True:
        table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for column in columns:
            table.add_column(column.title, justify="right" if column.right else "left")
        for cells in zip(*(column.cells for column in columns), strict=True):
            table.add_row(*cells)
        spare = min((column for column in columns if column.spare), key=_spare, default=None)
        if fits(table) or spare is None:
            return "\n".join([as_plain_text(table), *_notes(ranking, monitor)])
        columns.remove(spare)


@dataclass(frozen=True)
class _Column:
    """A column of the board.

    Args:
        title: Its heading.
        cells: What it says of each trial.
        right: Whether it is set to the right.
        spare: The lower, the sooner it is left out; 0 for never.
    """

    title: str
    cells: list[str]
    right: bool = False
    spare: int = 0


def _spare(column: _Column) -> int:
    return column.spare


def _columns(ranking: list[Ranked], monitor: str) -> list[_Column]:
    """All that the board tells, from left to right; what is nowhere known is empty."""
    used = {name for entry in ranking for name in entry.trial.values}
    rows = [(entry, entry.trial, entry.trial.outcome or Outcome()) for entry in ranking]
    seeds = any(len(entry.outcomes) > 1 for entry in ranking)
    by_loss = lower_is_better(monitor)
    scored = [entry.score is not None for entry in ranking]
    places = [str(place) if known else "" for place, known in enumerate(scored, start=1)]
    return [
        _Column("#", places if any(scored) else [" "] * len(places), right=True),
        _Column("trial", [trial.trial for _, trial, _ in rows]),
        _Column("frozen", [_depth(trial, outcome) for _, trial, outcome in rows], right=True),
        _Column("up to", [outcome.block for _, _, outcome in rows], spare=4),
        _Column("rate", [_rate(trial) for _, trial, _ in rows], right=True),
        *(
            _Column(
                name.replace("_", "\n"),
                [_cell(trial.values.get(name, "")) for _, trial, _ in rows],
            )
            for name in sorted(used.difference(_COLUMNS))
        ),
        _Column("epochs", [str(outcome.epochs) for _, _, outcome in rows], right=True, spare=1),
        _Column(
            "loss",
            [_estimate(entry.score, entry.interval) if by_loss else "" for entry in ranking],
        ),
        _Column(
            "accuracy [95%]",
            [_estimate(entry.accuracy, entry.accuracy_interval) for entry in ranking],
        ),
        _Column("seeds", [str(len(e.outcomes)) if seeds else "" for e in ranking], right=True),
        _Column("s", [f"{trial.seconds:.0f}" for _, trial, _ in rows], right=True, spare=2),
        _Column("status", [trial.status for _, trial, _ in rows], spare=3),
        _Column("remark", [trial.remark for _, trial, _ in rows], spare=5),
    ]


def _depth(trial: Trial, outcome: Outcome) -> str:
    depth = outcome.freeze_depth
    return str(trial.values.get("freeze_depth", "") if depth is None else depth)


def _rate(trial: Trial) -> str:
    rate = trial.values.get("learning_rate", "")
    return f"{rate:.1e}" if isinstance(rate, float) else _cell(rate)


def _notes(ranking: list[Ranked], monitor: str) -> list[str]:
    """What has to be said of the table."""
    notes = _baseline(ranking, monitor)
    if own_first(ranking, monitor):
        notes.append(
            "The settings of fine_tune stand before others that are better by less than a standard "
            "error."
        )
    return notes


def _baseline(ranking: list[Ranked], monitor: str) -> list[str]:
    """What all trials begin with, where that is worth a name of its own."""
    for entry in ranking:
        outcome = entry.trial.outcome
        head = outcome.history[0] if outcome is not None and outcome.history else None
        if outcome is not None and head is not None and was_solved(head):
            accuracy = head.get("val_accuracy")
            shown = f"loss {head[loss_of(monitor)]:.3f}"
            if accuracy is not None and outcome.n:
                interval = accuracy_interval(accuracy, outcome.n)
                shown += f", accuracy {_estimate(accuracy, interval)}"
            kind = "Ridge" if accuracy is None else "Logistic"
            return [f"{kind} regression on frozen features: {shown}"]
    return []


def error_lines(ranking: list[Ranked]) -> list[str]:
    """One line for each trial that failed."""
    return [
        f"trial {entry.trial.trial}: {last_line(outcome.error)}"
        for entry in ranking
        if (outcome := entry.trial.outcome) is not None and outcome.error
    ]


def last_line(error: str) -> str:
    """What a traceback ends with, in letters that a terminal does not obey."""
    lines = error.strip().splitlines() or ["for an unknown reason"]
    return "".join(letter for letter in lines[-1] if letter.isprintable())


def _estimate(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return ""
    if interval is None:
        return f"{value:.3f}"
    return f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
