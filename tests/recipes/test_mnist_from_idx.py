"""recipes/mnist_from_idx.py: the four idx files as a folder, a TFDS dataset or an .npz."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.extra import numpy as numpy_strategies
from PIL import Image

import mnist_from_idx
from finetune.data import load_data

COUNTS = {"train": 50, "t10k": 20}


def idx_bytes(array):
    return b"\0\0\x08" + struct.pack(f">B{array.ndim}I", array.ndim, *array.shape) + array.tobytes()


@pytest.fixture(scope="module")
def idx_dir(tmp_path_factory):
    """MNIST in small: the training files gzipped, the test files not."""
    folder = tmp_path_factory.mktemp("idx")
    random = np.random.default_rng(0)
    for stem, count in COUNTS.items():
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            data = idx_bytes(array)
            if stem == "train":
                (folder / f"{stem}-{name}-ubyte.gz").write_bytes(gzip.compress(data))
            else:
                (folder / f"{stem}-{name}-ubyte").write_bytes(data)
    return folder


@given(array=numpy_strategies.arrays(np.uint8, numpy_strategies.array_shapes(max_dims=3)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_reads_back_any_array_gzipped_or_not(tmp_path, array):
    path = tmp_path / "array"
    for data in (idx_bytes(array), gzip.compress(idx_bytes(array))):
        path.write_bytes(data)
        np.testing.assert_array_equal(mnist_from_idx.read_idx(path), array)


def test_refuses_a_file_that_is_not_idx(tmp_path):
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(b"<html>moved</html>")
    with pytest.raises(ValueError) as error:
        mnist_from_idx.read_idx(path)
    assert str(error.value) == (
        f"Expected an idx file of unsigned bytes, got {path}. Download it again."
    )


def test_names_the_files_that_are_missing(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        mnist_from_idx.read_mnist(tmp_path)
    assert str(error.value) == (
        f"Expected train-images-idx3-ubyte and train-labels-idx1-ubyte (or .gz) in {tmp_path}."
    )


def test_refuses_labels_that_do_not_match_the_images(tmp_path):
    for stem, count in (("train", 2), ("t10k", 2)):
        images = np.zeros((count, 28, 28), np.uint8)
        (tmp_path / f"{stem}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (tmp_path / f"{stem}-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(3, np.uint8)))
    with pytest.raises(ValueError) as error:
        mnist_from_idx.read_mnist(tmp_path)
    assert str(error.value) == f"{tmp_path}: 2 train images, 3 labels."


def test_writes_a_folder_of_pngs(idx_dir, tmp_path, capsys):
    mnist_from_idx.main([str(idx_dir), str(tmp_path), "--limit", "12"])
    assert capsys.readouterr().out == f"Wrote 12 train and 12 test images to {tmp_path}.\n"
    images, labels = mnist_from_idx.read_mnist(idx_dir)["train"]
    assert sorted(path.name for path in tmp_path.glob("train/1/*")) == ["00001.png", "00011.png"]
    assert len(list(tmp_path.glob("*/*/*.png"))) == 24
    with Image.open(tmp_path / "train" / "1" / "00011.png") as image:
        np.testing.assert_array_equal(np.asarray(image), images[11])
    assert labels[11] == 1


def test_writes_what_tfds_reads_without_a_download(idx_dir, tmp_path):
    mnist_from_idx.main([str(idx_dir), str(tmp_path), "--format", "tfds"])
    data = load_data("tfds:mnist", data_dir=tmp_path, download=False, image_size=28, augment=None)
    images, labels = mnist_from_idx.read_mnist(idx_dir)["test"]
    test = data.splits["test"]
    assert data.class_names == [str(digit) for digit in range(10)]
    # Which of the 50 are held back for validation is decided by their content.
    assert len(data.splits["train"].labels) + len(data.splits["validation"].labels) == 50
    pairs = zip(test.images, test.labels, strict=True)
    read = {image[..., 0].tobytes(): int(label) for image, label in pairs}
    assert read == {image.tobytes(): label for image, label in zip(images, labels, strict=True)}


def test_writes_one_npz(idx_dir, tmp_path):
    mnist_from_idx.main([str(idx_dir), str(tmp_path / "new"), "--format", "npz"])
    splits = mnist_from_idx.read_mnist(idx_dir)
    with np.load(tmp_path / "new" / "mnist.npz") as arrays:
        assert sorted(arrays) == ["x_test", "x_train", "y_test", "y_train"]
        for split, (images, labels) in splits.items():
            np.testing.assert_array_equal(arrays[f"x_{split}"], images)
            np.testing.assert_array_equal(arrays[f"y_{split}"], labels)


def test_opens_with_the_command_that_runs_it_and_is_short():
    text = Path(mnist_from_idx.__file__).read_text()
    assert "python recipes/mnist_from_idx.py" in text[:200]
    assert len(text.splitlines()) <= 100
    assert "\n# To change first: " in text
