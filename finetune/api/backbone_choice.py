"""compare: which backbone to fine-tune, from one pass over the images with each."""

import gc
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from rich.console import Console

from finetune.api.comparison import (
    ComparedBackbone,
    Comparison,
    in_order,
    measured,
)
from finetune.api.contenders import Contender, contenders
from finetune.api.fine_tuner import FineTuner
from finetune.api.sized_images import SizedImages, announce, refuse_unknown, with_loading
from finetune.backbones import UNSET
from finetune.data import ImageData
from finetune.exceptions import (
    DataError,
    FineTuneError,
    OutOfTimeError,
    PreprocessingError,
    WeightsError,
)
from finetune.reuse import TRAIN, VALIDATION, pass_batch
from finetune.support import expected_tracing, new_console
from finetune.training import out_of_fold, partition
from finetune.tuning import Settings, Trainer

_TUNER = inspect.signature(FineTuner).parameters


# Batches that are timed, after two that are not.
_TIMED = 9


# Of `load_data`, what `compare` has itself, or does without.
@with_loading("image_size", "seed", "augment")
def compare(
    data: Any,
    backbones: Sequence[str] | Sequence[Any] | Mapping[str, Any] | None = None,
    *,
    image_size: int | tuple[int, int] | None = None,
    preprocess: str | keras.Layer | Callable | None = UNSET,
    cache_budget: int | None = None,
    cache_dir: str | None = None,
    cache_dtype: str = "float32",
    seed: int = 0,
    verbose: int = 1,
    **loading: Any,
) -> Comparison:
    """Compare backbones on images, before any is trained.

    Each goes over the training and validation images once. Its pooled features are kept where
    `fine_tune` finds them, and linear heads on them are solved: every image is predicted by one
    that was solved without it. Test images are not looked at.

    Args:
        data: See `fine_tune`. Images are not augmented, whatever the data says.
        backbones: What `fine_tune` takes as `backbone`, several of them. Architectures may have
            options and a weights file: "MobileNetV2(alpha=0.35)", "MobileNetV2=weights.h5"; or
            give a mapping from their names to weights files. Default: those of a short list (see
            the guide on backbones) whose ImageNet weights are in Keras' cache.
        image_size: Pixels, an integer or (height, width), for all of them. Default: that of
            `data`, where it is an `ImageData`; else each backbone's own.
        preprocess: How models and files of your own want their images, see `load_backbone`; no
            architecture needs it. Default: they say it themselves.
        cache_budget: See `FineTuner`. Default: two fifths of the free memory.
        cache_dir: Likewise. Default: the environment variable `FINETUNE_CACHE`, or
            "~/.cache/finetune".
        cache_dtype: Likewise. Default "float32".
        seed: Of the images that are split off, of the folds, and of random weights. Default 0.
        verbose: 0 for silence, 1 (default) for a line a backbone.
        **loading: Further arguments of `load_data`, such as `batch_size` or `validation`, with
            their defaults. `help(compare)` lists them.

    Returns:
        A table, to be printed, and a suggestion. A backbone that cannot be loaded is in it, with
        the reason.

    Raises:
        ArgumentError: If an argument is not allowed, or a backbone's name is not known.
        DataError: If the images cannot be used.
        WeightsError: If no backbone can be loaded; the backbone's own error, where it is one
            alone.

    Example:
        >>> import tempfile
        >>> def untrained(filters):
        ...     layers = [keras.layers.Conv2D(filters, 3, name="first"), keras.layers.ReLU()]
        ...     return keras.Sequential([keras.Input((16, 16, 3)), *layers], name=f"net_{filters}")
        >>> images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), "uint8")
        >>> images[::2, :, :, 0] //= 2
        >>> found = compare((images, [0, 1] * 20), [untrained(4), untrained(8)], preprocess="tf",
        ...     cache_dir=tempfile.mkdtemp(), verbose=0)
        >>> sorted((one.parameters, one.score.n, one.score.accuracy) for one in found.backbones)
        [(117, 40, 1.0), (233, 40, 1.0)]

    Source: S. Kornblith et al., "Do Better ImageNet Models Transfer Better?" (2019), for logistic
    regression on fixed features as the measure.
    """
    refuse_unknown(compare, loading)
    cache = {"budget": cache_budget, "dir": cache_dir, "dtype": cache_dtype}
    options = {"seed": seed, **{f"cache_{name}": value for name, value in cache.items()}}
    if isinstance(data, ImageData):
        given = data if image_size is None else _at(data, image_size)
        images, size = SizedImages(given, {}), given.image_size
    else:
        images, size = SizedImages(data, {**loading, "seed": seed}), _pair(image_size)
    console = new_console(quiet=not verbose)
    return compare_all(contenders(backbones, size), images, size, preprocess, options, console)


