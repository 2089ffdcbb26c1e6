"""fine_tune: from data to a run folder, its model and its figures."""

import csv
import html
import json
import pickle
import sys
from pathlib import Path

import joblib
import keras
import numpy as np
import pytest

from extras import require
from finetune.api.one_call import fine_tune
from finetune.data import load_data
from finetune.exceptions import (
    ArgumentError,
    DataError,
    ModelFileError,
    StorageError,
    TrainingError,
)
from finetune.model.fine_tuned_model import load
from finetune.tuning import Trainer


@pytest.fixture(scope="module")
def folder(write_folder):
    return write_folder(16)


@pytest.fixture(scope="module")
def tune(make_backbone, tmp_path_factory):
    """Fine-tunes the tiny backbone for a few epochs, in silence."""

    def run(data, **arguments):
        defaults = {
            "preprocess": "tf",
            "freeze_depth": 10,
            "head_epochs": 3,
            "refit": 0,
            "calibrate": False,
            "epochs": 2,
            "learning_rate": 1e-2,
            "schedule": "constant",
            "label_smoothing": 0.0,
            "batch_size": 16,
            "augment": "none",
            "out": tmp_path_factory.mktemp("run"),
            "verbose": 0,
        }
        return fine_tune(data, backbone=make_backbone(), **{**defaults, **arguments})

    return run


@pytest.fixture(scope="module")
def result(tune, folder):
    return tune(folder, test=0.2)


def test_the_run_folder_holds_everything(result):
    assert sorted(path.name for path in result.folder.iterdir()) == [
        *("config.json", "config.toml", "environment.json", "events.jsonl", "evidence.npz"),
        *("history.csv", "learning_rates.csv", "metrics.json", "model.keras"),
        *("report.html", "run.json"),
    ]


def test_metrics_are_exactly_what_is_promised(result):
    metrics = json.loads((result.folder / "metrics.json").read_text())
    assert list(metrics) == [
        *("validation", "test", "seconds", "best_phase", "best_epoch", "refitted"),
        *("fixed", "verdict", "cross_validation", "calibration", "doubt", "spared", "plan"),
        "remarks",
    ]
    assert list(metrics["validation"]) == list(metrics["test"])
    assert list(metrics["test"]) == ["accuracy", "loss", "n", "interval"]
    assert metrics["test"]["n"] == len(result.data.splits["test"])
    low, high = metrics["validation"]["interval"]
    assert low <= metrics["validation"]["accuracy"] <= high
    best = result.record.best_epoch
    assert (metrics["best_phase"], metrics["best_epoch"]) == (best["phase"], best["epoch"])


def test_the_validation_score_is_that_of_the_best_epoch(result):
    best = result.record.best_epoch
    assert result.validation.accuracy == pytest.approx(best["val_accuracy"], abs=1e-6)
    assert result.validation.loss == pytest.approx(best["val_loss"], rel=1e-4)
    head, *tuned = result.history
    lowest = min(row["val_calibrated_loss"] for row in tuned)
    assert lowest < head["val_calibrated_loss"] + head["standard_error"]
    assert best["val_calibrated_loss"] == lowest


