"""Doubt: where a model says that it is not sure, or was shown nothing like an image."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from finetune.exceptions import ArgumentError
from finetune.model.card import ModelCard
from finetune.model.novelty import Novelty
from finetune.model.prediction_sets import COVERAGE, PredictionSets, in_words, members


@dataclass(frozen=True)
class Doubt:
    """What speaks against taking an answer at its word.

    Args:
        classes: The classes that the image may be of, the most probable first; None where the
            model has no prediction sets.
        novel: Whether the image is like nothing in training; None where that cannot be told.
        distance: How far it is from the training images, see `Novelty`; likewise.
    """

    classes: tuple[str, ...] | None
    novel: bool | None
    distance: float | None

    def said(self, label: Any, probabilities: dict[str, float]) -> str:
        """The answer in words, with its doubt.

        Args:
            label: What the model says of the image.
            probabilities: Of each class; empty for regression.

        Example:
            >>> chances = {"adidas": 0.4, "nike": 0.6}
            >>> Doubt(("nike",), False, 0.1).said("nike", chances)
            'nike (0.60)'
            >>> Doubt(("nike", "adidas"), False, 0.1).said("nike", chances)
            'not sure: nike or adidas'
            >>> Doubt(("nike",), True, 0.9).said("nike", chances)
            'like nothing in training'
        """
        if self.novel:
            return "like nothing in training"
        if label is None or (self.classes is not None and len(self.classes) > 1):
            names = self.classes or [max(probabilities, key=probabilities.__getitem__)]
            return f"not sure: {in_words(names)}"
        chance = probabilities.get(label) if isinstance(label, str) else None
        return f"{label}" if chance is None else f"{label} ({chance:.2f})"

    def to_dict(self) -> dict[str, Any]:
        """As it stands in JSON."""
        return {
            "set": None if self.classes is None else [*self.classes],
            "novel": self.novel,
            "distance": None if self.distance is None else round(self.distance, 4),
        }


def knows_doubt(card: ModelCard, novelty: Novelty | None) -> bool:
    """Whether a model with this card can say anything of its doubt."""
    return card.sets is not None or novelty is not None


def check_doubt(card: ModelCard, novelty: Novelty | None, coverage: float) -> None:
    """Refuse to doubt where nothing is known of it.

    Raises:
        ArgumentError: If the model has neither sets nor knows novelty, or cannot promise so much.
    """
    if not knows_doubt(card, novelty):
        raise ArgumentError(
            "Expected a model that knows its doubt, received one that was made with no images set "
            "aside for it. Train with calibration=0.5 (--calibration 0.5), which sets half of the "
            "validation images aside, or with validation='5-fold'."
        )
    # Of regression alone there are no sets, but there is novelty.
    (card.sets or PredictionSets((1.0,) * 10_000)).least(coverage)


def doubts(
    card: ModelCard,
    novelty: Novelty | None,
    outputs: np.ndarray,
    pooled: np.ndarray | None,
    coverage: float = COVERAGE,
) -> list[Doubt]:
    """What speaks against answers.

    Args:
        card: Of the model. There are no sets where it has none, or so few images were set aside
            that they cannot promise so much.
        novelty: What the model knows of novelty, if anything.
        outputs: What it says of images, (n, units).
        pooled: Their pooled features, (n, features), where there are any.
        coverage: Share of images whose set holds the true class, and of those like the training
            images that are not called novel.
    """
    count = len(outputs)
    classes: list[tuple[str, ...] | None] = [None] * count
    if card.sets is not None and coverage <= card.sets.most_coverage:
        chances = card.probabilities(outputs)
        inside, order = members(chances, card.sets.least(coverage)), np.argsort(-chances, axis=1)
        classes = [
            tuple(card.class_names[place] for place in places if chosen[place])
            for places, chosen in zip(order, inside, strict=True)
        ]
    if novelty is None or pooled is None:
        return [Doubt(names, None, None) for names in classes]
    far, most = novelty.of(pooled), novelty.most(coverage)
    return [
        Doubt(names, bool(distance > most), float(distance))
        for names, distance in zip(classes, far, strict=True)
    ]
