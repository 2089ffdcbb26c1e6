"""All images of a data set in one row: what is checked, whatever split they are of."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from finetune.data import SPLITS, ImageData, Looks, looks_of


@dataclass(frozen=True, eq=False)
class LookedThrough:
    """The images of all splits, row by row.

    Args:
        data: Where they are from.
        features: Pooled features of a frozen backbone, (n, d); None where there are none.
    """

    data: ImageData
    features: np.ndarray | None = None

    @cached_property
    def splits(self) -> list[str]:
        """The splits that are stored, training images first."""
        return [name for name in SPLITS if name in self.data.splits]

    @cached_property
    def ids(self) -> list[str]:
        """What each image is called."""
        return [name for split in self.splits for name in self.data.splits[split].ids]

    @cached_property
    def content(self) -> list[str]:
        """Digest of each image's content."""
        return [one for split in self.splits for one in self.data.splits[split].content]

    @cached_property
    def together(self) -> list[str]:
        """The same, with one digest for all near copies."""
        return [key for split in self.splits for key in self.data.kept_together(split)]

    @cached_property
    def labels(self) -> np.ndarray:
        """Label of each image."""
        return np.concatenate([self.data.splits[split].labels for split in self.splits])

    @cached_property
    def split_of(self) -> list[str]:
        """The split of each image."""
        return [split for split in self.splits for _ in self.data.splits[split].ids]

    @cached_property
    def own_splits(self) -> bool:
        """Whether validation or test images were given, and not split off by this package."""
        given = self.data.arguments
        parts = {name.partition("/")[0] for name in self.ids}
        from_source = len(parts & {"val", "valid", "validation", "test", "testing"}) > 0
        return from_source or any(
            given[name] is not None and not isinstance(given[name], (int, float))
            for name in ("validation", "test")
            if not str(given[name]).endswith("-fold")
        )

    @property
    def exclusive(self) -> bool:
        """Whether each image is of exactly one class."""
        return self.data.task in ("binary", "multiclass")

    @cached_property
    def looks(self) -> Looks:
        """What the images look like, as far as that tells copies."""
        return looks_of(self.pixels)

    @cached_property
    def pixels(self) -> Sequence[np.ndarray]:
        """The pixels of each image."""
        return _Pixels(self)

    def class_of(self, row: int) -> str:
        """The class of an image; its label, where there are no classes."""
        label = self.labels[row]
        names = self.data.class_names
        if self.exclusive:
            return names[int(label)]
        if names and np.ndim(label):
            return ", ".join(names[place] for place in np.flatnonzero(label >= 0.5)) or "none"
        return ", ".join(f"{value:g}" for value in np.atleast_1d(label))

    def path_of(self, row: int) -> Path | None:
        """The file of an image; None where it is of an array or a TFDS dataset."""
        given = self.data.arguments
        for source in (given["source"], given.get(self.split_of[row])):
            if isinstance(source, (str, Path)) and not str(source).startswith("tfds:"):
                path = Path(source) / self.ids[row]
                if path.is_file():
                    return path
        return None


class _Pixels(Sequence[np.ndarray]):
    """The images of all splits in a row, none of which is copied."""

    def __init__(self, images: LookedThrough) -> None:
        self._splits = [images.data.splits[split].images for split in images.splits]
        self._ends = np.cumsum([len(split) for split in self._splits])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, row: Any) -> Any:
        split = int(np.searchsorted(self._ends, row, side="right"))
        return self._splits[split][row - (self._ends[split - 1] if split else 0)]
