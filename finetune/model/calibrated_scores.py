"""How good a model is at its temperature, and what that did to its probabilities."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from finetune.model.calibration import (
    Calibration,
    at_temperature,
    calibration,
    gives_probabilities,
)
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
        calibration: How far its probabilities can be taken at their word; None for values.
    """

    validation: Score
    test: Score | None
    calibration: Calibration | None


def scores(
    card: ModelCard,
    validation: Answers,
    test: Answers | None,
    apart: Mapping[str, np.ndarray | None],
) -> Scores:
    """Measure a model by what it said before it was calibrated.

    Args:
        card: Of the model, with its temperature by now.
        validation: Labels of the validation images, and what the model said of them.
        test: The same of the test images, or None.
        apart: For "validation" and "test" which images have no copy among those that were trained
            on, see `ImageData.apart`.
    """
    task, temperature = card.task, card.temperature
    said = {"validation": validation, **({} if test is None else {"test": test})}
    split, answers = [*said.items()][-1]
    measured = None
    if gives_probabilities(task):
        measured = calibration(split, *answers, task, temperature)
    if temperature != 1.0:
        said = {
            name: (labels, at_temperature(outputs, temperature, task))
            for name, (labels, outputs) in said.items()
        }
    found = {name: score(*one, task) for name, one in said.items()}
    for name, rows in apart.items():
        if name in found and rows is not None and rows.any():
            labels, outputs = said[name]
            found[name] = replace(found[name], apart=score(labels[rows], outputs[rows], task))
    return Scores(found["validation"], found.get("test"), measured)
