"""Weights of the best trials that are lost, damaged, or others': never used in silence."""

import json
import shutil

import numpy as np
import pytest


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


def test_more_weights_can_be_kept_afterwards(search, trained, tmp_path):
    first = search(strategy="grid", max_trials=3, keep=1)
    names = [entry.trial.name for entry in first.ranking]
    trained.clear()
    search(strategy="grid", max_trials=3, keep=2)
    assert trained == [names[1]]
    kept = {path.stem for path in (tmp_path / "study" / "weights").iterdir()}
    assert kept == {*names[:2]}
