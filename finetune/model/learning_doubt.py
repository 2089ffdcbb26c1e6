"""What a model learns of its doubt from images that chose nothing, and how often it is right."""

from dataclasses import dataclass, replace

import numpy as np

from finetune.data import ImageData
from finetune.model.calibrated_scores import Answers
from finetune.model.calibration import at_temperature
from finetune.model.doubt import knows_doubt
from finetune.model.fine_tuned_model import FineTunedModel
from finetune.model.novelty import Novelty, distances_to, rows_to_remember, unit
from finetune.model.prediction_sets import COVERAGE, FOLDS, SET_ASIDE, members, sets_from
from finetune.support import accuracy_interval

_ASIDE = "calibration"

# Images whose features are in memory at a time.
_PIECE = 1000


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


def learn_doubt(
    model: FineTunedModel, data: ImageData, looking: FineTunedModel | None = None
) -> FineTunedModel:
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


def learn_sets(model: FineTunedModel, labels: np.ndarray, outputs: np.ndarray) -> FineTunedModel:
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
    model: FineTunedModel,
    data: ImageData,
    answers: Answers | None,
    looking: FineTunedModel | None = None,
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
    if answers is None or not knows_doubt(model.card, model.novelty):
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
