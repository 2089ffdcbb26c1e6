"""What a search tells of every trial: rows, tables and figures."""

import json
import pickle
import sys

import joblib
import keras
import numpy as np
import pytest

from extras import require
from finetune import FineTuner
from finetune.data import load_data
from finetune.exceptions import ArgumentError, StorageError
from finetune.search.ranking import rank
from finetune.search.study import read_trials
from finetune.search.trial_curves import draw_search
from finetune.search.trials import FAILED, Outcome, Step, Trial
from finetune.support import values_of

MEASURED = ("test_accuracy", "test_interval", "test_loss", "test_n")


@pytest.fixture(scope="module")
def result(tuner, data, tmp_path_factory):
    """Six trials of a grid, of which the best two keep their weights and get a second seed."""
    out = tmp_path_factory.mktemp("rows") / "study"
    options = {"strategy": "grid", "executions": 2, "keep": 2, "out": out, "verbose": 0}
    unpicklable = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None)
    return tuner.search(data, callbacks=[unpicklable], **options)


def without_history(row):
    return {name: value for name, value in row.items() if name != "history"}


def test_there_is_a_row_for_each_trial_and_seed_the_best_trial_first(result):
    rows = result.rows()
    expected = []
    for place, trial in enumerate(result.trials):
        expected += [(trial["id"], execution) for execution in range(2 if place < 2 else 1)]
    assert [(row["trial"], row["execution"]) for row in rows] == expected
    assert [row["seed"] for row in rows] == [row["execution"] for row in rows]
    assert {row["status"] for row in rows} == {"completed"}
    assert {row["freeze_depth"] for row in rows} == {7, 10, 16}
    assert {row["learning_rate"] for row in rows} == {1e-3, 1e-2}


def test_validation_figures_are_those_of_the_best_epoch_of_the_history(result, data):
    for row in result.rows(test=False):
        assert row["val_accuracy"] == max(epoch["val_accuracy"] for epoch in row["history"])
        assert row["val_loss"] in [epoch["val_loss"] for epoch in row["history"]]
        low, high = row["val_interval"]
        assert low < row["val_accuracy"] <= high
        assert row["val_n"] == len(data.splits["validation"])
        assert row["epochs"] == sum(epoch["phase"] == "fine_tune" for epoch in row["history"])


def test_test_figures_are_measured_where_weights_were_kept_and_nowhere_else(result, data):
    rows = result.rows()
    assert [row["test_n"] for row in rows] == [len(data.splits["test"])] * 4 + [None] * 4
    best = rows[0]
    assert best["test_accuracy"] == result.test.accuracy
    assert best["test_interval"] == result.test.interval
    assert best["test_loss"] == pytest.approx(result.test.loss)
    assert {row[name] for row in rows[4:] for name in MEASURED} == {None}


def test_test_images_are_left_alone_on_request(result):
    assert {row[name] for row in result.rows(test=False) for name in MEASURED} == {None}


