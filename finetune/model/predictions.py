"""What a model says of images."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from finetune.data import SkippedFile
from finetune.support import as_html


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image.

    Args:
        path: The file, or the number of the image among those given.
        label: The most probable class; the list of labels above one half for "multilabel";
            the value or values for "regression".
        probabilities: Probability of each class by name; empty for regression.
    """

    path: str
    label: Any
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Predictions:
    """What the model says of several images, in the order given.

    Args:
        paths: The files, or the numbers of the images among those given.
        labels: One label per image, see `Prediction`.
        probabilities: float32 (n, classes); the regressed values for regression.
        class_names: Names of the columns.
        skipped: Files that could not be read, with the reason.
    """

    paths: list[str]
    labels: list[Any]
    probabilities: np.ndarray
    class_names: tuple[str, ...]
    skipped: tuple[SkippedFile, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        first = f", the first {self.labels[0]!r}" if self.labels else ""
        return f"<Predictions: {len(self):,} images{first}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        rows = [
            (one.path, one.label, *(f"{chance:.1%}" for chance in _highest(one.probabilities)))
            for one in self
        ]
        return as_html(f"{len(self):,} predictions", rows)

    def __iter__(self) -> Iterator[Prediction]:
        for path, label, row in zip(self.paths, self.labels, self.probabilities, strict=True):
            named = dict(zip(self.class_names, map(float, row), strict=True))
            yield Prediction(path, label, named)


def _highest(probabilities: dict[str, float]) -> list[float]:
    """The highest of some probabilities, if there are any."""
    return sorted(probabilities.values())[-1:]
