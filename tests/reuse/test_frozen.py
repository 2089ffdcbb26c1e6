"""A frozen model: what it computed once is where the next pass begins, with the same result."""

import keras
import numpy as np
import pytest

from finetune.data import load_data
from finetune.reuse import FeatureCache, FrozenModel
from finetune.reuse.sources import StoredSource
from finetune.support import values_of


class Counted(StoredSource):
    """Images of which it is counted how many went into passes."""

    def passes(self, split):
        for pixels, labels in super().passes(split):
            seen.append(len(pixels))
            yield pixels, labels


seen: list[int] = []


@pytest.fixture
def seen_images() -> list[int]:
    seen.clear()
    return seen


def make_source(size: int, augment: str = "none", views: int = 1) -> Counted:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, size, size, 3), np.uint8)
    data = load_data((images, np.arange(60) % 2), image_size=size, batch_size=8, augment=augment)
    return Counted(data, reuse=True, views=views)


def freeze(model: keras.Model, **cache) -> FrozenModel:
    size = model.input_shape[1]
    pixels = keras.Input((size, size, 3))
    prepare = keras.Model(pixels, keras.layers.Rescaling(1 / 127.5, -1.0)(pixels))
    return FrozenModel(model, prepare, values_of(model.variables), FeatureCache(10**9, **cache))


def deepest(frozen: FrozenModel, depth: int) -> str:
    return [*frozen.cuts(depth)][-1]


@pytest.mark.thorough
@pytest.mark.parametrize("architecture", ["MobileNetV2", "ResNet50"], indirect=True)
def test_a_pass_begins_at_the_features_that_are_there_and_gives_the_same(
    architecture, seen_images, tmp_path
):
    source = make_source(architecture.input_shape[1], "light", views=2)
    images = source.rows("train")
    frozen = freeze(architecture, folder=tmp_path / "both")
    block = len(architecture.layers) // 3  # the end of a block: no batch norm waits to be folded
    while len(frozen.tensors_of(deepest(frozen, block))) > 1:
        block += 1
    frozen.features(source, "train", deepest(frozen, block))
    assert sum(seen_images) == images
    later = len(architecture.layers) * 3 // 4
    onward = frozen.features(source, "train", deepest(frozen, later))
    assert sum(seen_images) == images + 16, "one batch, to compare with"
    alone = freeze(architecture, folder=tmp_path / "alone")
    anew = alone.features(source, "train", deepest(alone, later))
    assert sum(seen_images) == 2 * images + 16
    for one, other in zip(onward.inputs, anew.inputs, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(onward.labels, anew.labels)


def conv_and_norm(randomize) -> keras.Model:
    keras.utils.set_random_seed(0)
    x = keras.Input((16, 16, 3))
    y = keras.layers.Conv2D(8, 3, 4, name="conv")(x)
    y = keras.layers.BatchNormalization(name="norm")(y)
    return randomize(keras.Model(x, keras.layers.ReLU(name="relu")(y)))


def test_where_going_on_would_round_otherwise_the_pixels_are_gone_through(
    randomize, seen_images, tmp_path
):
    """From the pixels the batch norm is folded into the convolution, behind it it cannot be."""
    source = make_source(16)
    images = source.rows("train")
    frozen = freeze(conv_and_norm(randomize), folder=tmp_path / "both")
    frozen.features(source, "train", deepest(frozen, 2))
    found = frozen.features(source, "train", deepest(frozen, 4))
    assert sum(seen_images) == 2 * images
    alone = freeze(conv_and_norm(randomize), folder=tmp_path / "alone")
    expected = alone.features(source, "train", deepest(alone, 4))
    np.testing.assert_array_equal(found.inputs[0], expected.inputs[0])


def test_rounded_features_are_no_place_to_begin_at(mobilenet, seen_images, tmp_path):
    source = make_source(64)
    images = source.rows("train")
    frozen = freeze(mobilenet, folder=tmp_path, dtype="float16")
    for depth in (45, 100):
        frozen.features(source, "train", deepest(frozen, depth))
    assert sum(seen_images) == 2 * images
