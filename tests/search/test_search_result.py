"""What a search hands over: a model of its own, and the trial that it is of."""

import json

import numpy as np
import pytest


def test_a_result_keeps_its_model_whatever_is_trained_afterwards(search, tuner, data, tmp_path):
    first = search(strategy="grid")
    images = data.splits["test"].images
    before = first.predict(images).probabilities
    second = search(strategy="grid", epochs=1, seed=7, out=tmp_path / "second")
    settings = tuner.trainer.settings()
    tuner.trainer.train(settings, tuner.trainer.source_of(data, settings))
    np.testing.assert_array_equal(first.predict(images).probabilities, before)
    assert first.model.keras_model is not second.model.keras_model
    score = first.model.evaluate(data, "test")
    assert (score.accuracy, score.n) == (first.test.accuracy, first.test.n)


def test_the_trial_that_the_model_is_of_is_named_where_the_best_weights_are_gone(search, tmp_path):
    first = search(strategy="grid")
    lost = first.ranking[0].trial
    (tmp_path / "study" / "weights" / f"{lost.name}.npz").unlink()
    again = search(strategy="grid")
    used = again.ranking[1].trial
    assert again.chosen.trial == used
    assert again.best == used.values
    assert again.settings.learning_rate == used.values["learning_rate"]
    assert again.validation.accuracy == pytest.approx(again.ranking[1].score, abs=1e-6)
    lines = again.summary().splitlines()
    assert f"The weights of trial {lost.trial} are gone: the model is of the next best." in lines
    assert any(line.startswith(f"Best: trial {used.trial}, ") for line in lines)
    facts = json.loads((tmp_path / "study" / "result.json").read_text())
    assert facts["best"]["id"] == used.trial
