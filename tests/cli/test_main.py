"""The command line: what it prints, writes and returns."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from typer.testing import CliRunner

from finetune.cli import app

FIT = [
    *("--backbone", "mobilenet_v2", "--alpha", "0.35", "--weights", "none", "--image-size", "32"),
    *("--learning-rate", "1e-4", "--epochs", "1", "--head-epochs", "2", "--seed", "0"),
    *("--refit", "0"),
]


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(write_folder):
    return write_folder(8)


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    logs = tmp_path_factory.getbasetemp() / "logs"
    options = ("--freeze-depth", "144", "--out", out, "--tensorboard", logs)
    return out, call("fit", folder, *FIT, *options)


def test_fit_writes_a_run_and_prints_its_summary(run):
    out, result = run
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "Images: 18 train, 6 validation, 3 classes"
    phases = [line.split()[0] for line in lines if ": val loss " in line]
    assert phases == ["Head:", "Fine-tuning:"]
    assert "mobilenet_v2, 144 of 154 layers frozen" in result.stdout
    assert lines[-2] == f"Look at it: {out / 'report.html'}"
    assert lines[-1] == f"Use it: finetune predict {out / 'model.keras'} IMAGES..."
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["test"] is None


def test_check_takes_the_width_of_a_backbone_as_fit_does(folder, tmp_path):
    options = ("--backbone", "resnet50", "--alpha", "0.35", "--weights", "none")
    result = call("check", folder, *options, "--out", tmp_path / "check")
    assert result.exit_code == 1
    assert "resnet50 has no option alpha. Its options: none." in result.stderr


def test_fit_logs_for_tensorboard(run, tmp_path_factory):
    logs = tmp_path_factory.getbasetemp() / "logs"
    [file] = (logs / "train").glob("events.out.tfevents.*")
    tags = {
        value.tag
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    }
    assert {"epoch_loss", "epoch_accuracy", "epoch_learning_rate"} <= tags
    assert [path.name for path in sorted(logs.iterdir())] == ["train", "validation"]


def test_predict_prints_one_json_object_a_line(run, folder):
    out, _ = run
    files = sorted((folder / "boots").iterdir())[:3]
    result = call("predict", out / "model.keras", *files, "--json")
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["path"] for row in rows] == [str(file) for file in files]
    for row in rows:
        assert list(row) == ["path", "label", "probabilities"]
        assert set(row["probabilities"]) == {"boots", "sandals", "sneakers"}
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert row["label"] in row["probabilities"]


def test_predict_without_json_is_a_table_and_names_what_it_skipped(run, folder, tmp_path):
    out, _ = run
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    image = next((folder / "boots").iterdir())
    result = call("predict", out, image, broken)
    assert result.exit_code == 3
    assert result.stdout.startswith(f"{image}  ")
    assert result.stdout.rstrip().endswith("%")
    assert f"skipped: {broken}" in result.stderr
    assert result.stderr.endswith("1 file could not be read.\n")


def test_explain_draws_where_images_speak_for_a_class(run, folder, tmp_path):
    files = sorted((folder / "boots").iterdir())[:2]
    result = call("explain", run[0], *files, "--label", "boots", "--out", tmp_path / "map.png")
    assert result.stdout == f"Written to {tmp_path / 'map.png'}\n", result.output
    with Image.open(tmp_path / "map.png") as figure:
        assert figure.size == pytest.approx((720, 810), abs=2), "two images, each with its map"
    refused = call("explain", run[0], files[0], "--label", "hats", "--out", tmp_path / "map.png")
    assert refused.exit_code == 1 and "Expected labels among" in refused.stderr
    other = call("explain", run[0], files[0], "--out", tmp_path / "map.txt")
    assert "Expected a file name ending in one of" in " ".join(other.stderr.split())


def test_evaluate_measures_the_very_images_that_the_run_held_back(run, folder, tmp_path):
    """It split anew, with a seed and a share of its own, and measured training images."""
    out = tmp_path / "seed_1"
    options = ["--freeze-depth", "144", "--validation", "0.4", "--seed", "1"]
    fit = call("fit", folder, *FIT, *options, "--out", out, "--json")
    assert fit.exit_code == 0, fit.output
    written = json.loads((out / "metrics.json").read_text())
    assert json.loads(fit.stdout) == {"folder": str(out), **written}
    result = call("evaluate", out, folder, "--split", "validation")
    assert result.exit_code == 0, result.output
    metrics = json.loads((out / "metrics.json").read_text())["validation"]
    low, high = metrics["interval"]
    n = metrics["n"]
    assert n != json.loads((run[0] / "metrics.json").read_text())["validation"]["n"]
    assert result.stdout.startswith(
        f"accuracy {metrics['accuracy']:.3f} [{low:.3f}, {high:.3f}] (n={n})\n"
        f"None was trained on, but {n} of {n} chose the epoch: a little optimistic.\n"
    )


def test_evaluate_scores_a_plain_folder_as_a_whole_and_says_what_was_trained_on(run, folder):
    result = call("evaluate", run[0], folder)
    assert result.exit_code == 0, result.output
    score, remark, empty, *table = result.stdout.splitlines()
    assert score.endswith("(n=24)")
    as_json = json.loads(call("evaluate", run[0], folder, "--json").stdout)
    assert [row["n"] for row in as_json["classes"]] == [8, 8, 8] and empty == ""
    assert np.sum(as_json["confusion"]) == 24
    right = np.trace(as_json["confusion"])
    assert as_json["accuracy"] == pytest.approx(right / 24)
    first = [line.split()[0] for line in table if line.strip()]
    assert [word for word in first if word in ("boots", "sandals", "sneakers")] == 2 * [
        *("boots", "sandals", "sneakers")
    ]
    assert as_json["known"] == {"train": 18, "validation": 6, "test": 0, "new": 0}
    assert f"accuracy {as_json['accuracy']:.3f} " in score
    assert remark == (
        "18 of 24 were trained on: this is no estimate. 6 chose the epoch, 0 did neither."
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["fit", "/nowhere", *FIT], "/nowhere"),
        (["fit", "FOLDER", "--backbone", "resnet_9000"], "resnet_9000"),
        (["fit", "FOLDER", "--backbone", "nope.keras"], "No model file at 'nope.keras'"),
        (["fit", "/nowhere", *FIT, "--learning-rate", "0"], "Expected --learning-rate above 0"),
        (
            ["fit", "/nowhere", *FIT, "--schedule", "linear"],
            "Expected --schedule to be one of constant, ",
        ),
        (["predict", "/nowhere.keras", "a.png"], "there is none at"),
    ],
)
def test_errors_are_one_readable_message(arguments, text, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call(*(folder if argument == "FOLDER" else argument for argument in arguments))
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert text in result.stderr.replace("\n", "")
    assert "Traceback" not in result.output


def test_a_typing_mistake_is_refused_before_tensorflow_is_needed():
    result = call("fit", "data", "--epochs", "many")
    assert result.exit_code == 2
    assert "--epochs" in result.stderr


def test_ctrl_c_before_there_is_an_epoch_is_a_quiet_stop(folder, monkeypatch, tmp_path):
    def stop(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr("finetune.api.fine_tune", stop)
    result = call("fit", folder, *FIT, "--out", tmp_path)
    assert result.exit_code == 130
    assert result.stderr == "Stopped.\n"
    assert result.stdout == ""


def test_ctrl_c_in_training_keeps_the_best_so_far(folder, monkeypatch, tmp_path):
    from finetune.training.program import Program

    train = Program.fit

    def fit(self, *arguments, **keywords):
        train(self, *arguments, **keywords)
        raise KeyboardInterrupt

    monkeypatch.setattr(Program, "fit", fit)
    result = call("fit", folder, *FIT, "--freeze-depth", "144", "--out", tmp_path)
    assert result.exit_code == 130, result.output
    assert "training was stopped before its end" in result.stdout
    assert (tmp_path / "model.keras").exists()


def test_backbones_are_listed():
    result = call("backbones")
    assert result.exit_code == 0
    assert "mobilenet_v2" in result.stdout.splitlines()


def test_help_and_the_list_of_backbones_do_not_load_tensorflow():
    script = (
        "import sys; from typer.testing import CliRunner; from finetune.cli import app; "
        "assert 'fit' in CliRunner().invoke(app, ['--help']).output; "
        "assert CliRunner().invoke(app, ['fit', '--help']).exit_code == 0; "
        "assert 'resnet50' in CliRunner().invoke(app, ['backbones']).output; "
        "print([name for name in ('tensorflow', 'keras', 'keras_tuner') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_what_tensorflow_says_while_it_starts_does_not_reach_the_user(run):
    out, _ = run
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-m", "finetune.cli", "predict", str(out), str(out / "none")],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "oneDNN" not in done.stderr
