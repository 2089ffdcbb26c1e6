"""recipes/mnist.py: digits from a folder and from TFDS, in two phases."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

import mnist
import mnist_from_idx

TINY = ["--weights", "none", "--image-size", "32", "--epochs", "1"]


@pytest.fixture(scope="module")
def idx_dir(tmp_path_factory):
    """Ten digits in noise, each a white square at a place of its own."""
    folder = tmp_path_factory.mktemp("idx")
    random = np.random.default_rng(0)
    for stem, count in (("train", 120), ("t10k", 20)):
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


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["folder", pytest.param("tfds", marks=pytest.mark.slow)])
def test_trains_on_a_folder_and_on_a_prepared_tfds_dataset(idx_dir, tmp_path, capsys, kind):
    mnist_from_idx.main([str(idx_dir), str(tmp_path / "data"), "--format", kind])
    source = [] if kind == "tfds" else ["--data", str(tmp_path / "data")]
    place = ["--data-dir", str(tmp_path / "data")] if kind == "tfds" else []
    out = tmp_path / "run"
    mnist.main([*source, *place, *TINY, "--out", str(out)])
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["test"]["n"] == 20
    assert "test:       accuracy " in capsys.readouterr().out
    history = (out / "history.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in history[1:]] == ["head", "fine_tune"]
    assert (out / "model.keras").is_file()
    # Mirrored digits are other digits, or none.
    assert json.loads((out / "config.json").read_text())["augment"] == "none"


def test_opens_with_the_command_that_runs_it_and_is_short():
    text = Path(mnist.__file__).read_text()
    assert "python recipes/mnist.py" in text[:200]
    assert len(text.splitlines()) <= 100
    assert "\n# To change first: " in text
