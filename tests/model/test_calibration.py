"""Calibration: one temperature, which changes no answer, in the model that is saved."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from scipy.special import expit, softmax

from finetune import fine_tune, load
from finetune.backbones import HEAD_LAYER
from finetune.exceptions import ArgumentError
from finetune.model.calibration import at_temperature, calibration, fit_temperature

TASKS = ("binary", "multiclass", "multilabel")


def true_probabilities(task: str, images: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels that are drawn by the probabilities that they stand for."""
    rng = np.random.default_rng(0)
    units = {"binary": 1, "multiclass": 4, "multilabel": 3}[task]
    logits = rng.normal(0, 2, (images, units))
    if task == "multiclass":
        labels = (softmax(logits, axis=1).cumsum(axis=1) < rng.random((images, 1))).sum(axis=1)
    else:
        labels = (rng.random(logits.shape) < expit(logits)).astype(int)
    return logits, labels.ravel() if task == "binary" else labels


def said(logits: np.ndarray, task: str) -> np.ndarray:
    return softmax(logits, axis=1) if task == "multiclass" else expit(logits)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("wrong_by", [0.5, 1.0, 3.0])
def test_what_logits_were_multiplied_by_is_found(task, wrong_by):
    logits, labels = true_probabilities(task, 5000)
    found = fit_temperature(labels, said(logits * wrong_by, task), task)
    assert found == pytest.approx(wrong_by, rel=0.06)


def test_a_few_images_that_are_all_right_move_it_little():
    labels = np.arange(6) % 2
    sure = np.where(labels[:, np.newaxis] == [0, 1], 0.9, 0.1)
    assert 0.5 < fit_temperature(labels, sure, "multiclass") < 1.0


probabilities = arrays_of.arrays(np.float64, (5, 3), elements=st.floats(0.01, 1.0)).map(
    lambda p: p / p.sum(axis=1, keepdims=True)
)


@given(probabilities, st.floats(0.3, 3.0), st.floats(0.3, 3.0), st.sampled_from(TASKS))
def test_it_changes_no_answer_and_two_are_one(outputs, one, other, task):
    warm = at_temperature(outputs, one, task)
    order = np.argsort(outputs, axis=1, kind="stable")
    ordered = np.take_along_axis(warm, order, axis=1)
    assert (np.diff(ordered, axis=1) >= -1e-12).all()
    assert ((warm >= 0.5) == (outputs >= 0.5)).all() or task == "multiclass"
    twice = at_temperature(warm, other, task)
    np.testing.assert_allclose(twice, at_temperature(outputs, one * other, task), atol=2e-6)


def test_the_error_is_the_gap_between_how_sure_and_how_often_right():
    # 60 images at 0.9 of which 30 are right, and 40 at 0.6 that are all right.
    outputs = np.repeat([[0.9, 0.1], [0.6, 0.4]], [60, 40], axis=0)
    labels = np.array([0] * 30 + [1] * 30 + [0] * 40)
    found = calibration(1.0, 20, "test", labels, outputs, outputs, "multiclass")
    assert found.before == pytest.approx(0.6 * 0.4 + 0.4 * 0.4)
    assert found.before_interval[0] < found.before < found.before_interval[1]
    assert 0.03 < found.by_chance < 0.07  # of 0.05 and 0.06 a bin: sqrt(p (1 - p) / n) * 0.8


def test_error_of_one_label_an_image_and_of_several_count_every_label():
    outputs, labels = np.array([[0.8, 0.3]] * 10), np.array([[1, 0]] * 10)
    found = calibration(1.0, 5, "test", labels, outputs, outputs, "multilabel")
    assert found.before == pytest.approx((0.2 + 0.3) / 2)
    one = calibration(1.0, 5, "test", labels[:, 0], outputs[:, :1], outputs[:, :1], "binary")
    assert one.before == pytest.approx(0.2)


@pytest.fixture(scope="module")
def tuned(make_backbone, data, tmp_path_factory):
    """A run on the tiny backbone, calibrated."""
    options = {"preprocess": "tf", "freeze_depth": 7, "epochs": 2, "verbose": 0}
    return fine_tune(
        data, backbone=make_backbone(), out=tmp_path_factory.mktemp("runs") / "a", **options
    )


def test_the_saved_model_holds_it_and_plain_keras_reads_it(tuned, arrays):
    calibrated = tuned.calibration
    assert calibrated.temperature == tuned.model.card.temperature != 1.0
    loaded = load(tuned.folder)
    assert loaded.card.temperature == calibrated.temperature
    before = loaded.at_temperature(1.0).predict(arrays[0][:9]).probabilities
    expected = at_temperature(before, calibrated.temperature, "multiclass")
    plain = keras.models.load_model(tuned.folder / "model.keras")
    found = plain.predict(arrays[0][:9].astype("float32"), verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert np.abs(found - before).max() > 1e-3


def test_what_is_told_is_of_the_model_that_is_handed_over(tuned, data):
    evaluated = tuned.model.evaluate(data)
    assert tuned.test.loss == pytest.approx(evaluated.loss, rel=1e-4)
    uncalibrated = tuned.model.at_temperature(1.0)
    labels, outputs = uncalibrated.outputs(data, "test")
    expected = calibration(
        tuned.calibration.temperature,
        *(1, "test", labels, outputs),
        at_temperature(outputs, tuned.calibration.temperature, "multiclass"),
        "multiclass",
    )
    assert tuned.calibration.before == pytest.approx(expected.before, abs=1e-4)
    assert tuned.calibration.after == pytest.approx(expected.after, abs=1e-4)
    told = tuned.metrics()["calibration"]
    counts = {split: len(images) for split, images in data.splits.items()}
    assert (told["fitted"], told["n"]) == (counts["validation"], counts["test"])
    assert f"calibrated: error {tuned.calibration.after:.3f} [" in tuned.summary()


def test_a_copy_at_another_temperature_leaves_the_model_as_it_was(tuned):
    head = tuned.model.keras_model.get_layer(HEAD_LAYER).get_layer("predictions")
    kernel = head.get_weights()[0]
    warm = tuned.model.at_temperature(2.0)
    assert warm.card.temperature == 2.0
    np.testing.assert_array_equal(head.get_weights()[0], kernel)
    other = warm.keras_model.get_layer(HEAD_LAYER).get_layer("predictions").get_weights()[0]
    np.testing.assert_allclose(other * 2.0, kernel * tuned.model.card.temperature, rtol=1e-5)


def test_it_can_be_left_out(make_backbone, data, tmp_path):
    result = fine_tune(
        *(data,),
        backbone=make_backbone(),
        preprocess="tf",
        freeze_depth=1.0,
        calibrate=False,
        out=tmp_path / "run",
        verbose=0,
    )
    assert result.calibration is None and result.model.card.temperature == 1.0
    assert result.metrics()["calibration"] is None
    assert "calibrated" not in result.summary()


def test_what_cannot_be_is_refused(tuned):
    with pytest.raises(ArgumentError, match="Expected temperature above 0, received 0"):
        tuned.model.at_temperature(0)
    with pytest.raises(ArgumentError, match="Expected calibrate to be True or False, received 1"):
        fine_tune("shoes", calibrate=1)
