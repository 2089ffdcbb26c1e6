"""What a search hands over: a model of its own, and what it is worth."""

import html
import json

import numpy as np
import pytest

from finetune import FineTuner
from finetune.data import load_data
from finetune.exceptions import TrainingError
from finetune.model.fine_tuned_model import load
from finetune.tuning import Trainer


@pytest.mark.thorough
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


@pytest.mark.thorough
def test_the_best_model_exports_itself_with_its_figures(search, tmp_path):
    result = search(out=tmp_path / "study")
    export = result.export("savedmodel")
    assert export.folder == tmp_path / "study-savedmodel"
    assert export.proof.keras.accuracy == result.test.accuracy
    expected = f"Accuracy {result.test.accuracy:.3f} on {result.test.n} test images"
    assert expected in (export.folder / "README.md").read_text()


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
    assert (result.evaluate().accuracy, result.evaluate().n) == (result.test.accuracy, 13)
    saved = load(result.save(tmp_path / "best.keras"))
    images = data.splits["test"].images
    np.testing.assert_array_equal(
        saved.predict(images).probabilities, result.predict(images, flip=False).probabilities
    )
    assert result.table().count("head kept") == 2
    lines = result.summary().splitlines()
    assert (
        "Nothing beat the head: the model is the unchanged backbone with the head that trial "
        f"{result.chosen.trial.trial} began with." in lines
    )
    assert not [line for line in lines if "Best: trial" in line or "difference" in line]
    assert json.loads((result.folder / "result.json").read_text())["best"]["head_is_best"]
    assert result.verdict.tuned == result.verdict.head_only


def test_without_test_images_the_validation_images_judge_and_it_is_said(tuner, arrays, tmp_path):
    data = load_data(arrays, image_size=16, batch_size=16, augment="none")
    result = tuner.search(data, strategy="grid", max_trials=1, out=tmp_path / "a", verbose=0)
    assert result.verdict.split == "validation"
    assert "These images chose the model: optimistic." in result.summary()


@pytest.mark.thorough
def test_a_refit_trains_the_chosen_trial_on_all_images(make_backbone, data, tmp_path):
    results = {}
    for refit in (False, True):
        tuner = FineTuner(
            make_backbone(),
            preprocess="tf",
            freeze_depth=[7, 10],
            learning_rate=1e-2,
            epochs=2,
            head_epochs=2,
            refit=refit,
        )
        # The same study: what is done at its end may change.
        results[refit] = tuner.search(data, strategy="grid", out=tmp_path / "study", verbose=0)
    before, after = results[False], results[True]
    images = len(data.splits["train"]) + len(data.splits["validation"])
    assert (before.refitted, after.refitted) == (0, images)
    assert (after.best, after.verdict) == (before.best, before.verdict)
    assert after.validation.loss == pytest.approx(before.validation.loss, rel=1e-5)
    assert after.test.loss != before.test.loss
    measured = load(tmp_path / "study").evaluate(data, "test")
    assert measured.loss == pytest.approx(after.test.loss, rel=1e-5)
    assert measured.known["test"] == after.test.n
    assert f"of the model before it was trained on all {images} images" in str(after)
    assert ("(The model before, too.)" in str(after)) == (not after.head_is_best)
    assert json.loads((tmp_path / "study" / "result.json").read_text())["refitted"] == images


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            KeyboardInterrupt(),
            "Not trained again on all images: it was stopped. The model before is kept.",
        ),
        (
            TrainingError("Lost."),
            "is not trained again on all images: Lost. Its weights before are used.",
        ),
    ],
)
def test_where_it_cannot_be_trained_again_the_model_before_is_handed_over(
    search, tuner, data, tmp_path, monkeypatch, caplog, error, said
):
    before = search(strategy="grid")
    refit = Trainer.refit

    def fails(self, *arguments):
        refit(self, *arguments)
        raise error

    monkeypatch.setattr(Trainer, "refit", fails)
    monkeypatch.setitem(tuner.trainer.arguments, "refit", 2)
    result = search(strategy="grid")
    (why,) = result.remarks
    assert said in why
    assert why in caplog.text
    assert why in result.summary()
    assert json.loads((result.folder / "result.json").read_text())["remarks"] == [why]
    assert html.escape(why) in (result.folder / "report.html").read_text()
    assert (result.refitted, result.combined) == (0, before.combined)
    images = data.splits["test"].images
    for model in (result, load(tmp_path / "study")):
        np.testing.assert_allclose(
            model.predict(images).probabilities, before.predict(images).probabilities, atol=1e-6
        )


@pytest.mark.thorough
def test_without_test_images_folds_say_whether_it_was_worth_it(make_backbone, arrays, tmp_path):
    """And each image is asked about once, whatever trials were chosen by."""
    data = load_data(arrays, image_size=16, batch_size=16, validation="3-fold")
    tuner = FineTuner(
        make_backbone(),
        preprocess="tf",
        freeze_depth=[7, 10],
        learning_rate=1e-2,
        epochs=2,
        refit=0,
        calibrate=False,
    )
    result = tuner.search(data, strategy="grid", combine="best", out=tmp_path / "study", verbose=0)
    found = result.cross_validation
    assert (found.folds, len(found.ids), result.test) == (3, 72, None)
    tuned, alone = (
        (outputs.argmax(axis=1) == found.labels).mean() for outputs in (found.outputs, found.head)
    )
    assert (result.verdict.split, result.verdict.n) == ("3-fold", 72)
    assert result.verdict.tuned == pytest.approx(tuned)
    assert result.verdict.head_only == pytest.approx(alone)
    assert "(3-fold, n=72)." in str(result.verdict)
    assert "3-fold:     accuracy " in result.summary()
    facts = json.loads((result.folder / "result.json").read_text())
    assert facts["cross_validation"]["n"] == 72
    assert len((result.folder / "out_of_fold.csv").read_text().splitlines()) == 73
    # Sets of classes are of images that chose nothing: not of those that chose the trial.
    sets, trained = result.model.card.sets, len(data.splits["train"])
    truth = found.outputs[np.arange(trained), found.labels[:trained]]
    assert sets.origin == "folds"
    np.testing.assert_allclose(sorted(sets.probabilities), sorted(truth), rtol=1e-5)
    # What was chosen is handed over, not what the last fold left behind.
    best = result.ranking[0].trial.outcome
    assert result.validation.loss == pytest.approx(best.metrics["val_loss"], rel=1e-4)
    assert result.model.evaluate(data, "validation").loss == pytest.approx(
        result.validation.loss, rel=1e-4
    )


@pytest.mark.thorough
def test_a_trial_whose_history_is_lost_is_not_trained_again(
    search, tuner, tmp_path, caplog, monkeypatch
):
    before = search(strategy="grid", max_trials=2)
    for path in (tmp_path / "study" / "trials").glob("*.json"):
        trial = json.loads(path.read_text())
        for step in trial["steps"]:
            step["outcome"]["history"] = []
        path.write_text(json.dumps(trial))
    monkeypatch.setitem(tuner.trainer.arguments, "refit", 1)
    result = search(strategy="grid", max_trials=2)
    number = result.chosen.trial.name
    assert f"Trial {number} has no history to go by: not trained again." in caplog.text
    assert result.refitted == 0
    assert result.best == before.best
