"""load_data(): any source of labelled images -> ImageData."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from finetune.data.augmentation import resolve_augment
from finetune.data.copies import contradicting, leaked
from finetune.data.dataset import (
    SPLITS,
    DataReport,
    ImageData,
    Split,
    check_batch_size,
    fingerprint,
)
from finetune.data.decoded import Decoded, decode, open_source, unreadable
from finetune.data.fixes import apply_fixes
from finetune.data.folds import parse_folds
from finetune.data.hold_back import check_fraction, hold_back
from finetune.data.items import Part, Source
from finetune.data.labels import (
    Labels,
    check_class_counts,
    check_same_classes,
    count_classes,
    encode_labels,
)
from finetune.data.pixels import check_image_size, check_resize
from finetune.data.setting_aside import FEWEST, set_aside
from finetune.data.staying_together import staying_together
from finetune.data.storage import reorder
from finetune.data.stream import load_stream
from finetune.exceptions import ArgumentError
from finetune.support import LARGEST_SEED, check_number


def load_data(
    source: Any,
    *,
    image_size: int | tuple[int, int] = 224,
    batch_size: int = 32,
    validation: float | str | os.PathLike[str] | tuple | tf.data.Dataset | None = 0.2,
    test: float | str | os.PathLike[str] | tuple | tf.data.Dataset | None = None,
    calibration: float | None = None,
    seed: int = 0,
    resize: str = "pad",
    augment: str | keras.Layer | None = "none",
    strict: bool = False,
    task: str = "auto",
    class_names: Sequence[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
    fixes: str | os.PathLike[str] | None = None,
    memory_budget: int | None = None,
) -> ImageData:
    """Loads labelled images: from folders, TFDS, arrays or `tf.data`.

    Every image is decoded once, and thereby checked, into arrays of the size that is trained on.

    Args:
        source: One of

            - a folder with one folder per class, at the top or below `train` (`training`), `val`
              (`valid`, `validation`) and `test` (`testing`);
            - a TFDS name such as "tfds:mnist" or "tfds:name/config:1.0.0";
            - (images, labels) arrays: pixels 0..255 of shape (n, h, w) or (n, h, w, 1, 3 or 4),
              labels as `encode_labels` takes them;
            - a `tf.data.Dataset` of (image, label), batched or not. It is not stored.
        image_size: Pixels: an integer or (height, width). Default 224, the size most backbones
            were trained at.
        batch_size: Images in a batch. Default 32, as in Keras.
        validation: What to validate on, if the source has no such part itself: the share to split
            off from what is not test (default 0.2, as in Keras' guides), or a source of its own;
            None for none. A source given here takes the place of the source's own part. "5-fold":
            a fifth, and when all is trained, as many trainings more, in each of which another
            fifth of all images is held back: what these say of every image is the measure.
        test: The same for test images. Default None: those of the source, if it has any.
        calibration: Share of the validation images to set aside, for prediction sets and to tell
            what is like nothing in training: images that neither train nor choose anything, at
            most 2,000. Default None: they are worth more in training (docs/doubt.md). Where they
            would be fewer than 19, none are.
        seed: Of what is split off, of the order of training images and of augmentation.
            Default 0.
        resize: "pad" (default), "crop" or "squash"; see `read_image`.
        augment: "none" (default), "flip", "light", "strong" or a Keras layer; training images only.
        strict: Whether an image that cannot be read is an error. Default False: it is left out
            and listed in `data.report`.
        task: "auto" (default), "binary", "multiclass", "multilabel" or "regression"; see
            `encode_labels`.
        class_names: Names in the order of the class numbers. Default: sorted folder names, the
            dataset's own names, or "0", "1" and so on.
        data_dir: Where prepared TFDS datasets lie. Default: TFDS' own.
        download: Whether TFDS may download. Default True; with False nothing is ever fetched.
        fixes: CSV file that says which images to leave out or to give another label, as
            `finetune check DATA --fix` writes it, to be edited by hand. Default None.
        memory_budget: Bytes of decoded images to hold in memory; more are held in a temporary
            file. Default: half of the memory that is available.

    Returns:
        The data. What was split off is decided by each image's content and `seed` alone (see
        `hold_back`): adding images moves no other image, but for those that it is a copy of, which
        stay together: exact ones, and ones that were saved again, made smaller or mirrored.

    Raises:
        ArgumentError: If an argument is not allowed.
        DataNotFoundError: If there is nothing at `source`.
        TooFewClassesError: If there are fewer than two classes.
        EmptyClassError: If a class has no readable training image.
        MissingClassError: If validation or test lack a class, or have others.
        UnreadableImageError: If `strict` and an image cannot be read.
        DatasetNotPreparedError: If a TFDS dataset is not on disk and `download` is False.
        StorageError: If the disk is full.
        DataError: If images or labels cannot be trained on as they are.

    Example:
        >>> pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8)
        >>> data = load_data((pixels, [0, 1] * 10), image_size=8, batch_size=4)
        >>> data.class_names, data.task
        (['0', '1'], 'binary')
        >>> data.train.element_spec[0].shape
        TensorShape([None, 8, 8, 3])
    """
    check_number("memory_budget", memory_budget, least=0, whole=True, optional=True)
    return _load(
        source,
        image_size=image_size,
        batch_size=batch_size,
        augment=augment,
        validation=validation,
        test=test,
        calibration=calibration,
        seed=seed,
        resize=resize,
        strict=strict,
        task=task,
        class_names=class_names,
        data_dir=data_dir,
        download=download,
        fixes=fixes,
        memory_budget=memory_budget,
    )


def _load(
    source: Any,
    *,
    image_size: int | tuple[int, int],
    validation: Any,
    test: Any,
    seed: int,
    resize: str,
    fixes: str | os.PathLike[str] | None,
    batch_size: int = 32,
    augment: str | keras.Layer | None = "none",
    together: Mapping[str, str] | None = None,
    **how: Any,
) -> ImageData:
    """What `load_data` does; with the near copies that were found before, at another size."""
    size, resize = check_image_size(image_size), check_resize(resize)
    seed = _check_seed(seed)
    resolve_augment(augment, seed)
    given = {"validation": validation, "test": test}
    folds = parse_folds(validation)
    _check_calibration(how["calibration"], source, validation)
    again = partial(_load, source, **given, seed=seed, resize=resize, fixes=fixes, **how)
    options: dict[str, Any] = {
        "image_size": size,
        "resize": resize,
        "batch_size": check_batch_size(batch_size),
        "seed": seed,
        "augmentation": augment,
        "folds": folds,
        "reload": again,
    }
    if isinstance(source, tf.data.Dataset):
        if fixes is not None:
            raise ArgumentError(
                "Expected stored images for fixes (a folder, arrays, a TFDS name), received a "
                "tf.data.Dataset. Filter it instead."
            )
        named = {name: how[name] for name in ("task", "class_names")}
        return load_stream(source, given, **named, options=options)
    if folds:
        given = {**given, "validation": 1 / folds}
    return _load_stored(source, given, options, fixes, together, **how)


def _load_stored(
    source: Any,
    given: dict[str, Any],
    options: dict[str, Any],
    fixes: str | os.PathLike[str] | None,
    together: Mapping[str, str] | None,
    *,
    calibration: float | None,
    strict: bool,
    task: str,
    class_names: Sequence[str] | None,
    data_dir: str | os.PathLike[str] | None,
    download: bool,
    memory_budget: int | None,
) -> ImageData:
    """Decode all images, encode their labels, and split off what has no part of its own."""
    size, resize, seed = options["image_size"], options["resize"], options["seed"]
    shares = {
        name: check_fraction(name, value)
        for name, value in given.items()
        if isinstance(value, (int, float))
    }
    sources = {
        name: open_source(value, name, data_dir, download)
        for name, value in given.items()
        if value is not None and name not in shares
    }
    opened = open_source(source, "train", data_dir, download)
    decoded = decode(_merge(opened, sources), size, resize, memory_budget)
    if (strict and decoded.skipped) or "train" not in decoded.parts:
        raise unreadable(decoded)
    names = class_names or opened.class_names
    fixed = None if fixes is None else apply_fixes(decoded, fixes, names)
    labels = encode_labels(decoded.labels, task=task, class_names=names)
    if together is None:
        pixels = decoded.images[: len(decoded.ids)]
        classes = labels.values if labels.exclusive else None
        together = staying_together(pixels, decoded.content, classes)
    _split_off(decoded, labels, shares, seed, together)
    few = "" if calibration is None else _set_aside(decoded, labels, calibration, seed, together)
    splits = _to_splits(decoded, labels)
    contents = {name: split.content for name, split in splits.items()}
    near = {name: [together.get(one, one) for one in found] for name, found in contents.items()}
    ids = {name: split.ids for name, split in splits.items()}
    ignored = sum((other.ignored for other in sources.values()), opened.ignored)
    exact = leaked(contents, ids)
    return ImageData(
        splits=splits,
        streams={},
        class_names=labels.class_names,
        counts={
            name: count_classes(split.labels, labels.task, labels.class_names)
            for name, split in splits.items()
        },
        fingerprint=fingerprint(
            {name: (split.content, split.labels) for name, split in splits.items()},
            size,
            resize,
            labels.task,
            labels.class_names,
        ),
        task=labels.task,
        report=DataReport(
            tuple(decoded.skipped),
            ignored,
            exact,
            contradicting(decoded.content, labels.values, decoded.ids),
            tuple(item for item in leaked(near, ids) if item not in {*exact}),
            fixed,
            few,
        ),
        together=together,
        **options,
    )


def _merge(opened: Source, sources: dict[str, Source]) -> dict[str, Part]:
    parts = dict(opened.parts)
    for name, other in sources.items():
        if opened.class_names is not None and other.class_names is not None:
            check_same_classes(opened.class_names, set(other.class_names), name)
        parts[name] = other.parts.get(name, other.parts["train"])
    return {name: parts[name] for name in SPLITS if name in parts}


def _split_off(
    decoded: Decoded,
    labels: Labels,
    shares: dict[str, float],
    seed: int,
    together: Mapping[str, str],
) -> None:
    """Moves rows from "train" to what is missing, after checking that no class is empty."""
    parts = np.array(decoded.parts, dtype=object)
    check_class_counts(
        count_classes(labels.values[parts == "train"], labels.task, labels.class_names),
        decoded.skipped,
    )
    # Test first: validation is a share of what is not test.
    for name in ("test", "validation"):
        if name in shares and name not in decoded.parts:
            rows = np.flatnonzero(parts == "train")
            classes = labels.values[rows] if labels.exclusive else np.zeros(len(rows), np.int32)
            held = hold_back(
                [together.get(decoded.content[row], decoded.content[row]) for row in rows],
                classes,
                shares[name],
                seed=seed,
                name=name,
                class_names=labels.class_names if labels.exclusive else (),
            )
            parts[rows[held]] = name
    decoded.parts = list(parts)


def _set_aside(
    decoded: Decoded, labels: Labels, share: float, seed: int, together: Mapping[str, str]
) -> str:
    """Moves rows from "validation" to "calibration"; says so if there are not enough of them."""
    parts = np.array(decoded.parts, dtype=object)
    rows = np.flatnonzero(parts == "validation")
    content = np.array([together.get(one, one) for one in decoded.content], dtype=object)
    chosen = set_aside(
        content[rows].tolist(),
        labels.values[rows] if labels.exclusive else None,
        content[parts == "train"].tolist(),
        share,
        seed=seed,
    )
    parts[rows[chosen]] = "calibration"
    decoded.parts = list(parts)
    if chosen.any():
        return ""
    return (
        f"None of {len(rows)} validation images is set aside: {share:g} of those that are no "
        f"copies of training images would be fewer than {FEWEST}, the least that prediction sets "
        "of 95% need"
    )


def _to_splits(decoded: Decoded, labels: Labels) -> dict[str, Split]:
    """Makes each split a run of rows of the one array."""
    order = np.argsort([SPLITS.index(part) for part in decoded.parts], kind="stable")
    reorder(decoded.images[: len(order)], order)
    splits: dict[str, Split] = {}
    start = 0
    for name in SPLITS:
        rows = [row for row in order if decoded.parts[row] == name]
        if not rows:
            continue
        splits[name] = Split(
            decoded.images[start : start + len(rows)],
            labels.values[rows],
            [decoded.ids[row] for row in rows],
            [decoded.content[row] for row in rows],
        )
        start += len(rows)
        if labels.exclusive:
            present = {labels.class_names[label] for label in splits[name].labels}
            if name != "calibration":  # chance alone decides what is in it
                check_same_classes(labels.class_names, present, name)
    return splits


def _check_calibration(calibration: float | None, source: Any, validation: Any) -> None:
    if calibration is None:
        return
    check_fraction("calibration", calibration)
    if isinstance(source, tf.data.Dataset) or validation is None:
        what = (
            "a tf.data.Dataset, whose images are not stored" if validation is not None else "none"
        )
        raise ArgumentError(
            "Expected validation images to set a share of aside as `calibration`, received "
            f"{what}. Leave `calibration` out, or give images that can be split."
        )


def _check_seed(seed: Any) -> int:
    check_number("seed", seed, least=0, most=LARGEST_SEED, whole=True)
    return int(seed)
