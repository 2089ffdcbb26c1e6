"""Images that an export is tried on: real ones, if there are any."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from finetune.data import (
    ImageData,
    LabelledImages,
    find_images,
    load_labelled,
    pixel_digests,
    read_images,
    to_uint8,
)
from finetune.exceptions import DataError, FineTuneError
from finetune.model import FineTunedModel, ModelCard, in_order_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

# So many are tried at most: enough to tell a file that is wrong, and seconds of work.
_MOST = 256
# And so many give the ranges for int8. TensorFlow's guide names 100 to 500.
_MOST_CALIBRATING = 100
_MADE_UP = 32

_IN_WORDS = {
    "test": "test images",
    "validation": "validation images, which chose the epoch",
    "new": "images that it was not trained on",
    "train": "images that it was trained on, so that the accuracy is no estimate",
    "": "images, of which the model does not know whether it was trained on them",
}


@dataclass(frozen=True, eq=False)
class Sample:
    """Images at a model's size.

    Args:
        images: uint8 (n, height, width, 3).
        labels: As the model numbers its classes; None where they are not known.
        said: What they are, in words.
        training: uint8 images that int8 files are calibrated on; may be none.
        real: Whether they are photographs of somebody's, not made up.
    """

    images: np.ndarray
    labels: np.ndarray | None
    said: str
    training: np.ndarray
    real: bool = True


def find_sample(
    model: FineTunedModel, data: Any, run: Path | None, *, calibrating: bool = False
) -> Sample:
    """The images to try an export on.

    Args:
        model: Decides which of them are its test images.
        data: Given by the user: a source of `FineTunedModel.evaluate`, or a folder of images
            without labels. None for those of the run.
        run: The folder that the model was read from, whose config.toml may name images.
        calibrating: Whether training images are needed, too, where they lie apart.

    Returns:
        Test images if there are any, else others; made-up ones where there is no image at all.

    Raises:
        DataError: If images that were given cannot be read.
    """
    if isinstance(data, ImageData):
        return _of_image_data(model, data)
    if data is not None:
        return _of_source(model, data, f"of {_name(data)}")
    found: list[Sample] = []
    for source, data_dir in _sources_of(run):
        try:
            found.append(_of_source(model, source, f"of {_name(source)}", data_dir))
        except FineTuneError:  # the images of the run have changed, or gone: it is no fault of ours
            continue
        if not calibrating:
            break
    return replace(found[0], training=found[-1].training) if found else _made_up(model.card)


def _of_image_data(model: FineTunedModel, data: ImageData) -> Sample:
    card, known = model.card, model.known
    if data.image_size != card.image_size:
        data = data.at_size(card.image_size)
    split = next(name for name in ("test", "validation", "train") if name in data.counts)
    images, labels = _first(data, split, _MOST)
    labels = in_order_of(card, labels, data.task, data.class_names)
    training, _ = _first(data, "train", _MOST_CALIBRATING)
    # A model that was refitted was trained on the validation images, too.
    met = "train" if known is not None and split not in known.digests else split
    return Sample(images, labels, f"{len(images)} {_IN_WORDS[met]}", training)


def _first(data: ImageData, split: str, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a split: some from everywhere, of a stream the first."""
    if split in data.splits:
        stored = data.splits[split]
        rows = _spread(np.arange(len(stored)), most)
        return np.asarray(stored.images[rows]), stored.labels[rows]
    batches = data.dataset(split).unbatch().take(most).batch(most)
    images, labels = next(iter(batches.as_numpy_iterator()))
    return to_uint8(images), labels


def _of_source(model: FineTunedModel, source: Any, of: str, data_dir: Any = None) -> Sample:
    card = model.card
    sized = {"image_size": card.image_size, "resize": card.resize}
    if _is_flat(source):
        files = [*_spread(np.array(find_images(source), object), _MOST)]
        images, _ = read_images(files, **sized)
        if not len(images):
            raise DataError(f"Expected images that can be read in {source}, found none.")
        said = f"{len(images)} images {of}, without labels"
        return Sample(images, None, said, images[:_MOST_CALIBRATING])
    meant = {"task": card.task, "class_names": card.class_names}
    found = load_labelled(source, **meant, **sized, data_dir=data_dir, download=False)
    kinds = _kinds(model, found)
    kind = next(name for name in _IN_WORDS if name in kinds)
    rows = _spread(np.flatnonzero(kinds == kind), _MOST)
    training = np.flatnonzero(kinds == "train")
    if not len(training):
        training = np.arange(len(kinds))
    training = _spread(training, _MOST_CALIBRATING)
    said = f"{len(rows)} {_IN_WORDS[kind]}, {of}"
    images = found.images
    return Sample(np.asarray(images[rows]), found.labels[rows], said, np.asarray(images[training]))


def _kinds(model: FineTunedModel, found: LabelledImages) -> np.ndarray:
    """What each image is to the model: of the parts of the source, else as the model knows it."""
    if (found.parts != "").any() or model.known is None:
        return found.parts
    return model.known.splits_of(pixel_digests(found.images))


def named_in(run: Path | None) -> str:
    """The name of the images that a run was trained on; empty where it is not known."""
    data = _configuration(run).get("data", "")
    return _name(data) if isinstance(data, str) and data else ""


def _configuration(run: Path | None) -> dict[str, Any]:
    try:
        return tomllib.loads((run / "config.toml").read_text("utf-8")) if run else {}
    except (OSError, ValueError):  # a model by itself, or a run of an earlier version
        return {}


def _sources_of(run: Path | None) -> list[tuple[str, Any]]:
    """Images that the configuration of a run names: to test on, then to train on."""
    config = _configuration(run)
    folder = config.get("data_dir", "none")
    named = [config.get(name) for name in ("test", "data")]
    return [(each, None if folder == "none" else folder) for each in named if _is_place(each)]


def _is_place(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and (value.startswith("tfds:") or os.path.isdir(value))


def _is_flat(source: Any) -> bool:
    """Whether it is a folder of images without folders of classes."""
    if not isinstance(source, (str, os.PathLike)) or not os.path.isdir(source):
        return False
    return not any(entry.is_dir() for entry in Path(source).iterdir())


def _spread(values: Any, most: int) -> Any:
    """At most so many, from everywhere: folders come class by class."""
    if len(values) <= most:
        return values
    return values[np.linspace(0, len(values) - 1, most).astype(int)]


def _made_up(card: ModelCard) -> Sample:
    """Large and small patches of colour: of noise a model would say the same each time."""
    random = np.random.default_rng(0)
    height, width = card.image_size
    images = np.empty((_MADE_UP, height, width, 3), np.uint8)
    for image in images:
        side = int(random.integers(2, 9))
        patches = random.integers(0, 256, (side, side, 3), np.uint8)
        rows, columns = (np.arange(size) * side // size for size in (height, width))
        image[:] = patches[rows][:, columns]
    said = f"{_MADE_UP} made-up images, for there are no real ones"
    return Sample(images, None, said, images[:0], real=False)


def _name(source: Any) -> str:
    if isinstance(source, (str, os.PathLike)):
        text = os.fspath(source)
        return text if text.startswith("tfds:") else Path(text).name
    return "the arrays given" if isinstance(source, Sequence) else type(source).__name__
