"""What a model says of any number of pictures, a piece at a time."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Protocol

import keras
import numpy as np

from finetune.exceptions import ArgumentError, DataError
from finetune.model.activation_map import Seen
from finetune.model.calibration import check_task
from finetune.model.card import ModelCard
from finetune.model.doubt import check_doubt, doubts
from finetune.model.novelty import Novelty
from finetune.model.pictures import find_pictures, read_pictures
from finetune.model.predictions import Predictions, describe
from finetune.support import check_number

# Unreadable files that are named where none can be read.
_REASONS = 5


class Answering(Protocol):
    """What answers: a `FineTunedModel`."""

    @property
    def keras_model(self) -> keras.Model:
        """From pixels to predictions."""
        ...

    @property
    def card(self) -> ModelCard:
        """What these mean."""
        ...

    @property
    def novelty(self) -> Novelty | None:
        """What tells an image that is like nothing in training."""
        ...

    def observe(self, pixels: np.ndarray, *, places: bool = True) -> Seen:
        """What is computed of images."""
        ...


def answer_pieces(
    model: Answering,
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
        check_doubt(model.card, model.novelty, doubt)
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
    model: Answering,
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


def _say(model: Answering, pixels: np.ndarray, batch_size: int, flip: bool) -> np.ndarray:
    if not len(pixels):
        return _none(model)
    network: Any = model.keras_model
    outputs = [
        network.predict(view.astype("float32"), batch_size=batch_size, verbose=0)
        for view in ([pixels, pixels[:, :, ::-1]] if flip else [pixels])
    ]
    return np.mean(outputs, axis=0) if flip else np.asarray(outputs[0])


def _none(model: Answering) -> np.ndarray:
    """What is said of no image."""
    return np.empty((0, *model.keras_model.output_shape[1:]), "float32")
