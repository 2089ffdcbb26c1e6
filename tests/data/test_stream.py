import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from finetune.data import load_data
from finetune.exceptions import ArgumentError, DataError, EmptyClassError, MissingClassError


def stream(count: int = 6, shape: tuple[int, ...] = (8, 6, 3), classes: int = 2, dtype=np.uint8):
    pixels = np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(dtype)
    return tf.data.Dataset.from_tensor_slices((pixels, np.arange(count) % classes))


@pytest.mark.parametrize("batch", [None, 4])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_batched_or_not_images_are_resized_and_batched(batch: int | None, channels: int):
    dataset = stream(shape=(8, 6, channels))
    dataset = dataset.batch(batch) if batch else dataset
    data = load_data(dataset, validation=dataset, test=dataset, image_size=4, batch_size=5)
    assert data.splits == {} and data.class_names == ["0", "1"] and data.task == "binary"
    for split in (data.train, data.validation, data.test):
        assert split is not None and split.cardinality() == 2
        assert split.element_spec[0] == tf.TensorSpec((None, 4, 4, 3), tf.float32)
        assert split.element_spec[1] == tf.TensorSpec((None,), tf.int32)
        assert [len(labels) for _, labels in split] == [5, 1]
    assert data.counts["train"] == {"0": 3, "1": 3}


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
def test_images_look_as_those_of_arrays(dtype: type):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 9, 7, 3)).astype(dtype)
    labels = [0, 1, 0, 1]
    dataset = tf.data.Dataset.from_tensor_slices((pixels, labels))
    flowing = load_data(dataset, validation=dataset, image_size=5)
    stored = load_data((pixels, labels), validation=(pixels, labels), image_size=5)
    assert flowing.validation is not None and stored.validation is not None
    for (left, _), (right, _) in zip(flowing.validation, stored.validation, strict=True):
        assert np.array_equal(left, right)


def test_only_training_images_are_augmented():
    dataset = stream()
    data = load_data(dataset, validation=dataset, image_size=(8, 6), augment="strong")
    plain = np.stack([image for image, _ in dataset.as_numpy_iterator()])
    assert data.validation is not None
    assert np.array_equal(next(iter(data.validation))[0], plain)
    assert not np.array_equal(next(iter(data.train))[0], plain)


def test_images_of_different_sizes():
    def images():
        for number in range(4):
            yield np.zeros((8 + number, 6, 3), np.uint8), number % 2

    spec = (tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.int64))
    dataset = tf.data.Dataset.from_generator(images, output_signature=spec)
    data = load_data(dataset, validation=dataset, image_size=5, batch_size=4)
    assert data.train.cardinality() == 1
    assert next(iter(data.train))[0].shape == (4, 5, 5, 3)


def test_one_hot_labels_become_numbers():
    dataset = stream().map(lambda image, label: (image, tf.one_hot(label, 2)))
    data = load_data(dataset, validation=dataset, image_size=4)
    assert next(iter(data.train))[1].numpy().tolist() == [0, 1, 0, 1, 0, 1]


def test_multilabel_and_regression():
    dataset = stream().map(lambda image, label: (image, tf.stack([label, 1])))
    data = load_data(dataset, validation=dataset, image_size=4, task="multilabel")
    assert data.train.element_spec[1] == tf.TensorSpec((None, 2), tf.float32)
    assert data.counts["train"] == {"0": 3, "1": 6}
    dataset = stream().map(lambda image, label: (image, [tf.cast(label, tf.float64) / 2]))
    data = load_data(dataset, validation=dataset, image_size=4, task="regression")
    assert next(iter(data.train))[1].numpy().tolist() == [0, 0.5, 0, 0.5, 0, 0.5]
    assert data.counts["train"] == {"images": 6}


def test_class_names_come_from_the_dataset():
    dataset = stream()
    dataset.class_names = ["cat", "dog"]
    assert load_data(dataset, validation=dataset, image_size=4).class_names == ["cat", "dog"]


def test_fingerprint_ignores_the_order_of_a_shuffled_dataset():
    dataset = stream(20)
    prints = {
        load_data(given, validation=dataset, image_size=4).fingerprint
        for given in (dataset, dataset.shuffle(20), dataset.batch(3))
    }
    assert len(prints) == 1
    assert load_data(dataset, validation=dataset, image_size=5).fingerprint not in prints


def test_a_dataset_that_shuffles_before_take_and_skip_is_refused():
    """Each pass drew other validation images, so in three epochs all were trained on."""
    shuffled = stream(40).shuffle(40)
    with pytest.raises(DataError) as caught:
        load_data(shuffled.skip(10), validation=shuffled.take(10), image_size=8)
    assert re.fullmatch(
        r"The validation dataset changes each time: \d+ of 10 images are others the next time\. "
        r"Where it shuffles before take and skip, training images get in: shuffle after them, or "
        r"with reshuffle_each_iteration=False\. Where it augments, augment training images alone\.",
        str(caught.value),
    )
    once = stream(40).shuffle(40, reshuffle_each_iteration=False)
    data = load_data(once.skip(10), validation=once.take(10), image_size=8)
    assert data.report.leaked == () and sum(data.counts["validation"].values()) == 10


