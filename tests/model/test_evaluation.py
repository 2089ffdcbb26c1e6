"""What a model is worth on images: matched by class names, and told from its training images."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from finetune.data import load_data
from finetune.exceptions import ArgumentError, DataError, MissingClassError, ModelFileError
from finetune.model import FineTunedModel, ModelCard, load, remember

LEVELS = {"dark": 30, "gray": 128, "bright": 220}
NAMES = tuple(LEVELS)  # not in the order of the alphabet, as folders are


@pytest.fixture(scope="module")
def model() -> FineTunedModel:
    """Always right about which of three levels an image has."""
    levels = np.array([LEVELS[name] / 255 for name in NAMES])
    pixels = keras.Input((8, 8, 3))
    mean = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(pixels))
    dense = keras.layers.Dense(3, activation="softmax")
    outputs = dense(mean)
    dense.set_weights([200 / 3 * np.tile(levels, (3, 1)), -100 * levels**2])
    return FineTunedModel(
        keras.Model(pixels, outputs), ModelCard("multiclass", NAMES, (8, 8), "pad")
    )


def noise(name: str, count: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng([seed, LEVELS.get(name, 0)])
    return (LEVELS.get(name, 60) + random.integers(-9, 10, (count, 8, 8, 3))).astype(np.uint8)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a folder of so many images of each class."""

    def folder(counts: dict[str, int], at: str = "images", seed: int = 0, kind="png") -> Path:
        for name, count in counts.items():
            (tmp_path / at / name).mkdir(parents=True, exist_ok=True)
            for number, image in enumerate(noise(Path(name).name, count, seed)):
                Image.fromarray(image).save(tmp_path / at / name / f"{seed}_{number}.{kind}")
        return tmp_path / at

    return folder


@pytest.mark.parametrize("names", [NAMES, ("dark", "gray"), ("gray", "bright"), ("bright",)])
def test_any_of_the_classes_are_matched_by_name(model, write, names):
    score = model.evaluate(write(dict.fromkeys(names, 3)))
    assert (score.accuracy, score.n) == (1.0, 3 * len(names))
    assert score.absent == tuple(name for name in NAMES if name not in names)


def test_absent_classes_are_said(model, write):
    text = str(model.evaluate(write({"gray": 2})))
    assert "No image of 'dark', 'bright': the score is over the other classes." in text


def test_classes_that_the_model_does_not_know_are_refused_by_name(model, write):
    with pytest.raises(MissingClassError) as caught:
        model.evaluate(write({"dark": 2, "black": 2, "white": 1}))
    assert str(caught.value) == (
        "There are images of 'black', 'white', which the model does not know: its classes are "
        "'dark', 'gray', 'bright'. Leave these images out, or give them the model's names."
    )


def test_an_empty_folder_of_another_name_does_no_harm(model, write):
    assert model.evaluate(write({"dark": 2, "drafts": 0})).n == 2


def test_labels_of_arrays_are_names_or_the_numbers_of_the_model(model):
    images = np.concatenate([noise("bright", 2), noise("gray", 2)])
    assert model.evaluate((images, ["bright", "bright", "gray", "gray"])).accuracy == 1
    assert model.evaluate((images, [2, 2, 1, 1])).accuracy == 1
    with pytest.raises(MissingClassError, match="images of '3', which the model does not know"):
        model.evaluate((images, [3, 3, 1, 1]))
    with pytest.raises(MissingClassError, match="images of 'white', which the model does not kn"):
        model.evaluate((images, ["white", "bright", "gray", "gray"]))


def test_loaded_images_of_another_order_or_fewer_classes_are_matched_by_name(model, write):
    for names in (NAMES, ("bright", "gray")):
        data = load_data(write(dict.fromkeys(names, 8)), image_size=8, test=0.5)
        assert data.class_names != list(NAMES)
        assert model.evaluate(data).accuracy == 1
    data = load_data((noise("dark", 8), [0, 1] * 4), image_size=8, class_names=["dark", "white"])
    with pytest.raises(MissingClassError, match=r"images of 'white', .* load_data the model's nam"):
        model.evaluate(data, "train")


def test_streams_are_matched_by_name_too(model, write):
    folder = write({"bright": 4, "gray": 4})
    dataset = keras.utils.image_dataset_from_directory(folder, image_size=(8, 8), verbose=False)
    data = load_data(dataset, validation=None, image_size=8)
    assert model.evaluate(data, "train").accuracy == 1
    with pytest.raises(ArgumentError, match=r"load_data\(dataset, validation=None\)"):
        model.evaluate(dataset)


def test_labels_of_another_task_are_refused(model):
    data = load_data((noise("dark", 8), np.linspace(0, 1, 8)), task="regression", image_size=8)
    with pytest.raises(ArgumentError, match="labels for task='multiclass', as the model's; got 'r"):
        model.evaluate(data, "train")


def test_columns_of_several_labels_are_matched_by_name(model):
    several = FineTunedModel(
        model.keras_model, ModelCard("multilabel", NAMES, (8, 8), "pad"), model.known
    )
    images = np.concatenate([noise(name, 4) for name in NAMES])
    labels = np.repeat(np.eye(3), 4, axis=0)
    for order in ([0, 1, 2], [2, 0, 1]):
        data = load_data(
            (images, labels[:, order]),
            task="multilabel",
            image_size=8,
            class_names=[NAMES[number] for number in order],
        )
        assert several.evaluate(data, "train").accuracy == 1


