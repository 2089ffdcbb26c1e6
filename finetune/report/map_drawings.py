"""Class activation maps as a figure: each image, and where it speaks for its class."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Inches of a picture.
_SIDE = 2.4


def draw_maps(pixels: np.ndarray, maps: np.ndarray, titles: Sequence[str]) -> "Figure":
    """Draw images, and beside each the same with a veil over what says nothing for its class.

    Args:
        pixels: uint8 (n, height, width, 3).
        maps: float32 (n, rows, columns), from `FineTunedModel.explain`.
        titles: What stands over each.
    """
    from matplotlib.figure import Figure

    count, (height, width) = len(pixels), pixels.shape[1:3]
    side = (2 * _SIDE * width / height, _SIDE * count + 0.3 * count)
    figure = Figure(figsize=side, layout="constrained")
    axes = figure.subplots(count, 2, squeeze=False)
    for (plain, shaded), image, strengths, title in zip(axes, pixels, maps, titles, strict=True):
        plain.imshow(image)
        plain.set_title(title, loc="left", fontsize=9, parse_math=False)
        shaded.imshow(image)
        shaded.imshow(np.zeros((height, width)), cmap="gray", alpha=_veil(strengths, height, width))
        for axis in (plain, shaded):
            axis.set_axis_off()
    return figure


def _veil(strengths: np.ndarray, height: int, width: int) -> np.ndarray:
    """How dark each pixel is: not at all where the image speaks the most."""
    positive = np.maximum(strengths, 0)
    shares = positive / max(float(positive.max()), np.finfo("float32").tiny)
    enlarged = Image.fromarray(shares.astype("float32")).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return 0.85 * (1 - np.clip(np.asarray(enlarged), 0, 1))
