"""Where nothing is written: among the images of a user."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune.exceptions import ArgumentError


def check_outside(out: str | os.PathLike[str] | None, loading: Mapping[str, Any]) -> None:
    """Refuses a folder to write to that lies in a folder of images, where it would count as one.

    Args:
        out: The folder to be written; None for a new one under "runs/".
        loading: Arguments of `load_data`, whose "source", "validation" and "test" may be folders.

    Raises:
        ArgumentError: If it lies in one of them, or is one.

    Example:
        >>> check_outside("shoes/run", {"source": "shoes"})
        Traceback (most recent call last):
        finetune.exceptions.ArgumentError: Expected `out` (--out) outside the images, but ...
    """
    target = Path("runs" if out is None else out)
    for name in ("source", "validation", "test"):
        source = loading.get(name)
        if not isinstance(source, (str, os.PathLike)) or str(source).startswith("tfds:"):
            continue
        if target.resolve().is_relative_to(Path(source).resolve()):
            raise ArgumentError(
                f"Expected `out` (--out) outside the images, but {target} lies in {source}: its "
                "folders would be taken for classes. Name another place."
            )
