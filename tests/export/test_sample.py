"""Which images an export is tried on: those that say most of the model."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from exportable import NAMES, SIZE, card, images
from finetune.data import load_data, pixel_digests
from finetune.exceptions import DataNotFoundError, MissingClassError
from finetune.export.sample import find_sample
from finetune.model import FineTunedModel, remember
from finetune.model.known_images import KnownImages

PIXELS = images(12)


@pytest.fixture
def model():
    """One that is never asked."""
    return FineTunedModel(None, card())


def write(folder, pixels, names=NAMES):
    for number, image in enumerate(pixels):
        place = folder / names[number % len(names)]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number:02}.png")
    return folder


def configure(folder, **entries):
    folder.mkdir(exist_ok=True)
    lines = [f"{name} = '{value}'" for name, value in entries.items()]
    (folder / "config.toml").write_text("\n".join(lines))
    return folder


def test_test_images_of_a_folder_are_taken_and_int8_sees_the_training_images(model, tmp_path):
    photos = tmp_path / "photos"
    write(photos / "train", PIXELS[:6])
    write(photos / "test", PIXELS[6:])
    sample = find_sample(model, photos, None)
    assert sample.said == "6 test images, of photos"
    assert sorted(sample.labels) == [0, 0, 1, 1, 2, 2]
    assert {*pixel_digests(sample.images)} == {*pixel_digests(PIXELS[6:])}
    assert {*pixel_digests(sample.training)} == {*pixel_digests(PIXELS[:6])}


def test_images_that_the_model_knows_are_told_apart(tmp_path):
    digests = {"train": np.sort(pixel_digests(PIXELS[:8])), "validation": np.array([], np.uint64)}
    model = FineTunedModel(None, card(), KnownImages(digests))
    photos = write(tmp_path / "photos", PIXELS)
    sample = find_sample(model, photos, None)
    assert sample.said == "4 images that it was not trained on, of photos"
    assert len(sample.training) == 8
    digests["train"] = np.sort(pixel_digests(PIXELS))
    sample = find_sample(model, photos, None)
    assert sample.said == (
        "12 images that it was trained on, so that the accuracy is no estimate, of photos"
    )


def test_the_configuration_of_a_run_names_images_to_test_on_first(model, tmp_path):
    photos = write(tmp_path / "photos", PIXELS[:6])
    others = write(tmp_path / "others", PIXELS[6:])
    run = configure(tmp_path / "run", data=photos, test="none", data_dir="none")
    assert find_sample(model, None, run).said.endswith(", of photos")
    run = configure(tmp_path / "run", data=photos, test=others)
    assert find_sample(model, None, run).said.endswith(", of others")
    assert find_sample(model, photos, run).said.endswith(", of photos")


def test_int8_sees_training_images_that_lie_apart_from_those_to_test_on(model, tmp_path):
    photos = write(tmp_path / "photos", PIXELS[:6])
    others = write(tmp_path / "others", PIXELS[6:])
    run = configure(tmp_path / "run", data=photos, test=others)
    sample = find_sample(model, None, run, calibrating=True)
    assert {*pixel_digests(sample.images)} == {*pixel_digests(PIXELS[6:])}
    assert {*pixel_digests(sample.training)} == {*pixel_digests(PIXELS[:6])}


def test_validation_images_of_a_model_that_was_refitted_are_no_estimate():
    labels = [NAMES[number % 3] for number in range(12)]
    data = load_data((PIXELS, labels), image_size=SIZE, validation=0.25)
    for refitted, said in (
        (False, "4 validation images, which chose the epoch"),
        (True, "4 images that it was trained on, so that the accuracy is no estimate"),
    ):
        known = remember(data, (SIZE, SIZE), refitted=refitted)
        assert find_sample(FineTunedModel(None, card(), known), data, None).said == said


def test_images_of_a_stream_are_rounded_not_cut_off(model):
    pixels = PIXELS.astype("float32") + 0.6
    batches = tf.data.Dataset.from_tensor_slices((pixels, np.arange(12) % 3))
    data = load_data(batches, image_size=SIZE, validation=batches, class_names=NAMES)
    sample = find_sample(model, data, None)
    np.testing.assert_array_equal(sample.images, PIXELS + 1)
    np.testing.assert_array_equal(sample.labels, np.arange(12) % 3)


def test_where_the_images_of_a_run_are_gone_others_are_made_up_and_that_is_said(model, tmp_path):
    run = configure(tmp_path / "run", data=tmp_path / "gone")
    for place in (run, tmp_path, None):
        sample = find_sample(model, None, place)
        assert sample.said == "32 made-up images, for there are no real ones"
        assert (sample.real, sample.labels, len(sample.training)) == (False, None, 0)
        assert sample.images.shape == (32, SIZE, SIZE, 3)
    assert sample.images.std(axis=(1, 2, 3)).min() > 10


def test_a_folder_of_images_without_classes_will_do(model, tmp_path):
    for number, image in enumerate(PIXELS):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    sample = find_sample(model, tmp_path, None)
    assert sample.said == f"12 images of {tmp_path.name}, without labels"
    assert sample.labels is None
    assert len(sample.training) == 12


def test_of_many_images_some_from_everywhere_are_taken(model):
    pixels = np.repeat(PIXELS[:1], 600, axis=0)
    labels = np.repeat([0, 1, 2], 200)
    sample = find_sample(model, (pixels, labels), None)
    assert np.bincount(sample.labels).tolist() == [86, 85, 85]
    assert len(sample.training) == 100


def test_images_that_were_given_must_be_usable(model, tmp_path):
    with pytest.raises(DataNotFoundError):
        find_sample(model, tmp_path / "gone", None)
    with pytest.raises(MissingClassError, match="clogs"):
        find_sample(model, write(tmp_path / "photos", PIXELS, ("boots", "clogs")), None)
