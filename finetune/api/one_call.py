"""fine_tune: from data to a fine-tuned model in one call."""

import inspect
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras

from finetune.api.automatic import check_auto, with_backbone
from finetune.api.explanation import Explanation
from finetune.api.fine_tuner import FineTuner
from finetune.api.finishing import Training, finish
from finetune.api.result import FineTuneResult
from finetune.api.run_files import write_files
from finetune.api.run_folder import claim
from finetune.api.run_report import TRAINING_LAP, note_result, parts_of, spared_by
from finetune.api.sized_images import LOADING, SizedImages, announce
from finetune.backbones import describe, resolve_depth
from finetune.data import ImageData
from finetune.exceptions import ArgumentError
from finetune.report import report_run
from finetune.reuse import TRAIN, VALIDATION
from finetune.support import Laps, bars_on, check_outside, did_you_mean, new_console
from finetune.training import HEAD, EventLog, TrainingProgress, was_solved
from finetune.tuning import (
    FREEZE_DEPTH,
    LEARNING_RATE,
    Settings,
    Trainer,
    check_can_be_folded,
    deciding,
)

_TRAINING = inspect.signature(FineTuner).parameters
# Of what both take, these say how images are loaded; an image size is the backbone's first, and
# the seed is that of both.
_LOADING_FIRST = ("augment", "task")


def _with_options(function: Callable[..., FineTuneResult]) -> Callable[..., FineTuneResult]:
    """Show editors and `help` the arguments that arrive as `**options`."""
    signature = inspect.signature(function)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    named = {parameter.name for parameter in own}
    further = {**LOADING, **_TRAINING, **{name: LOADING[name] for name in _LOADING_FIRST}}
    parameters = [
        *own,
        *(
            parameter.replace(kind=parameter.KEYWORD_ONLY)
            for name, parameter in further.items()
            if name not in named
        ),
    ]
    vars(function)["__signature__"] = signature.replace(parameters=parameters)
    return function


@_with_options
def fine_tune(
    data: Any,
    *,
    freeze_depth: int | float | str = FREEZE_DEPTH,
    learning_rate: float = LEARNING_RATE,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int = 1,
    **options: Any,
) -> FineTuneResult:
    """Fine-tune a pretrained backbone on images, in two phases.

    Args:
        data: What `load_data` takes: an image folder, a TFDS name, arrays or a
            `tf.data.Dataset`; or an `ImageData`, to which the arguments of loading then do
            not apply.
        freeze_depth: Layers, fraction, or layer or block name. Default 0.35: the lowest third
            stays frozen (54 of MobileNetV2's 154 layers).
        learning_rate: Rate of the second phase. Default 6e-4; docs/results.md has the
            measurements.
        out: Run folder to write, new or empty. One that holds an unfinished run of the same is
            gone on with. Default: a new one under "runs/".
        overwrite: Whether a run that `out` holds is replaced, once the new one is whole. Default
            False: it is refused.
        callbacks: Keras callbacks; they see the whole model.
        verbose: 0 for silence, 1 (default) for progress.
        **options: Further arguments of `load_data`, such as `image_size`, `batch_size` or
            `validation`, and of `FineTuner`, such as `backbone`, `epochs` or `dropout`, with
            their defaults; fixed values, not spaces. `help(fine_tune)` lists them.

    Returns:
        The model, its history and its quality; all of it is in the run folder too.

    Raises:
        ArgumentError: If an argument is not allowed, or is a space to search.
        DataError: If the images cannot be trained on.
        WeightsError: If the weights cannot be found.
        TrainingError: If the loss is never finite.
        RunFolderError: If the run folder is in use, or holds something else.
        StorageError: If the run folder cannot be written; where the trained model is instead.

    Example:
        >>> import numpy as np, tempfile
        >>> images = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), "uint8")
        >>> result = fine_tune(
        ...     (images, [0, 1, 2] * 8), weights=None, backbone_options={"alpha": 0.35},
        ...     freeze_depth="block_15", image_size=32, epochs=1, out=tempfile.mkdtemp(), verbose=0)
        >>> result.model.card.class_names
        ('0', '1', '2')

    Source of the two phases: Keras' guide "Transfer learning & fine-tuning".
    """
    started = time.perf_counter()
    laps = Laps()
    trainer, loading = _trainer(options, freeze_depth, learning_rate)
    check_outside(
        out, data.arguments if isinstance(data, ImageData) else {**loading, "source": data}
    )
    console = new_console(quiet=not verbose)
    with bars_on(console), claim(out, overwrite=overwrite) as folder:
        sized = SizedImages(data, loading)
        trainer = with_backbone(trainer, sized, console, folder.begun_with().get("backbone"))
        values = trainer.settings()
        images = _load(sized, trainer, values)
        announce(images, console)
        laps.end("Loading")
        values = replace(values, label_smoothing=values.smoothing(images.task))
        source = trainer.source_of(images, values)
        if images.folds:
            check_can_be_folded(source)
        used = trainer.shared(values)
        file = folder.begin(deciding(trainer, images, values.epochs))
        if file.path.exists():
            console.print(f"Going on with {folder.shown}")
        trained, record = trainer.train(
            values,
            source,
            callbacks=callbacks,
            progress=[*([TrainingProgress(console)] if verbose else []), EventLog(folder.events)],
            file=file,
        )
        laps.end(TRAINING_LAP)
        training = Training(trainer, values, images, source, trained, record, console)
        finished = finish(training, laps)
        seconds = time.perf_counter() - started
        head = record.phase(HEAD)
        depth = resolve_depth(used.backbone.model, freeze_depth)
        result = FineTuneResult(
            model=finished.model,
            data=images,
            record=record,
            validation=finished.quality.validation,
            test=finished.quality.test,
            seconds=seconds,
            config=_config(data, images, values, loading, used.backbone.name),
            folder=folder.shown,
            freeze=str(describe(used.backbone.model, depth, batch_norm=values.batch_norm)),
            refitted=finished.refitted,
            calibration=finished.quality.calibration,
            cross_validation=finished.cross_validation,
            verdict=finished.verdict,
            doubt=finished.doubt,
            spared=used.spared(seconds, pass_anyway=bool(head) and was_solved(head[0])),
            plan=finished.plan,
            remarks=finished.remarks,
        )
        parts = parts_of(laps, record)

        def write(place: Path) -> None:
            write_files(result, trainer, place)
            note_result(
                place,
                result,
                finished.answers,
                finished.gallery,
                backbone=used.backbone.name,
                depth=depth,
                parts=parts,
                spared=partial(spared_by, used, source, depth),
            )

        result.folder = folder.finish(write, over=not record.interrupted)
        report_run(result.folder)
    return result


