"""A search from its budget to its best model."""

import json
from dataclasses import replace
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

import finetune
from finetune import FineTuner
from finetune.exceptions import (
    ArgumentError,
    OutOfTimeError,
    SearchError,
    StorageError,
    StudyError,
)
from finetune.reuse import StoredSource
from finetune.search import runner
from finetune.search.run import _good
from finetune.search.runner import Runner
from finetune.search.saved import Beginning
from finetune.search.study import Study, read_trials
from finetune.search.trials import Outcome
from finetune.support import current_deadline, environment, time_limit
from finetune.training.relays import InTime

STRATEGIES = ["halving", "grid", "random", "bayesian", "hyperband"]


class Killed(BaseException):
    """Stands for a kill: nothing in the package can catch it."""


@pytest.fixture
def kill_at_write(monkeypatch):
    """Makes the study's n-th write the process's last deed: it is not done any more."""

    def arm(number):
        count = iter(range(number))
        write = Study.write

        def counted(study, trial):
            if next(count, None) is None:
                raise Killed
            write(study, trial)

        monkeypatch.setattr(Study, "write", counted)

    yield arm


def test_a_search_writes_nothing_among_the_images(tuner, write_folder):
    folder = write_folder(8)
    before = sorted(folder.rglob("*"))
    images = finetune.load_data(folder, image_size=16)
    with pytest.raises(ArgumentError, match=r"outside the images, but .*/study lies in"):
        tuner.search(images, out=folder / "study", verbose=0)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.thorough
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_finds_a_model_that_predicts(search, data, strategy):
    result = search(strategy=strategy, max_trials=4, combine="best")
    outcomes = [entry.trial.outcome for entry in result.ranking]
    known = [entry.trial.known for entry in result.ranking]
    assert sum(known) == (strategy in ("halving", "random", "bayesian"))
    # The lowest loss first; by one standard error where it was drawn beside what is known.
    scores = [
        trial["score"]
        + outcome.metrics.get("standard_error", 0)  # a head that was kept
        + (outcome.history[0]["standard_error"] if any(known) and not at_known else 0)
        for trial, outcome, at_known in zip(result.trials, outcomes, known, strict=True)
    ]
    assert scores == sorted(scores)
    assert {trial["status"] for trial in result.trials} <= {"completed", "pruned"}
    loss = result.chosen.trial.outcome.metrics["val_loss"]
    assert result.validation.loss == pytest.approx(loss, rel=1e-4)
    assert result.validation.accuracy == pytest.approx(result.trials[0]["accuracy"])
    loaded = finetune.load(result.folder)
    images = data.splits["test"].images
    np.testing.assert_allclose(
        loaded.predict(images).probabilities, result.predict(images).probabilities, atol=1e-6
    )
    score = loaded.evaluate(data)
    assert score.accuracy == pytest.approx(result.test.accuracy)
    assert score.known == {"train": 0, "validation": 0, "test": score.n, "new": 0}


class Epochs(keras.callbacks.Callback):
    """Writes a line an epoch into a file, which copies of it share."""

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.seen = 0

    def on_epoch_end(self, epoch, logs=None):
        self.seen += 1
        with open(self.path, "a", encoding="utf-8") as file:
            print(self.seen, self.model.count_params(), logs["val_accuracy"], file=file)


def test_callbacks_see_every_trial_apart_from_the_others(search, tmp_path):
    board = keras.callbacks.TensorBoard(tmp_path / "logs")
    own = Epochs(tmp_path / "epochs.txt")
    result = search(strategy="grid", callbacks=[own, board])
    lines = [line.split() for line in own.path.read_text().splitlines()]
    # A head that trials share is one epoch; with the head alone there is no other.
    assert sorted(int(line[0]) for line in lines) == sorted([*range(1, 6)] * 4 + [1] * 2)
    assert {int(line[1]) for line in lines} == {result.model.keras_model.count_params()}
    assert own.seen == 0, "the user's own object stays as it is"
    logged = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert logged == sorted(trial["id"] for trial in result.trials)
    for trial in result.trials:
        told = {}
        for file in (tmp_path / "logs" / trial["id"]).rglob("events.out.*"):
            for event in tf.compat.v1.train.summary_iterator(str(file)):
                for value in event.summary.value:
                    if value.tag == "_hparams_/session_start_info":
                        plugin = HParamsPluginData.FromString(value.metadata.plugin_data.content)
                        told |= dict(plugin.session_start_info.hparams)
        rate = told["learning_rate"].number_value
        assert rate == pytest.approx(trial["hyperparameters"]["learning_rate"])


