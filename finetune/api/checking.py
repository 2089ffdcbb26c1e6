"""check: what is odd about images, before anything is trained on them."""

import inspect
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from finetune.api.fine_tuner import FineTuner
from finetune.api.sized_images import SizedImages, refuse_unknown, with_loading
from finetune.backbones import UNSET
from finetune.checks import CheckResult, LookedThrough, look_through, plan_of
from finetune.data import ImageData, read_fixes, write_fixes
from finetune.exceptions import ArgumentError, DataError, WeightsError
from finetune.report import CHECK_PAGE, render_check
from finetune.support import check_outside, new_console, new_folder, write_text
from finetune.tuning import Trainer

CHECK, FIXES = "check.json", "fixes.csv"

_TUNER = {name: one.default for name, one in inspect.signature(FineTuner).parameters.items()}

# The size of images that no backbone is there for.
_SIZE = 224


# Of `load_data`, what `check` has itself, or does without.
@with_loading("image_size", "batch_size", "seed", "augment", "validation")
def check(
    data: Any,
    *,
    backbone: str | os.PathLike[str] | keras.Model = "MobileNetV2",
    weights: str | os.PathLike[str] | None = "imagenet",
    backbone_options: dict[str, Any] | None = None,
    preprocess: str | keras.Layer | Callable | None = UNSET,
    image_size: int | tuple[int, int] | None = None,
    validation: float | str | os.PathLike[str] | tuple | None = None,
    quick: bool = False,
    fix: bool = False,
    plan: bool = False,
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    verbose: int = 1,
    **loading: Any,
) -> CheckResult:
    """Look through images for what is odd, before anything is trained on them.

    Without a backbone: files that cannot be read, copies of one image (exact, saved again, made
    smaller or mirrored), images that show nothing, are dark or blurred, odd sizes, and how many
    images each class has. With its features: copies that were cut, too, labels that look wrong, and
    images unlike all others. Nothing is changed: it says where to look.

    Args:
        data: What `load_data` takes, or an `ImageData`; not a `tf.data.Dataset`.
        backbone: Whose features are used, see `FineTuner`. Default "MobileNetV2".
        weights: Likewise: "imagenet" (default) or a weights file. Where ImageNet weights cannot be
            had, the checks that need features are left out, which is told.
        backbone_options: Options of the architecture, such as {"alpha": 0.35}. Default: none.
        preprocess: How a model of your own wants its images, see `load_backbone`. Default: the
            architecture's own.
        image_size: Pixels, an integer or (height, width). Default: the backbone's own; 224 without
            one.
        validation: Validation images of your own, which are checked, too, see `load_data`.
            Default None: those of the source, if it has any; none is split off.
        quick: Whether to leave out what needs features. Default False.
        fix: Whether to write `fixes.csv`, to be edited and given as `fixes`. One that is there is
            added to: what it decides is kept. Default False.
        plan: Whether to work out what more images would bring, and of which classes, from heads on
            25 to 100% of the images that are not test images. Takes seconds for a thousand images.
            Default False.
        out: Folder to write `check.json`, `check.html` and `fixes.csv` to. Default: a new one
            under "runs/".
        seed: Of the folds in which labels are asked about, and of random weights. Default 0.
        verbose: 0 for silence, 1 (default) for a line a step.
        **loading: Further arguments of `load_data`, such as `test` or `fixes`, with their defaults.
            `help(check)` lists them.

    Returns:
        What was found; all of it is in the folder too.

    Raises:
        ArgumentError: If an argument is not allowed, or the images are not stored.
        DataError: If the images cannot be loaded.
        WeightsError: If a weights file cannot be used.
        StorageError: If the folder cannot be written.

    Example:
        >>> import tempfile
        >>> images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), "uint8")
        >>> images[7] = images[3]
        >>> images[9] = 255
        >>> found = check((images, [0, 1] * 20), quick=True, out=tempfile.mkdtemp(), verbose=0)
        >>> [(one.kind, [group.rows for group in one.groups]) for one in found.findings]
        [('blank', [(9,)]), ('copies', [(3, 7)])]
    """
    started = time.perf_counter()
    refuse_unknown(check, loading)
    if plan and quick:
        raise ArgumentError(
            "Expected plan=True (--plan) without quick=True (--quick): what more images would "
            "bring is measured on features, which a quick check does without. Drop one of them."
        )
    loading = {**loading, "validation": validation, "seed": seed}
    check_outside(
        out, data.arguments if isinstance(data, ImageData) else {**loading, "source": data}
    )
    console = new_console(quiet=not verbose)
    sized = SizedImages(data, loading)
    left_out: list[str] = []
    trainer = None
    if quick:
        left_out.append(_without("quick=True (--quick) was asked for"))
    else:
        arguments = {**_TUNER, "backbone": backbone, "weights": weights, "seed": seed}
        arguments |= {"backbone_options": backbone_options, "preprocess": preprocess}
        size = sized.given.image_size if sized.given and image_size is None else image_size
        trainer = Trainer({**arguments, "image_size": size, "freeze_depth": 1.0})
        try:
            pooled, size = _extractor(trainer)
        except WeightsError as error:
            if weights != "imagenet":
                raise
            trainer = None
            why = f"there are no weights of {backbone} ({_first_line(error)})"
            left_out.append(_without(why, plan))
    if trainer is None:
        pooled, size = None, image_size or _SIZE
    images = _images(sized, size)
    looked = LookedThrough(images)
    if pooled is not None:
        console.print(f"Features of {len(looked.ids):,} images ...")
        looked = replace(looked, features=_features(looked, pooled))
    findings = look_through(looked, pooled, seed)
    planned = None
    if plan and looked.features is not None:
        console.print("Heads on 25, 50, 75 and 100% of the images ...")
        try:
            planned = plan_of(looked, seed)
        except DataError as error:
            left_out.append(f"what more images would bring. {error}")
    name = "" if trainer is None else trainer.shared(trainer.settings()).backbone.name
    folder = new_folder("check-") if out is None else Path(out)
    result = CheckResult(
        looked,
        tuple(findings),
        tuple(left_out),
        name,
        time.perf_counter() - started,
        folder,
        planned,
    )
    _write(result, fix)
    return result


