"""A linear head is solved: what comes out minimises the penalised loss, whatever the task."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies
from scipy.special import expit, softmax

from finetune.training.solving import choose_penalty, solve


def images(classes, each=40, width=6, apart=1.0, seed=0):
    """Features of classes that overlap, and their labels."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    middles = apart * random.normal(size=(classes, width))
    # Of unlike scale and place, as features are.
    spread, place = 10.0 ** random.uniform(-2, 2, width), random.normal(size=width)
    features = (middles[labels] + random.normal(size=(len(labels), width))) * spread + place
    return features.astype("float32"), labels


def slope(features, labels, solution, predicted, weights=None):
    """Gradient of the mean loss and the penalty, on standardized features."""
    middle, spread = features.mean(0, dtype="float64"), features.std(0, dtype="float64")
    rows = (features - middle) / spread
    kernel = solution.kernel * spread[:, np.newaxis]
    weights = np.ones(len(rows)) if weights is None else weights
    wrong = (predicted - labels) * (weights / weights.sum())[:, np.newaxis]
    return rows.T @ wrong + solution.penalty * kernel, wrong.sum(0)


@given(
    strategies.integers(3, 5), strategies.sampled_from([0.3, 1.0, 3.0]), strategies.integers(0, 9)
)
@settings(max_examples=10)
def test_no_step_makes_the_loss_of_classes_lower(classes, apart, seed):
    features, labels = images(classes, apart=apart, seed=seed)
    found = solve(features, labels, "multiclass")
    predicted = softmax(features @ found.kernel.astype("float64") + found.bias, axis=1)
    for gradient in slope(features, np.eye(classes)[labels], found, predicted):
        np.testing.assert_allclose(gradient, 0, atol=2e-3)


def test_class_weights_count_as_so_many_images():
    features, labels = images(3)
    found = solve(features, labels, "multiclass", class_weight={0: 1.0, 1: 4.0, 2: 0.5})
    predicted = softmax(features @ found.kernel.astype("float64") + found.bias, axis=1)
    weights = np.array([1.0, 4.0, 0.5])[labels]
    for gradient in slope(features, np.eye(3)[labels], found, predicted, weights):
        np.testing.assert_allclose(gradient, 0, atol=2e-3)


def test_a_binary_head_gives_the_probability_of_the_second_class():
    features, labels = images(2)
    binary, both = (solve(features, labels, task) for task in ("binary", "multiclass"))
    assert binary.kernel.shape == (6, 1) and both.kernel.shape == (6, 2)
    second = expit(features @ binary.kernel + binary.bias)[:, 0]
    assert np.mean((second > 0.5) == labels) > 0.8
    np.testing.assert_allclose(
        softmax(features @ both.kernel + both.bias, axis=1)[:, 1], second, atol=1e-4
    )


def test_each_of_several_labels_is_a_problem_of_its_own():
    features, first = images(2)
    never = np.zeros_like(first)
    found = solve(features, np.stack([first, never, 1 - first], axis=1), "multilabel")
    alone = solve(features, first, "binary")
    np.testing.assert_allclose(found.kernel[:, :1], alone.kernel, rtol=1e-4)
    told = expit(features @ found.kernel + found.bias)
    assert np.ptp(told[:, 1]) == 0 and 0 < told[0, 1] < 0.01


def test_values_are_found_by_ridge_regression():
    features, _ = images(1, each=200)
    true = np.array([[1.0, 0, 0, 0, 0, 2], [0, 0, 3, 0, 0, 0]]).T / features.std(0)[:, np.newaxis]
    found = solve(features, features @ true + [5, -5], "regression")
    np.testing.assert_allclose(
        features @ found.kernel + found.bias, features @ true + [5, -5], atol=0.1
    )
    assert found.penalty == 0.003


@pytest.mark.parametrize(("apart", "penalty"), [(0.0, 10.0), (30.0, 0.003)])
def test_the_penalty_is_strong_where_features_say_nothing_and_weak_where_they_say_all(
    apart, penalty
):
    assert solve(*images(3, apart=apart, width=100), "multiclass").penalty == penalty


def test_copies_of_an_image_are_not_left_out_without_it():
    features, labels = images(3, apart=0.0, width=100)
    copies = np.concatenate([features] * 4)  # known by heart, they would ask for no penalty
    assert solve(copies, labels, "multiclass", views=4).penalty == 10.0
    assert solve(copies, np.concatenate([labels] * 4), "multiclass").penalty < 1


def test_classes_of_one_image_can_be_solved():
    features, labels = images(2)
    labels = np.append(labels, 2)
    features = np.concatenate([features, features[:1] + 50 * features.std(0)])
    found = solve(features, labels, "multiclass")
    assert np.argmax(features[-1] @ found.kernel + found.bias) == 2
    assert solve(features[[0, 50]], np.array([0, 1]), "binary").penalty == 1.0


def test_features_that_never_change_are_left_out():
    features, labels = images(2)
    features[:, 2] = 7.0
    assert not solve(features, labels, "binary").kernel[2].any()


def test_a_penalty_that_is_given_is_taken_and_the_one_to_choose_is_known_before():
    given = images(3)
    chosen = solve(*given, "multiclass")
    assert choose_penalty(*given) == chosen.penalty
    assert choose_penalty(*given, folds_asked=1) > 0
    found = solve(*given, "multiclass", penalty=chosen.penalty)
    np.testing.assert_allclose(found.kernel, chosen.kernel, rtol=1e-5)
    strong = solve(*given, "multiclass", penalty=100.0)
    assert strong.penalty == 100.0 and np.abs(strong.kernel).max() < np.abs(found.kernel).max()


def test_a_head_that_needs_more_steps_than_there_are_is_left_where_it_came_to(monkeypatch, caplog):
    monkeypatch.setattr("finetune.training.solving._STEPS", 3)
    features, labels = images(3, apart=3.0)
    with caplog.at_level("INFO", logger="finetune"):
        found = solve(features, labels, "multiclass", penalty=1e-4)
    assert "The head was left after 3 steps of L-BFGS." in caplog.text
    answers = (features @ found.kernel + found.bias).argmax(axis=1)
    assert (answers == labels).mean() > 0.9
