"""The folder that predicts without TensorFlow: as `finetune predict` does, to the bit."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from exportable import classifier, images
from extras import require
from finetune import export_model
from finetune.data import find_images, read_image
from finetune.exceptions import UnreadableImageError
from finetune.export import portable
from finetune.model import PredictionSets

require("onnxruntime")
require("tf2onnx")

RANDOM = np.random.default_rng(7)


def pixels(height, width, channels=3):
    return RANDOM.integers(0, 256, (height, width, channels), np.uint8)


def smooth(height, width):
    return Image.fromarray(pixels(9, 7)).resize((width, height), Image.Resampling.BICUBIC)


def turned(place, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    smooth(40, 23).save(place, exif=exif)


def with_transparent_colour(place):
    image = Image.fromarray(pixels(30, 20)).quantize(16)
    image.save(place, transparency=3)


# Names, and what is written under them.
ODD = {
    "tall.png": lambda place: smooth(300, 3).save(place),
    "wide.png": lambda place: smooth(3, 300).save(place),
    "tiny.png": lambda place: Image.fromarray(pixels(1, 1)).save(place),
    "exact.png": lambda place: Image.fromarray(pixels(16, 16)).save(place),
    "odd.png": lambda place: smooth(37, 41).save(place),
    "grey.png": lambda place: Image.fromarray(pixels(31, 45)[..., 0]).save(place),
    "grey_alpha.png": lambda place: smooth(20, 33).convert("RGBA").convert("LA").save(place),
    "rgba.png": lambda place: Image.fromarray(pixels(25, 19, 4)).save(place),
    "palette.gif": lambda place: smooth(50, 60).quantize(32).save(place),
    "palette_transparent.png": with_transparent_colour,
    "black_and_white.png": lambda place: smooth(40, 50).convert("1").save(place),
    "sixteen_bits.png": lambda place: Image.fromarray(
        RANDOM.integers(0, 65536, (22, 35)).astype(np.uint16)
    ).save(place),
    "cmyk.jpg": lambda place: smooth(60, 80).convert("CMYK").save(place),
    "large.jpg": lambda place: smooth(900, 1300).save(place),
    "progressive.jpg": lambda place: smooth(500, 700).save(place, progressive=True),
    **{f"turned_{n}.jpg": lambda place, n=n: turned(place, n) for n in range(2, 9)},
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    for name, write in ODD.items():
        write(folder / name)
    return folder


@pytest.fixture(scope="module")
def model():
    sets = PredictionSets(tuple(np.linspace(0.3, 0.99, 39)))
    return classifier(resize="crop", temperature=1.2, sets=sets)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    return export_model(model, "folder", out=tmp_path_factory.mktemp("to") / "shoes").folder


@pytest.mark.parametrize("size", [(16, 16), (33, 20)], ids=str)
@pytest.mark.parametrize("resize", ["pad", "crop", "squash"])
def test_every_image_becomes_the_same_pixels(odd, resize, size):
    for name in ODD:
        ours = read_image(odd / name, size, resize)
        theirs = portable.read_image(odd / name, size, resize)
        assert theirs.dtype == np.uint8
        np.testing.assert_array_equal(theirs, ours, err_msg=name)


def test_what_is_refused_is_refused_there_too(tmp_path):
    floats, deep = tmp_path / "floats.tiff", tmp_path / "deep.tiff"
    Image.fromarray(np.ones((4, 4), np.float32)).save(floats)
    Image.fromarray(np.full((4, 4), 70000, np.int32)).save(deep)
    for place in (floats, deep):
        with pytest.raises(UnreadableImageError) as ours:
            read_image(place, (16, 16), "pad")
        with pytest.raises(ValueError) as theirs:
            portable.read_image(place, (16, 16), "pad")
        assert str(theirs.value) in str(ours.value)


def test_the_same_files_are_found(odd, tmp_path):
    (tmp_path / "below").mkdir()
    for name in ("a.JPG", "b.txt", ".hidden.png", "below/c.webp", "d.png"):
        (tmp_path / name).write_bytes(b"")
    found = [*portable.find_images([tmp_path, odd / "odd.png"])]
    assert found == find_images([tmp_path, odd / "odd.png"])


def call(folder, *arguments):
    """Runs predict.py where neither TensorFlow, Keras nor this package can be imported."""
    blocked = folder / "blocked"
    for name in ("tensorflow", "keras", "finetune"):
        place = blocked / name / "__init__.py"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("raise ImportError('it is not there')")
    environment = {**os.environ, "PYTHONPATH": str(blocked)}
    return subprocess.run(
        [sys.executable, folder / "predict.py", *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )


def test_it_says_what_the_model_says_without_tensorflow(model, exported, odd):
    broken = odd / "broken.png"
    broken.write_bytes(b"no image")
    done = call(exported, odd, "--json")
    broken.unlink()
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    expected = [*model.predict(odd)]
    assert [row["path"] for row in rows] == [entry.path for entry in expected]
    for row, entry in zip(rows, expected, strict=True):
        assert row["label"] == entry.label
        assert row["probabilities"] == pytest.approx(entry.probabilities, abs=1e-5)
    assert f"skipped: {broken}: cannot identify image file" in done.stderr
    first = call(exported, odd / "odd.png").stdout
    row = next(row for row in rows if row["path"].endswith("odd.png"))
    sure = max(row["probabilities"].values())
    assert first == f"{odd / 'odd.png'}  {row['label']}  {sure:.1%}\n"


def test_it_names_the_same_classes_where_it_is_not_sure(model, exported, odd):
    done = call(exported, odd, "--doubt", "--json")
    assert done.returncode == 0, done.stderr
    sets = [json.loads(line)["set"] for line in done.stdout.splitlines()]
    assert sets == [[*doubt.classes] for doubt in model.predict(odd, doubt=0.95).doubts]
    assert {len(one) for one in sets} >= {1, 2}
    unsure = next(one for one in sets if len(one) > 1)
    assert f"not sure: {' or '.join(unsure)}\n" in call(exported, odd, "--doubt").stdout


def test_doubt_that_a_model_does_not_know_is_refused(odd, tmp_path):
    folder = export_model(classifier(), "folder", out=tmp_path / "to").folder
    done = call(folder, odd, "--doubt")
    assert done.returncode == 2 and "no images set aside for --doubt" in done.stderr


def test_the_folder_holds_all_that_is_needed(exported):
    expected = {"README.md", "export.json", "model.onnx", "predict.py", "requirements.txt"}
    assert {path.name for path in exported.iterdir()} - {"blocked"} == expected
    names = [line.split(">=")[0] for line in (exported / "requirements.txt").read_text().split()]
    assert names == ["numpy", "onnxruntime", "pillow"]


@pytest.mark.parametrize("task", ["binary", "multilabel", "regression"])
def test_labels_of_every_task_are_read_alike(task, tmp_path):
    model = classifier(task)
    loaded = portable.load(export_model(model, "folder", out=tmp_path / "to").folder)
    given = images(9, seed=3)
    for (label, probabilities), entry in zip(
        loaded.answers(given), model.predict(given), strict=True
    ):
        if task == "regression":
            assert label == pytest.approx(entry.label, rel=1e-4)
        else:
            assert label == entry.label
        assert probabilities == pytest.approx(entry.probabilities, abs=1e-5)
