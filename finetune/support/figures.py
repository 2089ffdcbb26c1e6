"""Figures: matplotlib's own, without pyplot, so that nothing global is touched."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune.exceptions import ArgumentError
from finetune.support.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart with any kind of colour vision: M. Okabe and K. Ito, "Color Universal Design" (2008).
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#6B7580"


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, in inches, that fits its axes to their labels."""
    from matplotlib.figure import Figure  # late: it takes a while to load

    return Figure((width, height), layout="constrained")


def tidy(axes: "Axes", **settings: Any) -> None:
    """Label axes, and draw nothing there that is not needed."""
    axes.set(**settings)
    axes.grid(color="#e5e8eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def save_figure(figure: "Figure", path: str | os.PathLike[str]) -> Path:
    """Write a figure as an image file.

    Args:
        figure: The figure.
        path: Image file; the ending says which kind, such as ".png" or ".svg".

    Returns:
        The path.

    Raises:
        ArgumentError: If the ending is of no kind of image that can be written.
        StorageError: If the file cannot be written.
    """
    path = Path(path)
    kinds = figure.canvas.get_supported_filetypes()
    kind = path.suffix[1:].lower()
    if kind not in kinds:
        raise ArgumentError(
            f"Expected a file name ending in one of {sorted(kinds)}, received {str(path)!r}."
        )
    write_whole(path, lambda file: figure.savefig(file, format=kind, dpi=150))
    return path
