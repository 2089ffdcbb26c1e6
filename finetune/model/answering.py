"""What a model says of any number of pictures, a piece at a time."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.exceptions import ArgumentError, DataError
from finetune.model.calibration import check_task
from finetune.model.doubt import check_doubt, doubts
from finetune.model.pictures import find_pictures, read_pictures
from finetune.model.predictions import Predictions, describe
from finetune.support import check_number

if TYPE_CHECKING:
    from finetune.model.fine_tuned_model import FineTunedModel

# Unreadable files that are named where none can be read.
_REASONS = 5


def answer_pieces(
    model: "FineTunedModel",
    images: Any,
    *,
    batch_size: int,
    threshold: float | None,
    flip: bool,
    doubt: float | None,
    progress: Callable[[int, int], None] | None,
) -> Iterator[Predictions]:
    """Classify pictures, see `FineTunedModel.predict_pieces`."""
    if threshold is not None:
        check_number("threshold", threshold, least=0, most=1)
        check_task(model.card.task)
    if doubt is not None:
        check_doubt(model, doubt)
        if flip:
            raise ArgumentError(
                "Expected doubt or flip, received both: what doubt was learned from was not "
                "looked at mirrored."
            )
    pictures = find_pictures(images)
    done, readable, reasons = 0, 0, []
    for some in read_pictures(pictures, model.card.image_size, model.card.resize):
        if doubt is None:
            outputs = _say(model, some.pixels, batch_size, flip)
            said = describe(model.card, outputs, some.names, threshold)
        else:
            said = _doubting(model, some.pixels, some.names, threshold, doubt)
        done += len(some.names) + len(some.skipped)
        readable += len(some.names)
        reasons += some.skipped[: _REASONS - len(reasons)]
        if progress is not None:
            progress(done, len(pictures))
        yield replace(said, skipped=some.skipped)
    if not readable:
        why = "; ".join(map(str, reasons)) or "nothing was given"
        raise DataError(f"Expected at least one readable image, received none: {why}.")


def _doubting(
    model: "FineTunedModel",
    pixels: np.ndarray,
    names: list[str],
    threshold: float | None,
    coverage: float,
) -> Predictions:
    """Answers with their doubt, from one look at the images."""
    if not len(pixels):
        return describe(model.card, _none(model), names, threshold)
    seen = model.observe(pixels, places=False)
    said = describe(model.card, seen.outputs, names, threshold)
    found = doubts(model.card, model.novelty, seen.outputs, seen.pooled, coverage)
    return replace(said, doubts=tuple(found))


def _say(model: "FineTunedModel", pixels: np.ndarray, batch_size: int, flip: bool) -> np.ndarray:
    if not len(pixels):
        return _none(model)
    outputs = [
        model.keras_model.predict(view.astype("float32"), batch_size=batch_size, verbose=0)
        for view in ([pixels, pixels[:, :, ::-1]] if flip else [pixels])
    ]
    return np.mean(outputs, axis=0) if flip else np.asarray(outputs[0])


def _none(model: "FineTunedModel") -> np.ndarray:
    """What is said of no image."""
    return np.empty((0, *model.keras_model.output_shape[1:]), "float32")