def compare_all(
    entrants: Sequence[Contender],
    images: SizedImages,
    size: tuple[int, int] | None,
    preprocess: Any,
    options: Mapping[str, Any],
    console: Console,
    *,
    tell: bool = True,
) -> Comparison:
    """What `compare` does with arguments that have been read.

    Args:
        entrants: What is compared.
        images: The images.
        size: That of all images, or None for each backbone's own.
        preprocess: Of models and files of the user's.
        options: Arguments of `FineTuner` that hold for all, "seed" among them.
        console: Where a line a backbone is printed.
        tell: Whether to say how many images there are.

    Returns:
        The comparison.

    Raises:
        WeightsError: If no backbone can be loaded.
        DataError: If the images cannot be used.
    """
    found: list[ComparedBackbone] = []
    errors: list[FineTuneError] = []
    labels, parts, task = np.empty(0), [], ""
    for entrant in entrants:
        started = time.perf_counter()
        try:
            trainer, settings = _load(entrant, preprocess, size, options)
        except (DataError, OutOfTimeError):
            raise
        except FineTuneError as error:
            errors.append(error)
            found.append(ComparedBackbone(entrant.name, entrant.arguments, error=str(error)))
            console.print(f"{entrant.name}: could not be loaded")
            continue
        data = images.at(trainer.shared(settings).backbone.image_size)
        if tell:
            announce(data, console)
            tell = False
        features, these = _pooled(trainer, settings, data)
        if not parts:
            labels, task = these, data.task
            parts = partition(labels, task, seed=options["seed"], content=_content(data))
        elif not np.array_equal(labels, these):
            raise DataError(
                "Expected a dataset whose images come in the same order in every pass, to compare "
                "backbones on the same ones; their labels differ. Leave out what shuffles it, or "
                "load the images from arrays or a folder."
            )
        told = out_of_fold(features, labels, task, parts)
        costs = _costs(trainer, settings, data)
        one = measured(entrant.name, entrant.arguments, labels, told, task, **costs)
        found.append(one)
        seconds = time.perf_counter() - started
        console.print(f"{one.name}: {one.score}, measured in {seconds:.0f} s")
        del trainer
        gc.collect()  # models are full of circles
    if not parts:
        raise _none_loaded(found, errors)
    return Comparison(in_order(found), task, len(parts))


def _load(
    entrant: Contender, preprocess: Any, size: tuple[int, int] | None, options: Mapping[str, Any]
) -> tuple[Trainer, Settings]:
    """What computes the features of a backbone, with the backbone loaded."""
    arguments = {
        **{name: parameter.default for name, parameter in _TUNER.items()},
        **options,
        **entrant.arguments,
        "image_size": size,
        "freeze_depth": 1.0,  # all of it: nothing but pooled features is needed
    }
    # Who prepares images themselves do so; only others need to be told.
    said = not (entrant.architecture or preprocess is UNSET)
    for way in (UNSET, preprocess) if said else (UNSET,):
        trainer = Trainer({**arguments, "preprocess": way})
        settings = trainer.settings()
        try:
            trainer.shared(settings)
            return trainer, settings
        except PreprocessingError:
            if way is not UNSET or not said:
                raise
    raise AssertionError("the last way returns or raises")


def _pooled(trainer: Trainer, settings: Settings, data: ImageData) -> tuple[np.ndarray, np.ndarray]:
    """Features and labels of training and validation images, not augmented."""
    source = trainer.source_of(data.with_options(augment="none"), settings)
    shared, _ = trainer.prepare(settings, source)
    both = [shared.pooled(source, split) for split in (TRAIN, VALIDATION)]
    # Rows are taken by number where they lie on disk.
    rows = [part.inputs[0][np.arange(len(part.labels))] for part in both]
    labels = np.concatenate([part.labels for part in both])
    if data.task in ("binary", "multiclass"):
        labels = labels.reshape(-1)  # a dataset may have a column of them
    return np.concatenate(rows), labels


def _content(data: ImageData) -> list[str] | None:
    """A digest of each image, the same for near copies; None where they are not stored."""
    if not data.splits:
        return None
    return [digest for split in (TRAIN, VALIDATION) for digest in data.kept_together(split)]


@expected_tracing()
def _costs(trainer: Trainer, settings: Settings, data: ImageData) -> dict[str, Any]:
    """Size of the whole model, and the time that an image takes."""
    source = trainer.source_of(data.with_options(augment="none"), settings)
    shared, training = trainer.prepare(settings, source)
    model = shared.reset(training.head)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (pass_batch(), *model.input_shape[1:])).astype("float32")
    times = []
    for _ in range(2 + _TIMED):
        started = time.perf_counter()
        model.predict_on_batch(pixels)
        times.append(time.perf_counter() - started)
    return {
        "image_size": tuple(model.input_shape[1:3]),
        "parameters": model.count_params(),
        "megabytes": sum(weight.numpy().nbytes for weight in model.weights) / 1e6,
        "milliseconds": float(np.median(times[2:])) / len(pixels) * 1000,
    }


def _none_loaded(
    found: Sequence[ComparedBackbone], errors: Sequence[FineTuneError]
) -> FineTuneError:
    """Why there is nothing to compare: one reason, or each backbone's own."""
    if len({str(error) for error in errors}) == 1:
        return errors[0]
    reasons = "\n".join(f"  {one.name}: {one.error}" for one in found)
    return WeightsError(
        f"Expected at least one backbone that can be loaded, but none of {len(found)} can:\n"
        f"{reasons}"
    )


def _pair(size: Any) -> tuple[int, int] | None:
    return (size, size) if isinstance(size, int) else size


def _at(data: ImageData, size: int | tuple[int, int]) -> ImageData:
    return data if _pair(size) == data.image_size else data.at_size(size)
