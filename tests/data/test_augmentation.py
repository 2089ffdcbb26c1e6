import keras
import numpy as np
import pytest

from finetune.data.augmentation import augment_batch, resolve_augment
from finetune.exceptions import ArgumentError


def images() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (4, 16, 16, 3)).astype(np.float32)


@pytest.mark.parametrize("augment", ["none", None])
def test_none_is_none(augment: str | None):
    assert resolve_augment(augment) is None


def test_a_layer_is_passed_through():
    layer = keras.layers.RandomFlip()
    assert resolve_augment(layer) is layer


@pytest.mark.parametrize("augment", ["light", "strong"])
def test_named_ones_change_images_within_their_range_and_repeat(augment: str):
    first, again, other = (
        np.asarray(resolve_augment(augment, seed)(images(), training=True))  # type: ignore[misc]
        for seed in (3, 3, 4)
    )
    assert first.shape == (4, 16, 16, 3) and first.dtype == np.float32
    assert first.min() >= 0 and first.max() <= 255 and not np.allclose(first, images())
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_images_of_a_batch_are_changed_differently():
    same = np.repeat(images()[:1], 4, axis=0)
    changed = np.asarray(resolve_augment("light")(same, training=True))  # type: ignore[misc]
    assert not np.allclose(changed[0], changed[1])


def test_nothing_is_changed_outside_training():
    unchanged = resolve_augment("strong")(images(), training=False)  # type: ignore[misc]
    assert np.array_equal(np.asarray(unchanged), images())


def test_an_unknown_name_is_refused():
    with pytest.raises(
        ArgumentError,
        match=r"Expected augment to be one of .*'flip', 'light', .* or a Keras layer, received 9",
    ):
        resolve_augment(9)  # type: ignore[arg-type]


def test_flips_mirror_some_images_and_change_nothing_else():
    flipped = augment_batch(resolve_augment("flip", seed=1), images(), 0, 0, 0)
    pairs = [*zip(flipped, images(), strict=True)]
    mirrored = [np.array_equal(one, other[:, ::-1]) for one, other in pairs]
    same = [np.array_equal(one, other) for one, other in pairs]
    assert any(mirrored) and any(same)
    assert [one or other for one, other in zip(mirrored, same, strict=True)] == [True] * 4
