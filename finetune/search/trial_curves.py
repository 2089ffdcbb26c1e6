"""Draws a search: how its trials went, and where in the space they lie."""

from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.search.ranking import Ranked
from finetune.search.trials import Outcome, Trial
from finetune.support import GREY, new_figure, tidy
from finetune.training import FINE_TUNE, HEAD, best_row, loss_of, lower_is_better

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

# More numbers than that, at the ends of curves, could not be read.
_NUMBERED = 24
_NAMES = {
    "val_accuracy": "validation accuracy",
    "val_loss": "validation loss",
    "val_calibrated_loss": "calibrated validation loss",
    "val_mae": "validation mean absolute error",
    "freeze_depth": "freeze depth (layers)",
    "learning_rate": "learning rate",
}


def draw_search(ranking: list[Ranked], monitor: str) -> "Figure":
    """Curves of all trials on the left, the trials over what was searched on the right.

    A trial has the same colour, by its score, and the same number, its place, in both.

    Args:
        ranking: All trials, the best first.
        monitor: The quantity that decided.
    """
    rows = [_row(entry.trial) for entry in ranking]
    trials = _Trials(ranking, rows, monitor)
    figure = new_figure(11, 5)
    axes = figure.subplot_mosaic([["loss", "trials"], ["metric", "trials"]])
    measured = {name for row in rows for epoch in row["history"] for name in epoch}
    metric = "val_accuracy" if "val_accuracy" in measured else "val_mae"
    for panel, quantity in (("loss", loss_of(monitor)), ("metric", metric)):
        trials.draw_curves(axes[panel], quantity)
    axes["loss"].sharex(axes["metric"])
    axes["loss"].tick_params(labelbottom=False)
    axes["loss"].set_xlabel("")
    trials.draw_places(axes["trials"])
    return figure


class _Trials:
    """What both sides of the figure show of each trial."""

    def __init__(self, ranking: list[Ranked], rows: list[dict[str, Any]], monitor: str) -> None:
        self.ranking = ranking
        self.rows = rows
        self.monitor = monitor
        scores = [entry.score for entry in ranking if entry.score is not None]
        self.low, self.high = min(scores), max(scores)
        self.scale = _scale(self.low, self.high, monitor)
        names = ("freeze_depth", "learning_rate")
        self.searched = [
            name for name in names if len({str(row[name]) for row in rows} - {"None"}) > 1
        ]

    def style(self, place: int) -> dict[str, Any]:
        """Colour by score, and the better one on top."""
        score = self.ranking[place - 1].score
        color = GREY if score is None else self.scale.to_rgba(np.array([score]))[0]
        return {"color": color, "zorder": 3 - place / 1000}

    def draw_curves(self, axes: "Axes", quantity: str) -> None:
        """A quantity over the epochs of the second phase; epoch 0 is the head."""
        from matplotlib.ticker import MaxNLocator

        longest = max(row["epochs"] for row in self.rows)
        ends = []
        for place, row in enumerate(self.rows, start=1):
            numbers, values = _curve(row["history"], quantity, self.monitor)
            if not values:
                continue
            style = {**self.style(place), "linewidth": 2.5 if place == 1 else 1.3}
            if numbers == [0]:
                axes.axhline(values[0], linestyle=":", **style)
                numbers = [longest]
            else:
                axes.plot(numbers, values, **style)
            ends.append((numbers[-1], values[-1], place))
        heads = any(epoch["phase"] == HEAD for row in self.rows for epoch in row["history"])
        label = "epoch (0: the head)" if heads else "epoch"
        tidy(axes, xlabel=label, ylabel=_NAMES[quantity], ymargin=0.08)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        low, high = axes.get_ylim()
        if len(ends) <= _NUMBERED:
            _number_ends(axes, ends, room=(high - low) / 16)

    def draw_places(self, axes: "Axes") -> None:
        """Every trial as a mark over what was searched, or its score over that."""
        marks: dict[tuple[float, float], list[int]] = {}
        for place, entry in enumerate(self.ranking, start=1):
            x, y = self._position(place)
            if isinstance(x, str) or y is None:
                continue  # it failed before its depth, or a score, was known
            if len(self.searched) < 2 and entry.interval is not None:
                axes.vlines(x, *entry.interval, color=GREY, linewidth=1)
            marker = "X" if entry.score is None else "*" if place == 1 else "o"
            look = {"s": 220 if place == 1 else 130, "edgecolors": "black", "linewidths": 0.6}
            axes.scatter(x, y, marker=marker, **look, **self.style(place))
            marks.setdefault((x, y), []).append(place)
        if len(self.rows) <= _NUMBERED:
            for position, places in marks.items():
                axes.annotate(
                    _listed(places), position, (7, 7), textcoords="offset points", fontsize=9
                )
        self._label(axes)

    def _position(self, place: int) -> tuple[Any, Any]:
        found = [self.rows[place - 1][name] for name in self.searched]
        score = self.ranking[place - 1].score
        x, y = [*(found or [place]), score][:2]
        return x, y

    def _label(self, axes: "Axes") -> None:
        from matplotlib.ticker import MaxNLocator

        score = _NAMES[self.monitor]
        intervals = any(entry.interval is not None for entry in self.ranking)
        named = [_NAMES[name] for name in self.searched] or ["place"]
        xlabel, ylabel = [*named, f"{score} [95%]" if intervals else score][:2]
        tidy(axes, xlabel=xlabel, ylabel=ylabel)
        axes.margins(0.12)
        if "learning_rate" in self.searched:
            (axes.set_yscale if len(self.searched) > 1 else axes.set_xscale)("log")
        if not self.searched:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        depths = sorted({row["freeze_depth"] for row in self.rows} - {None}, key=str)
        if "freeze_depth" in self.searched and len(depths) <= 10 and str not in map(type, depths):
            axes.set_xticks(depths)
        axes.set_title("numbered by place; the star is the best", fontsize=9, color=GREY)
        if len(self.searched) > 1:
            bar = axes.figure.colorbar(self.scale, ax=axes, label=score)
            if self.low < self.high:
                bar.ax.set_ylim(self.low, self.high)


