"""Curves that fall by a power: what they are, and how far they can be gone on with."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from finetune.checks.power_law import extrapolate, fit_power_laws

IMAGES = np.array([100.0, 200.0, 300.0, 400.0])


def drawn(errors, images=500, divisions=3, seed=0):
    """Images, each wrong at a point with its probability, the same ones at every point."""
    chances = np.random.default_rng(seed).random((divisions, 1, images))
    return chances < np.array(errors)[:, np.newaxis]


@pytest.mark.parametrize(("floor", "exponent"), [(0.0, 0.3), (0.1, 0.5), (0.05, 1.2)])
def test_a_law_is_found_again(floor, exponent):
    law = fit_power_laws(IMAGES, floor + 0.2 * (IMAGES[np.newaxis] / 400) ** -exponent)
    wanted = np.array([50.0, 800.0, 4000.0])
    expected = floor + 0.2 * (wanted / 400) ** -exponent
    np.testing.assert_allclose(law.at(wanted)[0], expected, rtol=1e-6)


def test_it_is_the_law_that_scipy_finds_with_the_same_weights():
    values = np.array([0.372, 0.301, 0.287, 0.262])
    (low, scale, exponent), _ = curve_fit(
        lambda n, a, b, c: a + b * (n / 400) ** -c,
        *(IMAGES, values),
        p0=(0.1, 0.1, 0.5),
        sigma=IMAGES**-0.5,
        bounds=((0, 0, 0.1), (1, 1, 1.5)),
    )
    law = fit_power_laws(IMAGES, values[np.newaxis])
    found = low + scale * 2.0**-exponent
    assert law.at(np.array([800.0]))[0, 0] == pytest.approx(found, abs=5e-4)


def test_where_more_images_are_worse_the_law_is_flat():
    law = fit_power_laws(IMAGES, np.array([[0.1, 0.2, 0.2, 0.2]]))
    assert (law.scale[0], law.floor[0]) == (0.0, pytest.approx(0.19))
    bent = fit_power_laws(IMAGES, np.array([[0.4, 0.1, 0.01, 0.0]]))  # falls faster than any law
    assert bent.floor[0] == 0.0 and bent.exponent[0] == 1.5


def test_what_is_expected_lies_between_the_laws_with_and_without_a_floor():
    measured = drawn([0.4, 0.33, 0.31, 0.30])
    wanted = np.array([800.0, 3200.0])
    points = measured.mean(axis=(0, 2))[np.newaxis]
    ends, goes_on = (
        fit_power_laws(IMAGES, points, floor=floor).at(wanted)[0] for floor in (True, False)
    )
    found = extrapolate(IMAGES, measured, wanted)
    assert (goes_on < ends).all()
    np.testing.assert_allclose(found.values, (ends + goes_on) / 2)


def test_the_interval_is_wider_further_out_and_with_fewer_images():
    wanted = np.array([400.0, 800.0, 1600.0])
    widths = []
    for images in (500, 60):
        found = extrapolate(IMAGES, drawn([0.4, 0.33, 0.3, 0.28], images), wanted)
        low, high = np.quantile(found.resampled, [0.025, 0.975], axis=0)
        widths.append((high - low) / found.values)
    many, few = widths
    assert (np.diff(many) > 0).all() and (np.diff(few) > 0).all() and (few > many).all()


def test_no_error_among_few_images_is_not_taken_for_none_among_all():
    nothing = np.zeros((2, 4, 40), bool)
    found = extrapolate(IMAGES, nothing, np.array([400.0]), more=(0, 0, 1, 1))
    assert found.values[0] == 0
    # Of 40 images without an error Wilson's interval says up to 0.088.
    assert 0.05 < np.quantile(found.resampled, 0.975) < 0.15
