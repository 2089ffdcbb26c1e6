"""Files of a study that hold what cannot be: set aside by name, never ranked or computed with."""

import json
import os

import pytest

from finetune.exceptions import DamagedFileError
from finetune.search.board import board_rows, error_lines, render
from finetune.search.ranking import rank
from finetune.search.saved import Beginning, OldBeginning, read_study, read_trial
from finetune.search.study import read_monitor, read_trials


@pytest.fixture
def trial():
    """A trial's file that is as it should be."""
    epoch = {"phase": "fine_tune", "epoch": 1, "val_accuracy": 0.5, "val_loss": 1.0}
    outcome = {
        "metrics": {"val_accuracy": 0.5, "val_loss": 1.0, "loss": 0.9},
        "score": 0.5,
        "lowest_loss": 1.0,
        "epochs": 1,
        "finished": True,
        "seconds": 1.5,
        "n": 10,
        "freeze_depth": 7,
        "history": [epoch],
    }
    return {
        "trial": "0000",
        "values": {"freeze_depth": 7, "learning_rate": 1e-3},
        "status": "completed",
        "steps": [{"until": None, "asked": 1, "told": 2, "outcome": outcome, "clock": 2.5}],
    }


@pytest.fixture
def study(tmp_path, trial):
    """A study with two trials."""
    beginning = Beginning("val_accuracy", {"seed": 0}, {"epochs": 1}, {"seed": 0}, "abc")
    beginning.write(tmp_path / "study.json")
    (tmp_path / "trials").mkdir()
    for name in ("0000", "0001"):
        (tmp_path / "trials" / f"{name}.json").write_text(json.dumps({**trial, "trial": name}))
    return tmp_path


def outcome_of(trial):
    return trial["steps"][0]["outcome"]


HOSTILE = {
    "score NaN": (lambda t: outcome_of(t).update(score=float("nan")), "score"),
    "score inf": (lambda t: outcome_of(t).update(score=float("inf")), "score"),
    "score text": (lambda t: outcome_of(t).update(score="0.9"), "score should be a valid number"),
    "score list": (lambda t: outcome_of(t).update(score=[1]), "score should be a valid number"),
    "score 1e400": (lambda t: outcome_of(t).update(score=10**400), "score"),
    "score of nothing": (lambda t: outcome_of(t).update(score=0.95), "0.95 is none of the metrics"),
    "accuracy 2": (
        lambda t: outcome_of(t).update(score=2.0, metrics={"val_accuracy": 2.0}),
        "metrics.val_accuracy is 2.0",
    ),
    "accuracy NaN": (
        lambda t: outcome_of(t)["metrics"].update(accuracy=float("nan")),
        "metrics.accuracy is nan",
    ),
    "metrics text": (lambda t: outcome_of(t).update(metrics="x"), "metrics should be"),
    "metrics null": (lambda t: outcome_of(t).update(metrics=None), "metrics should be"),
    "values list": (lambda t: t.update(values=[1]), "values should be"),
    "values null": (lambda t: t.update(values=None), "values should be"),
    "values NaN": (lambda t: t["values"].update(learning_rate=float("nan")), "values.learning"),
    "values nested": (lambda t: t["values"].update(learning_rate=[1e-3]), "values.learning_rate"),
    "trial number": (lambda t: t.update(trial=5), "trial should be a valid string"),
    "another trial": (lambda t: t.update(trial="0001"), "it is of trial '0001'"),
    "no steps": (lambda t: t.update(steps=[]), "it has no steps"),
    "steps text": (lambda t: t.update(steps="abc"), "steps should be"),
    "asked text": (lambda t: t["steps"][0].update(asked="x"), "steps[0].asked"),
    "asked huge": (lambda t: t["steps"][0].update(asked=10**30), "asked"),
    "clock NaN": (lambda t: t["steps"][0].update(clock=float("nan")), "steps[0].clock"),
    "clock of ages": (lambda t: t["steps"][0].update(clock=1e18), "clock is 1e+18"),
    "clock before": (lambda t: t["steps"][0].update(clock=-1e9), "clock is -1000000000.0"),
    "status": (lambda t: t.update(status="[red]evil[/]"), "there is no status '[red]evil[/]'"),
    "seconds text": (lambda t: outcome_of(t).update(seconds="x"), "seconds"),
    "epochs negative": (lambda t: outcome_of(t).update(epochs=-1), "epochs is -1"),
    "seconds negative": (lambda t: outcome_of(t).update(seconds=-1.0), "seconds is -1.0"),
    "n negative": (lambda t: outcome_of(t).update(n=-5), "n is -5"),
    "history": (lambda t: outcome_of(t).update(history=[{"phase": 1}]), "history[0] is no epoch"),
    "history of text": (
        lambda t: outcome_of(t)["history"][0].update(val_loss="x"),
        "history[0] is no epoch",
    ),
}


