"""K-fold cross-validation of a training: what is said of images by models that never saw them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from finetune.data import assign_folds
from finetune.exceptions import ArgumentError
from finetune.model import FineTunedModel, Score, at_temperature, learn_sets, score
from finetune.reuse import TRAIN, VALIDATION, FoldSource, StoredSource, extractor
from finetune.training import HEAD, PhaseCallback, TrainingRecord, refit
from finetune.tuning.settings import Settings
from finetune.tuning.trainer import Trainer


@dataclass(frozen=True)
class CrossValidation:
    """What was said of every training and validation image by a model that was not trained on it.

    Each is of a training with the chosen settings and number of epochs on the images of the other
    folds. So it measures how good such a training is on images like these; only that the settings
    were chosen with some of the images in view makes it a little optimistic.

    Args:
        folds: Number of folds.
        score: Quality over all images.
        fold: The fold of each image.
        ids: Relative path of each image, or its number.
        labels: Its label.
        outputs: What was said of it.
        trained: Number of training images, which come first.
        head: What the head alone said of it; None where no head was trained alone.
    """

    folds: int
    score: Score
    fold: np.ndarray = field(repr=False)
    ids: list[str] = field(repr=False)
    labels: np.ndarray = field(repr=False)
    outputs: np.ndarray = field(repr=False)
    trained: int = field(repr=False)
    head: np.ndarray | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """As it stands in `metrics.json`."""
        return {"folds": self.folds, **self.score.to_dict()}

    def rows(self, class_names: Sequence[str]) -> list[dict[str, Any]]:
        """One row per image, as in `out_of_fold.csv`."""
        outputs = self.outputs
        if outputs.shape[1] == 1 and len(class_names) == 2:
            outputs = np.concatenate([1 - outputs, outputs], axis=1)
        columns = [*class_names] or [f"value {number}" for number in range(outputs.shape[1])]
        exclusive = len(class_names) > 0 and self.labels.ndim == 1
        return [
            {
                "image": name,
                "fold": int(fold) + 1,
                "label": class_names[int(label)] if exclusive else np.asarray(label).tolist(),
                **{f"says {column}": float(p) for column, p in zip(columns, said, strict=True)},
            }
            for name, fold, label, said in zip(
                self.ids, self.fold, self.labels, outputs, strict=True
            )
        ]

    def __str__(self) -> str:
        return f"{self.score}, each image by a model that was not trained on it"


def cross_validate(
    trainer: Trainer,
    settings: Settings,
    source: Any,
    record: TrainingRecord,
    progress: Sequence[PhaseCallback] = (),
) -> CrossValidation:
    """Train once more for each fold, on the images of the others, and ask about those held back.

    The shared model ends with other weights than it had.

    Args:
        trainer: Has trained with the settings.
        settings: The values of the trial.
        source: Training and validation images that are stored and not augmented.
        record: What happened in that training: phases end after the epochs that were best in it.
        progress: Callbacks that only show.

    Returns:
        What was said, of the training images first.

    Raises:
        ArgumentError: If the images are not stored, or are augmented.
        DataError: If there are fewer different images than folds.
        TrainingError: If a loss is not finite.
        OutOfTimeError: If time is limited and up before the end.

    Source: M. Stone, "Cross-Validatory Choice and Assessment of Statistical Predictions" (1974).
    """
    check_can_be_folded(source)
    data = source.data
    parts = [data.splits[part] for part in (TRAIN, VALIDATION)]
    labels = np.concatenate([part.labels for part in parts])
    exclusive = data.task in ("binary", "multiclass")
    fold = assign_folds(
        [key for split in (TRAIN, VALIDATION) for key in data.kept_together(split)],
        labels if exclusive else None,
        data.folds,
        seed=data.seed,
    )
    shared, training = trainer.prepare(settings, source)
    model = shared.assembly(training.head).model
    run = extractor(model)  # reads the weights anew in every call
    said = np.empty((len(labels), *model.output_shape[1:]), "float32")
    said_by_head = np.empty_like(said)
    has_head = bool(record.phase(HEAD))
    for number in range(data.folds):
        part = FoldSource(source, fold == number)
        shared.reset(training.head)
        ask_head = partial(_ask, run, part, said_by_head)
        refit(shared, training, part, record, progress=progress, after_head=ask_head)
        _ask(run, part, said)
    return CrossValidation(
        data.folds,
        score(labels, said, data.task),
        fold,
        [name for part in parts for name in part.ids],
        labels,
        said,
        len(parts[0]),
        said_by_head if has_head else None,
    )


def learn_sets_of_folds(model: FineTunedModel, folded: CrossValidation) -> FineTunedModel:
    """The same model, with prediction sets of what was said of the training images in folds.

    Of the validation images, which chose the epoch and the temperature, more was said than is
    honest.

    Args:
        model: As it is handed over: trained, and calibrated. Sets that it has stay.
        folded: Of trainings like its own.
    """
    labels = folded.labels[: folded.trained]
    said = at_temperature(folded.outputs[: folded.trained], model.card.temperature, model.card.task)
    return learn_sets(model, labels, said)


def check_can_be_folded(source: Any) -> None:
    """Refuse images of which not every one can be held back once.

    Raises:
        ArgumentError: If they are not stored, or are augmented.
    """
    if not isinstance(source, StoredSource):
        raise ArgumentError(
            "Expected stored images for a cross-validation (a folder, arrays, a TFDS name), "
            "received a tf.data.Dataset."
        )
    if source.data.augment is not None:
        raise ArgumentError(
            "Expected images that are not augmented for a cross-validation: each is trained on and "
            "held back, and is kept once. Leave augment out, or give validation as a share."
        )


def _ask(run: Any, part: FoldSource, said: np.ndarray) -> None:
    """Put in what the model says of the images that are held back."""
    for (pixels,), numbers in part.held_back().epoch(0):
        said[numbers] = np.asarray(run(pixels)[0])
