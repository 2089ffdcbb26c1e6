"""The board: all trials of a study, the best first, for people and for programs."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from finetune.search.ranking import Ranked
from finetune.search.trials import Outcome
from finetune.support import accuracy_interval, as_plain_text
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
    classes = any(entry.accuracy is not None for entry in ranking)
    by_loss = lower_is_better(monitor)
    if by_loss:
        table.add_column("loss")
    if classes:
        table.add_column("accuracy [95%]")
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
            *([_estimate(entry.score, entry.interval)] if by_loss else []),
            *([_estimate(entry.accuracy, entry.accuracy_interval)] if classes else []),
            *([str(len(entry.outcomes))] if seeds else []),
            f"{trial.seconds:.0f}",
            trial.status,
            *([trial.remark] if remarks else []),
        )
    return "\n".join([as_plain_text(table), *_baseline(ranking, monitor)])


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
