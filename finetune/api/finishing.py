"""What follows the training of one call: trained again, calibrated, measured, and compared."""

import time
from dataclasses import dataclass, field, replace
from functools import partial

import keras
import numpy as np
from rich.console import Console

from finetune.checks import ImagePlan, quick_plan
from finetune.data import ImageData
from finetune.exceptions import TrainingError
from finetune.model import (
    Answers,
    DoubtMeasured,
    FineTunedModel,
    ModelCard,
    Scores,
    Verdict,
    against_head,
    learn_doubt,
    measure_doubt,
    remember,
    scores,
)
from finetune.report import Gallery, look_at
from finetune.reuse import Source, StoredSource
from finetune.support import Laps, Remarks, assign, values_of
from finetune.training import HEAD, TrainingProgress, TrainingRecord, describe_refit
from finetune.tuning import (
    CrossValidation,
    Settings,
    Trainer,
    cross_validate,
    learn_sets_of_folds,
)

_MEASURING = "Measuring"


@dataclass(frozen=True)
class Training:
    """A training that is over.

    Args:
        trainer: What trained.
        values: With which settings.
        images: On which images.
        source: The same, as they were trained on.
        model: The shared model, with the weights of the best epoch.
        record: What happened.
        console: Where to say what is done.
        remarks: Where to say what people should know of what follows.
    """

    trainer: Trainer
    values: Settings
    images: ImageData
    source: Source
    model: keras.Model
    record: TrainingRecord
    console: Console
    remarks: Remarks = field(default_factory=Remarks)


@dataclass(frozen=True)
class Finished:
    """What a training gave. See `finetune.FineTuneResult`, which has most of it by the same names.

    Args:
        model: The model.
        quality: Its scores.
        refitted: Number of images that it was trained on once more.
        cross_validation: What was said of every image in folds.
        verdict: The model against the head alone.
        answers: Labels, and what was said, of the validation and the test images.
        gallery: What it was looked at that the report shows.
        doubt: How often the model's doubt is right; None where it knows none, or there are no test
            images.
        plan: What more images would bring; None where that takes long or cannot be said.
        remarks: What was wanted and not done, and why.
    """

    model: FineTunedModel
    quality: Scores
    refitted: int
    cross_validation: CrossValidation | None
    verdict: Verdict | None
    answers: dict[str, Answers | None]
    gallery: Gallery
    doubt: DoubtMeasured | None = None
    plan: ImagePlan | None = None
    remarks: tuple[str, ...] = ()


def finish(training: Training, laps: Laps) -> Finished:
    """Make the most of a training, and measure what it gave.

    Args:
        training: What is over.
        laps: Is told of each part as it ends.
    """
    images, trainer = training.images, training.trainer
    size = tuple(training.model.input_shape[1:3])
    card = ModelCard(images.task, tuple(images.class_names), size, images.resize)
    measured = FineTunedModel(training.model, card)  # one for all that is measured: compiled once
    # Before it is trained on the validation images too.
    chosen = measured.outputs(images, "validation")
    split = "test" if "test" in images.counts else "validation"
    pooled = partial(trainer.pooled, training.values, training.source)
    gallery = None
    if split == "validation":
        gallery = look_at(measured, images, split, chosen, pooled)
    laps.end(_MEASURING)
    refitted, alone = _refit(training)
    laps.end("Training on all images")
    tests = None
    if split == "test":
        tests = measured.outputs(images, split)
        gallery = look_at(measured, images, split, tests, pooled)
    model = replace(measured, known=remember(images, size, refitted=refitted > 0))
    if trainer.calibrates(images.task):
        model = model.calibrated(*chosen)
    apart = {split: images.apart(split) for split in ("validation", "test")}
    quality = scores(model.card, chosen, tests, apart)
    laps.end(_MEASURING)
    folded = _cross_validate(training)
    laps.end("Cross-validation")
    model = learn_doubt(model, images, measured)
    if folded is not None:
        model = learn_sets_of_folds(model, folded)
    doubt = measure_doubt(model, images, tests, measured)
    laps.end("Doubt")
    verdict = None
    if _can_be_compared(training):
        verdict = _verdict(training, chosen, tests, alone, folded)
    laps.end(_MEASURING)
    plan = None if training.record.interrupted else quick_plan(images, pooled, training.values.seed)
    laps.end("What to photograph next")
    answers = {"validation": chosen, "test": tests}
    shown = gallery or Gallery()
    remarks = tuple(training.remarks)
    return Finished(model, quality, refitted, folded, verdict, answers, shown, doubt, plan, remarks)


