"""What a search hands over: a model of its own."""

import numpy as np


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
