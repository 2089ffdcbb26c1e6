import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extras import require
from finetune.checks.label_doubts import doubted_labels, find_wrong_labels


def answers(seed, n=300, classes=4, swapped=25):
    """Labels of which some are wrong, and probabilities that know the right ones."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, n)
    logits = random.normal(0, 1.2, (n, classes))
    logits[np.arange(n), labels] += 2.5
    told = np.exp(logits)
    wrong = random.choice(n, swapped, replace=False)
    labels[wrong] = (labels[wrong] + random.integers(1, classes, swapped)) % classes
    return labels, told / told.sum(axis=1, keepdims=True), wrong


@pytest.mark.parametrize("seed", range(5))
def test_the_labels_that_are_doubted_are_those_of_cleanlab(seed):
    cleanlab = require("cleanlab.filter")
    labels, told, _ = answers(seed)
    expected = cleanlab.find_label_issues(
        labels,
        told,
        filter_by="low_self_confidence",
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    assert doubted_labels(labels, told).tolist() == expected.tolist()


def test_most_swapped_labels_are_doubted_and_come_first():
    labels, told, wrong = answers(0)
    doubted = doubted_labels(labels, told)
    assert np.isin(wrong, doubted).mean() > 0.7
    assert np.isin(doubted[:10], wrong).all()


@given(st.integers(0, 10**6), st.integers(2, 5))
def test_no_label_is_doubted_that_is_the_most_probable_one(seed, classes):
    labels, told, _ = answers(seed, n=40, classes=classes, swapped=10)
    doubted = doubted_labels(labels, told)
    assert (told[doubted].argmax(axis=1) != labels[doubted]).all()
    own = told[doubted, labels[doubted]]
    assert (np.diff(own) >= 0).all()


def test_images_are_asked_about_by_heads_that_were_solved_without_them(pictures, looked):
    random = np.random.default_rng(0)
    labels = np.arange(60) % 2
    features = random.normal(size=(60, 4)).astype("float32")
    features[:, 0] += 6 * labels
    labels[7], labels[8] = 0, 1
    found = find_wrong_labels(looked(pictures(60), labels, features))
    assert sorted(group.rows for group in found[0].groups) == [(7,), (8,)]
    assert {group.suggestion for group in found[0].groups} == {"0", "1"}
    assert found[0].groups[0].why.startswith("looks like ")
