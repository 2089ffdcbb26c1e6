"""How good a model is at its temperature, and what that did to its probabilities."""

from dataclasses import dataclass

import numpy as np

from finetune.model.calibration import Calibration, at_temperature, calibration
from finetune.model.card import ModelCard
from finetune.model.evaluation import Score, score

# Labels, and what a model says of the images.
Answers = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Scores:
    """Quality on both kinds of images.

    Args:
        validation: On the validation images.
        test: On the test images; None where there are none.
        calibration: What the temperature did; None where there is none.
    """

    validation: Score
    test: Score | None
    calibration: Calibration | None


def scores(card: ModelCard, validation: Answers, test: Answers | None) -> Scores:
    """Measure a model by what it said before it was calibrated.

    Args:
        card: Of the model, with its temperature by now.
        validation: Labels of the validation images, and what the model said of them.
        test: The same of the test images, or None.
    """
    task, temperature = card.task, card.temperature
    if temperature == 1.0:
        unchanged = score(*test, task) if test is not None else None
        return Scores(score(*validation, task), unchanged, None)
    said = {"validation": validation, **({} if test is None else {"test": test})}
    now = {
        split: (labels, at_temperature(outputs, temperature, task))
        for split, (labels, outputs) in said.items()
    }
    split, (labels, before) = [*said.items()][-1]
    return Scores(
        score(*now["validation"], task),
        score(*now["test"], task) if "test" in now else None,
        calibration(temperature, len(validation[0]), split, labels, before, now[split][1], task),
    )
