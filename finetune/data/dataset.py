"""ImageData: images that can be trained on, whatever they came from."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from finetune.data.augmentation import resolve_augment
from finetune.data.finding import Ignored
from finetune.data.fixes import Fixed
from finetune.data.images import SkippedFile
from finetune.data.reading_rows import read_rows
from finetune.exceptions import ArgumentError
from finetune.support import as_html, check_number, in_one_line, ready_ahead

SPLITS = ("train", "validation", "calibration", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """The decoded images of one split, in a stable order.

    Args:
        images: uint8 (n, h, w, 3), in memory or memory-mapped.
        labels: int32 (n,) for "binary" and "multiclass"; float32 (n, k) for "multilabel";
            float32 (n,) or (n, k) for "regression".
        ids: Relative path, or the number in its source such as "train/17".
        content: Hex digest of each image's content (the file's bytes, or the pixels).

    Example:
        >>> split = Split(np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 1]), ["a", "b"], ["", ""])
        >>> split.take([1]).ids
        ['b']
    """

    images: np.ndarray
    labels: np.ndarray
    ids: list[str]
    content: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: Sequence[int] | np.ndarray) -> "Split":
        """Returns a split of these images, copied, in this order."""
        return Split(
            self.images[np.asarray(indices, dtype=np.int64)],
            self.labels[np.asarray(indices, dtype=np.int64)],
            [self.ids[index] for index in indices],
            [self.content[index] for index in indices],
        )


@dataclass(frozen=True)
class DataReport:
    """What was not taken from the source, and what is odd about it.

    Args:
        skipped: Images that could not be read, with the reason.
        ignored: How many of what was passed over: "stray files", "hidden files", "hidden
            folders", "other folders"; and the names of some stray files.
        leaked: Ids of validation and test images whose exact content is a training image too.
            Images split off by this package never are.
        contradicting: Ids of images whose exact content has another label elsewhere.
        near: Ids of validation and test images of which a near copy is a training image: saved
            again, made smaller or mirrored. Images split off by this package never are.
        fixed: What was done as `fixes` says; None where there were none.
        few: Why no images were set aside, where some were to be; empty where all is well.
    """

    skipped: tuple[SkippedFile, ...] = ()
    ignored: Ignored = field(default_factory=Ignored)
    leaked: tuple[str, ...] = ()
    contradicting: tuple[str, ...] = ()
    near: tuple[str, ...] = ()
    fixed: Fixed | None = None
    few: str = ""

    def __str__(self) -> str:
        lines = [f"Skipped {len(self.skipped)} unreadable:"] if self.skipped else []
        lines += [f"  {file}" for file in self.skipped[:10]]
        if len(self.skipped) > 10:
            lines.append(f"  and {len(self.skipped) - 10} more")
        if self.ignored:
            lines.append(f"Ignored: {self.ignored}")
        if self.leaked:
            lines.append(
                f"{len(self.leaked)} validation or test images are training images too, such as "
                f"{self.leaked[0]}"
            )
        if self.near:
            lines.append(
                f"{len(self.near)} validation or test images have a near copy among the training "
                f"images, such as {self.near[0]}"
            )
        if self.contradicting:
            lines.append(
                f"{len(self.contradicting)} images have two labels, as copies of one image: "
                f"{', '.join(self.contradicting[:4])}{' ...' * (len(self.contradicting) > 4)}"
            )
        if self.fixed:
            lines.append(str(self.fixed))
        if self.few:
            lines.append(self.few)
        return "\n".join(map(in_one_line, lines))


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images to train, validate and test on. Made by `load_data`.

    Args:
        splits: "train", "validation" and "test" where there are any, and "calibration" where
            validation images were set aside; empty for a `tf.data` source, whose images are not
            stored.
        streams: The same for a `tf.data` source: single images and labels, resized.
        class_names: Names in the order of the class numbers; empty for regression.
        counts: Number of images by split and class ("images" for regression).
        fingerprint: Changes whenever a pixel, a label, their order, the size or the way of
            resizing does.
        image_size: (height, width).
        resize: "crop", "pad" or "squash".
        batch_size: Images in a batch.
        seed: Of the order of training images and of the augmentation.
        task: "binary", "multiclass", "multilabel" or "regression".
        augmentation: As given: "none", "flip", "light", "strong" or a layer.
        report: What was skipped or ignored.
        reload: Loads the same source at another image size: `load_data` with what it was given.
        folds: Number of folds of the cross-validation that was asked for; 0 for none.
        together: For the content of each image that has near copies one content that stands for
            all of them: they are on one side of every split that is made.
    """

    splits: dict[str, Split]
    streams: dict[str, tf.data.Dataset]
    class_names: list[str]
    counts: dict[str, dict[str, int]]
    fingerprint: str
    image_size: tuple[int, int]
    resize: str
    batch_size: int
    seed: int
    task: str
    augmentation: str | keras.Layer | None
    report: DataReport
    reload: Callable[..., "ImageData"] = field(repr=False)
    folds: int = 0
    together: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def train(self) -> tf.data.Dataset:
        """Batches of (float32 images 0..255, labels), augmented, in a new order each epoch.

        Every access gives a dataset that starts from the seed again (and from TensorFlow's global
        seed, where one is set). The images of a `tf.data` source keep the order that it gives.
        """
        return self.dataset("train", training=True)

    @property
    def validation(self) -> tf.data.Dataset | None:
        """Batches in stored order, never augmented; None where there are no such images."""
        return self.dataset("validation") if "validation" in self.counts else None

    @property
    def test(self) -> tf.data.Dataset | None:
        """Batches in stored order, never augmented; None where there are no such images."""
        return self.dataset("test") if "test" in self.counts else None

    def kept_together(self, split: str) -> list[str]:
        """A digest of each image of a stored split, the same one for near copies."""
        return [self.together.get(content, content) for content in self.splits[split].content]

    def apart(self, split: str) -> np.ndarray | None:
        """Which images of a split have no copy, exact or near, among those that are trained on.

        Args:
            split: "validation" or "test". What is trained on for good are training and validation
                images, so test images are compared with both.

        Returns:
            Boolean array; None where none has one, or images are not stored.
        """
        if split not in self.splits:
            return None
        before = [name for name in SPLITS[: SPLITS.index(split)] if name in self.splits]
        known = {key for name in before for key in self.kept_together(name)}
        found = np.array([key not in known for key in self.kept_together(split)], dtype=bool)
        return None if found.all() else found

    @property
    def arguments(self) -> dict[str, Any]:
        """What `load_data` was given, `source` among it, with the options of now."""
        load: Any = self.reload
        return {
            "source": load.args[0],
            **load.keywords,
            "image_size": self.image_size,
            "batch_size": self.batch_size,
            "augment": self.augmentation,
        }

    @property
    def augment(self) -> keras.Layer | None:
        """The layer that augments training images, to be called with `training=True`."""
        return resolve_augment(self.augmentation, self.seed)

    def dataset(self, split: str, *, training: bool = False) -> tf.data.Dataset:
        """Returns a split as batches of (float32 images 0..255, labels).

        Args:
            split: "train", "validation", "calibration" or "test".
            training: Whether to shuffle and augment. Default False: stored order, as it is.

        Returns:
            Dataset of known length; images have the shape (None, height, width, 3).

        Raises:
            ArgumentError: If there is no such split.
        """
        if split not in self.counts:
            raise ArgumentError(f"There is no split {split!r}, only {', '.join(self.counts)}.")
        if split in self.splits:
            batches = self._stored(self.splits[split], training)
        else:
            batches = self.streams[split].batch(self.batch_size)
        batches = batches.map(lambda images, labels: (tf.cast(images, tf.float32), labels))
        augment = self.augment if training else None
        if augment is not None:
            # One batch at a time: parallel calls would draw from the seed in any order.
            batches = batches.map(lambda images, labels: (augment(images, training=True), labels))
        if split in self.streams:  # which the user made, and may have left something to tune in
            return batches.prefetch(tf.data.AUTOTUNE)
        return ready_ahead(batches)

    def at_size(self, image_size: int | tuple[int, int]) -> "ImageData":
        """Reads the same source again at another size; every image stays in its split.

        Args:
            image_size: Pixels: an integer or (height, width).

        Returns:
            The data at that size, with the options of this one.

        Raises:
            ImageSizeError: If the size is not positive.
            DataError: If the source can no longer be read.
        """
        again = self.reload(image_size=image_size, together=self.together)
        return replace(
            again,
            batch_size=self.batch_size,
            seed=self.seed,
            augmentation=self.augmentation,
        )

    def with_options(
        self,
        *,
        batch_size: int | None = None,
        seed: int | None = None,
        augment: str | keras.Layer | None = None,
    ) -> "ImageData":
        """Returns the same images, with the same memory, under other options.

        Args:
            batch_size: Images in a batch. Default: as it is.
            seed: Of order and augmentation; the splits stay as they are. Default: as it is.
            augment: See `resolve_augment`; "none" for none. Default: as it is.

        Returns:
            The data; this one is unchanged.

        Raises:
            ArgumentError: If a value is not allowed.
        """
        seed = self.seed if seed is None else seed
        augmentation = self.augmentation if augment is None else augment
        resolve_augment(augmentation, seed)
        return replace(
            self,
            batch_size=self.batch_size if batch_size is None else check_batch_size(batch_size),
            seed=seed,
            augmentation=augmentation,
        )

    def summary(self) -> str:
        """Returns a table of classes by splits, and what was skipped or ignored."""
        names = [name for name in SPLITS if name in self.counts]
        rows = [(in_one_line(row), row) for row in self.counts["train"]]
        width = max(len(shown) for shown, _ in [*rows, ("total", "")])
        lines = [" ".join([" " * width, *(f"{name:>10}" for name in names)])]
        for shown, row in rows:
            cells = (f"{self.counts[name][row]:>10,}" for name in names)
            lines.append(" ".join([f"{shown:<{width}}", *cells]))
        if self.task != "regression":
            cells = (f"{self._length(name):>10,}" for name in names)
            lines.append(" ".join([f"{'total':<{width}}", *cells]))
        height, across = self.image_size
        lines.append(f"{self.task}, {height} x {across} pixels, resized by {self.resize}")
        return "\n".join([*lines, str(self.report)]).rstrip()

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        return f"<ImageData: {self._in_short()}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        splits = [name for name in SPLITS if name in self.counts]
        rows = [
            (name, *(f"{self.counts[split][name]:,}" for split in splits))
            for name in self.counts["train"]
        ]
        return as_html(self._in_short(), rows, ("", *splits))

    def _in_short(self) -> str:
        counts = ", ".join(f"{self._length(n):,} {n}" for n in SPLITS if n in self.counts)
        classes = f"{len(self.class_names)} classes, " if self.class_names else ""
        height, width = self.image_size
        return f"{classes}{counts} images, {height} x {width} pixels"

    def _length(self, split: str) -> int:
        if split in self.splits:
            return len(self.splits[split])
        return int(self.streams[split].cardinality())

    def _stored(self, split: Split, training: bool) -> tf.data.Dataset:
        indices = tf.data.Dataset.range(len(split))
        if training:
            indices = indices.shuffle(
                max(1, len(split)), seed=self.seed, reshuffle_each_iteration=True
            )
        labels = split.labels
        kinds = [
            tf.TensorSpec((None, *split.images.shape[1:]), tf.uint8),
            tf.TensorSpec((None, *labels.shape[1:]), tf.as_dtype(labels.dtype)),
        ]
        return read_rows(indices.batch(self.batch_size), split, _taken, kinds, stateful=False)