def test_a_callback_that_cannot_be_copied_is_refused_before_anything_is_done(search, tmp_path):
    own = Epochs(tmp_path / "epochs.txt")
    own.file = open(tmp_path / "log.txt", "w")  # noqa: SIM115 - the mistake itself
    with pytest.raises(ArgumentError, match=r"callbacks that can be copied.*TextIOWrapper.*Open"):
        search(callbacks=[own])
    own.file.close()
    assert not (tmp_path / "study").exists()


@pytest.mark.thorough
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "writes", [pytest.param(1, marks=pytest.mark.slow), 4, pytest.param(7, marks=pytest.mark.slow)]
)
def test_killed_search_ends_with_the_board_of_one_that_was_not(
    search, same_board, tmp_path: Path, kill_at_write, monkeypatch, strategy, writes
):
    whole = search(strategy=strategy, max_trials=4, out=tmp_path / "whole")
    kill_at_write(writes)
    with pytest.raises(Killed):
        search(strategy=strategy, max_trials=4)
    monkeypatch.undo()
    finished = {
        (trial.name, step.until): step.outcome
        for trial in read_trials(tmp_path / "study")
        for step in trial.steps
        if step.outcome
    }
    again = search(strategy=strategy, max_trials=4)
    same_board(again.folder, whole.folder)
    now = {(t.name, s.until): s.outcome for t in read_trials(again.folder) for s in t.steps}
    assert {key: now[key] for key in finished} == finished  # to the last digit of the seconds


def test_finished_search_trains_nothing_again(search, monkeypatch):
    first = search(strategy="grid")
    monkeypatch.setattr(Runner, "run", lambda *_, **__: pytest.fail("trained again"))
    second = search(strategy="grid")
    assert second.trials == first.trials
    assert second.test == first.test


def test_halving_trains_all_a_little_and_the_best_third_to_the_end(search, tmp_path, monkeypatch):
    begun_with = []
    run = Runner.run

    def noted(self, job, **options):
        states = {path.stem for path in (tmp_path / "study" / "states").glob("*")}
        begun_with.append((job.until, job.trial, states))
        return run(self, job, **options)

    monkeypatch.setattr(Runner, "run", noted)
    result = search(strategy="halving")
    last = [(trial, states) for until, trial, states in begun_with if until == 4]
    names = [trial for trial, _ in last]
    for place, (_, states) in enumerate(last):
        assert states == {*names[place:]}, "those sent away have no states any more"
    epochs = {trial["id"]: (trial["epochs"], trial["status"]) for trial in result.trials}
    trained = [entry for entry in epochs.values() if entry[0]]
    # The best third of the six, and what is nearest to the values of `fine_tune`.
    assert sorted(trained) == [(3, "pruned")] + [(4, "completed")] * 3
    # Head only has no epochs to go on with.
    assert [status for n, status in epochs.values() if not n] == ["completed"] * 2


@pytest.mark.thorough
def test_continued_trial_equals_one_trained_without_a_pause(search, tmp_path: Path):
    halving = search(strategy="halving")
    grid = {
        json.dumps(trial["hyperparameters"]): trial["score"]
        for trial in search(strategy="grid", out=tmp_path / "grid").trials
    }
    best = [t for t in halving.trials if t["epochs"] == 4]
    assert best
    for trial in best:
        assert trial["score"] == pytest.approx(grid[json.dumps(trial["hyperparameters"])])


def test_oracle_of_the_users_that_repeats_itself_trains_once(search, monkeypatch):
    class Stubborn(keras_tuner.Oracle):
        def populate_space(self, trial_id):
            return {"status": "RUNNING", "values": {"freeze_depth": 7, "learning_rate": 1e-2}}

    trained = []
    run = Runner.run
    monkeypatch.setattr(
        Runner, "run", lambda self, job, **k: trained.append(job.trial) or run(self, job, **k)
    )
    result = search(strategy=Stubborn(max_trials=3))
    assert trained == ["0000"]
    assert [trial["score"] for trial in result.trials] == [result.trials[0]["score"]] * 3
    assert [trial.same_as for trial in read_trials(result.folder)] == [None, "0000", "0000"]


