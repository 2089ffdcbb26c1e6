"""Figures of class activation maps: what speaks for the class is left bright."""

import numpy as np
import pytest

from finetune.report import draw_maps


def test_a_place_is_as_dark_as_it_says_little_for_the_class():
    pixels = np.full((1, 32, 32, 3), 255, np.uint8)
    maps = np.array([[[4.0, -9.0], [0.0, 2.0]]], "float32")
    figure = draw_maps(pixels, maps, ["$a_b$ <i>"])
    plain, shaded = figure.axes
    assert plain.get_title("left") == "$a_b$ <i>"
    veil = shaded.images[1].get_alpha()
    strong, against, nothing, weak = veil[0, 0], veil[0, -1], veil[-1, 0], veil[-1, -1]
    assert (strong, against, nothing) == pytest.approx((0, 0.85, 0.85), abs=0.02)
    assert strong < weak < nothing


def test_an_image_that_speaks_against_its_class_everywhere_is_dark():
    pixels = np.zeros((1, 8, 8, 3), np.uint8)
    figure = draw_maps(pixels, np.full((1, 2, 2), -1, "float32"), ["a"])
    assert figure.axes[1].images[1].get_alpha().min() == 0.85
