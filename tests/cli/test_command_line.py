"""Commands whose output fails, and commands that fail in a way that nobody thought of."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import pytest
from typer.testing import CliRunner

from finetune.cli import app
from finetune.model import FineTunedModel, ModelCard, load
from tiny import build_backbone

RUN = [
    *("config.json", "config.toml", "environment.json", "events.jsonl", "evidence.npz"),
    *("history.csv", "learning_rates.csv", "metrics.json", "model.keras"),
    *("report.html", "run.json"),
]


@pytest.fixture(scope="module")
def fit(write_folder, tmp_path_factory):
    """The command line of a small training, but for its folder."""
    place = tmp_path_factory.mktemp("fit")
    build_backbone().save(place / "tiny.keras")
    return [
        *(sys.executable, "-m", "finetune.cli", "fit", str(write_folder(12))),
        *("--backbone", str(place / "tiny.keras"), "--preprocess", "tf", "--freeze-depth", "10"),
        *("--epochs", "2", "--head-epochs", "2"),
    ]


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_reader_that_goes_away_does_not_end_a_training(fit, tmp_path):
    out = tmp_path / "run"
    with subprocess.Popen(
        [*fit, "--out", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        first = process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
    assert first == "Images: 28 train, 8 validation, 3 classes\n"
    assert files(out) == RUN
    assert said == "Error: The output could not be written: [Errno 32] Broken pipe.\n"
    assert process.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_to_a_full_device_does_not_end_a_training(fit, tmp_path):
    out = tmp_path / "run"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*fit, "--out", str(out)], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert files(out) == RUN
    assert done.stderr == (
        "Error: The output could not be written: [Errno 28] No space left on device.\n"
    )
    assert done.returncode == 1


def test_a_closed_output_is_none_and_disturbs_no_file(fit, tmp_path):
    out = tmp_path / "run"
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *fit, "--out", str(out)], stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0
    assert files(out) == RUN
    assert json.loads((out / "metrics.json").read_text())["validation"]["n"] == 8


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow)],
)
def test_a_signal_to_end_acts_like_ctrl_c(fit, tmp_path, number, code):
    out = tmp_path / "run"
    with subprocess.Popen(
        [*fit, "--epochs", "2000", "--out", str(out)],
        stdout=subprocess.PIPE,
        text=True,
        # The tests may have been begun with nohup, which commands heed.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        while not (out / "state.npz").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        said = process.stdout.read()
    assert process.returncode == code
    assert "training was stopped before its end; this is the best until then" in said
    assert files(out) == [*RUN, "state.npz"]
    assert load(out).card.class_names == ("boots", "sandals", "sneakers")


def test_letters_that_a_terminal_does_not_have_are_replaced(write_folder, tmp_path):
    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.Softmax()(keras.layers.GlobalAveragePooling2D()(inputs))
    card = ModelCard("multiclass", ("größer", "größte", "kleiner"), (8, 8), "pad")
    FineTunedModel(keras.Model(inputs, outputs), card).save(tmp_path / "Schöne.keras")
    odd = tmp_path / os.fsdecode(b"caf\xe9.png")  # a name that is no UTF-8
    shutil.copy(next(write_folder(2).glob("*/*.png")), odd)
    done = subprocess.run(
        [sys.executable, "-m", "finetune.cli", "predict", tmp_path / "Schöne.keras", odd],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii:strict"},
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{tmp_path}/caf?.png  gr??")


def test_help_to_a_full_device_is_an_error_without_a_traceback():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "finetune.cli", "fit", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr == (
        "Error: The output could not be written: [Errno 28] No space left on device.\n"
    )


def fail_with(error, monkeypatch):
    def load(path):
        raise error

    monkeypatch.setattr("finetune.model.load", load)
    return CliRunner().invoke(app, ["predict", "a.keras", "b.png"])


def test_what_nobody_thought_of_is_a_line_and_a_file(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = fail_with(RuntimeError("[/b] went\nwrong"), monkeypatch)
    (kept,) = tmp_path.iterdir()
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (
        "Error: RuntimeError: [/b] went\n"
        f"This is a mistake of this program, or of its surroundings. All of it is in {kept}.\n"
    )
    assert "RuntimeError: [/b] went\nwrong\n" in kept.read_text()
    assert "Traceback (most recent call last)" in kept.read_text()


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("could not create a memory object"), RuntimeError("OOM when")],
)
def test_exhausted_memory_says_what_to_do(error, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = fail_with(error, monkeypatch)
    assert result.exit_code == 1
    assert "give a smaller --batch-size, --image-size or --cache-budget" in result.stderr


def test_a_traceback_is_shown_where_no_file_can_be_written(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    result = fail_with(RuntimeError("odd"), monkeypatch)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: RuntimeError: odd\nTraceback (most recent call last)")


def test_signs_of_markup_in_a_path_are_shown_as_they_are(monkeypatch):
    result = CliRunner().invoke(app, ["predict", "x[red]y[/b].keras", "b.png"])
    assert "there is none at x[red]y[/b].keras" in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="names of files must be text there")
def test_folders_whose_names_are_no_text_are_trained_on_and_loaded(fit, write_folder, tmp_path):
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    shutil.copytree(write_folder(4), odd / "images")
    next((odd / "images").iterdir()).rename(odd / "images" / os.fsdecode(b"\xff\xfe"))
    images, out, again = odd / "images", odd / "run", tmp_path / "again"
    options = fit[fit.index("fit") + 2 :]
    for arguments in (
        [str(images), *options, "--out", str(out)],
        ["--config", str(out / "config.toml"), "--out", str(again)],
    ):
        done = CliRunner().invoke(app, ["fit", *arguments])
        assert done.exit_code == 0, done.output
    for run in (out, again):
        assert load(run).card.class_names[-1] == "\\xff\\xfe"
    assert (again / "config.toml").read_bytes() == (out / "config.toml").read_bytes()


@pytest.mark.parametrize(
    ("typed", "meant"), [("--lr", "--learning-rate"), ("--freeze_dept", "--freeze-depth")]
)
def test_an_option_that_there_is_not_is_told_with_the_one_that_was_meant(typed, meant):
    result = CliRunner().invoke(app, ["fit", "shoes/", typed, "1"])
    assert result.exit_code == 2
    said = " ".join(result.output.split())
    assert f"No such option: {typed}" in said and meant in said and "--help)" not in said
