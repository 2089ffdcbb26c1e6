"""Parts of drawings in SVG: scales, axes, marks. Text is escaped, colours come from the style."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

# Colours that the style knows: told apart with any kind of colour vision, in light and dark.
SHADES = 12


@dataclass(frozen=True)
class Scale:
    """From values to places on the page.

    Args:
        low: The lowest value.
        high: The highest value.
        start: Where the lowest value is.
        end: Where the highest value is.
        log: Whether equal factors take equal room.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value."""
        low, high = self._bent(self.low), self._bent(self.high)
        share = (self._bent(value) - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values to name on an axis.

        Example:
            >>> Scale(0.0, 1.1, 0, 100).ticks()
            [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
            >>> Scale(1e-5, 1e-3, 0, 100, log=True).ticks()
            [1e-05, 0.0001, 0.001]
        """
        if not self.high > self.low:
            return [self.low]
        if self.log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            found = [float(f"1e{power}") for power in range(first, last + 1)]
            return found if len(found) > 1 else [self.low, self.high]
        rough = (self.high - self.low) / most
        size = 10 ** math.floor(math.log10(rough))
        step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(number * step, 10) for number in range(first, last + 1)]

    def _bent(self, value: float) -> float:
        return math.log10(max(value, 1e-30)) if self.log else value


def around(values: Sequence[float], margin: float = 0.06) -> tuple[float, float]:
    """The lowest and the highest of some values, with room on both sides."""
    low, high = min(values), max(values)
    room = (high - low) * margin or abs(high) * margin or 0.5
    return low - room, high + room


def short(value: float | None) -> str:
    """A number in few characters.

    Example:
        >>> short(0.00003), short(0.85), short(54.0), short(None)
        ('3e-5', '0.85', '54', '')
    """
    if value is None:
        return ""
    if value and (abs(value) < 0.001 or abs(value) >= 1e6):
        mantissa, _, power = f"{value:.2g}".partition("e")
        return f"{mantissa}e{int(power)}" if power else mantissa
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def shade_of(value: float | None, low: float, high: float) -> str:
    """The class of the style that colours a value: "q0" for the lowest to "q11"; "q" for none.

    Example:
        >>> shade_of(1.0, 1.0, 2.0), shade_of(9.0, 1.0, 2.0), shade_of(None, 1.0, 2.0)
        ('q0', 'q11', 'q')
    """
    if value is None:
        return "q"
    share = (value - low) / (high - low) if high > low else 0.0
    return f"q{round(min(1.0, max(0.0, share)) * (SHADES - 1))}"


@dataclass
class Drawing:
    """An SVG that grows.

    Args:
        width: Of the view box.
        height: Likewise.
        label: What it shows, for those who cannot see it.
        name: Its class.
    """

    width: float
    height: float
    label: str
    name: str = ""
    parts: list[Markup] = field(default_factory=list)

    def add(self, code: str, *values: object) -> None:
        """Add elements; values are escaped."""
        self.parts.append(Markup(code).format(*values))

    def line(self, points: Sequence[tuple[float, float]], name: str) -> None:
        """A line through points."""
        if len(points) > 1:
            path = " ".join(f"{x:g},{y:g}" for x, y in points)
            self.add('<polyline class="{}" points="{}"/>', name, path)

    def text(
        self, x: float, y: float, words: object, name: str = "", anchor: str = "start"
    ) -> None:
        """A text."""
        self.add(
            '<text x="{}" y="{}" class="{}" text-anchor="{}">{}</text>', x, y, name, anchor, words
        )

    def axes(
        self,
        x: Scale,
        y: Scale,
        xlabel: str,
        ylabel: str,
        *,
        whole: bool = False,
        named: Sequence[float] = (),
    ) -> None:
        """Grid, ticks and labels of both axes; y stands upright as title above.

        Args:
            x: Across.
            y: Upwards.
            xlabel: What x is.
            ylabel: What y is.
            whole: Whether x has whole numbers alone. Default False.
            named: Values of x that are named. Default: round ones.
        """
        for value in y.ticks(5):
            self.add(
                '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>',
                x.start,
                x.end,
                y(value),
                y(value),
            )
            self.text(x.start - 8, y(value) + 4, short(value), "tick", "end")
        for value in named or x.ticks(8):
            if whole and value != int(value):
                continue
            self.text(x(value), y.start + 18, short(value), "tick", "middle")
        self.add(
            '<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>', x.start, x.end, y.start, y.start
        )
        self.text((x.start + x.end) / 2, y.start + 36, xlabel, "label", "middle")
        self.text(x.start - 34, y.end - 22, ylabel, "label")

    def __html__(self) -> str:
        """The whole element, for a template."""
        return Markup(
            '<svg viewBox="0 0 {} {}" role="img" aria-label="{}" class="plot {}">{}</svg>'
        ).format(self.width, self.height, self.label, self.name, Markup("").join(self.parts))