def _taken(split: Split, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(split.images[rows]), split.labels[rows]


def check_batch_size(batch_size: Any) -> int:
    """Returns `batch_size` if it is a whole number that makes sense.

    Raises:
        ArgumentError: If it is not.

    Example:
        >>> check_batch_size(8)
        8
    """
    check_number("batch_size", batch_size, least=1, most=10**6, whole=True)
    return int(batch_size)


def fingerprint(
    parts: Mapping[str, tuple[Sequence[str], np.ndarray]],
    image_size: tuple[int, int],
    resize: str,
    task: str,
    class_names: Sequence[str],
) -> str:
    """Returns a digest of everything that decides what a model sees, in order.

    Args:
        parts: Content digests and labels of each split.
        image_size: (height, width).
        resize: Way of resizing.
        task: The task.
        class_names: Names of the classes.

    Returns:
        32 hex digits.

    Example:
        >>> len(fingerprint({}, (8, 8), "crop", "binary", ["a", "b"]))
        32
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((image_size, resize, task, list(class_names))).encode())
    for name, (content, labels) in parts.items():
        digest.update(f"{name}:{len(content)}:{labels.dtype}{labels.shape}".encode())
        digest.update("".join(content).encode())
        digest.update(labels.tobytes())
    return digest.hexdigest()