def _row(trial: Trial) -> dict[str, Any]:
    """What is drawn of a trial; what is not known of it is None."""
    outcome = trial.outcome or Outcome()
    depth = outcome.freeze_depth
    return {
        "freeze_depth": trial.values.get("freeze_depth") if depth is None else depth,
        "learning_rate": trial.values.get("learning_rate"),
        "epochs": outcome.epochs,
        "history": outcome.history,
    }


def _scale(low: float, high: float, monitor: str) -> "ScalarMappable":
    """Colours of scores, dark for good ones: to be told apart with any kind of colour vision."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    # The lightest fifth of the colours could not be seen on white.
    light = 0.25 * ((high - low) or 1.0)
    if lower_is_better(monitor):
        scale = ScalarMappable(Normalize(low, high + light), "viridis")
    else:
        scale = ScalarMappable(Normalize(low - light, high), "viridis_r")
    scale.set_array([])
    return scale


def _curve(
    history: list[dict[str, Any]], quantity: str, monitor: str
) -> tuple[list[int], list[float]]:
    """Epochs and values; the best epoch of the head phase comes first, as epoch 0."""
    tuned = [row for row in history if row["phase"] == FINE_TUNE]
    head = best_row([row for row in history if row["phase"] == HEAD], monitor)
    first = [] if head is None else [head]
    numbers = [*([0] if first else []), *(row["epoch"] for row in tuned)]
    return numbers, [row[quantity] for row in [*first, *tuned]]


def _number_ends(axes: "Axes", ends: list[tuple[int, float, int]], room: float) -> None:
    """Write the places beside the ends of the curves, in one text where these are close."""
    for x, group in groupby(sorted(ends), key=lambda end: end[0]):
        near: list[list[tuple[int, float, int]]] = []
        for end in group:
            if near and end[1] - near[-1][-1][1] < room:
                near[-1].append(end)
            else:
                near.append([end])
        for together in near:
            y = float(np.mean([end[1] for end in together]))
            text = _listed([end[2] for end in together])
            axes.annotate(text, (x, y), (4, 0), textcoords="offset points", fontsize=8, va="center")


def _listed(places: list[int]) -> str:
    """Places in few characters.

    Example:
        >>> _listed([3, 1, 2, 7])
        '1-3, 7'
    """
    runs: list[list[int]] = []
    for place in sorted(places):
        if runs and place == runs[-1][-1] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
