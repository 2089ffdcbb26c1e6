"""What the first bytes of image files say: another format than the name, and their sizes."""

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from finetune.checks.findings import Finding, Group
from finetune.checks.looked_through import LookedThrough

# Of a square that an image is fitted into, less than a third is left for it.
_STRETCHED = 3.0
# Pixels that have to be made up: more than three of four.
_SMALL = 0.5


def find_odd_files(images: LookedThrough) -> list[Finding]:
    """Reads the headers of image files; nothing is decoded.

    Args:
        images: The images; those that are of no file are passed over.
    """
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        headers = [*pool.map(_header, map(images.path_of, range(len(images.ids))))]
    longer = max(images.data.image_size)
    small, stretched, suffix = [], [], []
    for row, header in enumerate(headers):
        if header is None:
            continue
        kind, (width, height), named = header
        size = f"{width} x {height} pixels"
        if kind is not None and named is not None and kind != named:
            suffix.append((0, Group((row,), f"is {kind}, named as {named}")))
        if max(width, height) < _SMALL * longer:
            small.append((max(width, height), Group((row,), size)))
        proportion = max(width, height) / max(1, min(width, height))
        if proportion > _STRETCHED:
            stretched.append((-proportion, Group((row,), size)))
    return [
        Finding(kind, tuple(group for _, group in sorted(found, key=lambda one: one[0])))
        for kind, found in (("small", small), ("stretched", stretched), ("suffix", suffix))
        if found
    ]


def _header(path: Path | None) -> tuple[str | None, tuple[int, int], str | None] | None:
    """Format, (width, height) and the format that the name stands for."""
    if path is None:
        return None
    Image.init()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # It was decoded before; what may run programs was refused then.
            with Image.open(path) as picture:
                kind, size = picture.format, picture.size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return None
    # A phone's photo of several pictures is a JPEG file, too.
    kind = "JPEG" if kind == "MPO" else kind
    return kind, size, Image.EXTENSION.get(path.suffix.lower())
