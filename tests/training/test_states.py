"""Training that stops and goes on from its file."""

from pathlib import Path

import numpy as np
import pytest

from finetune import FineTuner
from finetune.exceptions import StorageError
from finetune.training.records import FINE_TUNE, TrainingRecord
from finetune.training.states import SavedState, SpareStateFile, StateFile, TrainingState
from tiny import rewrite_arrays


def tune(backbone, **settings):
    """A FineTuner that trains quickly."""
    defaults = {
        "preprocess": "tf",
        "freeze_depth": 7,
        "learning_rate": 0.01,
        "epochs": 4,
        "head_epochs": 3,
        "dropout": 0.3,
    }
    return FineTuner(backbone, **defaults | settings)


def train(tuner, data, *, until=None, file=None):
    trainer = tuner.trainer
    values = trainer.settings()
    source = trainer.source_of(data, values)
    model, record = trainer.train(values, source, until=until, file=file)
    return model.get_weights(), record


@pytest.mark.thorough
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"schedule": "cosine"},
        {"schedule": "plateau", "learning_rate": 0.3, "epochs": 6},
        {"patience": 1, "learning_rate": 0.3, "epochs": 8},
        {"ema": 0.9},
        {"layer_decay": 0.8, "clip_norm": 1.0},
        {"reuse": False},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())) or "plain",
)
def test_paused_training_ends_as_if_it_had_never_stopped(backbone, data, tmp_path: Path, settings):
    tuner = tune(backbone, **settings)
    whole, record = train(tuner, data)
    file = StateFile(tmp_path / "state.npz")
    _, first = train(tuner, data, until=1, file=file)
    assert len(first.phase(FINE_TUNE)) == 1
    train(tuner, data, until=3, file=file)
    weights, resumed = train(tuner, data, file=file)
    assert resumed.best == record.best
    assert resumed.rates == {
        name: pytest.approx(rates, rel=1e-6) for name, rates in record.rates.items()
    }
    for one, other in zip(resumed.epochs, record.epochs, strict=True):
        assert {k: v for k, v in one.items() if k != "seconds"} == pytest.approx(
            {k: v for k, v in other.items() if k != "seconds"}, abs=1e-5
        )
    for one, other in zip(weights, whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_finished_training_is_not_trained_again(backbone, data, tmp_path: Path):
    file = StateFile(tmp_path / "state.npz")
    weights, record = train(tune(backbone), data, file=file)
    before = file.path.stat().st_mtime_ns
    again, same = train(tune(backbone), data, file=file)  # as after a restart
    assert file.path.stat().st_mtime_ns == before
    assert same == record
    for one, other in zip(again, weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_pause_that_is_over_already_trains_nothing(backbone, data, tmp_path: Path):
    file = StateFile(tmp_path / "state.npz")
    _, first = train(tune(backbone), data, until=1, file=file)
    before = file.path.stat().st_mtime_ns
    _, again = train(tune(backbone), data, until=1, file=file)
    assert len(first.phase(FINE_TUNE)) == 1 and not first.finished
    assert again == first
    assert file.path.stat().st_mtime_ns == before


@pytest.mark.thorough
def test_training_goes_on_from_the_file_of_another(backbone, data, tmp_path: Path):
    tuner = tune(backbone)
    _, record = train(tuner, data)
    other = StateFile(tmp_path / "other.npz")
    train(tuner, data, until=2, file=other)
    own = StateFile(tmp_path / "own.npz", start=other.path)
    _, resumed = train(tuner, data, file=own)
    assert resumed.best_epoch["val_loss"] == pytest.approx(record.best_epoch["val_loss"], abs=1e-5)
    assert own.path.exists()


def cut_short(meta, arrays):
    arrays[0] = arrays[0][:-1]


def lose_one(meta, arrays):
    del arrays[-1]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda meta, arrays: meta.update(epochs="one"), "meta.epochs should be a valid integer"),
        (
            lambda meta, arrays: meta.update(phase="evil"),
            "expected a state of head, fine_tune, rec",
        ),
        (lambda meta, arrays: meta["record"].update(best=7), "expected best to be one of 2 epochs"),
        (
            lambda meta, arrays: meta["record"]["epochs"][1].update(val_loss="low"),
            "epochs[1].val_loss is missing or no Real",
        ),
        (lambda meta, arrays: meta.update(lengths=[10**9, 1, 1]), "expected lengths ("),
        (cut_short, "expected array_0 to be float32"),
        (lose_one, "types, received"),
    ],
)
def test_state_that_does_not_fit_is_set_aside_and_training_begins_anew(
    backbone, data, tmp_path: Path, caplog, change, reason
):
    file = StateFile(tmp_path / "state.npz")
    tuner = tune(backbone)
    train(tuner, data, until=1, file=file)
    rewrite_arrays(file.path, change)
    _, record = train(tuner, data, file=file)
    assert len(record.phase(FINE_TUNE)) == 4
    assert reason in caplog.text and "state.npz.damaged" in caplog.text
    assert (tmp_path / "state.npz.damaged").exists()


def test_a_state_has_no_fewer_than_0_epochs():
    assert SavedState("head", 0, TrainingRecord(), (0, 0, 0)).epochs == 0
    with pytest.raises(ValueError, match="expected epochs to be 0 or more, received -1"):
        SavedState("head", -1, TrainingRecord(), (0, 0, 0))


def test_a_training_that_can_do_without_its_state_says_once_that_it_cannot_be_written(
    tmp_path: Path, caplog
):
    (tmp_path / "held").write_text("a file in the place of the folder")
    file = SpareStateFile(tmp_path / "held" / "state.npz")
    state = TrainingState("fine_tune", 1, TrainingRecord(), [], [], [])
    for _ in range(2):
        file.save(state)
    (said,) = caplog.messages
    assert said.startswith("Training goes on, but cannot be taken up again if it ends: ")
    assert str(file.path) in said
    with pytest.raises(StorageError):
        StateFile(file.path).save(state)


def test_damaged_file_is_set_aside_by_name(backbone, data, tmp_path: Path, caplog):
    file = StateFile(tmp_path / "state.npz")
    tuner = tune(backbone)
    train(tuner, data, until=1, file=file)
    file.path.write_bytes(file.path.read_bytes()[:2000])
    _, record = train(tuner, data, file=file)
    assert len(record.phase(FINE_TUNE)) == 4
    assert "state.npz.damaged" in caplog.text
    assert (tmp_path / "state.npz.damaged").exists()
