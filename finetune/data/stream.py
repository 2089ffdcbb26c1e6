"""Ready `tf.data` datasets: resized and batched as they flow, never stored."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from finetune.data.copies import contradicting, leaked
from finetune.data.dataset import SPLITS, DataReport, ImageData, fingerprint
from finetune.data.labels import (
    Labels,
    check_class_counts,
    check_same_classes,
    count_classes,
    encode_labels,
)
from finetune.data.pixels import check_pixels, resize_pixels
from finetune.exceptions import ArgumentError, DataError

# Content digests and labels of the images of each split.
_Seen: TypeAlias = "dict[str, tuple[list[str], np.ndarray]]"


def load_stream(
    source: tf.data.Dataset,
    given: dict[str, Any],
    *,
    task: str,
    class_names: Sequence[str] | None,
    options: dict[str, Any],
) -> ImageData:
    """Makes image data of `tf.data` datasets.

    They are gone through twice, to check pixels and labels, to count, and to see what changes from
    one time to the next. Their order is theirs: training images are shuffled only as the dataset
    itself does.

    Args:
        source: Training images: a dataset of (image, label), batched or not.
        given: "validation" and "test": datasets of the same kind, or None.
        task: See `encode_labels`.
        class_names: Names in the order of the class numbers. Default: the dataset's attribute
            `class_names`, which Keras' loaders set, or numbers.
        options: The fields of `ImageData` that the source does not decide.

    Returns:
        The data; its `splits` are empty.

    Raises:
        ArgumentError: If validation or test are not datasets.
        DataError: If elements, pixels or labels do not fit, or what is to be measured on changes.
    """
    datasets = {"train": source}
    for name, value in given.items():
        if isinstance(value, tf.data.Dataset):
            datasets[name] = value
        elif value is not None:
            raise ArgumentError(
                "The images of a tf.data.Dataset are not stored, so none can be split off from "
                f"it: expected another tf.data.Dataset (or None) as `{name}`, got {value!r}. "
                f"With source.take(100) as `{name}` and source.skip(100) to train on, shuffle "
                "after that, not before: what shuffles anew each time would mix the two."
            )
    size, resize = options["image_size"], options["resize"]
    class_names = class_names or getattr(source, "class_names", None)
    images = {name: datasets[name] for name in SPLITS if name in datasets}
    images, seen, report = check_datasets(images)
    labels = encode_labels(
        np.concatenate([raw for _, raw in seen.values()]), task=task, class_names=class_names
    )
    ends = np.cumsum([len(raw) for _, raw in seen.values()])[:-1]
    encoded = dict(zip(seen, np.split(labels.values, ends), strict=True))
    counts = {
        name: count_classes(values, labels.task, labels.class_names)
        for name, values in encoded.items()
    }
    check_class_counts(counts["train"])
    if labels.exclusive:
        for name, count in counts.items():
            present = {class_name for class_name, number in count.items() if number}
            check_same_classes(labels.class_names, present, name)
    # Sorted, because a dataset may shuffle itself anew each time.
    orders = {name: np.argsort(content) for name, (content, _) in seen.items()}
    content = {
        name: ([seen[name][0][row] for row in order], encoded[name][order])
        for name, order in orders.items()
    }
    return ImageData(
        splits={},
        streams={
            name: _prepare(dataset, labels, len(encoded[name]), size, resize)
            for name, dataset in images.items()
        },
        class_names=labels.class_names,
        counts=counts,
        fingerprint=fingerprint(content, size, resize, labels.task, labels.class_names),
        task=labels.task,
        report=report,
        **options,
    )


def check_datasets(
    datasets: dict[str, tf.data.Dataset],
) -> tuple[dict[str, tf.data.Dataset], _Seen, DataReport]:
    """Goes through datasets twice and refuses what cannot be trained or measured on.

    Args:
        datasets: Of (image, label), batched or not; "train" first, then others by their split.

    Returns:
        The datasets without batches, what they hold, and copies of images where they do harm.

    Raises:
        DataError: If elements or pixels do not fit, or what is to be measured on changes.
    """
    images = {name: _single_images(dataset, name) for name, dataset in datasets.items()}
    seen = {name: _go_through(dataset, name) for name, dataset in images.items()}
    again = {name: _go_through(dataset, name) for name, dataset in images.items()}
    _check_same(seen, again)
    return images, seen, _report(seen, again)


def _single_images(dataset: tf.data.Dataset, name: str) -> tf.data.Dataset:
    spec: Any = dataset.element_spec
    pair = isinstance(spec, tuple) and len(spec) == 2
    if not pair or not all(isinstance(part, tf.TensorSpec) for part in spec):
        raise DataError(f"The {name} dataset must yield (image, label), got {spec}.")
    shape = spec[0].shape
    if shape.rank not in (3, 4) or shape[-1] not in (1, 3, 4):
        raise DataError(
            f"Images of the {name} dataset must have the shape (h, w, channels), or (n, h, w, "
            f"channels) in batches, with 1, 3 or 4 channels; got {shape}."
        )
    if not (spec[0].dtype.is_floating or spec[0].dtype.is_integer or spec[0].dtype.is_bool):
        raise DataError(
            f"Pixels of the {name} dataset must be numbers 0..255, got {spec[0].dtype.name}."
        )
    if dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise DataError(
            f"The {name} dataset never ends: leave out .repeat(), epochs are counted here."
        )
    return dataset.unbatch() if shape.rank == 4 else dataset


def _go_through(dataset: tf.data.Dataset, name: str) -> tuple[list[str], np.ndarray]:
    """Content digests and labels of all images, after checking the pixels."""
    content: list[str] = []
    labels: list[np.ndarray] = []
    low, high, kind = math.inf, -math.inf, np.dtype(np.uint8)
    try:
        for image, label in dataset.as_numpy_iterator():
            content.append(hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest())
            labels.append(label)
            if not image.size:
                raise DataError(
                    f"Image {len(content) - 1} of the {name} dataset has no pixels: its shape is "
                    f"{image.shape}."
                )
            # np.minimum keeps a NaN, min() would lose it.
            low, high = np.minimum(low, image.min()), np.maximum(high, image.max())
            kind = image.dtype
    except tf.errors.OpError as error:
        # TensorFlow puts the names of its nodes first, in double braces, and a traceback last.
        said = re.sub(r"{{.*?}}", "", error.message).partition("Traceback (most recent call")[0]
        cause = " ".join(said.split()) or type(error).__name__
        raise DataError(f"The {name} dataset fails after {len(content)} images: {cause}") from error
    if not content:
        raise DataError(f"The {name} dataset is empty.")
    check_pixels(np.array([low, high]).astype(kind))
    if len({np.shape(label) for label in labels}) > 1:
        raise DataError(f"Labels of the {name} dataset must be of one shape, got several.")
    return content, np.stack(labels)


def _check_same(seen: _Seen, again: _Seen) -> None:
    """Refuses a number of images, or images to measure on, that are others the next time."""
    for name in seen:
        (before, _), (after, _) = seen[name], again[name]
        if len(before) != len(after):
            raise DataError(
                f"The {name} dataset gives {len(before)} images the first time and {len(after)} "
                "the next. Give one that is the same in every epoch."
            )
        new = len(before) - sum((Counter(before) & Counter(after)).values())
        if name != "train" and new:
            raise DataError(
                f"The {name} dataset changes each time: {new} of {len(before)} images are others "
                "the next time. Where it shuffles before take and skip, training images get in: "
                "shuffle after them, or with reshuffle_each_iteration=False. Where it augments, "
                "augment training images alone."
            )


def _report(seen: _Seen, again: _Seen) -> DataReport:
    ids = {name: [f"{name}/{i}" for i in range(len(raw))] for name, (_, raw) in seen.items()}
    content = {name: digests for name, (digests, _) in seen.items()}
    return DataReport(
        # What is trained on may be another choice each time: either counts.
        leaked=leaked({**content, "train": content["train"] + again["train"][0]}, ids),
        contradicting=contradicting(
            [digest for digests in content.values() for digest in digests],
            [label for _, labels in seen.values() for label in labels],
            [item for items in ids.values() for item in items],
        ),
    )


def _prepare(
    dataset: tf.data.Dataset,
    labels: Labels,
    count: int,
    image_size: tuple[int, int],
    resize: str,
) -> tf.data.Dataset:
    def resized(pixels: np.ndarray) -> np.ndarray:
        return resize_pixels(pixels, image_size, resize)

    def prepare(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if image.dtype.is_floating:
            image = tf.round(image)
        image = tf.cast(image, tf.uint8)
        if tuple(image.shape) != (*image_size, 3):
            image = tf.numpy_function(resized, [image], tf.uint8, stateful=False)
            image.set_shape((*image_size, 3))
        return image, _target(label, labels)

    return dataset.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).apply(
        tf.data.experimental.assert_cardinality(count)
    )


def _target(label: tf.Tensor, labels: Labels) -> tf.Tensor:
    """The same as `encode_labels` does, for one label."""
    if labels.exclusive and label.shape.rank == 1 and label.shape[0] != 1:
        return tf.argmax(label, output_type=tf.int32)
    label = tf.cast(label, tf.int32 if labels.exclusive else tf.float32)
    return tf.reshape(label, labels.values.shape[1:])
