"""What a search hands over: a model of its own."""

import json

import numpy as np

from finetune import FineTuner


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


def test_where_nothing_beat_the_head_the_result_says_so_and_names_no_rate(
    make_backbone, data, tmp_path
):
    tuner = FineTuner(
        make_backbone(),
        preprocess="tf",
        freeze_depth=7,
        learning_rate=[1e3, 1e4],
        epochs=1,
        head_epochs=8,
        head_learning_rate=1e-2,
    )
    result = tuner.search(data, strategy="grid", out=tmp_path / "study", verbose=0)
    assert result.head_is_best
    assert result.table().count("head kept") == 2
    lines = result.summary().splitlines()
    assert (
        "Nothing beat the head: the model is the unchanged backbone with the head that trial "
        f"{result.chosen.trial.trial} began with." in lines
    )
    assert not [line for line in lines if "Best: trial" in line or "difference" in line]
    assert json.loads((result.folder / "result.json").read_text())["best"]["head_is_best"]
    assert result.verdict.tuned == result.verdict.head_only