def test_columns_of_several_labels_that_are_missing_are_named(model):
    several = FineTunedModel(
        model.keras_model, ModelCard("multilabel", NAMES, (8, 8), "pad"), model.known
    )
    images = np.concatenate([noise(name, 4) for name in NAMES[:2]])
    labels = np.repeat(np.eye(2), 4, axis=0)
    data = load_data((images, labels), task="multilabel", image_size=8, class_names=NAMES[:2])
    known, given = (", ".join(f"'{name}'" for name in names) for names in (NAMES, NAMES[:2]))
    with pytest.raises(MissingClassError) as caught:
        several.evaluate(data, "train")
    assert str(caught.value) == f"Expected a column for each of {known}, got {given}."


def test_a_plain_folder_is_scored_as_a_whole_and_one_with_a_test_part_by_that(model, write):
    assert model.evaluate(write({"dark": 5, "gray": 6})).n == 11
    parts = write({"train/dark": 3, "train/gray": 2, "test/gray": 4, "val/dark": 1}, at="parts")
    assert model.evaluate(parts).n == 4
    assert model.evaluate(parts, "train").n == 5
    assert model.evaluate(parts, "validation").n == 1
    assert model.evaluate(write({"train/dark": 3, "val/gray": 2}, at="no_test")).n == 5
    assert model.evaluate(write({"val/dark": 3, "test/gray": 2}, at="no_train")).n == 2


@pytest.fixture
def remembering(model, write) -> tuple[FineTunedModel, Path]:
    """The model as if trained on a folder, of which it held some back with a seed of its own."""
    folder = write(dict.fromkeys(NAMES, 12))
    data = load_data(folder, image_size=8, validation=0.3, seed=5)
    return FineTunedModel(model.keras_model, model.card, remember(data, (8, 8))), folder


def test_images_that_were_trained_on_are_told(remembering):
    model, folder = remembering
    known = {split: len(digests) for split, digests in model.known.digests.items()}
    score = model.evaluate(folder)
    assert score.known == {**known, "test": 0, "new": 0} and sum(known.values()) == 36
    assert score.remarks == [
        f"{known['train']} of 36 were trained on: this is no estimate. {known['validation']} chose "
        "the epoch, 0 did neither."
    ]
    assert score.to_dict()["known"] == score.known


def test_a_split_of_a_plain_folder_is_what_the_run_held_back(remembering):
    model, folder = remembering
    score = model.evaluate(folder, "validation")
    n = len(model.known.digests["validation"])
    assert score.known == {"train": 0, "validation": n, "test": 0, "new": 0}
    assert score.remarks == [
        f"None was trained on, but {n} of {n} chose the epoch: a little optimistic."
    ]
    with pytest.raises(DataError, match=r"none of them is among the 0 that the model knows as su"):
        model.evaluate(folder, "test")


def test_new_images_are_called_new(remembering, write):
    model, _ = remembering
    score = model.evaluate(write({"dark": 3}, at="other", seed=1))
    assert score.known == {"train": 0, "validation": 0, "test": 0, "new": 3}
    assert score.remarks[0] == "None of these images was trained on or chose the epoch."


def test_images_are_known_again_by_content_whatever_they_come_as(remembering, write):
    model, folder = remembering
    everything = model.evaluate(folder).known
    assert model.evaluate(write(dict.fromkeys(NAMES, 12), at="renamed", kind="bmp")).known == (
        everything
    )
    images = np.concatenate([noise(name, 12) for name in NAMES])
    assert model.evaluate((images, np.repeat([0, 1, 2], 12))).known == everything
    data = load_data((images, np.repeat(NAMES, 12)), image_size=8, validation=None)
    assert model.evaluate(data, "train").known == everything


def test_what_a_model_knows_is_saved_with_it(remembering, tmp_path):
    model, folder = remembering
    model.save(tmp_path / "model.keras")
    assert load(tmp_path / "model.keras").evaluate(folder).known == model.evaluate(folder).known
    assert model.copy().known is model.known


def test_a_model_of_an_earlier_version_says_that_it_cannot_know(model, write, tmp_path):
    model.save(tmp_path / "model.keras")
    old, folder = load(tmp_path / "model.keras"), write({"dark": 3})
    assert old.known is None and old.evaluate(folder).known is None
    assert old.evaluate(folder).remarks[0].startswith("The model does not say which images it was")
    with pytest.raises(ArgumentError, match=r"no part 'validation' of their own, and the model do"):
        old.evaluate(folder, "validation")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"12345", "expected 8 bytes for each image in finetune.train.digests"),
        (
            b"\0" * 8_000_008,
            "expected at most 8,000,000 bytes of finetune.train.digests, received m",
        ),
    ],
)
def test_digests_that_cannot_be_are_refused(model, tmp_path, content, told):
    path = model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("finetune.train.digests", content)
    with pytest.raises(ModelFileError, match=told):
        load(path)


def test_files_that_cannot_be_read_are_said(model, write):
    folder = write({"dark": 2})
    (folder / "dark" / "broken.png").write_bytes(b"no image")
    assert "Skipped 1 unreadable" in str(model.evaluate(folder))
    for file in folder.rglob("0_*"):
        file.unlink()
    with pytest.raises(DataError, match="1 of 1 images cannot be read"):
        model.evaluate(folder)


def test_a_folder_without_images_and_an_unknown_split_are_refused(model, write):
    with pytest.raises(DataError, match=r"Expected labelled images in .*, found none\."):
        model.evaluate(write({"dark": 0}))
    with pytest.raises(ArgumentError, match=r"Expected split to be one of .*, received 'all'"):
        model.evaluate(write({"dark": 1}), "all")
