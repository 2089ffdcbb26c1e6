"""A fine-tuned model with all that is needed to use it: class names, image size, resizing."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
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
    check_batch_size,
    load_labelled,
    pixel_digests,
)
from finetune.exceptions import ArgumentError, ModelFileError, StorageError
from finetune.model.activation_map import (
    ActivationMaps,
    Seen,
    explain,
    joined,
    on_its_way,
    pooled_features,
    seen,
)
from finetune.model.answering import answer_pieces
from finetune.model.calibration import check_task, fit_temperature, set_temperature
from finetune.model.card import ModelCard, read_card, write_card
from finetune.model.class_by_class import by_class, confusion
from finetune.model.evaluation import Evaluation, absent_classes, in_order_of, rows_of, score
from finetune.model.known_images import KnownImages, read_known, write_known
from finetune.model.novelty import Novelty, read_novelty, write_novelty
from finetune.model.pictures import read_all
from finetune.model.predictions import Predictions, joined_predictions
from finetune.reuse import extractor, pass_batch
from finetune.support import check_number, first_not_finite, partial_beside


@dataclass(frozen=True)
class FineTunedModel:
    """A model and its card. Made by `fine_tune` and `load`.

    Args:
        keras_model: From float pixels 0..255 (batch, height, width, 3) to predictions.
        card: What its inputs and outputs mean.
        known: Which images it was made with; None where that is not known.
        novelty: What tells an image that is like none of these; likewise.
    """

    keras_model: keras.Model
    card: ModelCard
    known: KnownImages | None = None
    novelty: Novelty | None = None

    def copy(self) -> "FineTunedModel":
        """The same model with weights of its own, which no training of this one changes."""
        copy = keras.models.clone_model(self.keras_model)
        copy.set_weights(self.keras_model.get_weights())
        return FineTunedModel(copy, self.card, self.known, self.novelty)

    def at_temperature(self, temperature: float) -> "FineTunedModel":
        """The same model with its logits divided by another temperature, see `calibrate`.

        Args:
            temperature: Above 0: the lower, the surer the model is; 1 takes its calibration away.

        Returns:
            A model with weights of its own that gives the same answers with other probabilities,
            and no prediction sets: these were of the probabilities before.

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

    def predict(
        self,
        images: Any,
        *,
        batch_size: int = 32,
        threshold: float | None = None,
        flip: bool = False,
        doubt: float | None = None,
    ) -> Predictions:
        """Classify files, pictures or arrays.

        Args:
            images: A path or several, of image files or folders, or patterns as of a shell, also a
                column of a `pandas.DataFrame`; or one image or a list of images, each a PIL
                picture of any mode or an array (h, w, 3) with pixels 0..255, of any size, also of
                several sizes; or an array (n, h, w, 3).
            batch_size: Images in a batch. Defaults to 32, as in Keras.
            threshold: Least probability of an answer, 0 to 1: a class below it is not named, its
                label is None; "multilabel" names all labels from there on. Default: the most
                probable class whatever its probability, labels from one half on.
            flip: Whether each image is looked at mirrored left to right, too, and what the model
                says averaged. Default False: no gain was measured (docs/predict.md).
            doubt: Share of images whose set of classes is to hold the true one, such as 0.95, for
                a model that was made with `calibration`; of images like those of the training one
                less that share are called like nothing in it. Default: no doubt is told.

        Returns:
            One label and its probabilities per image, and doubts where these are asked. Files
            that cannot be read are listed in `skipped`.

        Raises:
            DataError: If there is no readable image, or what is given is something else.
            ArgumentError: If a threshold is none, or the model gives no probabilities, or knows no
                doubt.
        """
        options: dict[str, Any] = {"threshold": threshold, "flip": flip, "doubt": doubt}
        pieces = list(self.predict_pieces(images, batch_size=batch_size, **options))
        return joined_predictions(pieces)

    def predict_pieces(
        self,
        images: Any,
        *,
        batch_size: int = 32,
        threshold: float | None = None,
        flip: bool = False,
        doubt: float | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[Predictions]:
        """Classify any number of files in constant memory: as `predict`, a hundred at a time.

        Args:
            images: See `predict`, as the others.
            batch_size: Images in a batch.
            threshold: Least probability of an answer.
            flip: Whether each image is looked at mirrored, too.
            doubt: Coverage of the prediction sets.
            progress: Called with the number of images that are done, and of all.

        Returns:
            What the model says of some of the images, in the order given; read ahead.

        Raises:
            DataError: If there is no readable image, or what is given is something else.
            ArgumentError: If a threshold is none, or the model gives no probabilities, or knows no
                doubt.
        """
        check_batch_size(batch_size)
        yield from answer_pieces(
            self,
            images,
            batch_size=batch_size,
            threshold=threshold,
            flip=flip,
            doubt=doubt,
            progress=progress,
        )

    def explain(
        self, images: Any, labels: Sequence[Any] | None = None, *, found: Seen | None = None
    ) -> ActivationMaps:
        """Show where images speak for a class: their class activation maps.

        Args:
            images: See `predict`.
            labels: For each image the class that is asked about. Default: the most probable one.
            found: What `observe` computed of the images, where that is known.

        Returns:
            A map per image. For average pooling and one Dense layer it is exact; for other heads
            the gradient of the pooled features stands in the place of the kernel.

        Raises:
            DataError: If there is no readable image.
            ArgumentError: If the model knows no places in an image, as an ensemble.

        Source: B. Zhou et al., "Learning Deep Features for Discriminative Localization" (2016).
        """
        if found is None:
            found = self.observe(read_all(images, self.card.image_size, self.card.resize))
        return explain(self.keras_model, self.card, found, labels)

    def observe(self, pixels: np.ndarray, *, places: bool = True) -> Seen:
        """What the model computes of images of its own size, uint8 (n, height, width, 3).

        Args:
            pixels: The images.
            places: Whether the features of each place are wanted, too.
        """
        parts = np.array_split(pixels, -(-len(pixels) // pass_batch()))
        return joined([seen(self._run(part.astype("float32")), places) for part in parts])

    def evaluate(self, data: Any, split: str | None = None, **options: Any) -> Evaluation:
        """Measure the quality on labelled images; their classes are matched by name.

        Args:
            data: An `ImageData`; or an image folder, a TFDS name or (images, labels) arrays with
                any of this model's classes.
            split: "train", "validation", "calibration" or "test": that part of the images, where
                they have one; else those among them that the model was trained on, validated with
                or tested on. Default: the test part, where there is one (or must be, of an
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
            rows = rows_of(images, split, self.known)
            labels, outputs, digests = self._answers(
                (images.images[some], images.labels[some]) for some in _chunks(rows)
            )
        known = None if self.known is None else self.known.count(digests)
        result = score(labels, outputs, card.task)
        named = card.task != "regression"
        told = (labels, outputs, card.task, card.class_names)
        exclusive = card.task in ("binary", "multiclass")
        return Evaluation(
            **vars(result),
            known=known,
            absent=absent_classes(card, labels),
            report=report,
            classes=tuple(by_class(*told)) if named else (),
            confusion=tuple(map(tuple, confusion(*told))) if exclusive else (),
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
        # A folder of our own: Keras would write through a link that somebody has put there.
        folder = partial_beside(path)
        partial = folder / path.name
        plain = self._plain()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(0o700)
            plain.save(partial)
            write_card(partial, self.card)
            write_known(partial, self.known)
            write_novelty(partial, self.novelty)
            os.replace(partial, path)
        except OSError as error:
            raise StorageError(
                f"Could not write {path}: {error}. Free some space or name another place."
            ) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return path

    def __getstate__(self) -> dict[str, Any]:
        """What pickle and joblib take: all but the compiled function, which is made anew."""
        kept = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**kept, "keras_model": self._plain()}

    def _plain(self) -> keras.Model:
        """The model without its optimizer: a third of the size, and nothing of this package."""
        whole = self.keras_model
        return keras.Model(whole.input, whole.output, name=whole.name)

    @cached_property
    def _run(self) -> Callable[[Any], tuple[Any, ...]]:
        """The model as a compiled function, which reads the variables anew in every call.

        It gives the features on the way to the outputs, too: they are computed anyway.
        """
        return extractor(on_its_way(self.keras_model))


def _at(model: FineTunedModel, temperature: float) -> FineTunedModel:
    """The same model at another temperature; its weights change."""
    card = model.card
    changed = set_temperature(model.keras_model, card.temperature, temperature, card.task)
    card = replace(card, temperature=temperature, sets=None)
    return FineTunedModel(changed, card, model.known, model.novelty)


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
    novelty = read_novelty(path)
    if novelty is not None and novelty.vectors.shape[1] != pooled_features(model):
        raise ModelFileError(
            f"{path} contradicts itself: what it knows of novelty is of {novelty.vectors.shape[1]} "
            f"features, but the model pools {pooled_features(model)}. Save the model again."
        )
    return FineTunedModel(model, card, known, novelty)


def _chunks(rows: np.ndarray) -> list[np.ndarray]:
    return np.array_split(rows, -(-len(rows) // pass_batch()))