def test_training_images_that_change_may_not_be_validated_on():
    """A cache holds the validation images still; the first pass alone shows no leak."""
    shuffled = stream(40).shuffle(40, seed=0)
    kept = shuffled.take(20).cache()
    data = load_data(shuffled.skip(20), validation=kept, image_size=8)
    assert len(data.report.leaked) >= 5
    assert set(data.report.leaked) <= {f"validation/{number}" for number in range(20)}


def test_training_images_may_change_by_augmentation():
    noise = stream().map(
        lambda image, label: (image + tf.cast(tf.random.uniform(()) > 0, tf.uint8), label)
    )
    assert load_data(noise, validation=stream(), image_size=8).report.leaked == ()


def test_copies_between_datasets_and_under_two_labels_are_reported():
    flipped = stream().map(lambda image, label: (image, 1 - label))
    report = load_data(stream(), validation=flipped, image_size=8).report
    assert report.leaked == tuple(f"validation/{number}" for number in range(6))
    assert report.contradicting[:2] == ("train/0", "validation/0")
    assert len(report.contradicting) == 12


def test_another_number_of_images_each_time_is_refused():
    lengths = iter([4, 6])

    def images():
        for number in range(next(lengths)):
            yield np.full((8, 8, 3), number, np.uint8), number % 2

    spec = (tf.TensorSpec((8, 8, 3), tf.uint8), tf.TensorSpec((), tf.int64))
    dataset = tf.data.Dataset.from_generator(images, output_signature=spec)
    with pytest.raises(DataError, match="gives 4 images the first time and 6 the next"):
        load_data(dataset, validation=None, image_size=8)


def test_an_error_in_the_dataset_is_told_with_where_it_is():
    def check(image, label):
        tf.debugging.assert_less(label, tf.constant(1, tf.int64), "no such label")
        return image, label

    dataset = stream().map(check)
    with pytest.raises(DataError, match=r"The train dataset fails after 1 images: .*no such label"):
        load_data(dataset, validation=None, image_size=8)


def test_another_size():
    dataset = stream()
    data = load_data(dataset, validation=dataset, image_size=4).at_size(6)
    assert data.image_size == (6, 6) and data.train.element_spec[0].shape == (None, 6, 6, 3)


def test_validation_cannot_be_split_off():
    with pytest.raises(ArgumentError, match=r"none can be split off .* as `validation`, got 0.2"):
        load_data(stream())
    assert load_data(stream(), validation=None, image_size=4).validation is None


@pytest.mark.parametrize(
    ("dataset", "text"),
    [
        (stream().map(lambda image, label: image), r"must yield \(image, label\)"),
        (stream(shape=(8, 6)), r"must have the shape \(h, w, channels\), .*got \(8, 6\)"),
        (stream(shape=(8, 6, 2)), r"1, 3 or 4 channels; got \(8, 6, 2\)"),
        (stream().repeat(), r"never ends: leave out .repeat\(\)"),
        (stream().take(0), "The train dataset is empty"),
        (
            stream().map(lambda image, label: (tf.cast(image, tf.float32) / 255, label)),
            "all lie within 0..1. Multiply them by 255",
        ),
        (
            stream().map(lambda image, label: (tf.cast(image, tf.float32) * np.nan, label)),
            "Some pixels are NaN or infinite",
        ),
    ],
)
def test_datasets_that_do_not_fit_say_why(dataset: tf.data.Dataset, text: str):
    with pytest.raises(DataError, match=text):
        load_data(dataset, validation=None)


def generated(*rows, labels=()):
    spec = (tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec(labels, tf.int32))
    return tf.data.Dataset.from_generator(lambda: iter(rows), output_signature=spec)


def fail():
    raise ZeroDivisionError("by zero")
    yield


@pytest.mark.parametrize(
    ("dataset", "text"),
    [
        (
            generated((np.zeros((0, 4, 3), "u1"), 0)),
            r"Image 0 .* no pixels: its shape is \(0, 4, 3",
        ),
        (
            generated(*((np.full((4, 4, 3), 9, "u1"), [0] * n) for n in (1, 2)), labels=(None,)),
            "Labels of the train dataset must be of one shape, got several",
        ),
        (
            tf.data.Dataset.from_tensors((np.full((4, 4, 3), "a"), 0)),
            "Pixels of the train dataset must be numbers 0..255, got string",
        ),
        (
            tf.data.Dataset.from_generator(fail, output_signature=generated().element_spec),
            r"fails after 0 images: ZeroDivisionError: by zero$",
        ),
    ],
)
def test_elements_that_cannot_be_used_are_told_in_a_line(dataset: tf.data.Dataset, text: str):
    with pytest.raises(DataError, match=text):
        load_data(dataset, validation=None)


def test_empty_and_missing_classes():
    with pytest.raises(EmptyClassError, match="No readable training image of '2'"):
        load_data(stream(6, classes=2), validation=None, class_names=["0", "1", "2"])
    with pytest.raises(MissingClassError, match=r"validation images .* hold no image of '2'"):
        load_data(stream(6, classes=3), validation=stream(6, classes=2))


def test_a_model_trains_on_it():
    model = keras.Sequential([keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1)])
    model.compile(loss="mse")
    data = load_data(stream(), validation=stream(), image_size=4, batch_size=4)
    history = model.fit(data.train, validation_data=data.validation, shuffle=False, verbose=0)
    assert len(history.epoch) == 1
