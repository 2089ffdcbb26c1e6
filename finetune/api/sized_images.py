"""Images at the sizes of several backbones, each size loaded once."""

import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from rich.console import Console

from finetune.checks import remarks_on
from finetune.data import ImageData, load_data, scan_folder
from finetune.exceptions import ArgumentError
from finetune.support import did_you_mean

F = TypeVar("F", bound=Callable[..., Any])

# The arguments of `load_data` but for the images themselves.
LOADING = {
    name: parameter
    for name, parameter in inspect.signature(load_data).parameters.items()
    if name != "source"
}


def with_loading(*own: str) -> Callable[[F], F]:
    """Show editors and `help` the arguments of `load_data` that arrive as `**loading`.

    Args:
        *own: Of these, what the function has itself, or does without.
    """

    def show(function: F) -> F:
        signature = inspect.signature(function)
        kept = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        further = [
            parameter.replace(kind=parameter.KEYWORD_ONLY)
            for name, parameter in LOADING.items()
            if name not in own
        ]
        vars(function)["__signature__"] = signature.replace(parameters=[*kept, *further])
        return function

    return show


def refuse_unknown(function: Callable[..., Any], loading: Mapping[str, Any]) -> None:
    """Refuse what arrived as `**loading` and is no argument that `with_loading` shows."""
    known = inspect.signature(function).parameters
    for name in loading:
        if name not in known:
            raise ArgumentError(
                f"{function.__name__} has no argument {name!r}.{did_you_mean(name, known)} "
                "Expected one of its own or of load_data."
            )


class SizedImages:
    """Images as they were given, loaded when it is known at which size.

    Args:
        data: What `load_data` takes, or an `ImageData`, which stays at its own size.
        loading: Further arguments of `load_data`.

    Raises:
        DataError: If there is no such folder: that is told before weights are fetched.

    Example:
        >>> import numpy as np
        >>> pixels = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), "uint8")
        >>> images = SizedImages((pixels, [0, 1] * 10), {})
        >>> images.at((6, 6)).image_size, images.at((6, 6)) is images.at((6, 6))
        ((6, 6), True)
    """

    def __init__(self, data: Any, loading: Mapping[str, Any]) -> None:
        self.given = data if isinstance(data, ImageData) else None
        self._source = data
        self._loading = dict(loading)
        self._loaded: dict[tuple[int, int], ImageData] = {}
        if isinstance(data, (str, os.PathLike)) and not str(data).startswith("tfds:"):
            scan_folder(data)

    def at(self, size: tuple[int, int]) -> ImageData:
        """The images at a size; an `ImageData` that was given is as it is."""
        if self.given is not None:
            return self.given
        if size not in self._loaded:
            # Near copies that are found at one size are those of all: no image changes sides.
            other = next(iter(self._loaded.values()), None)
            self._loaded[size] = (
                load_data(self._source, **{**self._loading, "image_size": size})
                if other is None
                else other.at_size(size)
            )
        return self._loaded[size]


def announce(data: ImageData, console: Console) -> None:
    """Say how many images there are, and what is odd about them."""
    parts = [f"{sum(counts.values()):,} {split}" for split, counts in data.counts.items()]
    classes = f", {len(data.class_names)} classes" if data.class_names else ""
    console.print(f"Images: {', '.join(parts)}{classes}")
    if console.quiet:
        return
    for line in remarks_on(data):
        console.print(line, style="yellow")