def test_trial_that_fails_is_on_the_board_with_its_traceback_and_the_search_goes_on(
    search, monkeypatch
):
    run = Runner._run

    def sometimes(self, job, *args):
        if job.trial == "0001":
            raise ValueError("no such luck")
        return run(self, job, *args)

    monkeypatch.setattr(Runner, "_run", sometimes)
    result = search(strategy="grid")
    failed = [trial for trial in result.trials if trial["status"] == "failed"]
    assert [trial["id"] for trial in failed] == ["0001"]
    assert failed[0]["score"] is None
    assert "Traceback" in failed[0]["error"] and "no such luck" in failed[0]["error"]
    assert "trial 0001: ValueError: no such luck" in result.summary()
    assert result.trials[-1]["id"] == "0001"


def test_search_stops_after_too_many_failures_in_a_row_and_says_why(search, monkeypatch):
    def never(self, job, *args):
        raise ValueError("the same each time")

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "_run", never)
        with pytest.raises(SearchError, match=r"2 trials failed.*\n.*the same each time"):
            search(strategy="grid", max_failures=2)


def test_loss_that_is_not_finite_is_a_failure_and_never_scored(data, make_backbone, tmp_path):
    tuner = FineTuner(
        make_backbone(),
        preprocess="tf",
        freeze_depth=7,
        learning_rate=[1e-3, 1e6],
        epochs=2,
        head_epochs=2,
        optimizer="adam",
    )
    result = tuner.search(data, strategy="grid", out=tmp_path / "study", verbose=0)
    good, bad = result.trials
    assert good["hyperparameters"]["learning_rate"] == 1e-3
    assert bad["status"] == "failed" and bad["score"] is None
    assert "not finite in epoch 1" in bad["error"] and "1.0e+06" in bad["error"]


