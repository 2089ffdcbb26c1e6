"""Weights of the best trials that are lost, damaged, or others': never used in silence."""

import json
import shutil
from dataclasses import asdict
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from finetune.exceptions import DamagedFileError, StorageError
from finetune.search.kept_weights import kept_weights
from finetune.search.study import weights_file
from finetune.search.trials import KeptWeights, Outcome, Step, Trial
from finetune.support import values_of, write_arrays


def lose(path, other):
    path.unlink()


def flip_a_bit(path, other):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def take_anothers(path, other):
    shutil.copy(other, path)


DAMAGES = [
    pytest.param(lose, "No such file", id="lost"),
    pytest.param(flip_a_bit, "cannot be used", id="bit"),
    pytest.param(take_anothers, "a copy of ", id="copy"),
]


@pytest.mark.thorough
@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_a_trial_whose_weights_are_lost_is_trained_again(
    search, trained, tmp_path, caplog, data, damage, reason
):
    first = search(strategy="grid", max_trials=3)
    best, second = (entry.trial.name for entry in first.ranking[:2])
    weights = tmp_path / "study" / "weights"
    damage(weights / f"{best}.npz", weights / f"{second}.npz")
    trained.clear()
    again = search(strategy="grid", max_trials=3)
    assert trained == [best]
    assert f"The weights of trial {best} are lost, so it is trained again" in caplog.text
    assert reason in caplog.text
    assert again.chosen.trial.name == best
    assert "gone or damaged" not in again.summary()
    images = data.splits["test"].images
    np.testing.assert_allclose(
        again.predict(images).probabilities, first.predict(images).probabilities, atol=1e-4
    )


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_the_trial_that_the_model_is_of_is_named_where_there_is_no_time_to_train_again(
    search, trained, tmp_path, caplog, damage, reason
):
    first = search(strategy="grid", max_trials=3)
    lost, used = (entry.trial for entry in first.ranking[:2])
    weights = tmp_path / "study" / "weights"
    damage(weights / f"{lost.name}.npz", weights / f"{used.name}.npz")
    trained.clear()
    again = search(strategy="grid", max_trials=3, time_budget=0.001)
    assert trained == []
    assert f"The weights of trial {lost.name} cannot be used" in caplog.text
    assert reason in caplog.text
    assert again.best == used.values
    assert again.settings.learning_rate == used.values["learning_rate"]
    loss = first.ranking[1].trial.outcome.metrics["val_loss"]
    assert again.validation.loss == pytest.approx(loss, rel=1e-4)
    lines = again.summary().splitlines()
    assert (
        f"The weights of trial {lost.trial} are gone or damaged: the model is of the next best."
        in lines
    )
    assert any(f"trial {used.trial}" in line and "gone" not in line for line in lines)
    facts = json.loads((tmp_path / "study" / "result.json").read_text())
    assert facts["best"]["id"] == used.trial


@pytest.fixture
def kept(tmp_path):
    """Weights of a trial after 3 epochs, what knows where they are, and what they are of."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    meta = asdict(KeptWeights("0004", epochs=3))
    write_arrays(weights_file(tmp_path, "0004"), meta, values_of(model.variables))
    return SimpleNamespace(folder=tmp_path), model


def test_weights_are_those_of_the_trial_and_of_as_many_epochs(kept):
    work, model = kept
    trial = Trial("0004", {}, steps=[Step(None, 1, 2, Outcome(epochs=3))])
    for value, expected in zip(kept_weights(work, trial, model), model.variables, strict=True):
        np.testing.assert_array_equal(value, expected)
    same = Trial("0009", {}, same_as="0004", steps=trial.steps)  # it took over the other's outcome
    assert len(kept_weights(work, same, model)) == 2


@pytest.mark.parametrize(
    ("trial", "error", "told"),
    [
        (
            Trial("0004", {}, steps=[Step(None, 1, 2, Outcome(epochs=5))]),
            DamagedFileError,
            "expected weights after 5 epochs, received them after 3",
        ),
        (Trial("0004", {}), DamagedFileError, "weights after 0 epochs, received them after 3"),
        (Trial("0005", {}), StorageError, "No such file"),
    ],
)
def test_other_weights_are_refused(kept, trial, error, told):
    with pytest.raises(error, match=told):
        kept_weights(kept[0], trial, kept[1])


def test_more_weights_can_be_kept_afterwards(search, trained, tmp_path):
    first = search(strategy="grid", max_trials=3, keep=1)
    names = [entry.trial.name for entry in first.ranking]
    trained.clear()
    search(strategy="grid", max_trials=3, keep=2)
    assert trained == [names[1]]
    kept = {path.stem for path in (tmp_path / "study" / "weights").iterdir()}
    assert kept == {*names[:2]}
