"""The verdict: what fine-tuning added to the head alone, and whether that is shown."""

from dataclasses import replace

import numpy as np
import pytest

from finetune.model import Verdict, against_head

TESTED = Verdict("test", 40, 0.9, (0.8, 1.0), 0.7, (0.1, 0.3))
SAID = (
    "Fine-tuning is better than the head alone: 0.900 against 0.700, difference +0.200 [+0.100, "
    "+0.300] ({split}, n=40)."
)


def test_a_verdict_on_images_that_chose_the_model_says_so():
    assert str(TESTED) == SAID.format(split="test")
    assert str(replace(TESTED, split="validation")) == (
        f"{SAID.format(split='validation')} These images chose the model: optimistic."
    )


@pytest.mark.parametrize(
    ("difference", "word", "said"),
    [
        ((0.01, 0.2), "better", "Fine-tuning is better than the head alone: "),
        ((-0.2, -0.01), "worse", "Fine-tuning is worse than the head alone: "),
        ((0.0, 0.2), "not shown", "40 images do not show a difference between "),
        ((-0.2, 0.0), "not shown", "40 images do not show a difference between "),
    ],
)
def test_a_verdict_says_what_the_interval_of_the_difference_shows(difference, word, said):
    verdict = replace(TESTED, difference=difference)
    assert verdict.word == word
    assert str(verdict).startswith(said)


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_models_are_compared_image_by_image(task):
    labels = np.arange(40) % 2
    right = np.where(labels[:, np.newaxis] == [0, 1], 0.9, 0.1)
    worse = np.concatenate([1 - right[:8], right[8:]])  # wrong in the first eight alone
    said = [outputs[:, 1:] if task == "binary" else outputs for outputs in (right, worse)]
    verdict = against_head("test", task, (labels, said[0]), (labels, said[1]))
    assert (verdict.n, verdict.tuned, verdict.head_only) == (40, 1.0, 0.8)
    assert verdict.tuned_interval == (1.0, 1.0)
    low, high = verdict.difference
    assert 0.05 < low < 0.2 < high < 0.35
