"""Draws a training: loss and metric of every epoch."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from finetune.support import BLUE, GREY, ORANGE, new_figure, tidy
from finetune.training import HEAD

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_METRICS = {"mae": "mean absolute error"}


def draw_training(epochs: Sequence[Mapping[str, Any]], best: int | None) -> "Figure":
    """Loss and metric of every epoch, both phases on one axis.

    Args:
        epochs: A row an epoch, see `TrainingRecord`.
        best: Index of the epoch that was kept; None where that is not known.
    """
    from matplotlib.ticker import MaxNLocator

    metric = "accuracy" if "val_accuracy" in epochs[0] else "mae"
    figure = new_figure(10, 4)
    numbers = range(1, len(epochs) + 1)
    head = sum(row.get("phase") == HEAD for row in epochs)
    for axes, name in zip(figure.subplots(1, 2), ("loss", metric), strict=True):
        for prefix, label, color, style in (
            ("", "training", ORANGE, "--"),
            ("val_", "validation", BLUE, "-"),
        ):
            values = [row.get(prefix + name) for row in epochs]
            axes.plot(numbers, values, style, color=color, label=label, marker=".")
        if best is not None:
            kept = epochs[best].get(f"val_{name}")
            axes.plot(best + 1, kept, "*", color="black", markersize=13, label="kept epoch")
        tidy(axes, xlabel="epoch", ylabel=_METRICS.get(name, name))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _mark_phases(axes, head, len(epochs))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _mark_phases(axes: "Axes", head: int, epochs: int) -> None:
    """A line where the second phase begins, and both their names."""
    place = axes.get_xaxis_transform()
    for first, last, name in ((1, head, "head"), (head + 1, epochs, "fine-tuning")):
        if last >= first:
            middle = (first + last) / 2
            axes.text(middle, 1.02, name, transform=place, ha="center", color=GREY)
    if 0 < head < epochs:
        axes.axvline(head + 0.5, color=GREY, linestyle=":")
