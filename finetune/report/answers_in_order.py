"""Which answers of a model are worth a look: the worst mistakes, the least sure right ones."""

from dataclasses import dataclass

import numpy as np

from finetune.model import at_temperature, gives_probabilities
from finetune.report.evidence import Answers
from finetune.training import right_answers

# Images that a report shows at most: of the wrong ones, and of the right ones.
MOST_WRONG, MOST_RIGHT = 60, 36


@dataclass(frozen=True, eq=False)
class Judged:
    """What was said of the images of one split, judged.

    Args:
        labels: Their labels.
        said: Predictions as the model gives them now, calibrated.
        right: Whether each image is right: all of its labels, where there are several; no image
            is for regression.
        sure: Probability of what was said; of several labels that of the least sure one; for
            regression 0.
        off: How far it is from right: the larger, the worse the mistake.
    """

    labels: np.ndarray
    said: np.ndarray
    right: np.ndarray
    sure: np.ndarray
    off: np.ndarray

    def wrong_rows(self) -> np.ndarray:
        """Numbers of the images that are wrong, the worst first."""
        rows = np.flatnonzero(~self.right)
        return rows[np.argsort(-self.off[rows], kind="stable")]

    def unsure_rows(self) -> np.ndarray:
        """Numbers of the images that are right, the least sure first."""
        rows = np.flatnonzero(self.right)
        return rows[np.argsort(self.sure[rows], kind="stable")]


def judge(answers: Answers, task: str, temperature: float = 1.0) -> Judged:
    """Judge what was said of the images of one split.

    Args:
        answers: Labels, and what the model said before it was calibrated.
        task: "binary", "multiclass", "multilabel" or "regression".
        temperature: That of the model now. Default 1: not calibrated.

    Example:
        >>> said = np.float32([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
        >>> judged = judge(Answers(np.array([1, 0, 1]), said), "multiclass")
        >>> judged.wrong_rows().tolist(), judged.unsure_rows().tolist()
        ([0], [1, 2])
    """
    labels, said = answers.labels, answers.outputs
    if not gives_probabilities(task):
        off = np.abs(labels.reshape(said.shape) - said).mean(axis=1)
        return Judged(labels, said, np.zeros(len(labels), bool), np.zeros(len(labels)), off)
    if temperature != 1.0:
        said = at_temperature(said, temperature, task)
    right = right_answers(labels, said, task).reshape(len(labels), -1)
    all_right = np.asarray(right.all(axis=1))
    if task == "multiclass":
        sure = said.max(axis=1)
        off = sure - said[np.arange(len(labels)), labels.astype(int)]
    else:
        sure = np.maximum(said, 1 - said).min(axis=1)
        off = np.abs(labels.reshape(said.shape) - said).max(axis=1)
    return Judged(labels, said, all_right, sure, off)


def rows_to_show(judged: Judged) -> list[int]:
    """Numbers of the images that a report shows, errors first.

    Of the right ones every class has some: they are what the errors are compared with.
    """
    wrong = judged.wrong_rows()[:MOST_WRONG].tolist()
    right = judged.unsure_rows()
    if judged.labels.ndim > 1 or not len(right):
        return wrong + right[:MOST_RIGHT].tolist()
    classes = judged.labels[right]
    # The place of each image among those of its class, and then how sure it is.
    places = np.empty(len(right), int)
    for label in np.unique(classes):
        of_class = np.flatnonzero(classes == label)
        places[of_class] = np.arange(len(of_class))
    unsure = right[: MOST_RIGHT // 3].tolist()
    spread = right[np.argsort(places, kind="stable")].tolist()
    chosen = [*dict.fromkeys([*unsure, *spread])][:MOST_RIGHT]
    return wrong + chosen