class Greedy(keras.callbacks.Callback):
    """Memory is short in the second step of the second epoch, where batches are too large."""

    def __init__(self, path, most):
        super().__init__()
        self.path = path
        self.most = most

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        size = -(-41 // self.params["steps"])  # 41 training images
        if self.epoch == 2 and batch == 1 and size > self.most:
            with open(self.path, "a", encoding="utf-8") as file:
                print(size, file=file)
            raise tf.errors.ResourceExhaustedError(None, None, f"no room for {size} images")


def test_trial_out_of_memory_in_mid_training_keeps_half_the_batch_to_its_end(
    search, tmp_path, caplog
):
    greedy = Greedy(tmp_path / "tried.txt", most=8)
    result = search(strategy="halving", callbacks=[greedy])
    trials = read_trials(result.folder)
    unfrozen = [trial for trial in trials if trial.outcome.epochs]
    # Two rungs, and memory was short in each trial once.
    assert sorted(trial.outcome.epochs for trial in unfrozen) == [3, 4, 4, 4]
    assert greedy.path.read_text().split() == ["14"] * 4
    assert caplog.text.count("out of memory with batches of 16; once more with 8") == 4
    remarks = {trial.trial: trial.remark for trial in trials}
    said = {remarks[trial.trial].removeprefix("head kept; ") for trial in unfrozen}
    assert said == {"batch 8, out of memory at 16"}
    assert {step.outcome.batch_size for trial in unfrozen for step in trial.steps} == {8}
    assert [remarks[trial.trial] for trial in trials if trial not in unfrozen] == ["", ""]
    assert {row["trial"]: row["remark"] for row in result.rows(test=False)} == remarks
    assert {row["id"]: row["remark"] for row in result.trials} == remarks
    assert result.table().count("batch 8, out of memory at 16") == 4
    best = next(entry for entry in result.ranking if entry.trial.remark)
    assert f"\n      {best.trial.remark}\n" in replace(result, chosen=best).summary()


@keras.saving.register_keras_serializable("tests")
class Hungry(keras.layers.Layer):
    """Takes more memory than any machine has to train on more than eight images at a time."""

    def call(self, inputs, training=False):
        if not training:
            return inputs
        # Not an operation of TensorFlow's own, which waits ten seconds for memory before it fails.
        taken = tf.numpy_function(self._take, [tf.shape(inputs)[0] // 9], tf.float32)
        return inputs + tf.reshape(taken, ())

    @staticmethod
    def _take(times):
        return np.zeros(int(times) * 2**45, np.float32).sum()


def test_trial_whose_training_step_really_runs_out_of_memory_goes_on_with_half_the_batch(
    backbone, data, tmp_path, caplog
):
    tuner = FineTuner(
        keras.Model(backbone.inputs, Hungry(name="hungry")(backbone.output), name="hungry_model"),
        preprocess="tf",
        freeze_depth=[13],
        learning_rate=[1e-3, 1e-2],
        epochs=2,
        head_epochs=1,
    )
    result = tuner.search(data, strategy="grid", max_trials=1, out=tmp_path / "study", verbose=0)
    (trial,) = read_trials(tmp_path / "study")
    assert (trial.status, trial.batch_size, trial.out_of_memory) == ("completed", 8, 16)
    assert "out of memory with batches of 16; once more with 8" in caplog.text
    (row,) = result.rows(test=False)
    assert (row["epochs"], row["remark"]) == (2, "batch 8, out of memory at 16")
    assert np.isfinite([epoch["loss"] for epoch in row["history"]]).all()


def test_trial_that_half_the_batch_was_for_equals_one_that_began_with_it(
    search, tuner, data, tmp_path
):
    tried = search(
        strategy="grid", max_trials=1, callbacks=[Greedy(tmp_path / "tried.txt", most=8)]
    )
    small = data.with_options(batch_size=8)
    wanted = tuner.search(small, strategy="grid", max_trials=1, out=tmp_path / "b", verbose=0)
    losses = [
        [row["val_loss"] for row in r.rows(test=False)[0]["history"]] for r in (tried, wanted)
    ]
    assert losses[0] == losses[1]


def test_trial_that_was_killed_after_it_got_half_the_batch_goes_on_with_it(
    search, same_board, tmp_path, kill_at_write, monkeypatch
):
    options = {
        "strategy": "grid",
        "max_trials": 1,
        "callbacks": [Greedy(tmp_path / "tried.txt", most=8)],
    }
    whole = search(out=tmp_path / "whole", **options)
    kill_at_write(3)  # begun, short of memory, begun again
    with pytest.raises(Killed):
        search(**options)
    monkeypatch.undo()
    same_board(search(**options).folder, whole.folder)
    assert (tmp_path / "tried.txt").read_text().split() == ["14"] * 2


def test_measuring_that_is_out_of_memory_ends_no_search(search, monkeypatch, caplog):
    def measure(*args):
        raise tf.errors.ResourceExhaustedError(None, None, "no room")

    monkeypatch.setattr(runner, "seconds_per_epoch", measure)
    assert [trial["status"] for trial in search(strategy="grid").trials] == ["completed"] * 6
    assert "An epoch could not be measured: out of memory" in caplog.text


def test_no_freeze_depth_is_measured_once_a_quarter_of_the_time_is_gone(search, monkeypatch):
    measured = []

    def measure(shared, training, source):
        current_deadline().started -= 1800
        measured.append(training.phases[-1].freeze_depth)
        return 1.0

    monkeypatch.setattr(runner, "seconds_per_epoch", measure)
    search(strategy="grid", max_trials=1, time_budget="2h")
    assert measured == [7]


def test_trial_that_is_out_of_memory_with_one_image_is_a_failure_that_says_what_to_do(
    search, tmp_path
):
    greedy = Greedy(tmp_path / "tried.txt", most=0)
    with pytest.raises(SearchError, match=r"batches of one image do not fit, take a smaller"):
        search(strategy="grid", max_trials=1, max_failures=1, callbacks=[greedy])
    assert greedy.path.read_text().split() == ["14", "7", "4", "2", "1"]
    (trial,) = read_trials(tmp_path / "study")
    assert (trial.status, trial.batch_size, trial.out_of_memory) == ("failed", 1, 2)
    assert "ResourceExhaustedError: no room for 1 images" in trial.outcome.error


def test_ctrl_c_leaves_the_best_so_far_and_the_same_call_goes_on(search, monkeypatch):
    run = Runner.run

    def interrupted(self, job, **options):
        if job.trial == "0002":
            raise KeyboardInterrupt
        return run(self, job, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "run", interrupted)
        result = search(strategy="grid")
    assert result.interrupted
    assert "the same command goes on" in result.summary()
    assert [t["status"] for t in result.trials] == ["completed", "completed", "paused"]
    assert not search(strategy="grid").interrupted
    assert [t.status for t in read_trials(result.folder)] == ["completed"] * 6


class Late(keras.callbacks.Callback):
    """Time is up in the midst of the second epoch of fine-tuning, once."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == (2, 1) and not self.path.exists():
            self.path.touch()
            current_deadline().seconds = 0.0


@pytest.mark.thorough
def test_time_budget_stops_in_mid_trial_and_the_same_again_goes_on(search, same_board, tmp_path):
    options = {"strategy": "grid", "max_trials": 2, "time_budget": "1h"}
    options["callbacks"] = [Late(tmp_path / "once")]
    part = search(**options)
    trials = {trial["id"]: (trial["status"], trial["epochs"]) for trial in part.trials}
    assert trials == {"0000": ("paused", 1)}
    assert part.trials[0]["score"] is not None
    assert "Time was up after 0 s" in part.summary()
    assert ": the same command goes on." in part.summary()
    assert json.loads((part.folder / "result.json").read_text())["time_up"] is True
    again = search(**options)
    assert "Time was up" not in again.summary()
    same_board(again.folder, search(out=tmp_path / "whole", **options).folder)


def test_a_time_budget_is_that_of_one_run(search, tmp_path):
    first = search(strategy="grid", max_trials=1)
    path = first.folder / "trials" / "0000.json"
    known = json.loads(path.read_text())
    known["steps"][0]["clock"] = 7200.0
    path.write_text(json.dumps(known))
    result = search(strategy="grid", max_trials=2, time_budget="1h")
    assert [trial["status"] for trial in result.trials] == ["completed"] * 2
    assert result.seconds > 7200


@pytest.mark.parametrize("begun", [0.0, 3600.0])
def test_time_that_is_up_before_there_is_anything_is_said(search, begun):
    with (
        time_limit(begun),  # as the command does, whose clock runs since it was begun
        pytest.raises(OutOfTimeError, match="time was up when a trial was to begin"),
    ):
        search(strategy="grid", time_budget=0.0001)


def test_time_that_is_up_in_the_features_is_said(data, make_backbone, tmp_path, monkeypatch):
    tuner = FineTuner(make_backbone(), preprocess="tf", freeze_depth=[7, 10], cache_dir=tmp_path)

    def late(source, split):
        for number, batch in enumerate(passes(source, split)):
            if number == 1:
                current_deadline().seconds = 0.0
            yield batch

    passes = StoredSource.passes
    options = {"out": tmp_path / "study", "verbose": 0, "time_budget": "1h"}
    with monkeypatch.context() as patch:
        patch.setattr(StoredSource, "passes", late)
        with pytest.raises(OutOfTimeError, match="the features of 32 of 42 train images were"):
            tuner.search(data, **options)
    assert [trial.status for trial in read_trials(tmp_path / "study")] == ["paused"]


@pytest.mark.thorough
def test_time_that_is_up_in_the_head_phase_leaves_the_head(
    data, make_backbone, tmp_path, monkeypatch
):
    tuner = FineTuner(
        make_backbone(),
        preprocess="tf",
        freeze_depth=[7, 10],
        epochs=1,
        head_epochs=3,
        head_optimizer="adam",
    )
    real = InTime.on_epoch_end

    def late(callback, epoch, logs=None):
        current_deadline().seconds = 0.0
        real(callback, epoch, logs)

    options = {"max_trials": 1, "out": tmp_path / "study", "verbose": 0, "time_budget": "1h"}
    with monkeypatch.context() as patch:
        patch.setattr(InTime, "on_epoch_end", late)
        result = tuner.search(data, **options)
    assert [(trial["status"], trial["epochs"]) for trial in result.trials] == [("paused", 0)]
    assert [row["phase"] for row in result.rows(test=False)[0]["history"]] == ["head"]
    assert result.test.n == len(data.splits["test"])
    assert result.verdict is None
    assert "without a comparison with the head alone" in result.summary()
    again = tuner.search(data, **options)
    phases = [row["phase"] for row in again.rows(test=False)[0]["history"]]
    assert phases == ["head"] * 3 + ["fine_tune"]


@pytest.mark.parametrize("name", ["max_trials", "executions", "keep", "max_failures", "workers"])
@pytest.mark.parametrize("value", [0, -1, 2.5, "3"])
def test_counts_are_whole_numbers_above_0(search, tmp_path, name, value):
    with pytest.raises(ArgumentError, match=f"Expected {name} as a whole number of 1 or more"):
        search(**{name: value})
    assert not (tmp_path / "study").exists()


def test_executions_give_the_finalists_a_mean_and_an_interval_over_seeds(search):
    result = search(strategy="grid", executions=3, keep=2)
    best, second, third = result.trials[:3]
    assert [best["executions"], second["executions"], third["executions"]] == [3, 3, 1]
    trials = {trial.name: trial for trial in read_trials(result.folder)}
    scores = [trials[name].outcome.score for name in (best["id"], f"{best['id']}-1")]
    scores.append(trials[f"{best['id']}-2"].outcome.score)
    assert best["score"] == pytest.approx(np.mean(scores))
    half = 4.302653 * np.std(scores, ddof=1) / np.sqrt(3)  # t with two degrees of freedom
    around = [np.mean(scores) - half, np.mean(scores) + half]
    assert best["interval"] == pytest.approx(around, rel=1e-5)


@pytest.mark.thorough
def test_search_killed_among_its_further_executions_goes_on(
    search, same_board, tmp_path, kill_at_write, monkeypatch
):
    options = {"strategy": "grid", "executions": 3, "keep": 2}
    whole = search(out=tmp_path / "whole", **options)
    kill_at_write(14)  # six trials are written twice
    with pytest.raises(Killed):
        search(**options)
    monkeypatch.undo()
    same_board(search(**options).folder, whole.folder)


def test_weights_of_all_but_the_best_are_removed(search):
    result = search(strategy="grid", keep=2)
    kept = {path.stem for path in (result.folder / "weights").iterdir()}
    assert kept == {trial["id"] for trial in result.trials[:2]}
    assert not list((result.folder / "states").iterdir())


def test_second_process_is_refused_with_the_id_of_the_first(search, tmp_path):
    beginning = Beginning("val_accuracy", {}, {}, {}, "")
    study = Study(tmp_path / "study", beginning, environment(), lambda old: beginning)
    with pytest.raises(StudyError, match=r"worked on by process \d+"):
        search()
    study.close()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("run.json", "holds a run of `finetune fit`"),
        ("holiday.jpg", r"holds files that are of no run and no study \(holiday.jpg\)"),
    ],
)
def test_a_folder_with_something_else_in_it_is_refused(search, tmp_path, name, said):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / name).write_text("{}")
    with pytest.raises(StudyError, match=f"new or an empty folder for the study.*{said}"):
        search()
    assert [path.name for path in (tmp_path / "study").iterdir()] == [name]


def test_other_arguments_are_refused_by_name(search, tuner, data, tmp_path):
    search(strategy="random", max_trials=1)
    with pytest.raises(StudyError) as caught:
        search(strategy="grid", max_trials=2)
    assert "strategy: 'random' in the study, 'grid' now" in str(caught.value)
    assert "max_trials" not in str(caught.value)
    other = data.with_options(batch_size=4)
    with pytest.raises(StudyError, match="batch_size: 16 in the study, 4 now"):
        tuner.search(other, strategy="random", max_trials=1, out=tmp_path / "study", verbose=0)


def test_other_versions_of_packages_are_said(search, caplog):
    path = search(strategy="random", max_trials=1).folder / "environment.json"
    known = json.loads(path.read_text())
    search(strategy="random", max_trials=1)
    assert "other versions" not in caplog.text
    known["packages"]["keras"] = "3.0.0"
    path.write_text(json.dumps(known))
    search(strategy="random", max_trials=1)
    assert f"was begun with other versions (keras 3.0.0, now {keras.__version__})" in caplog.text


@pytest.mark.thorough
def test_damaged_and_foreign_files_are_set_aside_by_name(search, same_board, tmp_path, caplog):
    whole = search(strategy="grid", out=tmp_path / "whole")
    folder = search(strategy="grid").folder
    (folder / "trials" / "0002.json").write_text('{"trial": "0002", "val')
    (folder / "trials" / "notes.txt").write_text("mine")
    (folder / "trials" / "0009.json").write_text('{"something": "else"}')
    again = search(strategy="grid")
    same_board(again.folder, whole.folder)
    for name in ("0002.json", "notes.txt", "0009.json"):
        assert (folder / "trials" / f"{name}.damaged").exists()
        assert f"{name}.damaged" in caplog.text


def test_full_disk_is_said_and_the_study_stays_readable(search, monkeypatch, tmp_path):
    real = Study.write

    def full(study, trial):
        if trial.trial == "0003":
            raise StorageError("Could not write: No space left on device.")
        real(study, trial)

    with monkeypatch.context() as patch:
        patch.setattr(Study, "write", full)
        with pytest.raises(StorageError, match="No space left"):
            search(strategy="grid")
    assert [t.status for t in read_trials(tmp_path / "study")] == ["completed"] * 3
    assert len(search(strategy="grid").trials) == 6


def test_a_backbone_of_any_size_takes_the_size_of_the_images(data, tmp_path):
    backbone = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3, name="c"), keras.layers.ReLU()]
    )
    tuner = FineTuner(backbone, preprocess="tf", epochs=1, head_epochs=1, learning_rate=1e-3)
    result = tuner.search(data, max_trials=1, out=tmp_path / "s", verbose=0)
    assert result.model.keras_model.input_shape == (None, 16, 16, 3)


def test_nothing_to_search_and_ranges_for_a_grid_are_refused(data, make_backbone, tmp_path):
    options = {"preprocess": "tf", "freeze_depth": 7}
    with pytest.raises(ArgumentError, match="every argument has one value"):
        FineTuner(make_backbone(), learning_rate=1e-3, **options).search(data, out=tmp_path / "a")
    tuner = FineTuner(make_backbone(), learning_rate=(1e-4, 1e-3), **options)
    with pytest.raises(ArgumentError, match=r"\['learning_rate'\] can take any value"):
        tuner.search(data, strategy="grid", out=tmp_path / "b")
    with pytest.raises(ArgumentError, match="strategy to be one of"):
        tuner.search(data, strategy="luck", out=tmp_path / "c")


def test_structure_is_searched_too_each_with_its_own_features(
    data, make_backbone, tmp_path, capsys
):
    tuner = FineTuner(
        [make_backbone(), make_backbone()],
        preprocess="tf",
        freeze_depth=[0.5],
        learning_rate=1e-3,
        hidden_units=[0, 8],
        augment=["none", "light"],
        image_size=[16],
        epochs=1,
        head_epochs=1,
    )
    result = tuner.search(data, strategy="grid", max_trials=4, out=tmp_path / "s")
    assert "without the features of each choice of backbone and augment." in capsys.readouterr().out
    assert len({json.dumps(trial["hyperparameters"]) for trial in result.trials}) == 4
    assert {"hidden_units", "augment", "backbone_index"} <= set(result.best)


def test_verdict_is_that_of_the_test_images(search, data):
    verdict = search(strategy="grid").verdict
    low, high = verdict.difference
    assert verdict.split == "test" and verdict.n == len(data.splits["test"])
    assert low <= verdict.tuned - verdict.head_only <= high
    assert f"n={verdict.n}" in str(verdict)


def test_outcome_without_a_score_ranks_last():
    from finetune.search.ranking import rank
    from finetune.search.trials import FAILED, Step, Trial

    bad = Trial("0000", {}, status=FAILED, steps=[Step(None, 1, 2, Outcome(error="x"))])
    good = Trial("0001", {}, steps=[Step(None, 3, 4, Outcome({"val_loss": 1.0}, 0.1, n=10))])
    assert [entry.trial.trial for entry in rank([bad, good], "val_accuracy")] == ["0001", "0000"]


@pytest.mark.parametrize(
    ("rates", "known"),
    [
        ((1e-5, 1e-3), [(5, 6e-4), (5, 1e-3), (10, 1e-3)]),
        ((1e-5, 1e-4), [(5, 1e-4), (10, 1e-4)]),  # no point twice
        ([1e-5, 1e-3], [(5, 1e-3), (10, 1e-3)]),
    ],
)
def test_a_search_begins_with_what_is_known_to_do_well_as_its_space_has_it(
    make_backbone, data, rates, known
):
    depths = [0, 5, 10]
    tuner = FineTuner(make_backbone(), preprocess="tf", freeze_depth=depths, learning_rate=rates)
    tuner.trainer.learn(data)
    space = keras_tuner.HyperParameters()
    found = _good(tuner.trainer, tuner.trainer.settings(space), space)
    assert [(point["freeze_depth"], point["learning_rate"]) for point in found] == known
