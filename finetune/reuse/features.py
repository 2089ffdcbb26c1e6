"""Feature cache: one pass over the images yields every output of the frozen part that is needed.

Features are held in memory while they fit a budget, else on disk as memory-mapped files, else
not at all: then the whole model runs in every step. They are named by content (backbone
weights, preprocessing, images, size, augmentation, views), so nothing stale is ever served, and
are left on disk for the next run on the same images.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from finetune.exceptions import ArgumentError, StorageError
from finetune.reuse.sources import TRAIN, VALIDATION, Source
from finetune.reuse.store import EntryWriter, FeatureStore, Shards

log = logging.getLogger("finetune")

Extract = Callable[[Sequence[str], np.ndarray], list[tuple[np.ndarray, ...]]]

MEMORY = "memory"
DISK = "disk"

# Shares of what is free when they are asked for: the rest is left to training and others.
_MEMORY_SHARE = 0.4
_DISK_LIMIT = 50 * 10**9


@dataclass(frozen=True)
class Features:
    """What a frozen part computed for every image, and the labels that belong to it.

    Args:
        inputs: One array per tensor that crosses the cut, each (views * n, ...).
        labels: One label or row of labels per image, (n, ...).
    """

    inputs: tuple[np.ndarray | Shards, ...]
    labels: np.ndarray


class FeatureCache:
    """Keeps features by what they depend on; never computes the same ones twice.

    Args:
        budget: Bytes of memory for features. Default: two fifths of what is free.
        folder: Where they are kept on disk. Default: the environment variable
            `FINETUNE_CACHE`, or "~/.cache/finetune".
        dtype: "float32", or "float16" for half the size at a precision of three digits.

    Attributes:
        kept: Features at hand, by the key of their source, the split and the point.
    """

    def __init__(
        self,
        budget: int | None = None,
        folder: str | os.PathLike[str] | None = None,
        dtype: str = "float32",
    ) -> None:
        if dtype not in ("float32", "float16"):
            raise ArgumentError(
                f"Expected cache_dtype to be 'float32' or 'float16', received {dtype!r}."
            )
        if budget is not None and not budget >= 0:
            raise ArgumentError(f"Expected cache_budget of 0 bytes or more, received {budget!r}.")
        self._budget = budget
        self._dtype = dtype
        place = folder or os.environ.get("FINETUNE_CACHE") or "~/.cache/finetune"
        self._store = FeatureStore(Path(place).expanduser(), _DISK_LIMIT)
        self.kept: dict[tuple[str, str, str], Features] = {}
        self._held = 0

    def place(
        self, source: Source, point: str, values: int, seconds_per_image: Callable[[], float]
    ) -> str | None:
        """Where the features at a point would be kept, decided by size and measured speed.

        Args:
            source: The images.
            point: Name of the place in the model.
            values: Numbers per image at that place.
            seconds_per_image: Measures what computing them again costs.

        Returns:
            "memory", "disk", or None where keeping them does not pay.
        """
        if self.holds(source, TRAIN, point):
            return MEMORY
        rows = (source.rows(TRAIN) or 0) + (source.rows(VALIDATION) or 0)
        per_row = values * np.dtype(self._dtype).itemsize
        size = rows * per_row
        if size <= self._room():
            return MEMORY
        try:
            if not source.persistent or size > self._store.free():
                log.info(
                    "Training on whole images: features would take %.1f GB, more than memory and "
                    "disk have room for.",
                    size / 1e9,
                )
                return None
            load = self._store.seconds_per_byte() * per_row
        except OSError as error:
            log.warning("Training on whole images: features cannot be kept on disk: %s.", error)
            return None
        compute = seconds_per_image()
        if load > compute:
            log.info(
                "Training on whole images: loading features takes %.1f ms an image, computing "
                "them %.1f ms.",
                load * 1e3,
                compute * 1e3,
            )
            return None
        log.info(
            "Keeping features on disk, %.1f GB: loading them takes %.1f ms an image, computing "
            "them %.1f ms.",
            size / 1e9,
            load * 1e3,
            compute * 1e3,
        )
        return DISK

    def holds(self, source: Source, split: str, point: str) -> bool:
        """Whether the features are at hand without any work."""
        return (source.key, split, point) in self.kept

    def get(
        self, source: Source, split: str, point: str, wanted: Sequence[str], extract: Extract
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

        Raises:
            StorageError: If they fit neither memory nor disk.
        """
        points = dict.fromkeys([point, *wanted])
        missing = [name for name in points if not self._find(source, split, name)]
        if missing:
            self._compute(source, split, missing, extract)
        return self.kept[source.key, split, point]

    def _room(self) -> int:
        if self._budget is not None:
            return self._budget - self._held
        return int(psutil.virtual_memory().available * _MEMORY_SHARE)

    def _find(self, source: Source, split: str, point: str) -> bool:
        """Whether the features are at hand; fetches them from disk if they are there."""
        key = source.key, split, point
        if key in self.kept:
            return True
        found = self._store.read(self._name(*key)) if source.persistent else None
        if found is None:
            return False
        arrays, labels = found
        self._keep(key, arrays, labels)
        log.debug("Features of %s images found in %s.", split, self._store.folder)
        return True

    def _keep(
        self, key: tuple[str, str, str], arrays: Sequence[np.ndarray | Shards], labels: np.ndarray
    ) -> None:
        size = sum(map(_bytes, arrays))
        if any(isinstance(array, Shards) for array in arrays) and size <= self._room():
            arrays = [array.load() if isinstance(array, Shards) else array for array in arrays]
        if not any(isinstance(array, Shards) for array in arrays):
            self._held += size
        self.kept[key] = Features(tuple(arrays), labels)

    def _name(self, key: str, split: str, point: str) -> str:
        return f"{key}|{split}|{point}|{self._dtype}"

    def _compute(self, source: Source, split: str, points: Sequence[str], extract: Extract) -> None:
        """One pass over the images, each point's features into memory or to disk."""
        started = time.perf_counter()
        room = _Room(self._room())
        sinks = [_Sink(self._writer(source, split, point), room) for point in points]
        labels = []
        for pixels, batch_labels in source.passes(split):
            labels.append(np.asarray(batch_labels))
            for sink, arrays in zip(sinks, extract(points, pixels), strict=True):
                # Copied, as a view would hold memory of TensorFlow's pool, which never shrinks.
                sink.add([np.array(array, self._dtype) for array in arrays])
        merged = np.concatenate(labels)
        views = source.views if split == TRAIN else 1
        merged = merged[: len(merged) // views]
        for point, sink in zip(points, sinks, strict=True):
            sink.finish(merged)
            if sink.in_memory:
                self._keep((source.key, split, point), sink.arrays(), merged)
        # Only now is it known what room is left to what went to disk.
        for point in points:
            if not self._find(source, split, point):
                raise StorageError(
                    f"The features written to {self._store.folder} cannot be read back. Name "
                    "another place with cache_dir."
                )
        self._store.prune()
        kept = [array for point in points for array in self.kept[source.key, split, point].inputs]
        log.info(
            "Features of %d %s images%s computed in %.1f s: %.0f MB, %s.",
            *(len(merged), split, f" x {views} views" if views > 1 else ""),
            time.perf_counter() - started,
            sum(map(_bytes, kept)) / 1e6,
            "in part on disk" if any(isinstance(a, Shards) for a in kept) else "in memory",
        )

    def _writer(self, source: Source, split: str, point: str) -> EntryWriter | None:
        if not source.persistent:
            return None
        try:
            return self._store.writer(self._name(source.key, split, point))
        except OSError as error:
            log.warning("Features are not kept for later runs: %s.", error)
            return None


def _bytes(array: np.ndarray | Shards) -> int:
    return int(np.prod(array.shape)) * array.dtype.itemsize


@dataclass
class _Room:
    """Bytes of memory that are left, for all points of a pass together."""

    free: int


class _Sink:
    """Takes the rows of one point: to disk for later runs, and to memory while they fit."""

    def __init__(self, writer: EntryWriter | None, room: _Room) -> None:
        self._writer = writer
        self._room = room
        self._rows: list[list[np.ndarray]] = []
        self._held = 0
        self.in_memory = True

    def add(self, arrays: Sequence[np.ndarray]) -> None:
        if self._writer is not None:
            try:
                self._writer.add(arrays)
            except OSError as error:
                self._give_up(error)
        if self.in_memory:
            self._rows.append(list(arrays))
            size = sum(array.nbytes for array in arrays)
            self._held += size
            self._room.free -= size
            if self._room.free < 0 and self._writer is not None:
                self.in_memory = False
                self._rows.clear()
                self._room.free += self._held

    def finish(self, labels: np.ndarray) -> None:
        if self._writer is not None:
            try:
                self._writer.finish(labels)
            except OSError as error:
                self._give_up(error)

    def arrays(self) -> list[np.ndarray]:
        """All rows; asked for once, for the batches that they came in are let go of."""
        batches, self._rows = self._rows, []
        return [np.concatenate(parts) for parts in zip(*batches, strict=True)]

    def _give_up(self, error: OSError) -> None:
        assert self._writer is not None
        self._writer.abandon()
        self._writer = None
        if not self.in_memory:
            raise StorageError(
                f"Features are too many for memory and cannot be kept on disk: {error}. Free some "
                "space, or name another place with cache_dir, or give more memory with "
                "cache_budget."
            ) from error
        log.warning("Features are not kept for later runs: %s.", error)