def explain(
    data: Any,
    *,
    freeze_depth: int | float | str = FREEZE_DEPTH,
    learning_rate: float = LEARNING_RATE,
    **options: Any,
) -> Explanation:
    """Show where `fine_tune` could start its second phase, and what it would choose.

    Args:
        data: See `fine_tune`.
        freeze_depth: Likewise.
        learning_rate: Likewise.
        **options: Likewise.

    Returns:
        A table, to be printed. Nothing is trained and nothing written.

    Raises:
        ArgumentError: See `fine_tune`.
        DataError: Likewise.
    """
    trainer, loading = _trainer(options, freeze_depth, learning_rate)
    sized = SizedImages(data, loading)
    trainer = with_backbone(trainer, sized, new_console())
    values = trainer.settings()
    source = trainer.source_of(_load(sized, trainer, values), values)
    shared, training = trainer.prepare(values, source)
    depth = training.phases[-1].freeze_depth
    rows = sum(source.rows(split) or 0 for split in (TRAIN, VALIDATION))
    candidates = shared.candidates(source, depth) if source.reuse else []
    return Explanation(depth, shared.head_only, rows, values.epochs, candidates)


def _trainer(
    options: dict[str, Any], freeze_depth: Any, learning_rate: float
) -> tuple[Trainer, dict[str, Any]]:
    """What trains, and the arguments of `load_data`."""
    training, loading = _sorted(options)
    trainer = Trainer({**training, "freeze_depth": freeze_depth, "learning_rate": learning_rate})
    check_auto(trainer.arguments)
    if trainer.tunables():
        raise ArgumentError(
            f"Expected fixed values, received something to search in {trainer.tunables()}. Give "
            "one value each, or pass FineTuner(...) to a KerasTuner tuner."
        )
    return trainer, loading


def _load(sized: SizedImages, trainer: Trainer, values: Settings) -> ImageData:
    """The images, at the size of the backbone."""
    if sized.given is not None:
        return sized.given
    return sized.at(trainer.shared(values).backbone.image_size)


def _sorted(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """All arguments of `FineTuner`, and all of `load_data`, given ones and defaults."""
    for name in options:
        if name not in _TRAINING and name not in LOADING:
            hint = did_you_mean(name, inspect.signature(fine_tune).parameters)
            raise ArgumentError(
                f"fine_tune has no argument {name!r}.{hint} Expected one of its own, of load_data "
                "or of FineTuner."
            )
    training = {name: parameter.default for name, parameter in _TRAINING.items()}
    loading = {name: parameter.default for name, parameter in LOADING.items()}
    training |= {
        name: value
        for name, value in options.items()
        if name in _TRAINING and name not in _LOADING_FIRST
    }
    loading |= {name: value for name, value in options.items() if name in LOADING}
    return training, loading


def _config(
    data: Any, images: ImageData, values: Settings, loading: dict[str, Any], backbone: str
) -> dict[str, Any]:
    """What was used, and on what."""
    return {
        **{field.name: getattr(values, field.name) for field in fields(values)},
        **({} if images is data else loading),
        "backbone": backbone,
        "data": str(data) if isinstance(data, (str, os.PathLike)) else type(data).__name__,
        "fingerprint": images.fingerprint,
        "image_size": list(images.image_size),
        "task": images.task,
        "class_names": list(images.class_names),
        "counts": images.counts,
    }
