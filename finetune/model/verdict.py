"""The verdict: what fine-tuning added to the head alone, in pairs."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from finetune.support import bootstrap_interval
from finetune.training import right_answers

# Labels, and what a model says.
Answers = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Verdict:
    """Whether fine-tuning was worth it: the fine-tuned model against the head alone.

    Args:
        split: "test"; where there are no test images "5-fold" and the like, or "validation".
        n: Number of images.
        tuned: Accuracy of the fine-tuned model.
        tuned_interval: Its 95% bootstrap interval.
        head_only: Accuracy of the trained head on the unchanged backbone.
        difference: Interval of the difference, 95% bootstrap over the images, in pairs.
    """

    split: str
    n: int
    tuned: float
    tuned_interval: tuple[float, float]
    head_only: float
    difference: tuple[float, float]

    @property
    def word(self) -> str:
        """One of "better", "worse" and "not shown"."""
        low, high = self.difference
        return "better" if low > 0 else "worse" if high < 0 else "not shown"

    def __str__(self) -> str:
        low, high = self.difference
        said = {
            "better": "Fine-tuning is better than the head alone",
            "worse": "Fine-tuning is worse than the head alone",
            "not shown": f"{self.n} images do not show a difference between fine-tuning and the "
            "head alone",
        }[self.word]
        chosen = self.split == "validation"
        chose = " These images chose the model: optimistic." if chosen else ""
        return (
            f"{said}: {self.tuned:.3f} against {self.head_only:.3f}, difference "
            f"{self.tuned - self.head_only:+.3f} [{low:+.3f}, {high:+.3f}] "
            f"({self.split}, n={self.n}).{chose}"
        )

    def to_dict(self) -> dict[str, Any]:
        """As it stands in `metrics.json` and `result.json`."""
        return {"word": self.word, **asdict(self)}


def against_head(split: str, task: str, tuned: Answers, alone: Answers) -> Verdict:
    """Compare what two models say of the same images.

    Args:
        split: Which images they are.
        task: See `finetune.training.TASKS`; not "regression".
        tuned: Labels, and what the fine-tuned model says.
        alone: Labels, and what the head on the unchanged backbone says.
    """
    best, head = (right_answers(*answers, task).ravel().astype(float) for answers in (tuned, alone))
    return Verdict(
        split,
        len(best),
        float(best.mean()),
        bootstrap_interval(best),
        float(head.mean()),
        bootstrap_interval(best - head),
    )