def test_history_and_rates_are_tables(result):
    with open(result.folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["phase"] for row in rows] == ["head"] + ["fine_tune"] * 2
    assert float(rows[0]["val_loss"]) == result.history[0]["val_loss"]
    with open(result.folder / "learning_rates.csv", newline="") as file:
        rates = list(csv.DictReader(file))
    steps = -(-len(result.data.splits["train"]) // 16)
    # The head was solved: there is no rate.
    assert [row["phase"] for row in rates] == ["fine_tune"] * 2 * steps
    assert float(rates[-1]["learning_rate"]) == pytest.approx(1e-2)


def test_the_configuration_says_what_was_used(result, folder):
    config = json.loads((result.folder / "config.json").read_text())
    assert config["backbone"] == "tiny"
    assert config["data"] == str(folder)
    assert config["freeze_depth"] == 10
    assert config["optimizer"] == "adam"
    assert config["seed"] == 0
    assert config["image_size"] == [16, 16]
    assert config["task"] == "multiclass"
    assert config["class_names"] == ["boots", "sandals", "sneakers"]
    assert config["fingerprint"] == result.data.fingerprint
    environment = json.loads((result.folder / "environment.json").read_text())
    assert environment["packages"]["keras"] == keras.__version__


def test_the_summary_is_readable(result):
    lines = result.summary().splitlines()
    assert lines[0].startswith("tiny, 10 of 16 layers frozen, up to ")
    assert lines[1] == "kept: epoch 1 of phase 'fine_tune'"
    assert f"test:       {result.test}" in lines
    assert lines[-1].endswith(f"saved in {result.folder}")
    assert str(result) == result.summary()


def test_predictions_of_files_and_arrays_agree(result, folder):
    files = sorted(folder.glob("*/00*.png"))
    by_file = result.predict(files)
    split = result.data.splits["train"]
    assert by_file.paths == [str(file) for file in files]
    assert by_file.class_names == ("boots", "sandals", "sneakers")
    assert by_file.probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    by_array = result.predict(split.images[:5])
    assert by_array.paths == ["0", "1", "2", "3", "4"]
    first = result.predict(split.images[0])
    assert first.probabilities == pytest.approx(by_array.probabilities[:1], abs=1e-5)
    prediction = next(iter(by_file))
    assert prediction.label == max(prediction.probabilities, key=prediction.probabilities.get)


def test_a_result_goes_through_pickle_and_joblib(result, tmp_path):
    images = result.data.splits["train"].images[:5]
    before = result.predict(images).probabilities
    score = result.evaluate()  # makes a compiled function of the model
    joblib.dump(result, tmp_path / "result.joblib")
    for copy in (pickle.loads(pickle.dumps(result)), joblib.load(tmp_path / "result.joblib")):
        np.testing.assert_array_equal(copy.predict(images).probabilities, before)
        assert copy.evaluate() == score
        assert copy.summary() == result.summary()
    model = pickle.loads(pickle.dumps(result.model))
    np.testing.assert_array_equal(model.predict(images).probabilities, before)
    assert model.card == result.model.card
    assert model.evaluate(result.data).known == score.known


def test_a_whole_folder_is_predicted_and_unreadable_files_are_skipped(result, folder, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    predictions = result.predict([folder / "boots", tmp_path])
    assert len(predictions) == 16
    assert [Path(file.path).name for file in predictions.skipped] == ["broken.png"]


def test_nothing_to_predict_is_an_error(result, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="at least one readable image, received none"):
        result.predict(tmp_path / "broken.png")
    with pytest.raises(DataError, match=r"shape \(height, width, 3\).*\(16, 16, 1\)"):
        result.predict(np.zeros((2, 16, 16, 1)))


def test_evaluate_measures_any_split_and_other_images(result, folder):
    assert vars(result.test).items() <= vars(result.evaluate()).items()
    assert vars(result.validation).items() <= vars(result.evaluate(split="validation")).items()
    assert result.evaluate(split="train").known == {
        **{"train": len(result.data.splits["train"]), "validation": 0, "test": 0, "new": 0}
    }
    other = load_data(folder, image_size=24, validation=0.5, seed=5)
    assert result.evaluate(other, "validation").n == len(other.splits["validation"])
    with pytest.raises(ArgumentError, match="no split 'test'"):
        result.evaluate(other)


def test_a_saved_model_loads_here_and_in_plain_keras(result, tmp_path):
    path = result.save(tmp_path / "deep" / "shoes.keras")
    images = result.data.splits["test"].images.astype("float32")
    expected = result.predict(images).probabilities
    loaded = load(path)
    assert loaded.card == result.model.card
    assert loaded.predict(images).probabilities == pytest.approx(expected, abs=1e-6)
    plain = keras.models.load_model(path, safe_mode=True)
    assert plain.predict(images, verbose=0) == pytest.approx(expected, abs=1e-6)
    assert load(result.folder).card == result.model.card
    assert not list(path.parent.glob(".*"))


def test_files_that_cannot_be_loaded_are_named(result, tmp_path):
    with pytest.raises(ArgumentError, match=r"ending in '.keras', received .*shoes.h5"):
        result.save(tmp_path / "shoes.h5")
    with pytest.raises(ModelFileError, match="but there is none at"):
        load(tmp_path / "absent.keras")
    (tmp_path / "text.keras").write_text("no zip")
    with pytest.raises(ModelFileError, match="cannot be used: File is not a zip file"):
        load(tmp_path / "text.keras")
    inputs = keras.Input((2,))
    keras.Model(inputs, keras.layers.ReLU()(inputs)).save(tmp_path / "plain.keras")
    with pytest.raises(ModelFileError, match="without class names and image size"):
        load(tmp_path / "plain.keras")


def test_the_same_seed_gives_the_same_figures_and_another_one_others(tune, data):
    # Images that are split already: the seed is that of head, order and dropout alone.
    alone = {"freeze_depth": 1.0, "head_optimizer": "adam"}  # one that is solved has no seed
    first, again, other = (tune(data, seed=seed, **alone) for seed in (1, 1, 2))
    assert [row["loss"] for row in first.history] == [row["loss"] for row in again.history]
    timed = {"seconds": 0, "spared": None}
    assert first.metrics() | timed == again.metrics() | timed
    kernels = [r.model.keras_model.get_layer("head").get_weights()[0] for r in (first, other)]
    assert not np.array_equal(*kernels)


def test_a_fine_tuning_that_made_it_worse_leaves_the_head(tune, data):
    result = tune(data, learning_rate=1e6)
    assert result.record.best_epoch["phase"] == "head"
    assert result.summary().splitlines()[1:3] == [
        "kept: the head, solved on the frozen backbone",
        "fine-tuning did not improve on the trained head alone, which was kept",
    ]
    assert result.validation.accuracy == pytest.approx(result.record.best_epoch["val_accuracy"])


class Press(keras.callbacks.Callback):
    """Ctrl-C in the second epoch that callbacks see."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


def test_a_model_that_never_names_a_label_does_not_win(tune):
    """Of ten labels one applies: who names none has 0.9 of them right, more than a young model."""

    class NameNone(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            predictions = self.model.get_layer("head").get_layer("predictions")
            if epochs:
                predictions.kernel.assign(0 * predictions.kernel)
                predictions.bias.assign(0 * predictions.bias - 20)

        def on_epoch_end(self, epoch, logs=None):
            epochs.append(epoch)

    epochs = []
    pixels = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), np.uint8)
    data = load_data((pixels, np.eye(10)[np.arange(60) % 10]), task="multilabel", image_size=16)
    slow = {"head_learning_rate": 1e-5, "learning_rate": 1e-5, "head_epochs": 1, "epochs": 1}
    result = tune(data, callbacks=[NameNone()], **slow)
    young, silent = result.history
    assert silent["val_accuracy"] == pytest.approx(0.9) and young["val_accuracy"] < 0.9
    assert result.record.best_epoch["phase"] == "head"
    assert result.validation.loss == pytest.approx(young["val_loss"], rel=1e-4)


def test_a_loss_that_was_lost_in_fine_tuning_is_said(tune, data):
    """The head was kept without a word of why."""

    class Poison(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            kernel = self.model.get_layer("head").get_layer("predictions").kernel
            if epochs:
                kernel.assign(kernel * np.nan)

        def on_epoch_end(self, epoch, logs=None):
            epochs.append(epoch)

    epochs = []
    result = tune(data, callbacks=[Poison()], head_epochs=1, epochs=3, learning_rate=2e-2)
    assert (
        "in phase 'fine_tune' the loss was not finite from epoch 1 on, which ended it, at a "
        "learning rate of 0.02: lower that, or clip_norm"
    ) in result.summary().splitlines()
    assert len(result.record.phase("fine_tune")) == 1
    assert result.record.best_epoch["phase"] == "head"


def test_ctrl_c_keeps_the_best_epoch_and_writes_the_run(tune, data):
    result = tune(data, callbacks=[Press()], epochs=5)
    assert result.record.interrupted
    assert "training was stopped before its end" in result.summary()
    assert (result.folder / "metrics.json").exists()
    assert result.test is not None


def test_a_function_as_schedule_and_a_keras_schedule_are_written_as_text(tune, data):
    schedule = keras.optimizers.schedules.CosineDecay(1e-2, 10)
    result = tune(data, schedule=schedule, freeze_depth=16)
    assert "CosineDecay" in json.loads((result.folder / "config.json").read_text())["schedule"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"learning_rate": (1e-5, 1e-3)}, r"something to search in \['learning_rate'\]"),
        ({"freeze_depth": None}, r"something to search in \['freeze_depth'\]"),
        ({"dropout": [0.1, 0.2]}, "pass FineTuner.* to a KerasTuner tuner"),
        ({"schedule": "linear"}, "Expected schedule to be one of"),
        ({"optimizer": "adm"}, "Expected optimizer to be one of"),
        ({"dropout": 2.0}, "Expected dropout of 0 or more and below 1"),
        ({"augment": "wild"}, "wild"),
        ({"freeze_depth": 99}, "Freeze depth 99 is outside the model"),
        ({"freeze_depth": "block_77"}, "names no layer or block"),
        ({"validation": None}, "Expected validation images"),
        (
            {"lr": 1e-3},
            r"^fine_tune has no argument 'lr'\. Did you mean 'learning_rate'\? Expected",
        ),
        ({"bs": 8}, r"^fine_tune has no argument 'bs'\. Did you mean 'batch_size'\? Expected one"),
        ({"validaton": 0.1}, r"no argument 'validaton'\. Did you mean 'validation'\?"),
    ],
)
def test_bad_arguments_are_refused(tune, arrays, arguments, text):
    with pytest.raises(ValueError, match=text):
        tune(arrays, **arguments)


@pytest.mark.parametrize("out", ["run", "boots", ".", None])
def test_nothing_is_written_among_the_images(tune, folder, monkeypatch, out):
    """Six files were, and the next time their folder was a class."""
    before = sorted(folder.rglob("*"))
    monkeypatch.chdir(folder)
    for data in (folder, load_data(folder, image_size=16)):
        with pytest.raises(
            ArgumentError, match=r"Expected `out` \(--out\) outside the images, but"
        ):
            tune(data, out=out)
    with pytest.raises(ArgumentError, match="outside the images"):
        tune((np.zeros((8, 16, 16, 3), np.uint8), [0, 1] * 4), validation=folder, out=out)
    assert sorted(folder.rglob("*")) == before


def test_a_place_that_cannot_be_written_is_known_before_any_work(tune, arrays, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"folder that can be written.*Name another.*out="):
        tune(arrays, out=tmp_path / "file" / "run")


@pytest.mark.thorough
def test_classes_are_smoothed_by_default_and_regressed_values_are_not(tune, folder, tmp_path):
    smoothed = tune(folder, label_smoothing=None, out=tmp_path / "classes")
    assert smoothed.config["label_smoothing"] == 0.1
    images = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), np.uint8)
    values = images.mean(axis=(1, 2, 3)).astype("float32") / 255
    regressed = tune((images, values), task="regression", label_smoothing=None, out=tmp_path / "r")
    assert regressed.config["label_smoothing"] == 0.0


def test_a_wrong_path_is_told_before_weights_are_fetched_and_leaves_no_folder(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        fine_tune(tmp_path / "nowhere", out=tmp_path / "runs" / "1", verbose=0)
    assert list(tmp_path.iterdir()) == []


def test_rows_are_the_epochs_and_rates_those_of_every_step(result):
    rows = result.rows()
    assert rows == result.history
    rows[0]["loss"] = None
    assert result.history[0]["loss"] is not None, "the result's own history stays as it is"
    steps = -(-result.data.counts["train"]["boots"] * 3 // 16)
    assert list(result.rates) == ["head", "fine_tune"]
    assert result.rates["fine_tune"] == pytest.approx([1e-2] * 2 * steps)


def test_the_figure_shows_both_phases_and_the_kept_epoch(result, tmp_path):
    figure = result.plot(tmp_path / "new" / "training.png")
    loss, accuracy = figure.axes
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss", "accuracy")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["training", "validation", "kept epoch"]
    assert [text.get_text() for text in loss.texts] == ["head", "fine-tuning"]
    star = loss.lines[2]
    assert star.get_xdata() == [result.record.best + 1]
    assert star.get_ydata() == [result.record.best_epoch["val_loss"]]
    assert (tmp_path / "new" / "training.png").stat().st_size > 10_000


def test_a_table_of_pandas_needs_pandas(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ArgumentError) as error:
        result.to_pandas()
    assert str(error.value) == (
        "Expected pandas for a DataFrame, but it is not installed. Run `pip install pandas`, or "
        "use rows(), which needs nothing."
    )


def test_a_table_of_pandas_has_a_row_for_each_epoch(result):
    require("pandas")
    assert result.to_pandas()["phase"].tolist() == ["head"] + ["fine_tune"] * 2


@pytest.fixture(scope="module")
def refitted(tune, folder):
    return tune(folder, test=0.2, refit=1)


def test_a_refit_trains_on_all_images_and_reports_the_model_before(result, refitted, folder):
    counts = {name: sum(classes.values()) for name, classes in refitted.data.counts.items()}
    assert refitted.refitted == counts["train"] + counts["validation"]
    # What chose the epoch, and what is said of it, is as without.
    assert refitted.validation == result.validation
    assert [row["val_loss"] for row in refitted.rows()] == [
        row["val_loss"] for row in result.rows()
    ]
    assert refitted.test.loss != result.test.loss
    assert json.loads((refitted.folder / "metrics.json").read_text())["refitted"] == (
        refitted.refitted
    )
    said = f"of the model before it was trained on all {refitted.refitted:,} images"
    assert said in str(refitted) and "trained on all" not in str(result)


def test_what_is_saved_is_the_refitted_model_and_it_knows_what_it_was_trained_on(refitted, folder):
    model = load(refitted.folder)
    measured = model.evaluate(folder)
    assert measured.known["train"] == refitted.refitted and measured.known["validation"] == 0
    tested = model.evaluate(folder, "test")
    assert (tested.n, tested.loss) == (refitted.test.n, pytest.approx(refitted.test.loss, rel=1e-5))
    with pytest.raises(DataError, match=r"trained on them, too \(refit\)"):
        model.evaluate(folder, "validation")


# A head that fine-tuning improves on.
BEATEN = {"head_optimizer": "adam", "head_epochs": 1, "head_learning_rate": 1e-3}


@pytest.mark.parametrize("refit", [0, 1])
def test_the_verdict_compares_with_the_head_alone_trained_on_the_same_images(tune, folder, refit):
    tuned, alone = (
        tune(folder, test=0.2, refit=refit, epochs=epochs, **BEATEN) for epochs in (4, 0)
    )
    verdict = tuned.verdict
    assert (verdict.split, verdict.n) == ("test", tuned.test.n)
    assert verdict.tuned == pytest.approx(tuned.test.accuracy)
    assert verdict.head_only == pytest.approx(alone.test.accuracy)
    assert json.loads((tuned.folder / "metrics.json").read_text())["verdict"]["word"] == (
        verdict.word
    )
    assert str(verdict) in tuned.summary()
    assert alone.verdict is None, "it is the head alone"


@pytest.mark.thorough
def test_without_test_images_the_validation_images_judge_and_it_is_said(tune, folder):
    result, alone = (tune(folder, refit=1, epochs=epochs, **BEATEN) for epochs in (4, 0))
    verdict = result.verdict
    assert (verdict.split, verdict.n) == ("validation", result.validation.n)
    assert verdict.tuned == pytest.approx(result.validation.accuracy)
    assert verdict.head_only == pytest.approx(alone.validation.accuracy)
    assert "These images chose the model: optimistic." in result.summary()


@pytest.mark.parametrize(
    ("error", "said"),
    [(KeyboardInterrupt(), "it was stopped"), (TrainingError("Lost."), "Lost")],
)
def test_where_a_refit_fails_the_model_before_is_kept(
    tune, folder, result, monkeypatch, caplog, error, said
):
    refit = Trainer.refit

    def fails(self, *arguments):
        refit(self, *arguments)
        raise error

    monkeypatch.setattr(Trainer, "refit", fails)
    kept = tune(folder, test=0.2, refit=True)
    assert (kept.refitted, kept.test) == (0, result.test)
    why = f"Not trained again on all images: {said}. The model before is kept."
    assert why in caplog.text
    assert kept.remarks == (why,)
    assert why in kept.summary()
    assert json.loads((kept.folder / "metrics.json").read_text())["remarks"] == [why]
    assert html.escape(why) in (kept.folder / "report.html").read_text()
