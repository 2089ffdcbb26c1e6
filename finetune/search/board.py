"""The board: all trials of a study, the best first, for people and for programs."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from finetune.search.ranking import Ranked
from finetune.search.trials import Outcome

_STYLES = {"failed": "red", "completed": "green", "running": "yellow"}

# Shown in columns of their own.
_COLUMNS = ("freeze_depth", "learning_rate")


def board_rows(ranking: list[Ranked]) -> list[dict[str, Any]]:
    """The board as JSON holds it: one entry a trial.

    Returns:
        "id", "hyperparameters", "score", "interval", "epochs", "seconds", "status" and "error"
        (the traceback, or None); "n" validation images and "executions", the number of seeds.
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
            }
        )
    return rows


def board_table(ranking: list[Ranked], title: str, monitor: str) -> Table:
    """The board as a terminal shows it."""
    others = sorted(
        {name for entry in ranking for name in entry.trial.values if name not in _COLUMNS}
    )
    seeds = any(len(entry.outcomes) > 1 for entry in ranking)
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("#", justify="right")
    table.add_column("trial")
    table.add_column("frozen", justify="right")
    table.add_column("up to")
    table.add_column("rate", justify="right")
    for name in others:
        table.add_column(name.replace("_", " "))
    table.add_column("epochs", justify="right")
    table.add_column(f"{'loss' if monitor == 'val_loss' else 'accuracy'} [95%]", no_wrap=True)
    if seeds:
        table.add_column("seeds", justify="right")
    table.add_column("s", justify="right")
    table.add_column("status")
    for place, entry in enumerate(ranking, start=1):
        trial, outcome = entry.trial, entry.trial.outcome or Outcome()
        rate = trial.values.get("learning_rate")
        depth = outcome.freeze_depth
        table.add_row(
            str(place) if entry.score is not None else "",
            trial.trial,
            str(trial.values.get("freeze_depth", "") if depth is None else depth),
            outcome.block,
            "" if rate is None else f"{rate:.1e}",
            *(_cell(trial.values.get(name, "")) for name in others),
            str(outcome.epochs),
            _score(entry),
            *([str(len(entry.outcomes))] if seeds else []),
            f"{trial.seconds:.0f}",
            Text(trial.status, style=_STYLES.get(trial.status, "dim")),
        )
    return table


def render(ranking: list[Ranked], monitor: str, title: str = "") -> str:
    """The board as text of the terminal's width, at least 110 signs."""
    console = Console()
    wide = Console(width=max(110, console.width), force_terminal=False, color_system=None)
    with wide.capture() as captured:
        wide.print(board_table(ranking, title, monitor))
    return captured.get().rstrip("\n")


def error_lines(ranking: list[Ranked]) -> list[str]:
    """One line for each trial that failed."""
    return [
        f"trial {entry.trial.trial}: {outcome.error.strip().splitlines()[-1]}"
        for entry in ranking
        if (outcome := entry.trial.outcome) is not None and outcome.error
    ]


def _score(entry: Ranked) -> str:
    if entry.score is None:
        return ""
    if entry.interval is None:
        return f"{entry.score:.3f}"
    return f"{entry.score:.3f} [{entry.interval[0]:.3f}, {entry.interval[1]:.3f}]"


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
