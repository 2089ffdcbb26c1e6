"""Which validation images are set aside: by their content alone, and never what was trained on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data import load_data
from finetune.data.setting_aside import FEWEST, set_aside
from finetune.exceptions import ArgumentError
from tiny import SIZE, make_images

names = st.lists(st.integers(0, 10**6).map(str), min_size=1, max_size=120)


@given(names, names, st.floats(0.05, 0.95), st.integers(0, 99))
def test_copies_are_on_one_side_and_none_is_of_a_training_image(content, trained, share, seed):
    aside = set_aside(content, None, trained, share, seed=seed)
    taken = {key for key, chosen in zip(content, aside, strict=True) if chosen}
    left = {key for key, chosen in zip(content, aside, strict=True) if not chosen}
    assert not taken & left and not taken & set(trained)
    assert aside.sum() == 0 or aside.sum() >= FEWEST


def test_more_images_move_no_other():
    content = [str(number) for number in range(200)]
    few, many = (set_aside(content[:n], None, [], 0.5) for n in (100, 200))
    assert np.array_equal(few, many[:100])


def test_a_class_keeps_one_image_to_choose_by():
    content = [str(number) for number in range(60)]
    classes = np.array([*[0] * 59, 1])
    aside = set_aside(content, classes, [], 0.99)
    assert not aside[59] and aside.sum() > 50


@pytest.fixture(scope="module")
def pictures():
    return make_images(110)


@pytest.fixture(scope="module")
def data(pictures):
    return load_data(pictures, image_size=SIZE, test=0.2, calibration=0.5)


def test_the_images_are_a_part_of_their_own(data, pictures):
    without = load_data(pictures, image_size=SIZE, test=0.2)
    assert [*data.counts] == ["train", "validation", "calibration", "test"]
    for split in ("train", "test"):
        assert data.splits[split].content == without.splits[split].content
    together = {*data.splits["validation"].content, *data.splits["calibration"].content}
    assert together == set(without.splits["validation"].content)
    assert not set(data.splits["validation"].content) & set(data.splits["calibration"].content)
    assert "calibration" in str(data) and data.fingerprint != without.fingerprint


def test_they_stay_at_another_size(data):
    again = data.at_size(SIZE // 2)
    assert again.splits["calibration"].ids == data.splits["calibration"].ids


def test_too_few_are_left_where_they_are_and_that_is_said():
    data = load_data(make_images(20), image_size=SIZE, calibration=0.5)
    assert "calibration" not in data.counts
    assert str(data.report).startswith("None of ") and "fewer than 19" in str(data.report)


def test_what_cannot_be_set_aside_is_refused(pictures):
    with pytest.raises(ArgumentError, match="share of images to hold back"):
        load_data(pictures, image_size=SIZE, calibration=2)
    with pytest.raises(ArgumentError, match=r"Expected validation images .* received none\."):
        load_data(pictures, image_size=SIZE, validation=None, calibration=0.5)
    with pytest.raises(ArgumentError, match="not stored"):
        stream = load_data(pictures, image_size=SIZE).train
        load_data(stream, image_size=SIZE, validation=stream, calibration=0.5)
