"""Canaries: how KerasTuner's oracles write, wait and compare, and what tuners hand to `fit`."""

import keras
import keras_tuner
import numpy as np
import pytest
from keras_tuner import oracles

from finetune.compat import (
    best_epoch_checkpoint,
    give_next,
    has_default_objective,
    may_go_on,
    write_nothing,
)

RUNNING, COMPLETED = "RUNNING", "COMPLETED"
SCORE = keras_tuner.Objective("score", "max")


@pytest.fixture
def space():
    space = keras_tuner.HyperParameters()
    space.Choice("depth", [1, 2, 3])
    space.Boolean("wide")
    return space


def quiet(oracle):
    oracle.verbose = 0
    write_nothing(oracle)
    return oracle


def end(oracle, trial):
    oracle.update_trial(trial.trial_id, {"score": 1.0})
    trial.status = COMPLETED
    oracle.end_trial(trial)


@pytest.mark.parametrize(
    "make",
    [
        oracles.RandomSearchOracle,
        oracles.GridSearchOracle,
        oracles.BayesianOptimizationOracle,
        oracles.HyperbandOracle,
    ],
)
def test_nothing_is_written(make, space, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    oracle = quiet(make(hyperparameters=space, objective=SCORE))
    end(oracle, oracle.create_trial("worker"))
    assert not list(tmp_path.iterdir()), (
        "`Oracle.save` or `Oracle._save_trial` (KerasTuner) is no longer all that writes files: a "
        "study keeps its trials itself, in one file each, and oracles are given no folder."
    )


def test_an_oracle_writes_by_save_and_by_save_trial(space, tmp_path):
    oracle = oracles.GridSearchOracle(hyperparameters=space)
    oracle.verbose = 0
    oracle._set_project_dir(tmp_path, "project")
    oracle._save_trial = lambda trial: None
    oracle.create_trial("worker")
    written = [path.name for path in tmp_path.rglob("*.json")]
    assert written == ["oracle.json"], (
        "`Oracle._save_trial` (KerasTuner) no longer writes exactly a trial's own file: see "
        f"`write_nothing`. Written without it: {written}."
    )


def test_a_grid_goes_on_without_waiting_for_the_trial_before(space):
    oracle = quiet(oracles.GridSearchOracle(hyperparameters=space, objective=SCORE))
    trials = []
    for number in range(6):
        trial = oracle.create_trial(f"worker-{number}")
        assert trial.status == RUNNING, (
            "`GridSearchOracle._populate_next` (KerasTuner) changed: after `give_next` the grid "
            f"still waits for trial {number - 1} to end, and workers of a search stand idle."
        )
        give_next(oracle, trial.trial_id)
        trials.append(trial)
    for trial in reversed(trials):
        end(oracle, trial)
    values = {tuple(trial.hyperparameters.values.values()) for trial in trials}
    assert len(values) == 6, (
        "`GridSearchOracle._populate_next` (KerasTuner) changed: the grid repeats a combination "
        f"when it is moved on by `give_next`. Combinations of six trials: {values}."
    )
    assert oracle.create_trial("worker").status == "STOPPED", (
        "`GridSearchOracle._populate_next` (KerasTuner) changed: the grid goes on after its last "
        "combination, so a search would never end."
    )


def test_a_grid_that_is_not_moved_on_waits(space):
    oracle = quiet(oracles.GridSearchOracle(hyperparameters=space, objective=SCORE))
    status = [oracle.create_trial(f"worker-{number}").status for number in range(3)]
    assert status[-1] == "IDLE", (
        "`GridSearchOracle` (KerasTuner) no longer waits for its trials: `give_next` is needless."
    )


@pytest.mark.parametrize("make", [oracles.RandomSearchOracle, oracles.HyperbandOracle])
def test_an_objective_that_was_not_given_is_known_by_its_name(make):
    assert has_default_objective(make()), (
        "The default objective (KerasTuner) has another name: a search puts its own objective in "
        "the place of one that an oracle was not given."
    )
    for given in ("val_loss", ["val_loss", "val_accuracy"], keras_tuner.Objective("a", "max")):
        assert not has_default_objective(make(objective=given)), (
            "An objective that was given (KerasTuner) has the default one's name: a search would "
            "put its own in its place."
        )


def test_a_tuner_hands_fit_one_checkpoint_for_all_executions(tmp_path):
    seen = []

    class Model(keras_tuner.HyperModel):
        def build(self, hp):
            model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(hp.Int("units", 1, 2))])
            model.compile(loss="mse")
            return model

        def fit(self, hp, model, *args, callbacks, **kwargs):
            own = [c for c in callbacks if best_epoch_checkpoint([c])]
            assert len(own) == 1, (
                "A tuner's checkpoint (KerasTuner's `SaveBestEpoch`) is no longer the one callback "
                f"with `objective` and `filepath`: {callbacks}. `FineTuner.fit` counts a trial's "
                "executions by it, to draw another seed for each."
            )
            seen.extend(own)
            return 0.0

    tuner = keras_tuner.RandomSearch(
        Model(), max_trials=2, executions_per_trial=2, directory=tmp_path, seed=1
    )
    tuner.search(
        np.ones((2, 1)), verbose=0, callbacks=[keras.callbacks.ModelCheckpoint("any.keras")]
    )
    assert seen[0] is seen[1] and seen[2] is seen[3] and seen[0] is not seen[2], (
        "A tuner's checkpoint (KerasTuner) is no longer one for all executions of a trial and "
        "another for the next trial: `FineTuner.fit` counts executions by it."
    )


def test_hyperband_goes_on_only_from_trials_that_were_said_to_be_possible():
    space = keras_tuner.HyperParameters()
    space.Float("rate", 1e-5, 1e-3)
    oracle = quiet(
        oracles.HyperbandOracle(max_epochs=9, hyperparameters=space, objective=SCORE, seed=1)
    )
    past, possible = [], may_go_on(oracle)
    while (trial := oracle.create_trial("worker")).status == RUNNING:
        if after := trial.hyperparameters.values.get("tuner/trial_id"):
            past.append(after)
            assert after in possible and after not in may_go_on(oracle), (
                "`HyperbandOracle._brackets` or `_get_size` (KerasTuner) means something else now: "
                "a search removes the states of trials that cannot be chosen any more."
            )
        end(oracle, trial)
        possible = may_go_on(oracle)
    assert len(past) > 3
    assert possible == set()