def _can_be_compared(training: Training) -> bool:
    """Whether there is a head alone that the model could be better or worse than."""
    return (
        training.images.task in ("binary", "multiclass")
        and training.source.stored  # a dataset may come in another order next time
        and not training.record.interrupted  # who stops it does not want to wait
        and bool(training.record.phase(HEAD))
        and training.record.best_epoch["phase"] != HEAD
    )


def _verdict(
    training: Training,
    chosen: Answers,
    tests: Answers | None,
    alone: np.ndarray | None,
    folded: CrossValidation | None,
) -> Verdict | None:
    """Compare with the head alone, trained on as many images.

    Args:
        training: What was trained.
        chosen: What was said of the validation images.
        tests: What was said of the test images, where there are any.
        alone: What the head alone said of them, trained on all images; None where it was not.
        folded: What was said of all images in folds, if anything was.
    """
    task = training.images.task
    if tests is None and folded is not None and folded.head is not None:
        tuned, head = (folded.labels, folded.outputs), (folded.labels, folded.head)
        return against_head(f"{folded.folds}-fold", task, tuned, head)
    split, tuned = ("validation", chosen) if tests is None else ("test", tests)
    if alone is None:
        alone = _ask_head(training, split)
    return None if alone is None else against_head(split, task, tuned, (tuned[0], alone))


def _ask_head(training: Training, split: str) -> np.ndarray | None:
    """What the head alone says, trained as it was before the backbone was."""
    made = values_of(training.model.variables)
    trainer, given = training.trainer, (training.values, training.source)
    try:
        return trainer.head_says(*given, split) if trainer.head_alone(*given) else None
    finally:
        assign(training.model.variables, made)


def _refit(training: Training) -> tuple[int, np.ndarray | None]:
    """Train once more on all images, if that is wanted.

    Returns:
        Number of images that the model was trained on, 0 where it stays as it was; and what the
        head alone says of the test images when it is trained on as many, if that is known.
    """
    trainer, console = training.trainer, training.console
    seeds = trainer.refits(training.source)
    if not seeds or training.record.interrupted:
        return 0, None
    heard: list[np.ndarray] = []

    def ask_head() -> None:
        if _can_be_compared(training) and "test" in training.images.counts:
            heard.append(trainer.head_says(training.values, training.source, "test"))

    before = values_of(training.model.variables)
    started = time.perf_counter()
    try:
        made = trainer.refit(
            training.values,
            training.source,
            training.record,
            seeds,
            [] if console.quiet else [TrainingProgress(console)],
            ask_head,
        )
    except (KeyboardInterrupt, TrainingError) as error:
        assign(training.model.variables, before)
        why = f"Not trained again on all images: {_why(error)}. The model before is kept."
        training.remarks.note(why)
        return 0, None
    if made.remark:
        training.remarks.note(made.remark)
    console.print(f"{describe_refit(made.images, seeds)}: {time.perf_counter() - started:.0f} s")
    return made.images, heard[0] if heard else None


def _cross_validate(training: Training) -> CrossValidation | None:
    """Measure such a training on every image, if that is wanted; the model stays as it is."""
    trainer, source, console = training.trainer, training.source, training.console
    if not isinstance(source, StoredSource) or not source.data.folds or training.record.interrupted:
        return None
    made = values_of(training.model.variables)
    started = time.perf_counter()
    try:
        progress = [] if console.quiet else [TrainingProgress(console)]
        found = cross_validate(trainer, training.values, source, training.record, progress)
    except (KeyboardInterrupt, TrainingError) as error:
        training.remarks.note(f"Not cross-validated: {_why(error)}.")
        return None
    finally:
        assign(training.model.variables, made)
    console.print(f"Cross-validated in {found.folds} folds: {time.perf_counter() - started:.0f} s")
    return found


def _why(error: KeyboardInterrupt | TrainingError) -> str:
    """What ended a training, as a part of a sentence."""
    return str(error).rstrip(".") if isinstance(error, TrainingError) else "it was stopped"
