"""The board: all trials of a study, the best first, for people and for programs."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from finetune.search.ranking import Ranked
from finetune.search.trials import Outcome
from finetune.support import as_plain_text

# Shown in columns of their own.
_COLUMNS = ("freeze_depth", "learning_rate")


def board_rows(ranking: list[Ranked]) -> list[dict[str, Any]]:
    """The board as JSON holds it: one entry a trial.

    Returns:
        "id", "hyperparameters", "score", "interval", "epochs", "seconds", "status" and "error"
        (the traceback, or None); "n" validation images, "executions", the number of seeds, and
        "remark", such as "head kept" (training did not improve on it) or "batch 16, out of
        memory at 32", or "".
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
    """The board as text, as wide as it is: nothing is cut off, whatever the terminal's width."""
    used = {name for entry in ranking for name in entry.trial.values}
    others = sorted(used.difference(_COLUMNS))
    rates = "learning_rate" in used
    seeds = any(len(entry.outcomes) > 1 for entry in ranking)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("#", justify="right")
    table.add_column("trial")
    table.add_column("frozen", justify="right")
    table.add_column("up to")
    if rates:
        table.add_column("rate", justify="right")
    for name in others:
        table.add_column(name.replace("_", "\n"))
    table.add_column("epochs", justify="right")
    table.add_column(f"{'loss' if monitor == 'val_loss' else 'accuracy'} [95%]")
    if seeds:
        table.add_column("seeds", justify="right")
    table.add_column("s", justify="right")
    table.add_column("status")
    remarks = any(entry.trial.remark for entry in ranking)
    if remarks:
        table.add_column("remark")
    for place, entry in enumerate(ranking, start=1):
        trial, outcome = entry.trial, entry.trial.outcome or Outcome()
        depth = outcome.freeze_depth
        rate = trial.values.get("learning_rate", "")
        table.add_row(
            str(place) if entry.score is not None else "",
            trial.trial,
            str(trial.values.get("freeze_depth", "") if depth is None else depth),
            outcome.block,
            *([f"{rate:.1e}" if isinstance(rate, float) else _cell(rate)] if rates else []),
            *(_cell(trial.values.get(name, "")) for name in others),
            str(outcome.epochs),
            _score(entry),
            *([str(len(entry.outcomes))] if seeds else []),
            f"{trial.seconds:.0f}",
            trial.status,
            *([trial.remark] if remarks else []),
        )
    return as_plain_text(table)


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


def _score(entry: Ranked) -> str:
    if entry.score is None:
        return ""
    if entry.interval is None:
        return f"{entry.score:.3f}"
    return f"{entry.score:.3f} [{entry.interval[0]:.3f}, {entry.interval[1]:.3f}]"


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
