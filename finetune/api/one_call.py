"""fine_tune: from data to a fine-tuned model in one call."""

import os
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

from finetune.api.fine_tuner import FineTuner
from finetune.api.result import FineTuneResult
from finetune.api.run_folder import write_run
from finetune.backbones import UNSET, describe, resolve_depth
from finetune.data import ImageData, load_data, scan_folder
from finetune.exceptions import ArgumentError
from finetune.model import FineTunedModel, ModelCard
from finetune.support import check_writable, new_folder
from finetune.training import TrainingProgress
from finetune.tuning import EPOCHS, FREEZE_DEPTH, LEARNING_RATE


def fine_tune(
    data: Any,
    *,
    backbone: Any = "MobileNetV2",
    weights: Any = "imagenet",
    preprocess: Any = UNSET,
    image_size: int | tuple[int, int] | None = None,
    batch_size: int = 32,
    validation: Any = 0.2,
    test: Any = None,
    resize: str = "pad",
    augment: str | keras.Layer | None = "none",
    strict: bool = False,
    task: str = "auto",
    class_names: Sequence[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
    freeze_depth: int | float | str = FREEZE_DEPTH,
    learning_rate: float = LEARNING_RATE,
    epochs: int = EPOCHS,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int = 1,
    **settings: Any,
) -> FineTuneResult:
    """Fine-tune a pretrained backbone on images, in two phases.

    Args:
        data: What `load_data` takes: an image folder, a TFDS name, arrays or a
            `tf.data.Dataset`; or an `ImageData`, to which the arguments of loading then do
            not apply.
        backbone: See `FineTuner`. Default "MobileNetV2".
        weights: "imagenet" (default), a weights file, or None.
        preprocess: See `load_backbone`; needed for a model of your own.
        image_size: Pixels. Default: the backbone's own, such as 224.
        batch_size: Images in a batch. Default 32.
        validation: See `load_data`. Default 0.2: a fifth is split off.
        test: See `load_data`. Default: the source's own test images, if any.
        resize: "pad" (default), "crop" or "squash".
        augment: "none" (default), "light", "strong" or a Keras layer.
        strict: Whether an unreadable image is an error.
        task: See `load_data`. Default "auto".
        class_names: See `load_data`.
        data_dir: See `load_data`.
        download: See `load_data`.
        freeze_depth: Layers, fraction, or layer or block name. Default 0.35: the lowest third
            stays frozen (54 of MobileNetV2's 154 layers).
        learning_rate: Rate of the second phase. Default 3e-4.
        epochs: Epochs of the second phase. Default 15.
        seed: Seed of everything random. Default 0.
        out: Run folder to write. Default: a new one under "runs/".
        callbacks: Keras callbacks; they see the whole model.
        verbose: 0 for silence, 1 (default) for progress.
        **settings: Further arguments of `FineTuner`, such as `schedule`, `dropout` or
            `views`; fixed values, not spaces.

    Returns:
        The model, its history and its quality; all of it is in the run folder too.

    Raises:
        ArgumentError: If an argument is not allowed, or is a space to search.
        DataError: If the images cannot be trained on.
        WeightsError: If the weights cannot be found.
        TrainingError: If the loss is never finite.
        StorageError: If the run folder cannot be written.

    Example:
        >>> import numpy as np, tempfile
        >>> images = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), "uint8")
        >>> result = fine_tune(
        ...     (images, [0, 1, 2] * 8), weights=None, image_size=32, epochs=1, head_epochs=1,
        ...     backbone_options={"alpha": 0.35}, out=tempfile.mkdtemp(), verbose=0)
        >>> result.model.card.class_names
        ('0', '1', '2')

    Source of the two phases: Keras' guide "Transfer learning & fine-tuning".
    """
    started = time.perf_counter()
    tuner = FineTuner(
        backbone,
        weights=weights,
        preprocess=preprocess,
        image_size=image_size,
        freeze_depth=freeze_depth,
        learning_rate=learning_rate,
        epochs=epochs,
        seed=seed,
        **settings,
    )
    if tuner.tunables():
        raise ArgumentError(
            f"Expected fixed values, received something to search in {tuner.tunables()}. Give one "
            "value each, or pass FineTuner(...) to a KerasTuner tuner."
        )
    folder = check_writable(Path(out) if out is not None else new_folder())
    if isinstance(data, (str, os.PathLike)) and not str(data).startswith("tfds:"):
        scan_folder(data)  # a wrong path is told before weights are fetched for it
    values = tuner.settings()
    loading = {
        "batch_size": batch_size,
        "validation": validation,
        "test": test,
        "resize": resize,
        "augment": augment,
        "strict": strict,
        "task": task,
        "class_names": class_names,
        "data_dir": data_dir,
        "download": download,
    }
    images: ImageData
    if isinstance(data, ImageData):
        images = data
    else:
        size = tuner.shared(values).backbone.image_size
        images = load_data(data, image_size=size, seed=seed, **loading)
    console = Console(quiet=not verbose, soft_wrap=True)
    _announce(images, console)
    values = replace(values, label_smoothing=values.smoothing(images.task))
    source = tuner.source_of(images, values)
    trained, record = tuner.train(
        values, source, callbacks=callbacks, progress=[TrainingProgress(console)] if verbose else []
    )
    used = tuner.shared(values).backbone
    depth = resolve_depth(used.model, freeze_depth)
    model = FineTunedModel(
        trained,
        ModelCard(
            images.task, tuple(images.class_names), tuple(trained.input_shape[1:3]), images.resize
        ),
    )
    result = FineTuneResult(
        model=model,
        data=images,
        record=record,
        validation=model.evaluate(images, "validation"),
        test=model.evaluate(images, "test") if "test" in images.counts else None,
        seconds=time.perf_counter() - started,
        config={
            **{field.name: getattr(values, field.name) for field in fields(values)},
            **({} if isinstance(data, ImageData) else loading),
            "backbone": used.name,
            "data": str(data) if isinstance(data, (str, os.PathLike)) else type(data).__name__,
            "fingerprint": images.fingerprint,
            "image_size": list(images.image_size),
            "task": images.task,
            "class_names": list(images.class_names),
            "counts": images.counts,
        },
        folder=folder,
        freeze=str(describe(used.model, depth, batch_norm=values.batch_norm)),
    )
    write_run(result)
    return result


def _announce(data: ImageData, console: Console) -> None:
    parts = [f"{sum(counts.values()):,} {split}" for split, counts in data.counts.items()]
    classes = f", {len(data.class_names)} classes" if data.class_names else ""
    console.print(f"Images: {', '.join(parts)}{classes}", highlight=False)
    if str(data.report):
        console.print(str(data.report), style="yellow", highlight=False, markup=False)
