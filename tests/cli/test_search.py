"""The commands `search` and `board`, as others script against them."""

import csv
import io
import json

import pytest
from typer.testing import CliRunner

from finetune.cli import app
from tiny import build_backbone


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def study(write_folder, tmp_path_factory):
    """The arguments of a search, its folder, and what it printed."""
    place = tmp_path_factory.mktemp("search")
    build_backbone().save(place / "tiny.keras")
    arguments = (
        *("search", write_folder(12), "--backbone", place / "tiny.keras", "--preprocess", "tf"),
        *("--strategy", "grid", "--freeze-depth", "7,10", "--learning-rate", "1e-3,1e-2"),
        *("--epochs", "2", "--head-epochs", "2", "--seed", "0", "--out", place / "study"),
    )
    return arguments, place / "study", call(*arguments)


def test_search_prints_the_plan_the_trials_the_board_and_the_verdict(study):
    _, folder, printed = study
    assert printed.exit_code == 0, printed.output
    output = printed.output
    assert "Search over learning_rate, freeze_depth: 4 combinations" in output
    assert "s at depth 7" in output and "s at depth 10" in output
    assert "4/4 trial 0003" in output
    assert "no test images" in output
    best = json.loads((folder / "result.json").read_text())["best"]
    said = {False: "Best: trial {id}, ", True: "with the head that trial {id} began with"}
    assert said[best["head_is_best"]].format(**best) in output
    assert f"finetune predict {folder}" in output.replace("\n", "")


def test_the_same_command_goes_on(study):
    arguments, _folder, _ = study
    again = call(*arguments)
    assert again.exit_code == 0
    assert "4 completed" in again.output
    assert "An epoch takes" not in again.output  # nothing is left to be measured


def test_its_time_is_counted_from_the_beginning_of_the_command(study, tmp_path):
    arguments, _, _ = study
    late = call(*arguments[:-1], tmp_path / "other", "--time-budget", "0.001")
    assert late.exit_code == 1
    assert "time was up when 0 of 36 images were decoded" in late.output
    assert "Give a longer --time-budget, fewer images" in late.output


def test_its_configuration_file_goes_on_and_more_trials_extend_it(study):
    _, folder, _ = study
    again = call("search", "--config", folder / "config.toml", "--out", folder, "--max-trials", "9")
    assert again.exit_code == 0, again.output
    assert "4 completed" in again.output


def test_what_differs_from_the_study_is_named(study):
    arguments, _, _ = study
    other = call(*arguments, "--augment", "strong")
    assert other.exit_code == 1
    assert "augment: 'none' in the study, 'strong' now" in other.output


def test_board_as_json_has_the_fields_that_were_promised(study):
    _, folder, _ = study
    trials = json.loads(call("board", folder, "--json").output)
    assert len(trials) == 4
    promised = {
        "id",
        "hyperparameters",
        "score",
        "interval",
        "accuracy",
        "accuracy_interval",
        "epochs",
        "seconds",
        "status",
        "error",
        "remark",
    }
    for trial in trials:
        assert promised <= set(trial)
        assert set(trial["hyperparameters"]) == {"freeze_depth", "learning_rate"}
        low, high = trial["accuracy_interval"]
        assert low <= trial["accuracy"] <= high
        assert trial["score"] > 0 and trial["interval"] is None  # of one seed's loss
        assert (trial["status"], trial["error"], trial["epochs"]) == ("completed", None, 2)


def test_board_as_csv_has_a_column_for_each_hyperparameter(study):
    _, folder, _ = study
    rows = list(csv.DictReader(io.StringIO(call("board", folder, "--csv").output)))
    trials = json.loads(call("board", folder, "--json").output)
    assert [row["id"] for row in rows] == [trial["id"] for trial in trials]
    for row, trial in zip(rows, trials, strict=True):
        assert float(row["learning_rate"]) == trial["hyperparameters"]["learning_rate"]
        assert float(row["accuracy_interval_low"]) == trial["accuracy_interval"][0]
    assert "error" not in rows[0]


def test_board_is_a_table_of_all_trials(study):
    _, folder, _ = study
    output = call("board", folder).output
    for text in ("frozen", "1.0e-02", "completed", "0003"):
        assert text in output


def test_model_of_the_study_predicts(study, write_folder):
    _, folder, _ = study
    images = write_folder(2)
    lines = call("predict", folder, images, "--json").output.strip().splitlines()
    assert len(lines) == 6
    assert json.loads(lines[0])["label"] in ("boots", "sandals", "sneakers")


def test_board_of_something_else_is_refused(tmp_path):
    refused = call("board", tmp_path)
    assert refused.exit_code == 1
    assert "Expected a study's folder" in refused.output


def test_the_best_trial_is_trained_again_alone_by_the_command_that_is_said(study, tmp_path):
    _, folder, printed = study
    command = f"finetune fit --config {folder / 'best.toml'}"
    for output in (printed.output, call("board", folder).output):
        assert f"alone: {command}" in output
    assert "fit --config best.toml" in (folder / "report.html").read_text()
    best = json.loads((folder / "result.json").read_text())["best"]["id"]
    trial = json.loads((folder / "trials" / f"{best}.json").read_text())
    expected = [row["val_loss"] for row in trial["steps"][-1]["outcome"]["history"]]
    again = call(*command.split()[1:], "--out", tmp_path / "run")
    assert again.exit_code == 0, again.output
    with open(tmp_path / "run" / "history.csv", newline="") as file:
        found = [float(row["val_loss"]) for row in csv.DictReader(file)]
    assert found == pytest.approx(expected, abs=1e-5)
