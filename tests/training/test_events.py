"""The log of events: one line for each phase and epoch, whatever becomes of the training."""

import json
import logging

import numpy as np

from finetune import FineTuner, fine_tune
from finetune.training import EventLog

TINY = {"preprocess": "tf", "freeze_depth": 7, "epochs": 2, "refit": 0}


def lines_of(folder):
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def test_a_run_tells_every_epoch_as_its_history_does(make_backbone, data, tmp_path):
    result = fine_tune(data, backbone=make_backbone(), out=tmp_path / "run", verbose=0, **TINY)
    rows = lines_of(tmp_path / "run")
    assert [(row["event"], row["phase"]) for row in rows] == [
        *(("phase", "head"), ("epoch", "head")),
        *(("phase", "fine_tune"), ("epoch", "fine_tune"), ("epoch", "fine_tune")),
    ]
    epochs = [row for row in rows if row["event"] == "epoch"]
    for told, known in zip(epochs, result.history, strict=True):
        for name in ("epoch", "loss", "val_loss", "val_accuracy"):
            assert told[name] == known[name], name
    assert epochs[0]["solved"] is True
    assert sorted(row["time"] for row in rows) == [row["time"] for row in rows]


def test_a_search_names_the_trial_of_every_line(make_backbone, data, tmp_path):
    tuner = FineTuner(make_backbone(), learning_rate=[1e-3, 1e-2], **TINY)
    tuner.search(data, strategy="grid", out=tmp_path / "study", verbose=0)
    tuned = [row for row in lines_of(tmp_path / "study") if row["phase"] == "fine_tune"]
    epochs = {}
    for row in tuned:
        if row["event"] == "epoch":
            epochs.setdefault(row["trial"], []).append(row["epoch"])
    assert len(epochs) == 2 and [*epochs.values()] == [[1, 2]] * 2


def test_a_loss_that_is_no_number_is_null(tmp_path):
    events = EventLog(tmp_path / "events.jsonl")
    events.start_phase("fine_tune", 1, 0)
    events.on_epoch_end(0, {"loss": np.float32("nan"), "accuracy": np.float32(0.5)})
    assert [row.get("loss", 0) for row in lines_of(tmp_path)] == [0, None]
    assert lines_of(tmp_path)[1]["accuracy"] == 0.5


def test_a_log_that_cannot_be_written_is_said_once_and_ends_nothing(tmp_path, caplog):
    events = EventLog(tmp_path / "gone" / "events.jsonl")
    with caplog.at_level(logging.WARNING, "finetune"):
        events.start_phase("fine_tune", 2, 0)
        events.on_epoch_end(0, {})
    [record] = caplog.records
    assert record.getMessage().endswith("events.jsonl: No such file or directory.")
