"""Callbacks with which training is stopped and gone on with."""

from types import SimpleNamespace

import keras
import pytest

from finetune.exceptions import OutOfTimeError
from finetune.support import current_deadline, time_limit
from finetune.training import relays
from finetune.training.records import BestEpoch, TrainingRecord
from finetune.training.relays import InTime, Pause, Replay, StateKeeper, StopRelay
from finetune.training.states import StateFile


@pytest.fixture
def model():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.stop_training = False
    return model


class Noted(keras.callbacks.Callback):
    """Takes down what it is shown, and sets the rate as it would between epochs."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append((epoch, logs))
        self.model.optimizer.learning_rate = 1e-9


@pytest.mark.parametrize("event", ["on_train_batch_end", "on_epoch_end"])
def test_who_asks_the_whole_model_to_stop_stops_the_part_that_trains(model, event):
    trainee = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    relay = StopRelay(model, trainee)
    model.stop_training = True  # left from the phase before
    relay.on_train_begin()
    getattr(relay, event)(0)
    assert trainee.stop_training is False
    model.stop_training = True
    getattr(relay, event)(1)
    assert trainee.stop_training is True


def test_a_pause_comes_after_its_epoch_and_not_before(model):
    pause = Pause(4)
    pause.set_model(model)
    stopped = []
    for epoch in (3, 4, 5):
        model.stop_training = False
        pause.on_epoch_end(epoch)
        stopped.append(model.stop_training)
    assert stopped == [False, True, True]


def test_where_time_is_up_an_epoch_is_the_last_and_no_step_begins(model):
    with time_limit(3600):
        in_time = InTime()
        in_time.set_model(model)
        in_time.on_train_batch_begin(0)
        in_time.on_epoch_end(0)
        assert not model.stop_training
        current_deadline().seconds = 0.0
        in_time.on_epoch_end(1)
        assert model.stop_training
        with pytest.raises(OutOfTimeError, match="no epoch was over yet"):
            in_time.on_train_batch_begin(1)


@pytest.mark.parametrize(
    ("at", "stopped", "epoch", "written"),
    [
        (109.9, False, 6, False),
        (110.0, False, 6, True),
        (100.1, False, 7, True),  # the last one
        (100.1, True, 6, True),
    ],
)
def test_a_state_is_written_every_ten_seconds_and_at_the_end(
    model, tmp_path, monkeypatch, at, stopped, epoch, written
):
    now = [100.0]
    monkeypatch.setattr(relays, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(relays, "SECONDS_BETWEEN_STATES", 10.0)
    best = BestEpoch(TrainingRecord())
    best.start_phase("fine_tune", 5, 3, model.variables)
    file = StateFile(tmp_path / "state.npz")
    keeper = StateKeeper(file, SimpleNamespace(trainee=model), best, "fine_tune", first_epoch=5)
    keeper.set_model(model)
    keeper.set_params({"epochs": 8})
    now[0], model.stop_training = at, stopped
    keeper.on_epoch_end(epoch)
    assert file.path.exists() == written
    if written:
        held = model.variables, model.optimizer.variables, model.variables
        state = file.load(lambda saved: held)
        assert (state.phase, state.epochs) == ("fine_tune", epoch - 4)
        now[0], model.stop_training = at + 9.9, False
        file.path.unlink()
        keeper.on_epoch_end(6)
        assert not file.path.exists()  # ten seconds from the last one


def test_others_are_shown_the_epochs_before_and_the_rate_stays_what_it_was(model):
    noted, rows = Noted(), [{"val_loss": 2.0}, {"val_loss": 1.0}]
    noted.set_model(model)
    model.optimizer.learning_rate = 0.25
    replay = Replay([noted], rows, first_epoch=5)
    replay.set_model(model)
    replay.on_train_begin()
    assert noted.seen == [(5, {"val_loss": 2.0}), (6, {"val_loss": 1.0})]
    assert float(model.optimizer.learning_rate) == 0.25
    noted.seen[0][1]["val_loss"] = 0.0
    assert rows[0] == {"val_loss": 2.0}  # what they are shown is theirs to change
