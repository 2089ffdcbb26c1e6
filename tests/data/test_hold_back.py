import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.data.hold_back import hold_back, position
from finetune.exceptions import ArgumentError, MissingClassError

contents = st.lists(st.binary(min_size=4, max_size=8).map(bytes.hex), min_size=2, unique=True)
fractions = st.floats(0.01, 0.99)
seeds = st.integers(0, 1000)


def hold(content: list[str], fraction: float, seed: int = 0) -> dict[str, bool]:
    held = hold_back(content, [0] * len(content), fraction, seed=seed)
    return dict(zip(content, held.tolist(), strict=True))


@given(contents, contents, fractions, seeds)
def test_adding_images_moves_no_other(
    before: list[str], added: list[str], fraction: float, seed: int
):
    old = hold(before, fraction, seed)
    new = hold(sorted({*before, *added}), fraction, seed)
    # The documented exception: an image that stood in for an empty side may go back.
    stand_ins = {
        key for key in before if (position(key, seed, "validation") < fraction) != old[key]
    }
    assert all(new[key] == old[key] for key in before if key not in stand_ins)
    assert len(stand_ins) <= 1


@given(contents, fractions, seeds, st.randoms())
def test_neither_order_nor_duplicates_matter(
    content: list[str], fraction: float, seed: int, random
):
    shuffled = content * 2
    random.shuffle(shuffled)
    held = hold_back(shuffled, [0] * len(shuffled), fraction, seed=seed)
    assert dict(zip(shuffled, held.tolist(), strict=True)) == hold(content, fraction, seed)


@given(contents, fractions, seeds)
def test_both_sides_have_an_image_of_every_class(content: list[str], fraction: float, seed: int):
    classes = np.arange(2 * len(content)) // len(content)
    both = content + [key + "00" * 9 for key in content]
    held = hold_back(both, classes, fraction, seed=seed)
    for label in (0, 1):
        assert held[classes == label].any() and not held[classes == label].all()


@settings(max_examples=20)
@given(st.floats(0.1, 0.9), seeds)
def test_the_share_is_close_to_the_fraction(fraction: float, seed: int):
    content = [f"{number:04x}" for number in range(2000)]
    share = hold_back(content, [0] * 2000, fraction, seed=seed).mean()
    assert share == pytest.approx(fraction, abs=5 * np.sqrt(fraction * (1 - fraction) / 2000))


def test_the_smallest_or_largest_hash_stands_in():
    content = [f"{number:02x}" for number in range(9)]
    by_hash = sorted(content, key=lambda key: position(key, 0, "validation"))
    low = hold(content, 1e-9)
    assert [key for key, held in low.items() if held] == by_hash[:1]
    high = hold(content, 1 - 1e-9)
    assert [key for key, held in high.items() if not held] == by_hash[-1:]


def test_test_and_validation_are_drawn_independently():
    content = [f"{number:04x}" for number in range(4000)]
    test = hold_back(content, [0] * 4000, 0.5, name="test")
    validation = hold_back(content, [0] * 4000, 0.5, name="validation")
    assert np.corrcoef(test, validation)[0, 1] == pytest.approx(0, abs=0.06)


def test_another_seed_gives_another_choice():
    content = [f"{number:04x}" for number in range(100)]
    assert hold(content, 0.5, 0) != hold(content, 0.5, 1)


def test_a_class_of_one_image_cannot_be_split():
    with pytest.raises(MissingClassError) as caught:
        hold_back(["a", "b", "c", "c"], [0, 0, 1, 1], 0.5, class_names=["cat", "dog"])
    assert str(caught.value) == (
        "Class 'dog' has too few different images (1) to be split into training and validation. "
        "Add images to it, remove the class, or give `validation` images of your own."
    )


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 20, True, float("nan")])
def test_a_fraction_outside_0_to_1_is_refused(fraction: float):
    with pytest.raises(ArgumentError, match="`test` as a number is the share of images"):
        hold_back(["a", "b"], [0, 0], fraction, name="test")
