"""One fold of a cross-validation: some of the images are held back, features are those of all."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from finetune.reuse.batches import RowBatches
from finetune.reuse.features import Features
from finetune.reuse.joined import JoinedRows, PickedRows
from finetune.reuse.sources import TRAIN, VALIDATION, StoredSource


@dataclass(frozen=True, eq=False)
class FoldSource:
    """A source without the images that are held back; none of the others validates.

    Args:
        whole: Training and validation images, not augmented. What is computed of them once serves
            every fold.
        held: For each of them, those to train on first, whether it is held back.
    """

    whole: StoredSource
    held: np.ndarray = field(repr=False)
    stored: bool = True
    views: int = 1

    @property
    def reuse(self) -> bool:
        """Whether frozen work may be computed once and kept."""
        return self.whole.reuse

    @property
    def batch_size(self) -> int:
        """Images in a batch."""
        return self.whole.batch_size

    @property
    def key(self) -> str:
        """That of the whole, whose features they are."""
        return self.whole.key

    @property
    def persistent(self) -> bool:
        """Whether the features may outlive the process."""
        return self.whole.persistent

    def rows(self, split: str) -> int:
        """Number of images; none validates."""
        return len(self._chosen(split))

    def labels(self, split: str = TRAIN) -> np.ndarray:
        """Labels of the images."""
        every = np.concatenate([self.whole.labels(part) for part in (TRAIN, VALIDATION)])
        return every[self._chosen(split)]

    def features(self, split: str, train: Features, validation: Features) -> Features:
        """Those of a split, among those of the whole."""
        inputs = (
            PickedRows(JoinedRows(one, other, 1), self._chosen(split))
            for one, other in zip(train.inputs, validation.inputs, strict=True)
        )
        return Features(tuple(inputs), self.labels(split))

    def pixels(self, split: str, *, seed: int | None) -> RowBatches:
        """Images in the order of the seed."""
        return self._batches(self._chosen(split), self.labels(split), seed)

    def all_pixels(self, *, seed: int | None) -> RowBatches:
        """All that are not held back, likewise."""
        return self.pixels(TRAIN, seed=seed)

    def held_back(self) -> RowBatches:
        """Those that are, with no labels to learn from: their numbers in the place of these."""
        numbers = np.flatnonzero(self.held)
        return self._batches(numbers, numbers, None)

    def passes(self, split: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Those of the whole."""
        return self.whole.passes(split)

    def _batches(self, chosen: np.ndarray, labels: np.ndarray, seed: int | None) -> RowBatches:
        train, validation = (self.whole.data.splits[part].images for part in (TRAIN, VALIDATION))
        images = PickedRows(JoinedRows(train, validation, 1), chosen)
        return RowBatches((images,), labels, batch_size=self.batch_size, seed=seed)

    def _chosen(self, split: str) -> np.ndarray:
        return np.flatnonzero(~self.held) if split == TRAIN else np.empty(0, int)