def _images(sized: SizedImages, size: Any) -> ImageData:
    """The images, stored, at a size."""
    data = sized.given
    if data is None:
        data = sized.at((size, size) if isinstance(size, int) else tuple(size))
    if not data.splits:
        raise ArgumentError(
            "Expected stored images to check (a folder, arrays, a TFDS name), received a "
            "tf.data.Dataset. Load them from where they lie."
        )
    return data


def _extractor(
    trainer: Trainer,
) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[int, int]]:
    """What computes pooled features of pixels, and the size that these have to have."""
    shared = trainer.shared(trainer.settings())
    return shared.pooled_of, shared.backbone.image_size


def _features(images: LookedThrough, pooled: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    parts = [images.data.splits[split].images for split in images.splits]
    return np.concatenate([pooled(part) for part in parts])


def _write(result: CheckResult, fix: bool) -> None:
    """Write what was found; decisions that a table of fixes holds are kept."""
    folder = result.folder
    assert folder is not None  # just chosen
    write_text(folder / CHECK, json.dumps(result.to_dict(), indent=2) + "\n")
    write_text(folder / CHECK_PAGE, render_check(result))
    if fix:
        file = folder / FIXES
        decided = read_fixes(file) if file.exists() else {}
        suggested = {one.content: one for one in result.fixes()}
        write_fixes(file, {**suggested, **decided}.values())


def _without(why: str, plan: bool = False) -> str:
    more = ", what more images would bring" * plan
    return (
        f"labels that look wrong, images unlike all others{more} and copies that were cut, for "
        f"{why}."
    )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")