@pytest.mark.parametrize(("damage", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_trial_that_cannot_be_is_set_aside_by_name(study, trial, caplog, damage, reason):
    damage(trial)
    path = study / "trials" / "0000.json"
    path.write_text(json.dumps(trial))
    with pytest.raises(DamagedFileError) as caught:
        read_trial(path)
    assert str(path) in str(caught.value) and reason in str(caught.value)
    # A look at it changes nothing.
    assert [trial.name for trial in read_trials(study)] == ["0001"]
    assert path.exists()
    assert [trial.name for trial in read_trials(study, mend=True)] == ["0001"]
    assert not path.exists() and path.with_name("0000.json.damaged").exists()
    assert "now 0000.json.damaged" in caplog.text


@pytest.mark.parametrize(
    "content",
    [b"", b"[1]", b"null", b"\xff\xfe\0", b"[" * 100_000, b'{"a":' * 100_000, b"NaN"],
    ids=["empty", "list", "null", "binary", "deep list", "deep mapping", "NaN"],
)
@pytest.mark.parametrize("name", ["trials/0000.json", "study.json"])
def test_what_is_no_record_is_refused(study, name, content):
    (study / name).write_bytes(content)
    read = read_trial if "trials" in name else read_study
    with pytest.raises(DamagedFileError, match="cannot be used"):
        read(study / name)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_is_set_aside_without_waiting_for_it(study, make):
    make(study / "trials" / "0009.json")
    assert [trial.name for trial in read_trials(study, mend=True)] == ["0000", "0001"]
    assert (study / "trials" / "0009.json.damaged").exists()


def test_the_board_shows_the_rest_and_obeys_no_letters(study, trial):
    outcome_of(trial).update(score=None, metrics={}, error="Traceback\nx\x1b[2J[/bold]")
    (study / "trials" / "0000.json").write_text(json.dumps({**trial, "status": "failed"}))
    outcome_of(trial).update(error="\n")
    content = {**trial, "trial": "0002", "status": "failed"}
    (study / "trials" / "0002.json").write_text(json.dumps(content))
    ranking = rank(read_trials(study), read_monitor(study))
    assert next(row["id"] for row in board_rows(ranking)) == "0001"
    assert "0002" in render(ranking, read_monitor(study))
    assert sorted(error_lines(ranking)) == [
        "trial 0000: x[2J[/bold]",
        "trial 0002: for an unknown reason",
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"monitor": "evil"}, "received 'evil'"),
        ({"FineTuner": []}, "FineTuner should be"),
        ({"images": None}, "images should be a valid string"),
        ({"begun_with": {"max_trials": "5"}}, "begun_with.max_trials should be a valid integer"),
        ({"unnamed": "0000"}, "unnamed should be a valid array"),
    ],
)
def test_a_beginning_that_cannot_be_is_refused_by_its_key(study, change, reason):
    path = study / "study.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DamagedFileError) as caught:
        read_study(path)
    assert reason in str(caught.value)
    assert read_monitor(study) == "val_accuracy"


def test_a_beginning_is_read_as_it_was_written(study, early_study, tmp_path):
    known = read_study(study / "study.json")
    assert known == Beginning("val_accuracy", {"seed": 0}, {"epochs": 1}, {"seed": 0}, "abc")
    settings = {"task": "multiclass", "monitor": "val_loss", "settings": {"epochs": 1}}
    old = {**early_study, **settings}
    (tmp_path / "old.json").write_text(json.dumps(old))
    del old["task"]
    assert read_study(tmp_path / "old.json") == OldBeginning(**old)
