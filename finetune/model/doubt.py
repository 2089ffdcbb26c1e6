"""Doubt: where a model says that it is not sure, or was shown nothing like an image."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from finetune.data import ImageData
from finetune.exceptions import ArgumentError
from finetune.model.calibrated_scores import Answers
from finetune.model.calibration import at_temperature
from finetune.model.card import ModelCard
from finetune.model.novelty import Novelty, distances_to, rows_to_remember, unit
from finetune.model.prediction_sets import (
    COVERAGE,
    FOLDS,
    SET_ASIDE,
    PredictionSets,
    in_words,
    members,
    sets_from,
)
from finetune.support import accuracy_interval

if TYPE_CHECKING:
    from finetune.model.fine_tuned_model import FineTunedModel

_ASIDE = "calibration"

# Images whose features are in memory at a time.
_PIECE = 1000


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


@dataclass(frozen=True)
class DoubtMeasured:
    """How often doubt was right on images that had no part in it.

    Args:
        split: Which images.
        n: Number of them.
        coverage: The share that the prediction sets state.
        origin: What they were made of, see `PredictionSets`; empty where there are none.
        images: Number of images that they were made of.
        covered: Share of images whose set holds the true class; None where there are none, as
            the next ones.
        interval: Its 95% interval.
        size: Mean number of classes in a set.
        single: Share of images with a set of one class.
        single_right: Share of these that are right; None where there is none.
        novel: Share of images that are called like nothing in training, which were to be at most
            one less the coverage; None where that cannot be told.
    """

    split: str
    n: int
    coverage: float
    origin: str = ""
    images: int = 0
    covered: float | None = None
    interval: tuple[float, float] | None = None
    size: float | None = None
    single: float | None = None
    single_right: float | None = None
    novel: float | None = None

    def __str__(self) -> str:
        told = []
        if self.interval is not None:
            low, high = self.interval
            told.append(
                f"sets of {self.coverage:.0%} hold {self.covered:.1%} [{low:.1%}, {high:.1%}] of "
                f"the true classes, with {self.size:.2f} classes on average; {self.single:.0%} "
                "are a single one"
            )
        if self.novel is not None:
            told.append(f"{self.novel:.1%} are called like nothing in training")
        return f"{'; '.join(told)} ({self.split}, n={self.n})"


def knows_doubt(model: "FineTunedModel") -> bool:
    """Whether a model can say anything of its doubt."""
    return model.card.sets is not None or model.novelty is not None


def check_doubt(model: "FineTunedModel", coverage: float) -> None:
    """Refuse to doubt where nothing is known of it.

    Raises:
        ArgumentError: If the model has neither sets nor knows novelty, or cannot promise so much.
    """
    if not knows_doubt(model):
        raise ArgumentError(
            "Expected a model that knows its doubt, received one that was made with no images set "
            "aside for it. Train with calibration=0.5 (--calibration 0.5), which sets half of the "
            "validation images aside, or with validation='5-fold'."
        )
    # Of regression alone there are no sets, but there is novelty.
    (model.card.sets or PredictionSets((1.0,) * 10_000)).least(coverage)


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


def learn_doubt(
    model: "FineTunedModel", data: ImageData, looking: "FineTunedModel | None" = None
) -> "FineTunedModel":
    """The same model, which knows its doubt from the images that were set aside.

    Args:
        model: As it is handed over: trained, and calibrated.
        data: The images; where none was set aside, the model stays as it is.
        looking: One over the same weights that is compiled already. Default: the model.
    """
    looking = looking or model
    if _ASIDE not in data.splits:
        return model
    if data.image_size != model.card.image_size:
        data = data.at_size(model.card.image_size)
    aside, train = data.splits[_ASIDE], data.splits["train"]
    seen = looking.observe(aside.images, places=False)
    card = model.card
    if card.exclusive:
        found = sets_from(card.probabilities(seen.outputs), aside.labels, SET_ASIDE)
        card = replace(card, sets=found)
    novelty = None
    if seen.pooled is not None:
        rows = rows_to_remember(len(train), seen.pooled.shape[1])
        pooled = looking.observe(train.images[rows], places=False).pooled
        assert pooled is not None  # a model that pools does so every time
        vectors = unit(pooled).astype("float16")
        novelty = Novelty(vectors, np.sort(distances_to(vectors, seen.pooled)))
    return replace(model, card=card, novelty=novelty)


def learn_sets(
    model: "FineTunedModel", labels: np.ndarray, outputs: np.ndarray
) -> "FineTunedModel":
    """The same model with prediction sets of what models like it said in a cross-validation.

    Args:
        model: As it is handed over; sets that it has stay.
        labels: Of images that chose nothing.
        outputs: What was said of each by a model that was not trained on it, calibrated as this.
    """
    card = model.card
    if card.sets is not None or not card.exclusive:
        return model
    found = sets_from(card.probabilities(outputs), labels, FOLDS)
    return replace(model, card=replace(card, sets=found))


def measure_doubt(
    model: "FineTunedModel",
    data: ImageData,
    answers: Answers | None,
    looking: "FineTunedModel | None" = None,
    *,
    coverage: float = COVERAGE,
) -> DoubtMeasured | None:
    """Measure doubt on test images, which had no part in it.

    Args:
        model: Knows its doubt, or not.
        data: The images.
        answers: Labels of the test images, and what was said of them before the model was
            calibrated; None where there are none.
        looking: See `learn_doubt`.
        coverage: See `doubts`.

    Returns:
        What was found; None where the model knows no doubt, or there are no such images.
    """
    if answers is None or not knows_doubt(model):
        return None
    labels, outputs = answers
    if model.card.temperature != 1.0:
        outputs = at_temperature(outputs, model.card.temperature, model.card.task)
    found = DoubtMeasured("test", len(labels), coverage)
    # A dataset may come in another order next time.
    if model.novelty is not None and "test" in data.splits:
        images = data.splits["test"].images
        pieces = np.array_split(images, -(-len(images) // _PIECE))
        seen = ((looking or model).observe(piece, places=False) for piece in pieces)
        far = np.concatenate([model.novelty.of(one.pooled) for one in seen])
        found = replace(found, novel=float(np.mean(far > model.novelty.most(coverage))))
    sets = model.card.sets
    if sets is None or coverage > sets.most_coverage:
        return found
    chances = model.card.probabilities(outputs)
    inside = members(chances, sets.least(coverage))
    covered = inside[np.arange(len(labels)), labels.astype(int)]
    single = inside.sum(axis=1) == 1
    share = float(covered.mean())
    return replace(
        found,
        origin=sets.origin,
        images=len(sets.probabilities),
        covered=share,
        interval=accuracy_interval(share, len(labels)),
        size=float(inside.sum(axis=1).mean()),
        single=float(single.mean()),
        single_right=float(covered[single].mean()) if single.any() else None,
    )
