"""recipes/mnist_mlp.py: both nets train, score and save on data like MNIST in small."""

import keras
import numpy as np
import pytest

import mnist_mlp

COUNTS = {"train": 1200, "test": 60}


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    """Ten digits, each a white square at a place of its own."""
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in COUNTS.items():
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = random.integers(0, 32, (count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label), 4)
            image[row * 9 : row * 9 + 7, column * 7 : column * 7 + 7] = 255
        arrays |= {f"x_{split}": images, f"y_{split}": labels}
    path = tmp_path_factory.mktemp("mnist") / "mnist.npz"
    np.savez(path, **arrays)
    return path


def test_holds_back_a_twelfth_for_validation_and_scales_to_one(npz):
    splits = mnist_mlp.load(npz)
    assert {name: len(images) for name, (images, _) in splits.items()} == {
        "train": 1100,
        "validation": 100,
        "test": 60,
    }
    assert all(images.dtype == np.float32 for images, _ in splits.values())
    assert splits["train"][0].max() == 1.0


def test_plain_net_is_four_layers_of_32_at_a_constant_rate():
    model, optimizer = mnist_mlp.plain(epochs=5, steps=10)
    assert [layer.units for layer in model.layers[1:]] == [32, 32, 32, 32, 10]
    assert model.count_params() == 28_618
    assert float(optimizer.learning_rate.numpy()) == pytest.approx(0.01)


def test_full_net_warms_up_for_three_epochs_then_decays_to_zero():
    model, optimizer = mnist_mlp.full(epochs=30, steps=10)
    rates = [float(optimizer._learning_rate(step)) for step in (0, 15, 30, 165, 300)]
    assert rates == pytest.approx([0.0, 0.005, 0.01, 0.005, 0.0], abs=1e-7)
    initializers = [
        type(layer.kernel_initializer).__name__
        for layer in model.layers
        if isinstance(layer, keras.layers.Dense)
    ]
    assert initializers == ["HeNormal"] * 3 + ["GlorotUniform"]


@pytest.mark.parametrize(("net", "epochs"), [("plain", 20), ("full", 2)])
def test_learns_prints_intervals_and_keeps_the_best_epoch(npz, tmp_path, capsys, net, epochs):
    arguments = ["--data", str(npz), "--net", net, "--epochs", str(epochs), "--out", str(tmp_path)]
    mnist_mlp.main(arguments)
    lines = capsys.readouterr().out.splitlines()[-3:]
    assert lines == [
        "train      accuracy 1.0000  95% interval 0.9965-1.0000  n=1100",
        "validation accuracy 1.0000  95% interval 0.9630-1.0000  n=100",
        "test       accuracy 1.0000  95% interval 0.9398-1.0000  n=60",
    ]
    model = keras.models.load_model(tmp_path / "best.keras")
    images, labels = mnist_mlp.load(npz)["test"]
    assert (model.predict(images, verbose=0).argmax(axis=1) == labels).all()
