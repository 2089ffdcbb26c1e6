"""Feature cache: one pass over the images yields every output of the frozen part that is needed.

Features are held in memory while they fit a budget, else on disk as memory-mapped files, else
not at all: then the whole model runs in every step. They are named by all that they depend on (the
layers, their code and weights, pixels, views, the versions that computed them), so that nothing
stale is served, and are left on disk for the next run on the same images.
"""

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from finetune.exceptions import ArgumentError, StorageError
from finetune.reuse.entries import EntryWriter, Shards
from finetune.reuse.identities import MAKERS
from finetune.reuse.joined import Rows
from finetune.reuse.sinks import Room, Sink
from finetune.reuse.sources import TRAIN, Source
from finetune.reuse.store import FeatureStore
from finetune.support import check_number, current_deadline, free_memory, steps

log = logging.getLogger("finetune")

# From images, the name of their split and points: batches of the arrays of each point, and labels.
Extract = Callable[
    [Source, str, Sequence[str]], Iterator[tuple[list[tuple[np.ndarray, ...]], np.ndarray]]
]

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

    inputs: tuple[Rows, ...]
    labels: np.ndarray

    def batches(self, size: int) -> Iterator[tuple[tuple[np.ndarray, ...], np.ndarray]]:
        """Rows and their labels in the order and the batches of a pass over the images."""
        images = len(self.labels)
        for view in range(len(self.inputs[0]) // images):
            for start in range(0, images, size):
                chosen = np.arange(start, min(start + size, images))
                rows = tuple(array[view * images + chosen] for array in self.inputs)
                yield rows, self.labels[chosen]


class FeatureCache:
    """Keeps features by what they depend on; never computes the same ones twice.

    Args:
        budget: Bytes of memory for features. Default: two fifths of what is free when some are
            first asked for.
        folder: Where they are kept on disk. Default: the environment variable
            `FINETUNE_CACHE`, or "~/.cache/finetune".
        dtype: "float32", or "float16" for half the size at a precision of three digits.

    What is in memory takes no more than the budget, over all models and images together. Those of
    the model and images at hand come first: where they need room, what others have not used for
    longest is let go of.

    Attributes:
        kept: Features at hand, by the key of their source, the split and the point; those that were
            used last come last.
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
        check_number("cache_budget", budget, least=0, optional=True)
        self._budget = budget
        self._dtype = dtype
        place = folder or os.environ.get("FINETUNE_CACHE") or "~/.cache/finetune"
        self._store = FeatureStore(_expanded(Path(place)), _DISK_LIMIT)
        self.kept: dict[tuple[str, str, str], Features] = {}
        self._parts = 1

    def share(self, parts: int) -> None:
        """Take only a part of the budget: so many caches share it."""
        self._parts = parts

    def row_bytes(self, values: int) -> int:
        """Bytes that so many values take."""
        return values * np.dtype(self._dtype).itemsize

    @cached_property
    def budget(self) -> int:
        """Bytes of memory that all features together may take."""
        whole = free_memory() * _MEMORY_SHARE if self._budget is None else self._budget
        return int(whole / self._parts)

    def room(self, source: Source, model: str) -> int:
        """Bytes of memory that are left for features of a model on some images.

        Args:
            source: The images.
            model: What the names of its points begin with, up to the first "/".
        """
        return self._left_for((source.key, model))

    def _left_for(self, group: tuple[str, str]) -> int:
        own = sum(size for key, size in self._sizes() if _group(key) == group)
        return max(0, self.budget - own)

    def _sizes(self) -> list[tuple[tuple[str, str, str], int]]:
        """Bytes of memory of all that is at hand, what was not used for longest first."""
        return [
            (key, sum(_bytes(array) for array in features.inputs if isinstance(array, np.ndarray)))
            for key, features in self.kept.items()
        ]

    def _free(self) -> int:
        return self.budget - sum(size for _, size in self._sizes())

    def _let_go(self, group: tuple[str, str]) -> int:
        """Let go of what other models or images have not used for longest; bytes that are free."""
        for key, size in self._sizes():
            if size and _group(key) != group:
                del self.kept[key]
                log.debug("Features of %s images are let go of, to make room.", key[1])
                return size
        return 0

    def disk(self, source: Source, *, lasting: bool = True) -> tuple[int, float]:
        """Bytes of disk that are left for features, and the seconds that each takes.

        Args:
            source: The images.
            lasting: See `get`.
        """
        if not (source.persistent and lasting):
            return 0, 0.0
        try:
            return max(0, self._store.free()), self._store.seconds_per_byte()
        except OSError as error:
            log.warning("Features cannot be kept on disk: %s.", error)
            return 0, 0.0

    def holds(self, source: Source, split: str, point: str) -> bool:
        """Whether the features are at hand without any work."""
        return (source.key, split, point) in self.kept

    def fetch(
        self, source: Source, split: str, points: Sequence[str], *, lasting: bool = True
    ) -> bool:
        """Whether the features at all points are at hand, those on disk fetched; as for `get`."""
        on_disk = source.persistent and lasting
        return all([self._find(source, split, point, on_disk) for point in points])

    def get(
        self,
        source: Source,
        split: str,
        point: str,
        wanted: Sequence[str],
        extract: Extract,
        *,
        lasting: bool = True,
    ) -> Features:
        """Features of a split at a point of the model, computed with others if they are missing.

        Args:
            source: The images.
            split: "train" or "validation".
            point: The model's name, "/", and that of the place in it.
            wanted: Every point that will be needed: missing ones are computed in the same pass.
            extract: Goes through the images once: gives the arrays of each point, batch by batch.
            lasting: Whether the names of points mean the same in other processes, so that
                features may be kept on disk.

        Returns:
            The features at `point`.

        Raises:
            StorageError: If they fit neither memory nor disk.
            OutOfTimeError: If time is limited and up; what was computed by then is lost.
        """
        on_disk = source.persistent and lasting
        points = dict.fromkeys([point, *wanted])
        missing = [name for name in points if not self._find(source, split, name, on_disk)]
        if missing:
            self._compute(source, split, missing, extract, on_disk)
        key = source.key, split, point
        self.kept[key] = self.kept.pop(key)  # the one that was used last
        return self.kept[key]

    def _find(self, source: Source, split: str, point: str, on_disk: bool) -> bool:
        """Whether the features are at hand; fetches them from disk if they are there."""
        key = source.key, split, point
        if key in self.kept:
            return True
        rows = source.rows(split)
        if not on_disk or rows is None:
            return False
        try:
            arrays = self._store.read(self._name(*key), rows)
        except OSError as error:
            log.warning("Kept features cannot be used: %s.", error)
            return False
        if arrays is None:
            return False
        # Labels are the source's: kept ones would be one more thing that can be wrong.
        self._keep(key, arrays, source.labels(split))
        log.debug("Features of %s images found in %s.", split, self._store.folder)
        return True

    def _keep(
        self, key: tuple[str, str, str], arrays: Sequence[np.ndarray | Shards], labels: np.ndarray
    ) -> None:
        if any(isinstance(array, Shards) for array in arrays):
            size = sum(map(_bytes, arrays))
            if size <= self._left_for(_group(key)):
                Room(self._free(), partial(self._let_go, _group(key))).take(size)
                arrays = [array.load() if isinstance(array, Shards) else array for array in arrays]
        self.kept[key] = Features(tuple(arrays), labels)

    def _name(self, key: str, split: str, point: str) -> str:
        return f"{key}|{split}|{point}|{self._dtype}|{MAKERS}"

    def _compute(
        self, source: Source, split: str, points: Sequence[str], extract: Extract, on_disk: bool
    ) -> None:
        """Features of points that are not at hand, unless another process computes them first."""
        started = time.perf_counter()
        with self._writers(source, split, points if on_disk else ()) as writers:
            # Another process may have written them meanwhile.
            points = [point for point in points if not self._find(source, split, point, on_disk)]
            if not points:
                return
            beyond = self._pass(source, split, points, writers, extract, self._dtype)
            if beyond:
                log.info(
                    "Features are kept as float32 at %d of %d places, where some values are too "
                    "large for %s.",
                    *(len(beyond), len(points), self._dtype),
                )
                self._pass(source, split, beyond, writers, extract, "float32")
        # Only now is it known what room is left to what went to disk.
        for point in points:
            if not self._find(source, split, point, on_disk):
                raise StorageError(
                    f"The features written to {self._store.folder} cannot be read back. Name "
                    "another place with cache_dir."
                )
        if writers:
            self._make_room()
        kept = [array for point in points for array in self.kept[source.key, split, point].inputs]
        views = source.views if split == TRAIN else 1
        log.info(
            "Features of %d %s images%s computed in %.1f s: %.0f MB, %s.",
            len(self.kept[source.key, split, points[0]].labels),
            *(split, f" x {views} views" if views > 1 else ""),
            time.perf_counter() - started,
            sum(map(_bytes, kept)) / 1e6,
            "in part on disk" if any(isinstance(a, Shards) for a in kept) else "in memory",
        )

    def _make_room(self) -> None:
        """Keep the folder within its limit; no reason to end a training that has what it needs."""
        try:
            self._store.prune()
        except OSError as error:
            log.warning("Features of earlier runs cannot be removed: %s.", error)

    @contextmanager
    def _writers(
        self, source: Source, split: str, points: Sequence[str]
    ) -> Iterator[dict[str, EntryWriter]]:
        """What writes points to disk, for as many as can be written."""
        with ExitStack() as stack:
            writers: list[EntryWriter] = []
            if points:
                names = [self._name(source.key, split, point) for point in points]
                try:
                    writers = stack.enter_context(self._store.writing(names))
                except OSError as error:
                    log.warning("Features are not kept for later runs: %s.", error)
            yield dict(zip(points, writers, strict=False))

    def _pass(
        self,
        source: Source,
        split: str,
        points: Sequence[str],
        writers: Mapping[str, EntryWriter],
        extract: Extract,
        dtype: str,
    ) -> list[str]:
        """One pass over the images, each point's features into memory or to disk.

        Returns:
            The points with values that the dtype cannot hold; nothing of these is kept.
        """
        room = Room(self._free(), partial(self._let_go, _group((source.key, split, points[0]))))
        sinks = [Sink(writers.get(point), room, dtype) for point in points]
        labels = []
        deadline, done, rows = current_deadline(), 0, source.rows(split)
        with steps(f"Features, {split}", rows) as progress:
            for features, batch_labels in extract(source, split, points):
                labels.append(np.asarray(batch_labels))
                for sink, arrays in zip(sinks, features, strict=True):
                    sink.add(arrays)
                done += len(batch_labels)
                progress(done)
                if done != rows:
                    of = f"{done:,} of {rows:,}" if rows else f"{done:,}"
                    deadline.check(f"the features of {of} {split} images were computed")
        merged = np.concatenate(labels)
        merged = merged[: len(merged) // (source.views if split == TRAIN else 1)]
        for point, sink in zip(points, sinks, strict=True):
            sink.finish()
            if sink.in_memory:
                self._keep((source.key, split, point), sink.arrays(), merged)
        return [point for point, sink in zip(points, sinks, strict=True) if sink.beyond]


def _expanded(place: Path) -> Path:
    """The place with its "~" filled in; where nobody is at home, one among temporary files."""
    try:
        return place.expanduser()
    except RuntimeError:
        return (
            Path(tempfile.gettempdir()) / f"finetune-{os.getuid() if hasattr(os, 'getuid') else ''}"
        )


def _group(key: tuple[str, str, str]) -> tuple[str, str]:
    """The images and the model that features are of."""
    images, _, point = key
    return images, point.partition("/")[0]


def _bytes(array: Rows) -> int:
    return int(np.prod(array.shape)) * array.dtype.itemsize
