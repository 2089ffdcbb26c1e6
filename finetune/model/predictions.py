"""What a model says of images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from finetune.data import SkippedFile
from finetune.model.card import ModelCard
from finetune.model.doubt import Doubt
from finetune.support import as_html


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image.

    Args:
        path: The file, or the number of the image among those given.
        label: The most probable class, or None where it is less probable than the `threshold`
            that was asked for; the list of labels above it for "multilabel"; the value or values
            for "regression".
        probabilities: Probability of each class by name; empty for regression.
        doubt: What speaks against it; None where that was not asked.
    """

    path: str
    label: Any
    probabilities: dict[str, float]
    doubt: Doubt | None = None

    @property
    def said(self) -> str:
        """The answer in words: with its doubt, where that was asked."""
        if self.doubt is None:
            return str(self.label)
        return self.doubt.said(self.label, self.probabilities)


@dataclass(frozen=True)
class Predictions:
    """What the model says of several images, in the order given.

    Args:
        paths: The files, or the numbers of the images among those given.
        labels: One label per image, see `Prediction`.
        probabilities: float32 (n, classes); the regressed values for regression.
        class_names: Names of the columns.
        skipped: Files that could not be read, with the reason.
        doubts: What speaks against each answer; empty where that was not asked.
    """

    paths: list[str]
    labels: list[Any]
    probabilities: np.ndarray
    class_names: tuple[str, ...]
    skipped: tuple[SkippedFile, ...] = ()
    doubts: tuple[Doubt, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        first = f", the first {self.labels[0]!r}" if self.labels else ""
        return f"<Predictions: {len(self):,} images{first}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        rows = [
            (one.path, one.said, *(f"{chance:.1%}" for chance in _highest(one.probabilities)))
            for one in self
        ]
        return as_html(f"{len(self):,} predictions", rows)

    def __iter__(self) -> Iterator[Prediction]:
        doubts = self.doubts or (None,) * len(self)
        for path, label, row, doubt in zip(
            self.paths, self.labels, self.probabilities, doubts, strict=True
        ):
            # Values of a regression have no names.
            named = dict(zip(self.class_names, map(float, row), strict=bool(self.class_names)))
            yield Prediction(path, label, named, doubt)


def joined_predictions(pieces: Sequence[Predictions]) -> Predictions:
    """What was said of several images after one another, as of all of them."""
    return Predictions(
        [path for piece in pieces for path in piece.paths],
        [label for piece in pieces for label in piece.labels],
        np.concatenate([piece.probabilities for piece in pieces]),
        pieces[0].class_names,
        tuple(file for piece in pieces for file in piece.skipped),
        tuple(doubt for piece in pieces for doubt in piece.doubts),
    )


def _highest(probabilities: dict[str, float]) -> list[float]:
    """The highest of some probabilities, if there are any."""
    return sorted(probabilities.values())[-1:]


def describe(
    card: ModelCard, outputs: np.ndarray, paths: Sequence[str], threshold: float | None = None
) -> Predictions:
    """What a model's outputs mean.

    Args:
        card: Of the model.
        outputs: What it says, (n, units).
        paths: What the images are called.
        threshold: See `FineTunedModel.predict`.
    """
    names = card.class_names
    if card.task == "regression":
        values = [row[0] if len(row) == 1 else row for row in outputs.tolist()]
        return Predictions([*paths], values, outputs, ())
    if card.task == "multilabel":
        least = 0.5 if threshold is None else threshold
        chosen = [[n for n, p in zip(names, row, strict=True) if p >= least] for row in outputs]
        return Predictions([*paths], chosen, outputs, names)
    outputs = card.probabilities(outputs)
    sure = outputs.max(axis=1, initial=0) >= (threshold or 0)
    answers = outputs.argmax(axis=1)
    labels = [names[i] if named else None for i, named in zip(answers, sure, strict=True)]
    return Predictions([*paths], labels, outputs, names)
