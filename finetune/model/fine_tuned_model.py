"""A fine-tuned model with all that is needed to use it: class names, image size, resizing."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from finetune.backbones import model_file, read_model
from finetune.data import (
    SPLITS,
    DataReport,
    ImageData,
    LabelledImages,
    SkippedFile,
    load_labelled,
    pixel_digests,
)
from finetune.exceptions import ArgumentError, DataError, ModelFileError, StorageError
from finetune.model.calibration import check_task, fit_temperature, set_temperature
from finetune.model.card import ModelCard, read_card, write_card
from finetune.model.evaluation import Evaluation, absent_classes, in_order_of, score
from finetune.model.known_images import KnownImages, read_known, write_known
from finetune.model.pictures import read_pictures
from finetune.reuse import extractor, pass_batch
from finetune.support import check_number, first_not_finite


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
            values = map(float, row) if self.class_names else ()  # of regression: without names
            named = dict(zip(self.class_names, values, strict=True))
            yield Prediction(path, label, named)


@dataclass(frozen=True)
class FineTunedModel:
    """A model and its card. Made by `fine_tune` and `load`.

    Args:
        keras_model: From float pixels 0..255 (batch, height, width, 3) to predictions.
        card: What its inputs and outputs mean.
        known: Which images it was made with; None where that is not known.
    """

    keras_model: keras.Model
    card: ModelCard
    known: KnownImages | None = None

    def copy(self) -> "FineTunedModel":
        """The same model with weights of its own, which no training of this one changes."""
        copy = keras.models.clone_model(self.keras_model)
        copy.set_weights(self.keras_model.get_weights())
        return FineTunedModel(copy, self.card, self.known)

    def at_temperature(self, temperature: float) -> "FineTunedModel":
        """The same model with its logits divided by another temperature, see `calibrate`.

        Args:
            temperature: Above 0: the lower, the surer the model is; 1 takes its calibration away.

        Returns:
            A model with weights of its own that gives the same answers with other probabilities.

        Raises:
            ArgumentError: If the temperature is none, or the model gives no probabilities.

        Source: C. Guo et al., "On Calibration of Modern Neural Networks" (2017).
        """
        check_task(self.card.task)
        check_number("temperature", temperature, above=0)
        return _at(self.copy(), temperature)

    def calibrated(self, labels: np.ndarray, outputs: np.ndarray) -> "FineTunedModel":
        """This very model, calibrated: the weights of its outputs change.

        Args:
            labels: Labels of images that it was not trained on.
            outputs: What it says of them.
        """
        return _at(self, fit_temperature(labels, outputs, self.card.task))

    def predict(self, images: Any, *, batch_size: int = 32) -> Predictions:
        """Classify files, pictures or arrays.

        Args:
            images: A path or a list of paths of image files or folders; or one image or a list of
                images, each a PIL picture of any mode or an array (h, w, 3) with pixels 0..255,
                of any size, also of several sizes; or an array (n, h, w, 3).
            batch_size: Images in a batch. Defaults to 32, as in Keras.

        Returns:
            One label and its probabilities per image. Files that cannot be read are listed
            in `skipped`.

        Raises:
            DataError: If there is no readable image, or what is given is something else.
        """
        paths, pixels, skipped = read_pictures(images, self.card.image_size, self.card.resize)
        if not len(pixels):
            reasons = "; ".join(map(str, skipped)) or "nothing was given"
            raise DataError(f"Expected at least one readable image, received none: {reasons}.")
        outputs = np.asarray(
            self.keras_model.predict(pixels.astype("float32"), batch_size=batch_size, verbose=0)
        )
        labels, probabilities = self._decode(outputs)
        names = self.card.class_names if self.card.task != "regression" else ()
        return Predictions(paths, labels, probabilities, names, skipped)

    def evaluate(self, data: Any, split: str | None = None, **options: Any) -> Evaluation:
        """Measure the quality on labelled images; their classes are matched by name.

        Args:
            data: An `ImageData`; or an image folder, a TFDS name or (images, labels) arrays with
                any of this model's classes.
            split: "train", "validation" or "test": that part of the images, where they have one;
                else those among them that the model was trained on, validated with or tested
                on. Default: the test part, where there is one (or must be, of an
                `ImageData`); else all.
            **options: `data_dir`, `download` and `memory_budget` of `load_data`.

        Returns:
            Accuracy, loss, number of images and interval; and how many of the images this model
            was trained on, which makes it no estimate.

        Raises:
            ArgumentError: If there is no such split.
            MissingClassError: If the model does not know a class.
            DataError: If the images cannot be loaded.
        """
        card = self.card
        if split is not None and split not in SPLITS:
            raise ArgumentError(f"Expected split to be one of {SPLITS}, received {split!r}.")
        report = DataReport()
        if isinstance(data, ImageData):
            labels, outputs, digests = self._measure(data, split or "test")
        else:
            meant = {"task": card.task, "class_names": card.class_names}
            sized = {"image_size": card.image_size, "resize": card.resize}
            images = load_labelled(data, **meant, **sized, **options)
            report = images.report
            rows = self._rows(images, split)
            labels, outputs, digests = self._answers(
                (images.images[some], images.labels[some]) for some in _chunks(rows)
            )
        known = None if self.known is None else self.known.count(digests)
        result = score(labels, outputs, card.task)
        return Evaluation(
            **vars(result), known=known, absent=absent_classes(card, labels), report=report
        )

    def outputs(self, data: ImageData, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Labels of the images of one split, as this model numbers classes; and what it says."""
        return self._measure(data, split)[:2]

    def _measure(self, data: ImageData, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if data.image_size != self.card.image_size:
            data = data.at_size(self.card.image_size)
        batches: Any = data.dataset(split).as_numpy_iterator()
        labels, outputs, digests = self._answers(batches)
        labels = in_order_of(self.card, labels, data.task, data.class_names)
        return labels, outputs, digests

    def _answers(
        self, batches: Iterable[tuple[np.ndarray, np.ndarray]]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels, outputs and digests of images."""
        labels, outputs, digests = [], [], []
        # One pass for all: a dataset of the user's may come in another order next time.
        for batch, batch_labels in batches:
            labels.append(batch_labels)
            digests.append(pixel_digests(batch))
            for part in np.array_split(batch.astype("float32"), -(-len(batch) // pass_batch())):
                outputs.append(self._run(part)[0])
        return np.concatenate(labels), np.concatenate(outputs), np.concatenate(digests)

    def _rows(self, images: LabelledImages, split: str | None) -> np.ndarray:
        """Which images are to be measured, see `evaluate`."""
        own = np.flatnonzero(images.parts == (split or "test"))
        if len(own):
            return own
        if split is None:
            return np.arange(len(images.parts))
        if self.known is None:
            raise ArgumentError(
                f"The images have no part {split!r} of their own, and the model does not say which "
                "it was trained on (it was saved by an earlier version). Leave the split out to "
                "measure all of them."
            )
        if split == "validation" and split not in self.known.digests:
            raise DataError(
                "No images are left that this model was validated with: it was trained on them, "
                "too (refit). What they said of it before is in the run's metrics.json. Leave "
                "the split out to measure all images."
            )
        rows = np.flatnonzero(self.known.splits_of(pixel_digests(images.images)) == split)
        if not len(rows):
            met = len(self.known.digests.get(split, ()))
            raise DataError(
                f"The images have no part {split!r} of their own, and none of them is among the "
                f"{met} that the model knows as such. Leave the split out to measure all of them."
            )
        return rows

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
        plain = self._plain()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            plain.save(partial)
            write_card(partial, self.card)
            write_known(partial, self.known)
            os.replace(partial, path)
        except OSError as error:
            raise StorageError(
                f"Could not write {path}: {error}. Free some space or name another place."
            ) from error
        finally:
            partial.unlink(missing_ok=True)
        return path

    def __getstate__(self) -> dict[str, Any]:
        """What pickle and joblib take: all but the compiled function, which is made anew."""
        return {"keras_model": self._plain(), "card": self.card, "known": self.known}

    def _plain(self) -> keras.Model:
        """The model without its optimizer: a third of the size, and nothing of this package."""
        whole = self.keras_model
        return keras.Model(whole.input, whole.output, name=whole.name)

    @cached_property
    def _run(self) -> Callable[[Any], tuple[Any, ...]]:
        """The model as a compiled function, which reads the variables anew in every call."""
        return extractor(self.keras_model)

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


def _at(model: FineTunedModel, temperature: float) -> FineTunedModel:
    """The same model at another temperature; its weights change."""
    card = model.card
    changed = set_temperature(model.keras_model, card.temperature, temperature, card.task)
    return FineTunedModel(changed, replace(card, temperature=temperature), model.known)


def load(path: str | os.PathLike[str]) -> FineTunedModel:
    """Read a model that `FineTuneResult.save` or `finetune fit` wrote.

    Args:
        path: A `.keras` file, or a run folder that holds `model.keras`.

    Returns:
        The model, ready to predict.

    Raises:
        ModelFileError: If there is no such file, or it was not written by this package.
    """
    path = model_file(path)
    if not path.is_file():
        raise ModelFileError(
            f"Expected a model file written by `finetune fit`, but there is none at {path}."
        )
    card, known, model = read_card(path), read_known(path), read_model(path)
    broken = first_not_finite(model.variables)
    if broken is not None:
        raise ModelFileError(
            f"{path} predicts nothing: its weights {broken!r} hold NaN or infinity. Train again."
        )
    try:
        card.check(model)
    except ArgumentError as error:
        raise ModelFileError(f"{path} contradicts itself. {error} Save the model again.") from error
    return FineTunedModel(model, card, known)


def _chunks(rows: np.ndarray) -> list[np.ndarray]:
    return np.array_split(rows, -(-len(rows) // pass_batch()))