def test_measuring_other_trials_leaves_the_best_model_as_it_was(result):
    before = values_of(result.model.keras_model.variables)
    result.rows()
    for one, other in zip(before, values_of(result.model.keras_model.variables), strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_that_a_later_search_went_on_with_are_not_taken_for_these(search):
    first = search(strategy="halving", max_trials=4)
    row = next(row for row in first.rows() if row["test_n"])
    trial = next(e.trial for e in first.ranking if e.trial.trial == row["trial"])
    trial.steps[-1].outcome = Outcome(**{**vars(trial.outcome), "epochs": 1})
    again = next(other for other in first.rows() if other["trial"] == row["trial"])
    assert again["epochs"] == 1
    assert again["test_n"] is None


def test_a_trial_that_failed_has_a_row_without_figures(result):
    trial = Trial("0009", {"freeze_depth": 7}, status=FAILED, steps=[Step(None, 1, 2, Outcome())])
    rows = type(result)(**{**vars(result), "ranking": rank([trial], "val_accuracy")}).rows()
    assert [(row["trial"], row["status"], row["val_accuracy"]) for row in rows] == [
        ("0009", "failed", None)
    ]
    assert rows[0]["freeze_depth"] == 7


def test_studies_from_before_histories_were_kept_still_load(result, tmp_path):
    folder = tmp_path / "study"
    (folder / "trials").mkdir(parents=True)
    (folder / "study.json").write_text("{}")
    for path in (result.folder / "trials").iterdir():
        trial = json.loads(path.read_text())
        for step in trial["steps"]:
            del step["outcome"]["history"]
        (folder / "trials" / path.name).write_text(json.dumps(trial))
    trials = read_trials(folder)
    assert len(trials) == 8
    assert {len(trial.outcome.history) for trial in trials} == {0}
    old = type(result)(**{**vars(result), "ranking": rank(trials, result.monitor)})
    assert [row["trial"] for row in old.rows(test=False)] == [
        row["trial"] for row in result.rows(test=False)
    ]
    assert old.plot().axes


def test_a_search_without_a_head_phase_trains_the_head_with_the_rest(data, make_backbone, tmp_path):
    tuner = FineTuner(
        make_backbone(),
        preprocess="tf",
        freeze_depth=[10, 1.0],
        learning_rate=1e-2,
        head_epochs=0,
        epochs=3,
    )
    result = tuner.search(data, strategy="grid", out=tmp_path, verbose=0)
    for row in result.rows():
        assert [epoch["phase"] for epoch in row["history"]] == ["fine_tune"] * 3
    assert result.verdict is None, "there is no head alone to compare with"


def test_regression_has_its_own_metric_and_no_accuracy(arrays, make_backbone, tmp_path):
    images, labels = arrays
    data = load_data((images, labels.astype("float32")), image_size=16, task="regression", test=0.2)
    tuner = FineTuner(
        make_backbone(),
        preprocess="tf",
        freeze_depth=[10, 1.0],
        learning_rate=1e-3,
        head_epochs=1,
        epochs=1,
        refit=0,
    )
    result = tuner.search(data, strategy="grid", out=tmp_path, verbose=0)
    row = result.rows()[0]
    assert row["val_mae"] > 0
    assert "val_accuracy" not in row
    assert (row["val_interval"], row["test_accuracy"]) == (None, None)
    assert row["test_loss"] == pytest.approx(result.test.loss)
    loss, trials, error = result.plot().axes
    assert (loss.get_ylabel(), trials.get_ylabel()) == ("validation loss", "validation loss")
    assert error.get_ylabel() == "validation mean absolute error"


def test_trials_of_several_labels_are_compared_by_loss(arrays, make_backbone, tmp_path):
    images, labels = arrays
    data = load_data((images, np.eye(3)[labels]), image_size=16, task="multilabel")
    options = {"head_epochs": 1, "epochs": 1, "learning_rate": 1e-3, "preprocess": "tf"}
    tuner = FineTuner(make_backbone(), freeze_depth=[10, 1.0], **options)
    result = tuner.search(data, strategy="grid", out=tmp_path / "one", verbose=0)
    rows = result.rows()
    losses = [row["val_calibrated_loss"] for row in rows]
    assert [trial["score"] for trial in result.trials] == losses
    # The second depth trains the head alone, which counts for a standard error less.
    head = next(place for place, row in enumerate(rows) if row["freeze_depth"] == 16)
    losses[head] += rows[head]["history"][0]["standard_error"]
    assert losses == sorted(losses)
    _, trials, accuracy = result.plot().axes
    assert trials.get_ylabel() == "calibrated validation loss"
    assert accuracy.get_ylabel() == "validation accuracy"


def test_a_missing_pandas_is_named_with_what_to_do(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(
        ArgumentError, match=r"not installed. Run `pip install pandas`, or use rows"
    ):
        result.to_pandas(test=False)


def test_a_frame_has_the_rows(result):
    require("pandas")
    frame = result.to_pandas(test=False)
    assert frame["trial"].tolist() == [row["trial"] for row in result.rows(test=False)]
    assert list(frame.columns) == list(result.rows(test=False)[0])


def test_the_figure_shows_curves_beside_depth_and_rate(result, tmp_path):
    figure = result.plot(tmp_path / "new" / "search.png")
    loss, trials, accuracy = figure.axes[:3]
    assert loss.get_ylabel() == "calibrated validation loss"
    assert accuracy.get_ylabel() == "validation accuracy"
    assert (trials.get_xlabel(), trials.get_ylabel()) == ("freeze depth (layers)", "learning rate")
    assert trials.get_yscale() == "log"
    assert len(trials.collections) == len(loss.lines) == 6
    assert (tmp_path / "new" / "search.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("searched", "xlabel"),
    [
        ("freeze_depth", "freeze depth (layers)"),
        ("learning_rate", "learning rate"),
        ("dropout", "place"),
    ],
)
def test_where_one_thing_is_searched_the_score_stands_over_it(searched, xlabel):
    epoch = {"phase": "fine_tune", "epoch": 1, "val_accuracy": 0.5, "val_loss": 1.0}
    trials = []
    for number, value in enumerate((2, 3)):
        outcome = Outcome(
            {"val_accuracy": 0.5, "val_loss": 1.0},
            score=0.5,
            lowest_loss=1.0,
            epochs=1,
            n=10,
            freeze_depth=value if searched == "freeze_depth" else 3,
            history=[epoch],
        )
        trials.append(Trial(f"{number:04}", {searched: value}, steps=[Step(None, 1, 2, outcome)]))
    figure = draw_search(rank(trials, "val_accuracy"), "val_accuracy")
    right = figure.axes[1]
    assert (right.get_xlabel(), right.get_ylabel()) == (xlabel, "validation accuracy")
    assert len(figure.axes) == 3, "no colour bar beside an axis that says the same"


def test_a_figure_that_cannot_be_written_is_told(result, tmp_path):
    with pytest.raises(ArgumentError, match=r"file name ending in one of .*search\.docx"):
        result.plot(tmp_path / "search.docx")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"Could not write .*Free some space or name another"):
        result.plot(tmp_path / "file" / "search.png")


def test_a_row_does_not_change_with_what_is_done_to_an_earlier_one(result):
    first = [without_history(row) for row in result.rows(test=False)]
    result.rows(test=False)[0]["history"].clear()
    assert [without_history(row) for row in result.rows(test=False)] == first
    assert result.rows(test=False)[0]["history"]


def test_a_result_goes_through_pickle_and_joblib_whatever_watched_it(result, data, tmp_path):
    images = data.splits["test"].images
    before = result.predict(images).probabilities
    joblib.dump(result, tmp_path / "result.joblib")
    for copy in (pickle.loads(pickle.dumps(result)), joblib.load(tmp_path / "result.joblib")):
        np.testing.assert_array_equal(copy.predict(images).probabilities, before)
        assert copy.rows(test=False) == result.rows(test=False)
        assert copy.summary() == result.summary()
