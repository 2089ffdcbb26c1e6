"""Which epoch is kept, and what is recorded of all of them."""

import itertools
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from finetune.training.head_store import TrainedHead
from finetune.training.records import (
    STANDARD_ERROR,
    BestEpoch,
    TrainingRecord,
    best_row,
    epoch_score,
    merged_history,
)


@pytest.fixture
def model():
    """One weight, which says which epoch it was left by."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.stop_training = False  # as `fit` does
    return model


def value_of(model):
    return float(np.array(model.variables[0]).item())


def go_through(best, model, losses, *, epochs=9, first=0, begin=1, phase="fine_tune"):
    """Epochs with these validation losses; each leaves its number in the weight."""
    best.set_model(model)
    best.start_phase(phase, first, epochs, model.variables)
    leave(best, model, losses, first=first, begin=begin)


def leave(best, model, losses, *, first=0, begin=1):
    for number, loss in enumerate(losses, start=begin):
        best.on_epoch_begin(first + number - 1)
        model.variables[0].assign([[float(number)]])
        best.on_epoch_end(first + number - 1, {"loss": 0.5, "val_loss": np.float32(loss)})


def test_the_weights_of_the_epoch_with_the_lowest_loss_are_put_back(model):
    best = BestEpoch(TrainingRecord())
    go_through(best, model, [3.0, 1.0, 2.0])
    assert value_of(model) == 3.0
    best.restore()
    assert value_of(model) == 2.0
    assert best.record.best == 1
    assert best.record.best_epoch["val_loss"] == 1.0
    assert [value.item() for value in best.best_values()] == [2.0]


def test_of_epochs_with_the_same_loss_the_first_is_kept(model):
    best = BestEpoch(TrainingRecord())
    go_through(best, model, [2.0, 1.0, 1.0])
    assert best.record.best == 1


def test_an_epoch_takes_from_its_beginning_to_its_end(model, monkeypatch):
    clock = SimpleNamespace(perf_counter=itertools.count(5.0, 2.0).__next__)
    monkeypatch.setattr("finetune.training.records.time", clock)
    best = BestEpoch(TrainingRecord())
    go_through(best, model, [1.0, 1.0])
    assert [row["seconds"] for row in best.record.epochs] == [2.0, 2.0]


def test_epochs_are_counted_from_1_within_their_phase_and_measured_as_plain_numbers(model):
    best = BestEpoch(TrainingRecord())
    go_through(best, model, [1.0, 1.0], first=7)
    assert [row["epoch"] for row in best.record.epochs] == [1, 2]
    assert {type(row[name]) for row in best.record.epochs for name in ("loss", "val_loss")} == {
        float
    }


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
def test_an_epoch_whose_loss_is_not_finite_is_recorded_and_never_kept(model, loss):
    best = BestEpoch(TrainingRecord())
    model.variables[0].assign([[0.5]])
    go_through(best, model, [loss])
    best.restore()
    assert (len(best.record.epochs), best.record.best, value_of(model)) == (1, -1, 0.5)


def test_a_phase_is_finished_with_its_last_epoch_or_where_it_is_stopped(model):
    best = BestEpoch(TrainingRecord(finished=True))
    go_through(best, model, [3.0], epochs=2)
    assert not best.record.finished
    leave(best, model, [2.0], begin=2)
    assert best.record.finished
    best.start_phase("more", 2, 5, model.variables)
    assert not best.record.finished
    model.stop_training = True
    leave(best, model, [1.0], first=2)
    assert best.record.finished


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [([1.0], [2.0, 3.0], 0), ([3.0, 1.0], [0.5, 2.0], 2), ([np.nan], [2.0, 1.0], 2)],
)
def test_it_goes_on_from_an_earlier_record_with_the_best_of_both(model, before, after, kept):
    first = BestEpoch(TrainingRecord())
    go_through(first, model, before)
    best = BestEpoch(TrainingRecord())
    best.set_model(model)
    best.start_phase("fine_tune", 0, 9, model.variables)
    best.resume(first.record, first.best_values())
    leave(best, model, after, begin=len(before) + 1)
    assert best.record.best == kept
    best.restore()
    assert value_of(model) == kept + 1


def test_a_head_that_was_trained_before_is_what_later_epochs_have_to_beat(model):
    rows = [{"phase": "head", "epoch": n, "val_loss": loss} for n, loss in ((1, 4.0), (2, 2.0))]
    best = BestEpoch(TrainingRecord())
    best.set_model(model)
    model.variables[0].assign([[0.25]])
    best.adopt(TrainedHead(rows, [0.1, 0.1], 1, [], True, False), "head", model.variables)
    assert (best.record.finished, best.record.interrupted) == (True, False)
    assert best.record.rates == {"head": [0.1, 0.1]}
    go_through(best, model, [3.0, 2.5], first=1)
    best.restore()
    assert (best.record.best, value_of(model)) == (1, 0.25)
    assert [row["phase"] for row in best.record.epochs] == ["head"] * 2 + ["fine_tune"] * 2


def test_how_far_chance_moves_it_is_noted_of_the_head_and_of_no_other_epoch(model):
    best = BestEpoch(TrainingRecord())
    go_through(best, model, [2.0], phase="head")
    go_through(best, model, [1.0], first=1)
    best.allow_for_chance(0.5)
    assert [row.get(STANDARD_ERROR) for row in best.record.epochs] == [0.5, None]


def test_the_lower_loss_and_the_higher_accuracy_are_better_and_the_loss_decides_between_equals():
    row = {"val_accuracy": 0.5, "val_loss": 2.0}
    assert epoch_score(row, "val_loss") == (-2.0, -2.0)
    assert epoch_score(row, "val_accuracy") == (0.5, -2.0)
    rows = [{"val_accuracy": 0.5, "val_loss": loss} for loss in (2.0, 1.0, np.nan)]
    assert best_row(rows, "val_accuracy") is rows[1]
    assert best_row(rows[2:], "val_accuracy") is None


ROWS = [
    {"phase": "head", "epoch": 1, "loss": 5.0, "val_loss": 3.0, "seconds": 9.0},
    {"phase": "head", "epoch": 2, "loss": 6.0, "val_loss": 4.0, "seconds": 9.0},
    {"phase": "fine_tune", "epoch": 1, "loss": 1.0, "val_loss": 2.0, "seconds": 9.0},
]


@pytest.mark.parametrize(
    ("head_as_one", "losses", "phases"),
    [(False, [5.0, 6.0, 1.0], [0.0, 0.0, 1.0]), (True, [5.0, 1.0], [0.0, 1.0])],
)
def test_keras_tuner_is_shown_the_epochs_that_its_callbacks_saw(head_as_one, losses, phases):
    history = merged_history(TrainingRecord(ROWS, best=2), head_as_one=head_as_one)
    assert history.epoch == [*range(len(losses))]
    assert history.history["loss"] == losses
    assert history.history["phase"] == phases
    assert {*history.history} == {"loss", "val_loss", "phase"}


def test_a_head_without_a_finite_loss_is_no_epoch_for_keras_tuner():
    rows = [{**ROWS[0], "val_loss": np.nan}, ROWS[2]]
    assert merged_history(TrainingRecord(rows), head_as_one=True).history["loss"] == [1.0]
