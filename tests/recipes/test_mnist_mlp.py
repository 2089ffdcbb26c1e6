"""recipes/mnist_mlp.py: both nets train, score, draw and save on data like MNIST in small."""

import gzip
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import mnist_mlp

COUNTS = {"train": 1200, "t10k": 60}


@pytest.fixture(scope="module")
def idx_dir(tmp_path_factory):
    """Ten digits, each a white square at a place of its own."""
    folder = tmp_path_factory.mktemp("mnist")
    random = np.random.default_rng(0)
    for stem, count in COUNTS.items():
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = random.integers(0, 32, (count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label), 4)
            image[row * 9 : row * 9 + 7, column * 7 : column * 7 + 7] = 255
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            sizes = np.array(array.shape, ">u4").tobytes()
            data = b"\0\0\x08" + bytes([array.ndim]) + sizes + array.tobytes()
            (folder / f"{stem}-{name}-ubyte.gz").write_bytes(gzip.compress(data))
    return folder


def test_holds_back_a_twelfth_for_validation_and_scales_to_one(idx_dir):
    splits = mnist_mlp.load(idx_dir)
    assert {name: len(images) for name, (images, _) in splits.items()} == {
        "train": 1100,
        "validation": 100,
        "test": 60,
    }
    assert all(images.dtype == np.float32 for images, _ in splits.values())
    assert splits["train"][0].max() == 1.0


def test_plain_net_is_four_layers_of_32():
    model, optimizer = mnist_mlp.plain()
    assert [layer.units for layer in model.layers[1:]] == [32, 32, 32, 32, 10]
    assert model.count_params() == 28_618
    assert type(optimizer).__name__ == "SGD"
    assert float(optimizer.learning_rate.numpy()) == pytest.approx(0.01)


def test_full_net_is_four_hidden_layers_with_all_that_the_exercise_asks_for():
    model, optimizer = mnist_mlp.full()
    hidden = ["Dense", "BatchNormalization", "ReLU", "Dropout"]
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["Flatten", *hidden * 4, "Dense"]
    initializers = [
        type(layer.kernel_initializer).__name__
        for layer in model.layers
        if isinstance(layer, keras.layers.Dense)
    ]
    assert initializers == ["HeNormal"] * 4 + ["GlorotUniform"]
    assert type(optimizer).__name__ == "Adam"


def test_the_rate_warms_up_for_three_epochs_then_falls_along_a_cosine():
    rate = mnist_mlp.warm_up_then_cosine(30)
    assert [rate(epoch) for epoch in range(4)] == pytest.approx([0.01 / 3, 0.02 / 3, 0.01, 0.01])
    rates = [rate(epoch) for epoch in range(3, 30)]
    assert rates == sorted(rates, reverse=True)
    assert rate(12) == pytest.approx(0.0075)
    assert 0 < rate(29) < 1e-4


@pytest.mark.thorough
@pytest.mark.parametrize(("net", "epochs"), [("plain", 20), ("full", 8)])
def test_learns_prints_intervals_keeps_the_best_epoch_and_draws(
    idx_dir, tmp_path, capsys, net, epochs
):
    arguments = ["--data", str(idx_dir), "--net", net, "--epochs", str(epochs)]
    mnist_mlp.main([*arguments, "--out", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == [
        "train      accuracy 1.0000  95% interval 0.9965-1.0000  n=1100",
        "validation accuracy 1.0000  95% interval 0.9630-1.0000  n=100",
        "test       accuracy 1.0000  95% interval 0.9398-1.0000  n=60",
    ]
    told = [line for line in lines if "val_accuracy" in line and "learning_rate" in line]
    assert len(told) == epochs, "validated in every epoch"
    model = keras.models.load_model(tmp_path / "best.keras")
    images, labels = mnist_mlp.load(idx_dir)["test"]
    assert (model.predict(images, verbose=0).argmax(axis=1) == labels).all()
    with Image.open(tmp_path / "curves.png") as image:
        assert image.size == (1300, 400)


def test_opens_with_the_command_that_runs_it_and_is_short():
    text = Path(mnist_mlp.__file__).read_text()
    assert "python recipes/mnist_mlp.py" in text[:200]
    assert len(text.splitlines()) <= 100
    assert "\n# To change first: " in text
