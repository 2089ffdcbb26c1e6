"""A fine-tuned model with all that is needed to use it: class names, image size, resizing."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from finetune.backbones import read_model
from finetune.data import (
    ImageData,
    SkippedFile,
    check_pixels,
    find_images,
    read_images,
    resize_pixels,
    to_uint8,
)
from finetune.exceptions import ArgumentError, DataError, ModelFileError, StorageError
from finetune.model.card import ModelCard, read_card, write_card
from finetune.reuse import extractor, pass_batch
from finetune.support import accuracy_interval, first_not_finite
from finetune.training import loss_for


@dataclass(frozen=True)
class Score:
    """Quality on one set of images.

    Args:
        accuracy: Share of right answers, 0 to 1; None for regression.
        loss: Mean loss (cross-entropy, or squared error), without label smoothing.
        n: Number of images.
        interval: 95% interval of the accuracy from the number of images; None for regression
            and for several labels an image, where it would not hold.
    """

    accuracy: float | None
    loss: float
    n: int
    interval: tuple[float, float] | None

    def to_dict(self) -> dict[str, Any]:
        """As it stands in `metrics.json`."""
        return {
            "accuracy": self.accuracy,
            "loss": self.loss,
            "n": self.n,
            "interval": list(self.interval) if self.interval else None,
        }

    def __str__(self) -> str:
        if self.accuracy is None:
            return f"loss {self.loss:.4f} (n={self.n})"
        if self.interval is None:
            return f"accuracy {self.accuracy:.3f} (n={self.n})"
        low, high = self.interval
        return f"accuracy {self.accuracy:.3f} [{low:.3f}, {high:.3f}] (n={self.n})"


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image.

    Args:
        path: The file, or the number of the image among those given.
        label: The most probable class; the list of labels above one half for "multilabel";
            the value or values for "regression".
        probabilities: Probability of each class by name; empty for regression.
    """

    path: str
    label: Any
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Predictions:
    """What the model says of several images, in the order given.

    Args:
        paths: The files, or the numbers of the images among those given.
        labels: One label per image, see `Prediction`.
        probabilities: float32 (n, classes); the regressed values for regression.
        class_names: Names of the columns.
        skipped: Files that could not be read, with the reason.
    """

    paths: list[str]
    labels: list[Any]
    probabilities: np.ndarray
    class_names: tuple[str, ...]
    skipped: tuple[SkippedFile, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Prediction]:
        for path, label, row in zip(self.paths, self.labels, self.probabilities, strict=True):
            named = dict(zip(self.class_names, map(float, row), strict=True))
            yield Prediction(path, label, named)


