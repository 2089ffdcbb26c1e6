"""Datasets by their TFDS name, read as they lie on disk."""

import difflib
import errno
import http.client
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core import DatasetNotFoundError

from finetune.data.items import PART_NAMES, Item, Part, Source
from finetune.data.labels import listed
from finetune.data.prepared import check_features
from finetune.exceptions import (
    DataError,
    DataNotFoundError,
    DatasetNotPreparedError,
    StorageError,
)

PREFIX = "tfds:"

# For an answer of the server that a dataset would come from.
_SECONDS = 10


def from_tfds(
    name: str, *, data_dir: str | os.PathLike[str] | None = None, download: bool = True
) -> Source:
    """Opens a TFDS dataset.

    The encoded images are passed on as they are stored and decoded like any other file.

    Args:
        name: Such as "tfds:mnist", "tfds:mnist:3.0.1" or "tfds:name/config:1.0.0".
        data_dir: Where prepared datasets lie. Default: TFDS' own, `~/tensorflow_datasets`.
        download: Whether a dataset that is not prepared may be downloaded. With False nothing
            is ever fetched.

    Returns:
        The source, with the splits train, validation and test that the dataset has.

    Raises:
        DataNotFoundError: If TFDS knows no such dataset.
        DatasetNotPreparedError: If it is not on disk and `download` is False, or there is no
            network.
        StorageError: If the disk is full.
        DataError: If the download fails, or the dataset is not one of labelled images.

    Example:
        >>> from_tfds("tfds:mnist", data_dir="/no/such/place", download=False)
        Traceback (most recent call last):
        finetune.exceptions.DatasetNotPreparedError: The TFDS dataset 'mnist' is not prepared ...
    """
    short = name.removeprefix(PREFIX)
    place = None if data_dir is None else os.fspath(data_dir)
    if not download and re.match(r"\w+:[a-zA-Z_]", short):  # a version begins with a digit
        raise DatasetNotPreparedError(
            f"The TFDS dataset {short!r} is described on another server, and `download=False` "
            "forbids to ask it. Allow it, or save the images as a folder and name that."
        )
    check_features(re.split("[/:]", short)[0], place)
    try:
        builder = tfds.builder(short, data_dir=place)
    # TFDS raises errors of many classes here, for names, versions and configs alike.
    except Exception as error:
        first_line = str(error).strip().splitlines()[0].partition(" Here are ")[0]
        first_line = re.sub(r"^Failed to construct dataset .*?}\": ", "", first_line)
        raise DataNotFoundError(
            f"TFDS cannot find the dataset {short!r} in {place or 'its default folder'}: "
            f"{first_line}{_nearest(short, error)} The names are listed at "
            "https://www.tensorflow.org/datasets."
        ) from error
    if not builder.is_prepared():
        if not download:
            raise DatasetNotPreparedError(
                f"The TFDS dataset {short!r} is not prepared at {builder.data_dir}, and "
                "`download=False` forbids to fetch it. Prepare it where there is a network: "
                f"tfds build {short} --data_dir {place or '~/tensorflow_datasets'}; copy the "
                "folder here; and name it with `data_dir`."
            )
        _prepare(builder, short)
    return _open(builder, short)


def _nearest(short: str, error: Exception) -> str:
    """The names that may have been meant, where a name or a configuration is not known."""
    name, _, config = short.partition("/")
    if isinstance(error, DatasetNotFoundError):
        known = tfds.list_builders(with_community_datasets=False)
        found = difflib.get_close_matches(re.split("[/:]", short)[0].lower(), known, n=3)
        return f" Nearest: {', '.join(found)}." if found else ""
    if config and "BuilderConfig" in str(error):
        configs = tfds.builder_cls(name).BUILDER_CONFIGS
        return f" It has {listed([one.name for one in configs]) or 'no configurations'}."
    return ""


def _prepare(builder: Any, short: str) -> None:
    _check_network(builder, short)
    try:
        builder.download_and_prepare()
    # What a download raises depends on the server, the network and the dataset's own code.
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise StorageError(
                f"The disk is full: the TFDS dataset {short!r} does not fit at "
                f"{builder.data_dir}. Name another place with `data_dir`."
            ) from error
        package = isinstance(error, ImportError)
        advice = "Install the package it needs" if package else "Check the network"
        raise DataError(
            f"The TFDS dataset {short!r} could not be downloaded and prepared at "
            f"{builder.data_dir} ({type(error).__name__}: {error}). {advice} and try again, or "
            "copy a prepared dataset there."
        ) from error


def _check_network(builder: Any, short: str) -> None:
    """Asks for the first file once: TFDS asks for each of them ten times, for minutes."""
    url = next((url for url in builder.url_infos or () if url.startswith("http")), None)
    if url is None:
        return
    try:
        # Through the proxies of the environment, as the download goes.
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_SECONDS).close()
    except urllib.error.HTTPError as answer:
        answer.close()  # Whatever the server says of this file, it is there.
    except (OSError, http.client.HTTPException) as error:
        raise DatasetNotPreparedError(
            f"The TFDS dataset {short!r} is not prepared at {builder.data_dir}, and "
            f"{urllib.parse.urlsplit(url).netloc}, where it would come from, cannot be reached "
            f"({error}). Connect to the network, or copy a prepared dataset there; `data_dir` "
            "names another place."
        ) from error


def _open(builder: Any, short: str) -> Source:
    features = builder.info.features
    image_key, label_key = _keys(builder, short)
    label = features[label_key]
    parts: dict[str, Part] = {}
    for split, info in builder.info.splits.items():
        part = PART_NAMES.get(split)
        if part is not None and part not in parts:
            parts[part] = Part(info.num_examples, _items(builder, split, image_key, label_key))
    if "train" not in parts:
        raise DataError(
            f"The TFDS dataset {short!r} has no train split, only "
            f"{', '.join(map(repr, builder.info.splits))}."
        )
    named = isinstance(label, tfds.features.ClassLabel)
    return Source(parts, class_names=list(label.names) if named else None)


def _keys(builder: Any, short: str) -> tuple[str, str]:
    keys, features = builder.info.supervised_keys, builder.info.features
    if keys is not None and len(keys) == 2 and isinstance(features[keys[0]], tfds.features.Image):
        return keys
    raise DataError(
        f"The TFDS dataset {short!r} is not one of labelled images: it must have an image and a "
        f"label as supervised keys, got {keys!r}."
    )


def _items(builder: Any, split: str, image_key: str, label_key: str) -> Iterator[Item]:
    """Opens the files only when the first image is wanted."""
    dataset = builder.as_dataset(
        split=split,
        decoders={image_key: tfds.decode.SkipDecoding()},
        shuffle_files=False,
    )
    label = builder.info.features[label_key]
    named = isinstance(label, tfds.features.ClassLabel)
    number = -1
    try:
        for number, example in enumerate(tfds.as_numpy(dataset)):
            value = example[label_key]
            yield Item(
                f"{split}/{number}", example[image_key], label.int2str(value) if named else value
            )
    except tf.errors.OpError as error:
        # TensorFlow puts the names of its nodes around what it says.
        said = re.sub(r"{{.*?}}|\[Op:.*", "", error.message).strip()
        raise DataError(
            f"The TFDS dataset {builder.info.full_name!r} in {builder.data_dir} is damaged: its "
            f"{split} images cannot be read after the first {number + 1} ({said}). Delete that "
            "folder and prepare the dataset again."
        ) from error
