import keras
import numpy as np
import pytest
import tensorflow as tf

from finetune.data import DataReport, ImageData, SkippedFile, Split, load_data
from finetune.data.finding import Ignored
from finetune.exceptions import ArgumentError


def arrays(count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)
    return pixels, np.arange(count) % 2


@pytest.fixture(scope="module")
def data() -> ImageData:
    return load_data(arrays(), image_size=8, batch_size=8, augment="none", validation=0.25)


def order(dataset: tf.data.Dataset) -> list[float]:
    return [float(pixel) for images, _ in dataset for pixel in np.asarray(images)[:, 0, 0, 0]]


def test_no_pass_over_stored_images_waits_for_a_tuner_that_has_nothing_to_tune(data: ImageData):
    assert data.dataset("train", training=True).options().autotune.enabled is False
    assert data.dataset("validation").options().autotune.enabled is False


def test_what_a_dataset_of_the_users_leaves_to_the_tuner_is_tuned():
    images, labels = arrays()
    streamed = load_data(
        tf.data.Dataset.from_tensor_slices((images, labels)), image_size=8, validation=None
    )
    assert streamed.dataset("train").options().autotune.enabled is None


def test_batches_have_known_length_shape_and_type(data: ImageData):
    assert data.validation is not None
    count = len(data.splits["train"])
    assert data.train.cardinality() == -(-count // 8)
    for dataset in (data.train, data.validation):
        assert dataset.element_spec == (
            tf.TensorSpec((None, 8, 8, 3), tf.float32),
            tf.TensorSpec((None,), tf.int32),
        )


def test_images_and_labels_stay_together(data: ImageData):
    pixels, labels = arrays()
    label_of = {image.tobytes(): label for image, label in zip(pixels, labels, strict=True)}
    seen = 0
    for images, batch_labels in data.train:
        for image, label in zip(images.numpy(), batch_labels.numpy(), strict=True):
            assert label_of[image.astype(np.uint8).tobytes()] == label
            seen += 1
    assert seen == len(data.splits["train"])


def test_training_images_come_in_a_new_order_each_epoch_that_the_seed_repeats(data: ImageData):
    first, again = data.train, data.train
    epochs = [order(first), order(first)]
    assert epochs[0] != epochs[1] and sorted(epochs[0]) == sorted(epochs[1])
    assert [order(again), order(again)] == epochs
    assert order(data.with_options(seed=1).train) != epochs[0]


def test_validation_images_come_in_stored_order(data: ImageData):
    stored = data.splits["validation"].images[:, 0, 0, 0].tolist()
    assert order(data.dataset("validation")) == order(data.dataset("validation")) == stored
    assert order(data.dataset("train")) == data.splits["train"].images[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("augment", ["strong", "layer"])
def test_augmentation_touches_training_images_only(data: ImageData, augment: str):
    layer = keras.layers.Rescaling(0.5) if augment == "layer" else augment
    changed = data.with_options(augment=layer)
    assert changed.validation is not None and changed.augment is not None
    assert np.array_equal(
        np.concatenate([images for images, _ in changed.validation]),
        data.splits["validation"].images,
    )
    plain = {image.tobytes() for image in data.splits["train"].images.astype(np.float32)}
    images = np.concatenate([images for images, _ in changed.train])
    assert not any(image.tobytes() in plain for image in images)


def test_augmentation_repeats_with_the_seed_and_differs_between_epochs(data: ImageData):
    light = data.with_options(augment="light")
    first, again = light.train, light.train
    epochs = [sorted(order(first)), sorted(order(first))]
    assert epochs[0] != epochs[1]
    assert [sorted(order(again)), sorted(order(again))] == epochs


def test_options_share_the_images(data: ImageData):
    other = data.with_options(batch_size=3)
    assert other.splits["train"] is data.splits["train"] and data.batch_size == 8
    assert next(iter(other.train))[0].shape == (3, 8, 8, 3)
    with pytest.raises(
        ArgumentError,
        match="batch_size as a whole number of 1 or more",
    ):
        data.with_options(batch_size=0)
    with pytest.raises(ArgumentError, match="Expected augment to be one of"):
        data.with_options(augment="much")


def test_another_size_keeps_every_image_in_its_split(data: ImageData):
    larger = data.with_options(batch_size=3, seed=5).at_size((10, 12))
    assert larger.splits["train"].images.shape[1:] == (10, 12, 3)
    for name in ("train", "validation"):
        assert larger.splits[name].ids == data.splits[name].ids
    assert (larger.batch_size, larger.seed, larger.image_size) == (3, 5, (10, 12))


def test_an_absent_split(data: ImageData):
    assert data.test is None
    with pytest.raises(ArgumentError, match="There is no split 'test', only train, validation"):
        data.dataset("test")


def test_take_keeps_everything_in_step(data: ImageData):
    split = data.splits["train"]
    taken = split.take([2, 0])
    assert len(taken) == 2 and taken.ids == [split.ids[2], split.ids[0]]
    assert np.array_equal(taken.images, split.images[[2, 0]])
    assert taken.labels.tolist() == split.labels[[2, 0]].tolist()
    assert taken.content == [split.content[2], split.content[0]]


def test_mapped_images_give_the_same_batches(data: ImageData):
    mapped = load_data(
        arrays(), image_size=8, batch_size=8, augment="none", validation=0.25, memory_budget=0
    )
    assert isinstance(mapped.splits["train"].images, np.memmap)
    assert order(mapped.train) == order(data.train)
    assert mapped.fingerprint == data.fingerprint


def test_summary_is_a_table_of_classes_and_splits():
    pixels, _ = arrays(4)
    labels = ["cat", "cat", "dog", "dog"]
    data = load_data((pixels, labels), validation=(pixels, labels), image_size=8)
    assert str(data) == (
        "           train validation\n"
        "cat            2          2\n"
        "dog            2          2\n"
        "total          4          4\n"
        "binary, 8 x 8 pixels, resized by pad\n"
        "4 validation or test images are training images too, such as validation/0"
    )


def test_names_of_classes_and_files_cannot_command_a_terminal():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), "u1")
    data = load_data((pixels, ["a\nb", "c\x1b[2J"] * 10), image_size=4)
    assert [line.split()[0] for line in data.summary().splitlines()[1:3]] == ["a?b", "c?[2J"]
    report = DataReport((SkippedFile("x\x1b]0;y\x07\n.png", "damaged"),), leaked=("\u202egnp",))
    assert str(report).splitlines()[1:] == [
        "  x?]0;y??.png: damaged",
        "1 validation or test images are training images too, such as ?gnp",
    ]


def test_report_lists_ten_files_and_counts_the_rest():
    report = DataReport(
        skipped=tuple(SkippedFile(f"{number}.jpg", "empty") for number in range(12)),
        ignored=Ignored({"stray files": 4, "hidden folders": 1}, strays=["a.txt", "b.csv"]),
    )
    lines = str(report).splitlines()
    assert lines[:2] == ["Skipped 12 unreadable:", "  0.jpg: empty"]
    assert lines[-2:] == [
        "  and 2 more",
        "Ignored: 1 hidden folder, 4 stray files (a.txt, b.csv ...)",
    ]
    assert str(DataReport()) == ""


def test_splits_compare_by_identity():
    split = Split(np.zeros((1, 2, 2, 3), np.uint8), np.zeros(1, np.int32), ["a"], ["b"])
    assert split == split and split != split.take([0])
