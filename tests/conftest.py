"""A tiny pretrained-like backbone and images that the tests of training share."""

import gc
import os
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path

# Before TensorFlow is loaded: its start-up notes say nothing about the tests.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
from hypothesis import given, settings, strategies
from keras.src.backend import config as keras_config
from keras.src.utils import file_utils as keras_file_utils
from PIL import Image

import finetune
from finetune.data import ImageData, load_data
from finetune.reuse import starts
from finetune.training import relays
from tiny import SIZE, build_backbone, make_images

# How long an example takes says more of the machine than of the code.
settings.register_profile("drawn anew", deadline=None)
# What decides whether a change is merged says the same of the same code.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable" if os.environ.get("CI") else "drawn anew")


def pytest_report_header() -> str:
    return f"finetune: {Path(finetune.__file__).parent}"


def pytest_sessionstart() -> None:
    """Under `make test-wheel`, in every process: ends a run that would test the checkout."""
    expected = os.environ.get("FINETUNE_EXPECTED_IN")
    if expected and Path(expected).resolve() not in Path(finetune.__file__).resolve().parents:
        pytest.exit(f"Expected finetune in {expected}, found {finetune.__file__}.", returncode=3)


def pytest_collection_finish() -> None:
    """What was imported stays: a collection of garbage need not look through it again and again.

    KerasTuner asks for one before each trial, and TensorFlow alone is half a million objects.
    """

    # Hypothesis makes its generator of random numbers for the first example, and looks through the
    # garbage collector for who holds it, where a holder that is frozen is not found.
    @given(strategies.none())
    def first(_: None) -> None: ...

    first()
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the user's feature cache out of the tests, and the tests out of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FINETUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def small_work_pays() -> Iterator[None]:
    """Features are kept wherever they can be, also of backbones too small for that to pay."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(starts, "_LOADED", 1e15)
        yield


@pytest.fixture(scope="session", autouse=True)
def every_epoch_is_kept() -> Iterator[None]:
    """States are written after every epoch, though those of tiny models take no ten seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relays, "SECONDS_BETWEEN_STATES", 0.0)
        yield


@pytest.fixture
def keras_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of models in an empty Keras cache; there is no network."""

    def refuse(*_: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(keras_config, "_KERAS_DIR", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(keras_file_utils, "urlretrieve", refuse)
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def make_backbone() -> Callable[[], keras.Model]:
    """Makes the tiny backbone, the same weights each time; 16 pixels, `preprocess="tf"`."""
    return build_backbone


@pytest.fixture
def backbone() -> keras.Model:
    """A fresh one, the same weights each time; 16 pixels, `preprocess="tf"`."""
    return build_backbone()


@pytest.fixture
def twice_named() -> keras.Model:
    """A graph that cannot be flattened: two models in it have a layer of the same name."""
    blocks = [
        keras.Sequential(
            [
                keras.Input((SIZE, SIZE, 3)),
                keras.layers.Conv2D(
                    3,
                    3,
                    padding="same",
                    name="conv",
                    kernel_initializer=keras.initializers.HeNormal(seed=seed),  # pyright: ignore[reportArgumentType]
                ),
            ]
        )
        for seed in (1, 2)
    ]
    return keras.Sequential([keras.Input((SIZE, SIZE, 3)), *blocks, keras.layers.ReLU()])


@pytest.fixture(scope="session")
def arrays() -> tuple[np.ndarray, np.ndarray]:
    """72 images of 3 classes."""
    return make_images(24)


@pytest.fixture(scope="session")
def data(arrays: tuple[np.ndarray, np.ndarray]) -> ImageData:
    """Three classes in 41 training, 14 validation and 17 test images, not augmented."""
    return load_data(arrays, image_size=SIZE, batch_size=16, test=1 / 6, augment="none")


@pytest.fixture(scope="session")
def augmented(data: ImageData) -> ImageData:
    """The same images with light augmentation."""
    return data.with_options(augment="light")


@pytest.fixture(scope="session")
def write_folder(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[int], Path]:
    """Writes an image folder of three classes."""

    def write(per_class: int) -> Path:
        root = tmp_path_factory.mktemp("images")
        images, labels = make_images(per_class)
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            folder = root / ("boots", "sandals", "sneakers")[label]
            folder.mkdir(exist_ok=True)
            Image.fromarray(image).save(folder / f"{number:03}.png")
        return root

    return write
