"""What callbacks see of a training of several phases: one training."""

import keras
import pytest

from finetune.exceptions import ArgumentError
from finetune.training.session import Session, refuse_callbacks

EVENTS = [
    f"on_{what}_{when}"
    for what in ("epoch", "train_batch", "test", "test_batch")
    for when in ("begin", "end")
]


def noting(base=keras.callbacks.Callback, **options):
    """A callback that takes down what it is called for."""

    class Noting(base):
        def __getattribute__(self, name):
            if name.startswith("on_") or name in ("set_model", "set_params"):
                object.__getattribute__(self, "called").append(name)
            return super().__getattribute__(name)

    callback = Noting.__new__(Noting)
    callback.called = []
    callback.__init__(**options)
    return callback


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])


def test_a_training_begins_with_its_first_phase_and_ends_once(model):
    callback = noting()
    session = Session([callback], model)
    session.on_train_begin()
    session.on_train_begin()  # of the second phase
    session.end({})
    assert callback.called == ["set_model", "on_train_begin", "on_train_end"]
    assert callback.model is model


def test_a_training_that_never_began_does_not_end(model):
    callback = noting()
    Session([callback], model).end({})
    assert callback.called == []


def test_callbacks_that_count_epochs_begin_anew_with_each_phase(model):
    callback = noting(keras.callbacks.EarlyStopping, patience=3)
    session = Session([callback], model)
    session.on_train_begin()
    session.on_train_begin()
    assert callback.called == ["set_model", "on_train_begin", "on_train_begin"]


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_reaches_every_callback_in_order_with_its_arguments(model, event):
    told = []

    class Tells(keras.callbacks.Callback):
        def __init__(self, name):
            super().__init__()
            self.name = name

    setattr(Tells, event, lambda self, *given, **named: told.append((self.name, given, named)))
    session = Session([Tells("first"), Tells("second")], model)
    getattr(session, event)(3, logs={"loss": 1.0})
    assert told == [(name, (3,), {"logs": {"loss": 1.0}}) for name in ("first", "second")]


def test_a_phase_that_was_trained_before_is_shown_as_one_epoch(model):
    callback = noting()
    Session([callback], model).show(4, {"loss": 1.0})
    assert callback.called == [
        *("set_params", "set_model", "on_train_begin", "on_epoch_begin", "on_epoch_end")
    ]
    assert callback.params == {"epochs": 5, "steps": None, "verbose": 0}


def test_of_a_phase_that_was_trained_before_the_figures_are_shown(model):
    told = []
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda *given: told.append(given))
    Session([callback], model).show(4, {"loss": 1.0})
    assert told == [(4, {"loss": 1.0})]


@pytest.mark.parametrize(
    "callback",
    [
        lambda: keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate),
        keras.callbacks.ReduceLROnPlateau,
        keras.callbacks.EarlyStopping,
    ],
)
def test_callbacks_that_keep_their_promise_are_taken(callback):
    refuse_callbacks([callback()])  # at a constant rate they may set it


@pytest.mark.parametrize(
    ("callback", "told"),
    [
        (print, "Expected Keras callbacks, received a builtin_function_or_method."),
        (
            keras.callbacks.BackupAndRestore("backup"),
            "BackupAndRestore would put an epoch's weights back, but not the phase and the "
            "optimizer that belong to them. A search with `FineTuner.search(out=...)` goes on "
            "where it was.",
        ),
        (
            keras.callbacks.SwapEMAWeights(),
            "SwapEMAWeights needs an optimizer that averages weights, and with one they are "
            "swapped already. Leave it out and pass ema=0.99.",
        ),
        (
            keras.callbacks.ReduceLROnPlateau(),
            "ReduceLROnPlateau sets the learning rate, but so does schedule='cosine'. Leave the "
            "callback out and pass schedule='plateau' or a function of epoch and rate; or pass "
            "schedule='constant' with it.",
        ),
    ],
)
def test_callbacks_that_could_not_are_refused_with_what_to_do(callback, told):
    with pytest.raises(ArgumentError) as caught:
        refuse_callbacks([keras.callbacks.History(), callback], "cosine")
    assert str(caught.value) == told
