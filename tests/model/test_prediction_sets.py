"""Prediction sets: what they promise is a law, and MAPIE makes the same ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extras import require
from finetune.exceptions import ArgumentError
from finetune.model.prediction_sets import SET_ASIDE, PredictionSets, members, sets_from

chances = st.lists(st.floats(0, 1, width=32), min_size=20, max_size=120)
coverages = st.sampled_from([0.5, 0.8, 0.9, 0.95])


@given(chances, coverages)
def test_whichever_image_is_the_new_one_the_stated_share_is_held(values, coverage):
    """That is all that is promised: of images in any order each is as likely to be the last."""
    held = []
    for place, new in enumerate(values):
        others = sorted([*values[:place], *values[place + 1 :]])
        held.append(new >= PredictionSets(tuple(others)).least(coverage))
    assert np.mean(held) >= coverage - 1e-12


@given(chances, coverages)
def test_it_is_as_tight_as_the_number_of_images_allows(values, coverage):
    sets = PredictionSets(tuple(sorted(values)))
    below = np.mean(np.asarray(sets.probabilities) < sets.least(coverage))
    assert below <= (1 - coverage) * (1 + 1 / len(values)) + 1e-12


def test_the_most_probable_class_is_in_every_set():
    unsure = np.full((1, 4), 0.25, "float32") + np.float32([[0, 0.01, 0, 0]])
    assert members(unsure, 0.9).tolist() == [[False, True, False, False]]


def test_a_probability_just_at_the_bound_is_inside_after_a_file_too():
    """Files hold float64, models say float32: 0.1 of the one is not 0.1 of the other."""
    said = np.float32([[0.1, 0.9]])
    sets = sets_from(np.repeat(said, 19, axis=0), np.zeros(19), SET_ASIDE)
    assert members(said, float(repr(sets.least(0.95)))).all()


def test_nineteen_images_promise_95_and_no_more():
    sets = PredictionSets(tuple(np.linspace(0.1, 0.9, 19)))
    assert sets.least(0.95) == pytest.approx(0.1)
    with pytest.raises(ArgumentError, match=r"at most 0\.950, received 0\.99: 19 images can"):
        sets.least(0.99)


@pytest.mark.parametrize("coverage", [0, 1, -0.1, float("nan"), True, "0.9"])
def test_a_coverage_is_a_share(coverage):
    with pytest.raises(ArgumentError, match="Expected coverage above 0 and below 1"):
        PredictionSets((0.5,) * 30).least(coverage)


def test_sets_say_how_their_images_were_had():
    with pytest.raises(ArgumentError) as caught:
        PredictionSets((0.5,) * 30, origin="guessed")
    assert str(caught.value) == "Expected an origin of sets, received 'guessed'."


@pytest.mark.parametrize("values", [(), (0.5, 0.4), (0.5, 1.5), (-0.1, 0.5), (0.1, float("nan"))])
def test_what_are_no_sorted_probabilities_is_refused(values):
    with pytest.raises(ArgumentError, match="Expected sorted probabilities"):
        PredictionSets(values)


def test_a_share_of_few_images_may_lie_far_from_what_is_meant():
    few, many = (PredictionSets((0.5,) * n).range(0.95) for n in (39, 1999))
    assert few[0] < 0.9 < many[0] < 0.95 < many[1] < few[1]


@pytest.mark.parametrize("images", [39, 100, 157])
@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_mapie_makes_the_same_sets(images, coverage):
    classification = require("mapie.classification")
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(images)
    inputs = rng.normal(size=(600, 3))
    labels = (inputs @ rng.normal(size=(3, 4)) + rng.gumbel(size=(600, 4))).argmax(axis=1)
    model = LogisticRegression().fit(inputs[:200], labels[:200])
    aside, new = slice(200, 200 + images), slice(400, None)
    oracle = classification.SplitConformalClassifier(
        model, confidence_level=coverage, conformity_score="lac", prefit=True
    ).conformalize(inputs[aside], labels[aside])
    expected = oracle.predict_set(inputs[new])[1][:, :, 0]
    said = model.predict_proba(inputs[new])
    expected[np.arange(len(said)), said.argmax(axis=1)] = True  # it allows empty ones
    sets = sets_from(model.predict_proba(inputs[aside]), labels[aside], SET_ASIDE)
    assert np.array_equal(members(said, sets.least(coverage)), expected)
