"""Images that show nothing, are dark or blurred."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image, ImageFilter

from finetune.checks.findings import Finding, Group
from finetune.checks.looked_through import LookedThrough

# Grey levels, of 255. Less deviation than this is the noise of an even surface.
_EVEN = 4.0
# Where 99 of 100 pixels are below, a screen shows next to nothing.
_DARK = 60

# Images that are blurred to know what that does to them, and by how much, in pixels.
_BLURRED, _RADIUS = 200, 2.0


def find_poor_pictures(images: LookedThrough) -> list[Finding]:
    """Finds images that show nothing, are dark, or are as blurred as sharp ones made blurred.

    Args:
        images: The images.
    """
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        measured = np.array([*pool.map(_measure, images.pixels)])
    deviation, bright, sharp = measured.T
    blank = deviation < _EVEN
    dark = ~blank & (bright < _DARK)
    limit = _blur_limit(images.pixels, np.flatnonzero(~blank & ~dark))
    blurred = ~blank & ~dark & (sharp < limit)
    return [
        Finding(kind, tuple(Group((int(row),), why(row)) for row in rows[np.argsort(order[rows])]))
        for kind, chosen, order, why in (
            ("blank", blank, deviation, lambda row: f"grey levels differ by {deviation[row]:.1f}"),
            (
                "dark",
                dark,
                bright,
                lambda row: f"nothing is brighter than {bright[row]:.0f} of 255",
            ),
            (
                "blurred",
                blurred,
                sharp,
                lambda row: f"{sharp[row] / limit:.0%} as sharp as blurred ones",
            ),
        )
        if len(rows := np.flatnonzero(chosen))
    ]


def sharpness(grey: np.ndarray) -> float:
    """How much of the change between pixels is between neighbours: high for a sharp image.

    Args:
        grey: (h, w) grey levels.
    """
    if min(grey.shape) < 5:
        return 1.0
    fine = (np.diff(grey, n=2, axis=0) ** 2).mean() + (np.diff(grey, n=2, axis=1) ** 2).mean()
    coarse = ((grey[4:] - grey[:-4]) ** 2).mean() + ((grey[:, 4:] - grey[:, :-4]) ** 2).mean()
    return float(fine / max(coarse, 1e-6))


def _measure(pixels: np.ndarray) -> tuple[float, float, float]:
    """Deviation of the grey levels, the level that 99% are below, and sharpness."""
    grey = _without_bars(_grey(Image.fromarray(np.asarray(pixels, np.uint8))))
    return float(grey.std()), float(np.quantile(grey, 0.99)), sharpness(grey)


def _grey(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("L"), "float32")


def _without_bars(grey: np.ndarray) -> np.ndarray:
    """The picture within the white bars that bring it to the shape of the others."""
    inside = grey < 255
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return grey
    return grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _blur_limit(pixels: Sequence[np.ndarray], rows: np.ndarray) -> float:
    """The sharpness that a quarter of the images falls below when they are blurred."""
    if not len(rows):
        return 0.0
    chosen = rows[np.linspace(0, len(rows) - 1, min(len(rows), _BLURRED)).astype(int)]
    blur = ImageFilter.GaussianBlur(_RADIUS)
    return float(
        np.quantile(
            [
                sharpness(_without_bars(_grey(Image.fromarray(pixels[row]).filter(blur))))
                for row in chosen
            ],
            0.25,
        )
    )
