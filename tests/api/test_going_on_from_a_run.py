"""Going on from one's own model: other classes on the backbone that an earlier run trained."""

from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
from typer.testing import CliRunner

from finetune import FineTuner, fine_tune, load
from finetune.cli import app
from finetune.tuning.descriptions import describe

OPTIONS = {
    "head_epochs": 0,  # what is kept is an epoch of the second phase
    "epochs": 2,
    "learning_rate": 1e-2,
    "batch_size": 16,
    "augment": "none",
    "dropout": 0.0,
    "verbose": 0,
}


@pytest.fixture(scope="module")
def first(make_backbone, arrays, tmp_path_factory):
    """A run on three classes in which everything trained."""
    return fine_tune(
        arrays,
        backbone=make_backbone(),
        preprocess="caffe",
        freeze_depth=0,
        image_size=16,
        out=tmp_path_factory.mktemp("first") / "a",
        **OPTIONS,
    )


@pytest.fixture(scope="module")
def two_classes(arrays):
    images, labels = arrays
    return images[labels > 0], np.array(["boots", "sandals"])[labels[labels > 0] - 1]


def body(result):
    """The weights of the backbone in a result."""
    model = result.model.keras_model.get_layer("tiny")
    return {v.path.split("tiny/")[-1]: np.asarray(v) for v in model.variables}


@pytest.fixture(scope="module")
def second(first, two_classes, tmp_path_factory):
    return fine_tune(
        two_classes,
        backbone=first.folder,
        freeze_depth=10,
        out=tmp_path_factory.mktemp("second") / "b",
        **OPTIONS,
    )


def test_other_classes_are_trained_on_the_backbone_of_a_run(first, second, two_classes):
    assert second.model.card.class_names == ("boots", "sandals")
    assert second.model.card.image_size == (16, 16)
    assert second.config["backbone"] == "tiny"
    assert second.summary().startswith("tiny, 10 of 16 layers frozen")
    before, after = body(first), body(second)
    changed = {path.split("/")[0] for path in before if np.any(before[path] != after[path])}
    # Layers are counted as in the first run, and batch norm stays as it is.
    assert changed == {"c_conv", "d_conv"}
    images, _ = two_classes
    again = load(second.folder).predict(images[:4]).probabilities
    np.testing.assert_allclose(again, second.predict(images[:4]).probabilities, rtol=1e-5)


def test_frozen_work_is_reused_on_it(first, second, two_classes, tmp_path):
    whole = fine_tune(
        two_classes,
        backbone=first.model.keras_model,
        freeze_depth=10,
        reuse=False,
        out=tmp_path / "c",
        **OPTIONS,
    )
    assert [row["val_loss"] for row in whole.history] == pytest.approx(
        [row["val_loss"] for row in second.history], rel=1e-4
    )


def test_a_tuner_takes_a_run_and_leaves_its_model_as_it_is(first):
    before = body(first)
    tuner = FineTuner(str(first.folder), num_classes=2)
    hp = keras_tuner.HyperParameters()
    model = tuner.build(hp)
    assert model.output_shape == (None, 1)
    assert hp.values["freeze_depth"] == 0
    FineTuner(first.model.keras_model, num_classes=2).build(keras_tuner.HyperParameters())
    assert all(np.array_equal(value, before[path]) for path, value in body(first).items())


def test_the_command_line_goes_on_from_a_run(first, write_folder, tmp_path):
    command = ["fit", str(write_folder(4)), "--backbone", str(first.folder)]
    command += ["--preprocess", "none"]  # needless, but true: the model takes pixels as they are
    command += ["--epochs", "0", "--head-epochs", "1", "--out", str(tmp_path / "b"), "--quiet"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert load(tmp_path / "b").card.class_names == ("boots", "sandals", "sneakers")


def test_a_run_is_compared_by_the_content_of_its_model(first, tmp_path):
    first.save(tmp_path / "a" / "model.keras")
    folder = describe(tmp_path / "a")
    assert folder["of"] == str(tmp_path / "a")
    assert folder == describe(str(tmp_path / "a"))
    assert folder["content"] == describe(tmp_path / "a" / "model.keras")["content"]
    model: Any = keras.models.load_model(tmp_path / "a" / "model.keras")
    model.set_weights([value + 1 for value in model.get_weights()])
    model.save(tmp_path / "a" / "model.keras")
    assert describe(tmp_path / "a")["content"] != folder["content"]


def test_a_word_that_a_run_is_called_like_stays_a_word(first, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first.save("adam/model.keras")
    assert describe("adam") == "adam"
