"""Drawings of one training: its curves, its rates, its calibration, its values."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from finetune.report.plots import Drawing, Scale, around, short
from finetune.support import accuracy_interval

_WIDTH, _HEIGHT = 520.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 14.0, 44.0, 48.0

_NAMES = {
    "loss": "Loss",
    "accuracy": "Accuracy",
    "mae": "Mean absolute error",
    "learning_rate": "Learning rate",
}


def learning_curves(training: Mapping[str, Any]) -> list[Drawing]:
    """Loss and metric of every epoch, with the phase boundary and the kept epoch."""
    epochs: Sequence[Mapping[str, Any]] = training["epochs"]
    names = ["loss", next((name for name in ("accuracy", "mae") if name in epochs[0]), "")]
    drawn = [_curve(training, name) for name in names if name]
    return [drawing for drawing in drawn if drawing is not None]


def _curve(training: Mapping[str, Any], name: str) -> Drawing | None:
    epochs = training["epochs"]
    series = {
        "training": [row.get(name) for row in epochs],
        "validation": [row.get(f"val_{name}") for row in epochs],
    }
    values = [value for line in series.values() for value in line if value is not None]
    if not values:
        return None
    title = _NAMES.get(name, name)
    number = training["kept"]
    last = None if number is None else series["validation"][number]
    kept = "" if last is None else f"; the kept epoch has {short(last)} on validation images"
    drawing = Drawing(_WIDTH, _HEIGHT, f"{title} over {len(epochs)} epochs{kept}")
    x, y = _scales((0.5, len(epochs) + 0.5), around(values))
    _phases(drawing, x, y, training["head_epochs"], len(epochs))
    drawing.axes(x, y, "epoch", title, whole=True)
    for kind, line in series.items():
        points = [(x(n), y(v)) for n, v in enumerate(line, start=1) if v is not None]
        drawing.line(points, f"line {kind}")
        for place_x, place_y in points if len(epochs) <= 60 else ():
            drawing.add('<circle class="dot {}" cx="{}" cy="{}" r="2.4"/>', kind, place_x, place_y)
    if number is not None and last is not None:
        place = x(number + 1), y(last)
        drawing.add(
            '<circle class="kept" cx="{}" cy="{}" r="6.5"><title>kept: {}</title></circle>',
            *(*place, short(last)),
        )
        near_end = place[0] > _WIDTH - 90
        drawing.text(
            place[0] + (-11 if near_end else 11),
            *(place[1] - 9, f"kept {short(last)}", "note", "end" if near_end else "start"),
        )
    return drawing


def _phases(drawing: Drawing, x: Scale, y: Scale, head: int, epochs: int) -> None:
    """Where the second phase begins."""
    if 0 < head < epochs:
        place = x(head + 0.5)
        drawing.add(
            '<line class="phase" x1="{}" x2="{}" y1="{}" y2="{}"/>', place, place, y.start, y.end
        )
        drawing.text(place - 6, y.end - 2, "head", "phase", "end")
        drawing.text(place + 6, y.end - 2, "fine-tuning", "phase")
    elif epochs:
        drawing.text(x.end, y.end - 2, "head alone" if head else "fine-tuning", "phase", "end")


def rate_curve(training: Mapping[str, Any]) -> Drawing | None:
    """The rate of every step of both phases, or of every epoch where steps were not kept."""
    rates: Mapping[str, Sequence[Sequence[Any]]] = training["rates"]
    points: list[tuple[float, float]] = []
    boundary = 0.0
    for number, steps in enumerate(rates.values()):
        if number == 1:
            boundary = points[-1][0] if points else 0.0
        before = points[-1][0] if points else 0.0
        points += [(before + step, rate) for step, rate in steps if rate is not None]
    label = "step"
    if not points:
        label = "epoch"
        epochs = training["epochs"]
        found = [(n, row.get("learning_rate")) for n, row in enumerate(epochs, start=1)]
        points = [(float(n), rate) for n, rate in found if rate]
    if len(points) < 2:
        return None
    drawing = Drawing(_WIDTH, _HEIGHT, f"Learning rate of every {label}")
    x, y = _scales((points[0][0], points[-1][0]), (0.0, 1.06 * max(rate for _, rate in points)))
    drawing.axes(x, y, label, _NAMES["learning_rate"], whole=True)
    if boundary:
        place = x(boundary + 0.5)
        drawing.add(
            '<line class="phase" x1="{}" x2="{}" y1="{}" y2="{}"/>', place, place, y.start, y.end
        )
    drawing.line([(x(step), y(rate)) for step, rate in points], "line validation")
    return drawing


def calibration_curve(found: Mapping[str, Any]) -> Drawing:
    """How often answers are right that are so sure, before and after."""
    drawing = Drawing(_WIDTH, 380, "Share of right answers over how sure the model is")
    x, y = Scale(0, 1, _LEFT, _WIDTH - _RIGHT), Scale(0, 1, 380 - _BOTTOM, _TOP)
    drawing.axes(x, y, "how sure the model is", "How often it is right")
    drawing.add('<line class="perfect" x1="{}" y1="{}" x2="{}" y2="{}"/>', x(0), y(0), x(1), y(1))
    now: Sequence[tuple[int, float, float]] = found["now"]
    for n, sure, right in now:
        low, high = accuracy_interval(right, n)
        place = x(sure)
        drawing.add(
            '<line class="bar" x1="{}" x2="{}" y1="{}" y2="{}"/>', place, place, y(low), y(high)
        )
    for name, bins in (("before", found["before"] or ()), ("now", now)):
        drawing.line([(x(sure), y(right)) for _, sure, right in bins], f"line {name}")
        largest = max((n for n, _, _ in bins), default=1)
        for n, sure, right in bins:
            drawing.add(
                '<circle class="dot {}" cx="{}" cy="{}" r="{:.1f}"><title>{} answers: {:.1%} sure, '
                "{:.1%} right</title></circle>",
                *(name, x(sure), y(right), 2.5 + 5 * (n / largest) ** 0.5, n, sure, right),
            )
    return drawing


def value_plot(values: Mapping[str, Any]) -> Drawing:
    """What was said over what is true."""
    true, said = values["true"], values["said"]
    drawing = Drawing(_WIDTH, 420, "Predicted values over true values")
    low, high = around([*true, *said])
    x, y = Scale(low, high, _LEFT, _WIDTH - _RIGHT), Scale(low, high, 420 - _BOTTOM, _TOP)
    drawing.axes(x, y, "true value", "Predicted value")
    drawing.add(
        '<line class="perfect" x1="{}" y1="{}" x2="{}" y2="{}"/>', x(low), y(low), x(high), y(high)
    )
    for one, other in zip(true, said, strict=True):
        drawing.add('<circle class="dot faint" cx="{}" cy="{}" r="3"/>', x(one), y(other))
    return drawing


def cost_bar(cost: Sequence[Mapping[str, Any]], told: Callable[[float], str]) -> Markup:
    """One bar for all seconds, a part for each thing they went to."""
    whole = sum(part["seconds"] for part in cost)
    drawing = Drawing(1040, 34, "Where the seconds went", "cost")
    place = 0.0
    for number, part in enumerate(cost):
        width = 1040 * part["seconds"] / whole if whole else 0
        drawing.add(
            '<rect class="part part-{}" x="{:.1f}" y="0" width="{:.1f}" height="34"><title>{}: {}'
            "</title></rect>",
            *(number % 10, place, max(width - 1.5, 0.5), part["name"], told(part["seconds"])),
        )
        place += width
    return Markup(drawing.__html__())


def _scales(x: tuple[float, float], y: tuple[float, float]) -> tuple[Scale, Scale]:
    return Scale(*x, _LEFT, _WIDTH - _RIGHT), Scale(*y, _HEIGHT - _BOTTOM, _TOP)
