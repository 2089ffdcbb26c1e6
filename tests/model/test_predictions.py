"""What `predict` takes: the pixels that training takes, and no others."""

import io

import keras
import numpy as np
import pytest
from PIL import Image

from finetune.exceptions import ArgumentError, DataError, UnreadableImageError
from finetune.model import FineTunedModel, ModelCard

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def model() -> FineTunedModel:
    """Says how bright an image is: from 0 for black to 1 for white."""
    pixels = keras.Input((16, 16, 3))
    bright = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(pixels))
    outputs = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")(bright)
    outputs = keras.layers.Rescaling(1 / 3)(outputs)
    card = ModelCard("regression", (), (16, 16), "squash")
    return FineTunedModel(keras.Model(pixels, outputs), card)


@pytest.mark.parametrize("size", [16, 20])
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda x: x / 255, "all lie within 0..1. Multiply them by 255"),
        (lambda x: (x > 128).astype(np.uint8), "all lie within 0..1. Multiply them by 255"),
        (lambda x: x / 127.5 - 1, r"Pixels must be 0..255, got -1..1\. Scale them back"),
        (lambda x: x.astype(int) * 257, r"Pixels must be 0..255, got 0..65535\."),
        (lambda x: np.where(x < 9, np.nan, x), "Some pixels are NaN or infinite"),
        (lambda x: x.astype(str), "Pixels must be numbers 0..255, got an array of <U3"),
    ],
)
def test_pixels_that_training_refuses_are_refused(model, size, change, text):
    images = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)
    images[0, 0, 0, 0], images[0, 0, 0, 1] = 0, 255
    with pytest.raises(DataError, match=text):
        model.predict(change(images))


def test_floats_are_rounded_at_every_size_as_in_training(model):
    for size in (16, 20):
        (value,) = model.predict(np.full((1, size, size, 3), 127.6)).labels
        assert value == pytest.approx(128 / 255)


def test_one_black_image_among_others_is_an_image(model):
    images = PIXELS.copy()
    images[1] = 0
    assert model.predict(images).labels[1] == 0
    assert model.predict(images[1]).labels == [0]


def test_values_come_one_by_one_without_names(model):
    (one,) = model.predict(np.full((16, 16, 3), 255, np.uint8))
    assert (one.path, one.probabilities) == ("0", {})
    assert one.label == pytest.approx(1)


@pytest.mark.parametrize("images", [[], PIXELS[:0]])
def test_no_image_at_all_is_refused(model, images):
    with pytest.raises(DataError, match="at least one readable image, received none: nothing was"):
        model.predict(images)


def of_brightness(value: int, size: tuple[int, int] = (16, 16)) -> np.ndarray:
    return np.full((*size, 3), value, np.uint8)


def test_images_of_several_sizes_may_come_together(model):
    images = [of_brightness(51), of_brightness(102, (9, 30)), of_brightness(204, (40, 20))]
    found = model.predict(images)
    assert found.labels == pytest.approx([0.2, 0.4, 0.8], abs=1e-4)
    assert found.paths == ["0", "1", "2"]


def test_pictures_of_pillow_are_taken_alone_together_and_beside_arrays(model):
    picture = Image.fromarray(of_brightness(102, (9, 30)))
    assert model.predict(picture).labels == pytest.approx([0.4], abs=1e-4)
    assert model.predict([picture, picture.resize((5, 5))]).labels == pytest.approx(
        [0.4, 0.4], abs=1e-4
    )
    assert model.predict((picture, of_brightness(204))).labels == pytest.approx(
        [0.4, 0.8], abs=1e-4
    )


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "I;16", "CMYK"])
def test_pictures_of_any_mode_are_what_their_files_are(model, tmp_path, mode):
    random = np.random.default_rng(0).integers(0, 256, (20, 12, 4), np.uint8)
    if mode == "I;16":
        picture = Image.fromarray(random[..., 0].astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(random, "RGBA").convert(mode)
    assert picture.mode == mode
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    picture.save(path)
    assert model.predict(picture).labels == model.predict(path).labels


def test_a_picture_that_was_opened_from_a_photo_is_turned_upright(model, tmp_path):
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    upright = FineTunedModel(
        keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Reshape((16 * 16 * 3,))]),
        ModelCard("regression", (), (16, 16), "squash"),
    )
    with Image.open(tmp_path / "a.png") as picture:
        by_picture = upright.predict(picture).probabilities
    assert by_picture.tolist() == upright.predict(tmp_path / "a.png").probabilities.tolist()
    assert by_picture.reshape(16, 16, 3)[:, 8:].min() == 255


def test_a_picture_that_cannot_be_read_is_an_error(model):
    file = io.BytesIO()
    Image.fromarray(PIXELS[0]).save(file, "PNG")
    broken = Image.open(io.BytesIO(file.getvalue()[:200]))
    with pytest.raises(UnreadableImageError, match="The picture is not an image that can be read"):
        model.predict([broken])


EXPECTED = (
    "Expected paths of image files or folders, pictures of PIL, or arrays of shape (height, width, "
    "3) with pixels 0..255, received "
)


@pytest.mark.parametrize(
    ("images", "received"),
    [
        (7, "int."),
        (None, "NoneType."),
        ({"a.png": 1}, "dict."),
        (PIXELS[0, 0], "ndarray of shape (16, 3)."),
        (PIXELS[..., :1], "one of shape (16, 16, 1) as number 0."),
        ([PIXELS[0], PIXELS[0, ..., 0]], "one of shape (16, 16) as number 1."),
        ([PIXELS[0], PIXELS[0, :0]], "one of shape (0, 16, 3) as number 1."),
        ([PIXELS[0], "a.png"], "str as number 1."),
        ([PIXELS[0], None], "NoneType as number 1."),
        ([[[1, 2], [3]]], "list as number 0."),
    ],
)
def test_anything_else_is_refused_by_what_it_is(model, images, received):
    with pytest.raises(DataError) as caught:
        model.predict(images)
    assert str(caught.value) == EXPECTED + received


def test_a_column_of_a_table_is_a_list_of_paths(model, tmp_path):
    Image.new("RGB", (16, 16), "white").save(tmp_path / "white.png")
    column = np.array([str(tmp_path / "white.png")] * 2, object)  # as of a pandas.Series
    found = model.predict(column)
    assert found.paths == [*column]
    assert found.labels == pytest.approx([1.0, 1.0])


def test_a_threshold_needs_probabilities(model):
    with pytest.raises(ArgumentError, match="received one for 'regression'"):
        model.predict(PIXELS, threshold=0.5)


def test_values_of_a_regression_are_gone_through_one_by_one(model):
    found = [*model.predict(np.full((2, 16, 16, 3), 255, np.uint8))]
    assert [(one.path, one.label, one.probabilities) for one in found] == [
        ("0", pytest.approx(1.0), {}),
        ("1", pytest.approx(1.0), {}),
    ]
