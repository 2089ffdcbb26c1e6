"""Configuration files: what a run writes does the same again."""

import json
import os
import sys

import pytest
from typer.testing import CliRunner

from finetune import FineTuner, load_data
from finetune.cli import app
from finetune.cli.config import read_config
from finetune.cli.fit import OPTIONS
from finetune.exceptions import ArgumentError, StorageError
from tiny import build_backbone

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def place(write_folder, tmp_path_factory):
    """A folder with a backbone, and the options to use it on the images."""
    root = tmp_path_factory.mktemp("config")
    build_backbone().save(root / "tiny.keras")
    return root, (
        *(write_folder(12), "--backbone", root / "tiny.keras", "--preprocess", "tf"),
        *("--epochs", "2", "--head-epochs", "2", "--test", "0.2", "--seed", "3"),
    )


def metrics(run):
    """All but what was timed."""
    return {**json.loads((run / "metrics.json").read_text()), "seconds": 0, "spared": None}


def test_the_file_of_a_run_does_the_same_run_again(place):
    root, options = place
    learn = ("--freeze-depth", "10", "--learning-rate", "1e-2", "--class-weight", "balanced")
    first = call("fit", *options, *learn, "--out", root / "first")
    assert first.exit_code == 0, first.output
    again = call("fit", "--config", root / "first" / "config.toml", "--out", root / "again")
    assert again.exit_code == 0, again.output
    assert metrics(root / "again") == metrics(root / "first")
    one, other = ((root / run / "config.toml").read_text() for run in ("first", "again"))
    assert one == other


def test_the_file_is_resolved_and_a_flag_beats_it(place):
    root, options = place
    call("fit", *options, "--freeze-depth", "10", "--out", root / "resolved")
    path = root / "resolved" / "config.toml"
    text = path.read_text()
    assert text.startswith("# The same again: finetune fit --config config.toml\n")
    content = tomllib.loads(text)
    assert content["image_size"] == 16
    assert content["label_smoothing"] == 0.1
    assert content["task"] == "multiclass"
    assert (content["clip_norm"], content["layer_decay"]) == (1.0, "none")
    assert content["seed"] == 3
    call("fit", "--config", path, "--epochs", "1", "--no-reuse", "--out", root / "beaten")
    beaten = tomllib.loads((root / "beaten" / "config.toml").read_text())
    assert (beaten["epochs"], beaten["reuse"]) == (1, False)
    assert {**beaten, "epochs": 2, "reuse": "auto"} == content


@pytest.mark.thorough
def test_the_file_of_a_study_does_the_same_search_again(place):
    root, options = place
    space = ("--strategy", "grid", "--freeze-depth", "7,10", "--learning-rate", "1e-3,1e-2")
    first = call("search", *options, *space, "--out", root / "study")
    assert first.exit_code == 0, first.output
    again = call("search", "--config", root / "study" / "config.toml", "--out", root / "study2")
    assert again.exit_code == 0, again.output
    boards = [json.loads(call("board", root / n, "--json").output) for n in ("study", "study2")]
    for board in boards:
        for row in board:
            row["seconds"] = 0
    assert boards[0] == boards[1]


def test_what_only_python_can_give_is_named(place, arrays, tmp_path):
    data = load_data(arrays, image_size=16)
    tuner = FineTuner(
        build_backbone(), preprocess="tf", freeze_depth=[7, 10], epochs=1, head_epochs=1
    )
    tuner.search(data, strategy="random", max_trials=1, out=tmp_path / "study", verbose=0)
    path = tmp_path / "study" / "config.toml"
    content = tomllib.loads(path.read_text())
    assert content["only_python"] == ["data", "backbone"]
    assert content["learning_rate"] == "0.0001:0.002"
    refused = call("search", "--config", path)
    assert refused.exit_code == 1
    assert "was given data, backbone in Python, which no file can hold" in refused.output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", "'epoch' is no option of this command. Did you mean 'epochs'?"),
        ("callbacks = []", "'callbacks' is no option of this command"),
        ('epochs = "many"', "Expected epochs as a whole number; received 'many'"),
        ("strict = 1", "Expected strict as true or false; received 1 of type int"),
        ("data = 3", "'data' is no option"),
        ("epochs = ", "Expected TOML in"),
        ("epochs = 1\nepochs = 2", "Expected TOML in"),
        ("x = " + "[" * 50_000, "Expected TOML in"),
        ("x = 1 #" + " " * 2**20, "it has more than 1,048,576 bytes"),
        ("only_python = 5", "was given 5 in Python, which no file can hold"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(tmp_path, text, message):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(ArgumentError) as refused:
        read_config(path, OPTIONS)
    assert message in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(StorageError, match=r"Expected a TOML file that can be read at .*none"):
        read_config(tmp_path / "none.toml", OPTIONS)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "run.toml")
    with pytest.raises(StorageError, match="expected a regular file"):
        read_config(tmp_path / "run.toml", OPTIONS)


def test_images_must_be_named_somewhere(tmp_path):
    (tmp_path / "run.toml").write_text("epochs = 1")
    refused = call("fit", "--config", tmp_path / "run.toml")
    assert refused.exit_code == 1
    assert "Expected images: an image folder or a TFDS name as DATA" in refused.output
