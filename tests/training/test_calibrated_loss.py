"""The loss at the best temperature: what decides between epochs."""

import keras
import numpy as np
import pytest
from scipy.special import expit, softmax

from finetune.model import calibrated_loss, score
from finetune.model.calibration import at_temperature
from finetune.training.calibrated_loss import TEMPERATURES, CalibratedLoss


def answers(task: str, images: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (images, {"binary": 1, "multiclass": 4, "multilabel": 3}[task]))
    if task == "multiclass":
        return logits.argmax(axis=1) * (rng.random(images) < 0.8), softmax(logits * 3, axis=1)
    labels = (rng.random(logits.shape) < expit(logits)).astype("float32")
    return labels, expit(logits * 3)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_it_is_the_lowest_loss_of_all_temperatures_over_all_batches(task):
    labels, outputs = answers(task)
    metric = CalibratedLoss(task == "multiclass")
    for part in np.array_split(np.arange(len(labels)), 7):
        metric.update_state(labels[part], outputs[part])
    losses = [score(labels, at_temperature(outputs, t, task), task).loss for t in TEMPERATURES]
    assert float(metric.result()) == pytest.approx(min(losses), rel=1e-4)
    assert float(metric.result()) == pytest.approx(calibrated_loss(labels, outputs, task), rel=0.01)
    assert float(metric.result()) < 0.8 * score(labels, outputs, task).loss
    metric.reset_state()
    metric.update_state(labels[:5], outputs[:5])
    fewer = [
        score(labels[:5], at_temperature(outputs[:5], t, task), task).loss for t in TEMPERATURES
    ]
    assert float(metric.result()) == pytest.approx(min(fewer), rel=1e-4)


def test_how_sure_a_model_is_decides_nothing():
    labels, outputs = answers("multiclass")
    outputs = at_temperature(outputs, 3.0, "multiclass")
    found = []
    for temperature in (0.5, 1.0, 2.0):
        metric = CalibratedLoss(exclusive=True)
        metric.update_state(labels, at_temperature(outputs, temperature, "multiclass"))
        found.append(float(metric.result()))
    assert found == pytest.approx([found[0]] * 3, rel=0.01)


def test_images_that_weigh_nothing_are_not_counted():
    labels, outputs = answers("multiclass")
    weights = np.arange(len(labels)) % 2
    one, other = CalibratedLoss(exclusive=True), CalibratedLoss(exclusive=True)
    one.update_state(labels, outputs, sample_weight=weights)
    other.update_state(labels[1::2], outputs[1::2])
    assert float(one.result()) == pytest.approx(float(other.result()), rel=1e-5)


def test_a_model_that_was_compiled_with_it_can_be_saved_and_loaded(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=[CalibratedLoss(True)])
    x, y = np.random.default_rng(0).normal(size=(8, 4)), np.arange(8) % 3
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for one in (model, loaded):
        assert "calibrated_loss" in one.evaluate(x, y, verbose=0, return_dict=True)
