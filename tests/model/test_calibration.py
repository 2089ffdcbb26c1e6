"""Calibration: one temperature, which changes no answer, in the model that is saved."""

import json

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
    told = np.abs(outputs - 0.5) > 1e-9  # what is neither may round to either
    assert ((warm >= 0.5) == (outputs >= 0.5))[told].all() or task == "multiclass"
    # Probabilities this close to 0 or 1 are not told apart, see `finetune.model.calibration`.
    kept = ((warm > 1e-7) & (warm < 1 - 1e-7)).all(axis=1)
    twice, once = at_temperature(warm, other, task), at_temperature(outputs, one * other, task)
    np.testing.assert_allclose(twice[kept], once[kept], atol=2e-6)


def test_the_error_is_the_gap_between_how_sure_and_how_often_right():
    # 60 images at 0.9 of which 30 are right, and 40 at 0.6 that are all right.
    outputs = np.repeat([[0.9, 0.1], [0.6, 0.4]], [60, 40], axis=0)
    labels = np.array([0] * 30 + [1] * 30 + [0] * 40)
    found = calibration("test", labels, outputs, "multiclass")
    assert found.error == pytest.approx(0.6 * 0.4 + 0.4 * 0.4)
    assert found.interval[0] < found.error < found.interval[1]
    assert 0.03 < found.by_chance < 0.07  # of 0.05 and 0.06 a bin: sqrt(p (1 - p) / n) * 0.8
    assert (found.sure, found.right) == (pytest.approx(0.78), pytest.approx(0.7))
    assert found.remark.startswith(
        "The probabilities are too high: 0.780 on average, where 0.700 of the answers are right; "
        "calibration error 0.400 ["
    )
    assert found.remark.endswith("calibrate=True can mend that.")


def test_error_of_one_label_an_image_and_of_several_count_every_label():
    outputs, labels = np.array([[0.8, 0.3]] * 10), np.array([[1, 0]] * 10)
    found = calibration("test", labels, outputs, "multilabel")
    assert found.error == pytest.approx((0.2 + 0.3) / 2)
    one = calibration("test", labels[:, 0], outputs[:, :1], "binary")
    assert one.error == pytest.approx(0.2)


def test_of_perfect_probabilities_nothing_is_said():
    logits, labels = true_probabilities("multiclass", 400)
    found = calibration("test", labels, said(logits, "multiclass"), "multiclass")
    assert found.error < found.by_chance_most and found.remark == ""
    assert found.interval[0] < found.by_chance < found.by_chance_most


def test_the_temperature_mends_the_error():
    logits, labels = true_probabilities("multiclass", 2000)
    outputs = said(logits * 3, "multiclass")
    warm = fit_temperature(labels, outputs, "multiclass")
    found = calibration("test", labels, outputs, "multiclass", warm)
    assert found.before == calibration("test", labels, outputs, "multiclass").error
    assert found.error < 0.25 * found.before
    assert ", before 0." in str(found) and found.before_interval[0] < found.before


@pytest.fixture(scope="module")
def tuned(make_backbone, data, tmp_path_factory):
    """A run on the tiny backbone, calibrated."""
    options = {"preprocess": "tf", "freeze_depth": 7, "epochs": 2, "verbose": 0, "calibrate": True}
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
    assert tuned.test.loss == pytest.approx(tuned.model.evaluate(data).loss, rel=1e-4)
    told = json.loads((tuned.folder / "metrics.json").read_text())["calibration"]
    uncalibrated = tuned.model.at_temperature(1.0).outputs(data, "test")
    assert told["before"] == pytest.approx(
        calibration("test", *uncalibrated, "multiclass").error, abs=1e-4
    )
    now = calibration("test", *tuned.model.outputs(data, "test"), "multiclass")
    assert told["error"] == pytest.approx(now.error, abs=1e-4)
    assert (told["split"], told["n"]) == ("test", len(data.splits["test"]))
    assert told["temperature"] == tuned.model.card.temperature


def test_a_copy_at_another_temperature_leaves_the_model_as_it_was(tuned):
    head = tuned.model.keras_model.get_layer(HEAD_LAYER).get_layer("predictions")
    kernel = head.get_weights()[0]
    warm = tuned.model.at_temperature(2.0)
    assert warm.card.temperature == 2.0
    np.testing.assert_array_equal(head.get_weights()[0], kernel)
    other = warm.keras_model.get_layer(HEAD_LAYER).get_layer("predictions").get_weights()[0]
    np.testing.assert_allclose(other * 2.0, kernel * tuned.model.card.temperature, rtol=1e-5)


def test_where_it_is_not_wanted_probabilities_stay_and_their_error_is_told(
    make_backbone, data, tmp_path
):
    options = {"preprocess": "tf", "freeze_depth": 1.0, "calibrate": False, "verbose": 0}
    result = fine_tune(data, backbone=make_backbone(), out=tmp_path / "run", **options)
    assert result.model.card.temperature == 1.0
    told = result.metrics()["calibration"]
    assert (told["temperature"], told["before"]) == (1.0, None)
    found = calibration("test", *result.model.outputs(data, "test"), "multiclass")
    assert told["error"] == pytest.approx(found.error, abs=1e-6)


def test_what_cannot_be_is_refused(tuned):
    with pytest.raises(ArgumentError, match="Expected temperature above 0, received 0"):
        tuned.model.at_temperature(0)
    with pytest.raises(ArgumentError, match="Expected calibrate to be True or False, received 1"):
        fine_tune("shoes", calibrate=1)