@dataclass(frozen=True)
class FineTunedModel:
    """A model and its card. Made by `fine_tune` and `load`.

    Args:
        keras_model: From float pixels 0..255 (batch, height, width, 3) to predictions.
        card: What its inputs and outputs mean.
    """

    keras_model: keras.Model
    card: ModelCard

    def copy(self) -> "FineTunedModel":
        """The same model with weights of its own, which no training of this one changes."""
        copy = keras.models.clone_model(self.keras_model)
        copy.set_weights(self.keras_model.get_weights())
        return FineTunedModel(copy, self.card)

    def predict(self, images: Any, *, batch_size: int = 32) -> Predictions:
        """Classify files or arrays.

        Args:
            images: A path or a list of paths of image files or folders; or one image
                (h, w, 3) or several (n, h, w, 3), pixels 0..255, of any size.
            batch_size: Images in a batch. Defaults to 32, as in Keras.

        Returns:
            One label and its probabilities per image. Files that cannot be read are listed
            in `skipped`.

        Raises:
            DataError: If there is no readable image.
        """
        paths, pixels, skipped = self._read(images)
        if not len(pixels):
            reasons = "; ".join(map(str, skipped)) or "nothing was given"
            raise DataError(f"Expected at least one readable image, received none: {reasons}.")
        outputs = np.asarray(
            self.keras_model.predict(pixels.astype("float32"), batch_size=batch_size, verbose=0)
        )
        labels, probabilities = self._decode(outputs)
        names = self.card.class_names if self.card.task != "regression" else ()
        return Predictions(paths, labels, probabilities, names, skipped)

    def evaluate(self, data: ImageData, split: str = "test") -> Score:
        """Measure the quality on one split.

        Args:
            data: Images, at this model's size.
            split: "test" (default), "validation" or "train".

        Returns:
            Accuracy, loss, number of images and interval.

        Raises:
            ArgumentError: If the data has no such split.
        """
        return score(*self.outputs(data, split), self.card.task)

    def outputs(self, data: ImageData, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Labels of the images of one split, and what the model says of them."""
        if data.image_size != self.card.image_size:
            data = data.at_size(self.card.image_size)
        labels, outputs = [], []
        # One pass for both: a dataset of the user's may come in another order next time.
        for batch, batch_labels in data.dataset(split).as_numpy_iterator():
            labels.append(batch_labels)
            for part in np.array_split(batch, -(-len(batch) // pass_batch())):
                outputs.append(self._run(part)[0])
        return np.concatenate(labels), np.concatenate(outputs)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the model, preprocessing, class names and image size included, to one file.

        Plain `keras.models.load_model` reads it too, with safe mode on.

        Args:
            path: File name ending in ".keras".

        Returns:
            The path.

        Raises:
            ArgumentError: If the name does not end in ".keras".
            StorageError: If the file cannot be written.
        """
        path = Path(path)
        if path.suffix != ".keras":
            raise ArgumentError(f"Expected a file name ending in '.keras', received {str(path)!r}.")
        partial = path.with_name(f".{path.stem}.partial.keras")
        # Without the optimizer: a third of the size, and nothing of this package to reload.
        plain = keras.Model(
            self.keras_model.inputs, self.keras_model.outputs, name=self.keras_model.name
        )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            plain.save(partial)
            write_card(partial, self.card)
            os.replace(partial, path)
        except OSError as error:
            raise StorageError(
                f"Could not write {path}: {error}. Free some space or name another place."
            ) from error
        finally:
            partial.unlink(missing_ok=True)
        return path

    @cached_property
    def _run(self) -> Callable[[Any], tuple[Any, ...]]:
        """The model as a compiled function, which reads the variables anew in every call."""
        return extractor(self.keras_model)

    def _read(self, images: Any) -> tuple[list[str], np.ndarray, tuple[SkippedFile, ...]]:
        if isinstance(images, (str, os.PathLike)):
            images = [images]
        if isinstance(images, Sequence) and all(isinstance(i, (str, os.PathLike)) for i in images):
            files = find_images(images)
            pixels, skipped = read_images(files, self.card.image_size, self.card.resize)
            lost = {str(file.path) for file in skipped}
            return [str(file) for file in files if str(file) not in lost], pixels, tuple(skipped)
        single = [np.asarray(images)] if np.ndim(images) == 3 else [np.asarray(i) for i in images]
        for image in single:
            if image.ndim != 3 or image.shape[-1] != 3:
                raise DataError(
                    "Expected images of shape (height, width, 3) with pixels 0..255, received "
                    f"one of shape {image.shape}."
                )
        if not single:
            return [], np.empty((0, *self.card.image_size, 3), np.uint8), ()
        check_pixels(np.concatenate([image.ravel() for image in single]))
        sized = [
            resize_pixels(to_uint8(image), self.card.image_size, self.card.resize)
            for image in single
        ]
        return [str(i) for i in range(len(sized))], np.stack(sized), ()

    def _decode(self, outputs: np.ndarray) -> tuple[list[Any], np.ndarray]:
        names = self.card.class_names
        if self.card.task == "regression":
            return [row[0] if len(row) == 1 else row for row in outputs.tolist()], outputs
        if self.card.task == "multilabel":
            chosen = [[n for n, p in zip(names, row, strict=True) if p >= 0.5] for row in outputs]
            return chosen, outputs
        if self.card.task == "binary":
            outputs = np.concatenate([1 - outputs, outputs], axis=1)
        return [names[i] for i in outputs.argmax(axis=1)], outputs


def score(labels: np.ndarray, outputs: np.ndarray, task: str) -> Score:
    """Quality of predictions against labels."""
    n = len(labels)
    targets = labels.reshape(outputs.shape) if task != "multiclass" else labels
    loss = float(np.asarray(loss_for(task)(targets.astype("float32"), outputs)))
    if task == "regression":
        return Score(None, loss, n, None)
    accuracy = float(np.mean(right_answers(labels, outputs, task)))
    interval = accuracy_interval(accuracy, n) if task != "multilabel" else None
    return Score(accuracy, loss, n, interval)


def right_answers(labels: np.ndarray, outputs: np.ndarray, task: str) -> np.ndarray:
    """Whether each image was classified right; each label of it for "multilabel"."""
    if task == "multiclass":
        return outputs.argmax(axis=1) == labels
    return (outputs >= 0.5) == (labels.reshape(outputs.shape) >= 0.5)


def load(path: str | os.PathLike[str]) -> FineTunedModel:
    """Read a model that `FineTuneResult.save` or `finetune fit` wrote.

    Args:
        path: A `.keras` file, or a run folder that holds `model.keras`.

    Returns:
        The model, ready to predict.

    Raises:
        ModelFileError: If there is no such file, or it was not written by this package.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "model.keras"
    if not path.is_file():
        raise ModelFileError(
            f"Expected a model file written by `finetune fit`, but there is none at {path}."
        )
    card, model = read_card(path), read_model(path)
    broken = first_not_finite(model.variables)
    if broken is not None:
        raise ModelFileError(
            f"{path} predicts nothing: its weights {broken!r} hold NaN or infinity. Train again."
        )
    try:
        card.check(model)
    except ArgumentError as error:
        raise ModelFileError(f"{path} contradicts itself. {error} Save the model again.") from error
    return FineTunedModel(model, card)
