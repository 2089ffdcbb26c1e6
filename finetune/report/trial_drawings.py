"""Drawings of a search: its trials over depth and rate, and over everything that was searched."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from finetune.report.plots import SHADES, Drawing, Scale, around, shade_of, short

Trials = Sequence[Mapping[str, Any]]

DEPTH, RATE = "freeze_depth", "learning_rate"
_NAMES = {DEPTH: "freeze depth", RATE: "learning rate"}


def trial_map(trials: Trials, monitor: str) -> Drawing | None:
    """Every trial as a mark: where it lies in the space, its colour how good it is."""
    placed = [(trial, depth) for trial in trials if (depth := _depth(trial)) is not None]
    rated = [(trial, depth, rate) for trial, depth in placed if (rate := _rate(trial)) is not None]
    by_rate = len({rate for _, _, rate in rated}) > 1
    scored = [(trial, depth, trial["loss"]) for trial, depth in placed if trial["loss"] is not None]
    marks: list[tuple[Mapping[str, Any], float, float]] = rated if by_rate else scored
    if not marks:
        return None
    drawing = Drawing(520, 380, "Trials over freeze depth and learning rate", "map")
    heights = [rate for _, _, rate in marks]
    low, high = (min(heights) / 1.6, max(heights) * 1.6) if by_rate else around(heights)
    x = Scale(*around([depth for _, depth, _ in marks], 0.1), 58, 506)
    y = Scale(low, high, 330, 44, log=by_rate)
    drawing.axes(x, y, "freeze depth (layers)", "Learning rate" if by_rate else _loss_name(monitor))
    scale = _colours(trials)
    # The best is drawn last, so that nothing hides it.
    for place, (trial, depth, height) in reversed([*enumerate(marks)]):
        best = trial is trials[0]
        drawing.add(
            '<circle class="trial {}{}" data-trial="{}" cx="{}" cy="{}" r="{}"><title>{}'
            "</title></circle>",
            *(shade_of(trial["loss"], *scale), " best" if best else "", trial["id"]),
            *(x(depth), y(height), 10 if best else 7.5, _told(trial, monitor, place + 1)),
        )
        if best:
            drawing.text(x(depth) + 15, y(height) + 4, "best", "note")
    return drawing


def parallel_lines(trials: Trials, monitor: str) -> tuple[Drawing, list[dict[str, Any]]] | None:
    """A line for each trial through an axis for each thing that was searched, and its score.

    Returns:
        The drawing, and its axes for the script that brushes them: the place of each, and the
        values of the trials on it; None where there are fewer than two trials.
    """
    shown = [trial for trial in trials if trial["loss"] is not None]
    if len(shown) < 2:
        return None
    names = [name for name in searched(trials) if len({str(_value(t, name)) for t in shown}) > 1]
    columns = {_NAMES.get(name, name): [_value(trial, name) for trial in shown] for name in names}
    if all(trial["accuracy"] is not None for trial in shown):
        columns["accuracy"] = [trial["accuracy"] for trial in shown]
    columns[_loss_name(monitor)] = [trial["loss"] for trial in shown]
    drawing = Drawing(1040, 330, "Trials as lines through all that was searched", "parallel")
    axes: list[dict[str, Any]] = []
    gap = (1040 - 150) / max(len(columns) - 1, 1)
    lines: list[list[tuple[float, float]]] = [[] for _ in shown]
    for number, (name, values) in enumerate(columns.items()):
        place = round(75 + number * gap, 1)
        scale, ticks, numbers = _column(values, log=name == _NAMES[RATE])
        for line, value in zip(lines, numbers, strict=True):
            line.append((place, scale(value)))
        drawing.add('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>', place, place, 286, 44)
        drawing.text(place, 24, name.replace("_", " "), "label", "middle")
        for value, words in ticks:
            drawing.text(place + 7, scale(value) + 4, words, "tick halo")
        axes.append({"x": place, "y": [scale(value) for value in numbers]})
    colours = _colours(trials)
    order = [*enumerate(shown)]
    for number, trial in reversed(order):
        path = " ".join(f"{x:g},{y:g}" for x, y in lines[number])
        drawing.add(
            '<polyline class="trial {}{}" data-trial="{}" points="{}"><title>{}</title></polyline>',
            *(shade_of(trial["loss"], *colours), " best" if trial is trials[0] else ""),
            *(trial["id"], path, _told(trial, monitor, number + 1)),
        )
    # The texts lie over the lines.
    drawing.parts.sort(key=lambda part: "tick" in part)
    return drawing, [{**axis, "trials": [trial["id"] for trial in shown]} for axis in axes]


def colour_key(trials: Trials, monitor: str) -> Drawing | None:
    """What the colours mean."""
    losses = [trial["loss"] for trial in trials if trial["loss"] is not None]
    if len(losses) < 2:
        return None
    low, high = _colours(trials)
    drawing = Drawing(520, 46, f"Colours from {short(low)} to {short(high)}", "colours")
    for step in range(SHADES):
        drawing.add(
            '<rect x="{}" y="18" width="24" height="10" class="q{}"/>', 110 + step * 24, step
        )
    drawing.text(104, 27, short(low), "tick", "end")
    drawing.text(404, 27, short(high), "tick")
    drawing.text(254, 11, f"{_loss_name(monitor)} (lower is better)", "label", "middle")
    return drawing


def _column(values: list[Any], *, log: bool) -> tuple[Scale, list[tuple[float, str]], list[float]]:
    """Scale and named ticks of one axis, and the values as numbers."""
    if all(isinstance(value, (int, float)) for value in values):
        numbers = [float(value) for value in values]
        log = log and min(numbers) > 0
        low, high = min(numbers), max(numbers)
        scale = (
            Scale(low, high, 286, 44, log=log) if high > low else Scale(low - 1, low + 1, 286, 44)
        )
        distinct = sorted(set(numbers))
        ticks = distinct if len(distinct) <= 6 else scale.ticks()
        return scale, [(value, short(value)) for value in ticks], numbers
    names = sorted({str(value) for value in values})
    numbers = [float(names.index(str(value))) for value in values]
    scale = Scale(-0.2, len(names) - 0.8, 286, 44)
    return scale, [(float(place), name[:24]) for place, name in enumerate(names)], numbers


def searched(trials: Trials) -> list[str]:
    """What was searched, by name; freeze depth and learning rate first."""
    found = dict.fromkeys(name for trial in trials for name in trial["hyperparameters"])
    first = [name for name in (DEPTH, RATE) if name in found]
    return [*first, *(name for name in found if name not in first)]


def _value(trial: Mapping[str, Any], name: str) -> Any:
    depth = trial["freeze_depth"]
    if name == DEPTH and depth is not None:
        return depth
    return trial["hyperparameters"].get(name, "")


def _depth(trial: Mapping[str, Any]) -> float | None:
    value = _value(trial, DEPTH)
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _rate(trial: Mapping[str, Any]) -> float | None:
    value = trial["hyperparameters"].get(RATE)
    return float(value) if isinstance(value, (int, float)) and value > 0 else None


def _colours(trials: Trials) -> tuple[float, float]:
    losses = sorted(trial["loss"] for trial in trials if trial["loss"] is not None)
    # One that came to nothing must not make all others look the same.
    return (losses[0], losses[int(0.9 * (len(losses) - 1))]) if losses else (0.0, 1.0)


def _loss_name(monitor: str) -> str:
    return "calibrated loss" if "calibrated" in monitor else "validation loss"


def _told(trial: Mapping[str, Any], monitor: str, place: int) -> str:
    parts = [f"{place}. trial {trial['id']}"]
    parts += [
        f"{_NAMES.get(n, n)} {short(v) if isinstance(v, float) else v}"
        for n, v in trial["hyperparameters"].items()
    ]
    if trial["loss"] is not None:
        parts.append(f"{_loss_name(monitor)} {trial['loss']:.3f}")
    if trial["accuracy"] is not None:
        parts.append(f"accuracy {trial['accuracy']:.3f}")
    return ", ".join(parts)
