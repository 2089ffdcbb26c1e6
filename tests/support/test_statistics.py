"""Intervals: known values, and what must hold for every accuracy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.support.statistics import accuracy_interval, squared_error_interval


def test_interval_agrees_with_published_values():
    # Newcombe (1998), table I, Wilson score without continuity correction: 81 of 263.
    low, high = accuracy_interval(81 / 263, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


def test_perfect_score_still_has_an_uncertainty():
    low, high = accuracy_interval(1.0, 20)
    assert high == 1.0
    assert low == pytest.approx(0.8389, abs=1e-4)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_interval_holds_the_accuracy_and_stays_within_0_and_1(case):
    right, n = case
    low, high = accuracy_interval(right / n, n)
    assert 0 <= low <= right / n + 1e-12
    assert right / n - 1e-12 <= high <= 1


def test_higher_confidence_is_wider():
    assert accuracy_interval(0.5, 50, confidence=0.99)[0] < accuracy_interval(0.5, 50)[0]


def test_interval_of_a_squared_error_covers_as_often_as_it_says():
    errors = np.random.default_rng(0).normal(scale=2.0, size=(4000, 25))
    means = (errors**2).mean(axis=1)
    held = [low <= 4.0 <= high for low, high in (squared_error_interval(m, 25) for m in means)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.01)
