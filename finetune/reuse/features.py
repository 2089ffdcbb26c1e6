"""Feature cache: one pass over the images yields every output of the frozen part that is needed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from finetune.reuse.source import Source


@dataclass(frozen=True)
class Features:
    """What a frozen part computed for every image, and the labels that belong to it.

    Args:
        inputs: One array per tensor that crosses the cut, each (views * n, ...).
        labels: One label or row of labels per image, (n, ...).
    """

    inputs: tuple[np.ndarray, ...]
    labels: np.ndarray


class FeatureCache:
    """Keeps features by what they depend on; never computes the same ones twice."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, ...], Features] = {}

    def get(
        self,
        source: Source,
        split: str,
        point: str,
        wanted: Sequence[str],
        extract: Callable[[Sequence[str], np.ndarray], list[tuple[np.ndarray, ...]]],
    ) -> Features:
        """Features of a split at a point of the model, computed with others if they are missing.

        Args:
            source: The images.
            split: "train" or "validation".
            point: Name of the place in the model, unique among models.
            wanted: Every point that will be needed: missing ones are computed in the same pass.
            extract: From points and a batch of pixels to the arrays of each point.

        Returns:
            The features at `point`.
        """
        if (source.key, split, point) not in self._kept:
            missing = [
                p
                for p in dict.fromkeys([point, *wanted])
                if (source.key, split, p) not in self._kept
            ]
            for name, features in _compute(source, split, missing, extract).items():
                self._kept[source.key, split, name] = features
        return self._kept[source.key, split, point]


def _compute(
    source: Source, split: str, points: Sequence[str], extract: Callable[..., Any]
) -> dict[str, Features]:
    columns: list[list[list[np.ndarray]]] = [[] for _ in points]
    labels = []
    for pixels, batch_labels in source.passes(split):
        labels.append(np.asarray(batch_labels))
        for column, arrays in zip(columns, extract(points, pixels), strict=True):
            column.append(list(arrays))
    all_labels = np.concatenate(labels)
    views = source.views if split == "train" else 1
    return {
        point: Features(
            tuple(np.concatenate(parts) for parts in zip(*column, strict=True)),
            all_labels[: len(all_labels) // views],
        )
        for point, column in zip(points, columns, strict=True)
    }
