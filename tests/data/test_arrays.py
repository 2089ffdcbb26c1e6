import numpy as np
import pytest

from finetune.data.arrays import from_arrays
from finetune.exceptions import DataError


@pytest.mark.parametrize("shape", [(2, 4, 5), (2, 4, 5, 1), (2, 4, 5, 3), (2, 4, 5, 4)])
def test_images_of_every_channel_count_are_taken(shape: tuple[int, ...]):
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    part = from_arrays(pixels, [0, 1], name="validation").parts["train"]
    items = list(part.items)
    assert part.count == 2 and [item.id for item in items] == ["validation/0", "validation/1"]
    assert all(np.array_equal(item.payload, pixels[n]) for n, item in enumerate(items))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, np.uint16])
def test_other_numbers_are_rounded_to_uint8(dtype: type):
    pixels = np.array([[[0, 127.6], [255, 2]]]).astype(dtype)
    image = np.asarray(next(iter(from_arrays(pixels, [0]).parts["train"].items)).payload)
    assert image.dtype == np.uint8
    assert image.tolist() == [[0, 128 if np.issubdtype(dtype, np.floating) else 127], [255, 2]]


@pytest.mark.parametrize(
    ("images", "labels", "text"),
    [
        (np.zeros((2, 4)), [0, 1], r"must have the shape \(n, h, w\) or .*, got \(2, 4\)"),
        (np.zeros((2, 4, 4, 2)), [0, 1], r"1, 3 or 4 channels, got \(2, 4, 4, 2\)"),
        (np.zeros((2, 4, 4)), [0], "Expected one label per image: 2 images, 1 labels"),
        (np.zeros((2, 4, 4)), 1, "2 images, a single one labels"),
        (np.zeros((0, 4, 4)), [], r"There are no images: the array has the shape \(0, 4, 4\)"),
        (np.full((2, 4, 4), np.nan), [0, 1], "Some pixels are NaN or infinite"),
        (np.full((2, 4, 4), -1.0), [0, 1], r"Pixels must be 0..255, got -1..-1. Scale them back"),
        (np.full((2, 4, 4), 256), [0, 1], "Pixels must be 0..255, got 256..256"),
        (np.full((2, 4, 4), 1.0), [0, 1], "all lie within 0..1. Multiply them by 255"),
        (np.full((2, 4, 4), 1, np.uint8), [0, 1], "all lie within 0..1. Multiply them by 255"),
        (np.full((2, 4, 4), 1), [0, 1], "all lie within 0..1. Multiply them by 255"),
        ([np.zeros((4, 4)), np.zeros((4, 5))], [0, 1], "images are of different sizes"),
        (np.full((2, 4, 4), True), [0, 1], "all lie within 0..1. Multiply them by 255"),
        (np.full((2, 4, 4), "a"), [0, 1], "Pixels must be numbers 0..255, got an array of <U1"),
    ],
)
def test_arrays_that_do_not_fit_say_why(images: np.ndarray, labels: object, text: str):
    with pytest.raises(DataError, match=text):
        from_arrays(images, labels)


def test_a_missing_label_beside_strings_stays_missing():
    items = from_arrays(np.full((3, 4, 4), 9), ["cat", None, "dog"]).parts["train"].items
    assert [item.label for item in items] == ["cat", None, "dog"]


def test_black_images_are_images():
    assert from_arrays(np.zeros((2, 4, 4)), [0, 1]).parts["train"].count == 2
