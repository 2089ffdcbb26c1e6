"""Schedules: the rates that they give, and what the recorder sees of them."""

import keras
import numpy as np
import pytest

from finetune.exceptions import ArgumentError
from finetune.training.schedules import (
    StepRates,
    build_schedule,
    rate_table,
    schedule_callbacks,
)


def rates(name, steps=100):
    schedule = build_schedule(name, 0.1, steps)
    return [float(schedule(step)) for step in range(steps + 1)]


def test_exponential_falls_to_a_hundredth():
    values = rates("exponential")
    assert values[0] == pytest.approx(0.1)
    assert values[50] == pytest.approx(0.01)
    assert values[100] == pytest.approx(0.001)


def test_piecewise_drops_at_a_half_and_three_quarters():
    values = rates("piecewise")
    assert values[49] == pytest.approx(0.1)
    assert values[51] == values[74] == pytest.approx(0.01)
    assert values[76] == values[99] == pytest.approx(0.001)


@pytest.mark.parametrize("warm_up", [0.1, 0.3])
def test_cosine_warms_up_over_its_share_and_ends_at_zero(warm_up):
    schedule = build_schedule("cosine", 0.1, 100, warm_up)
    values, top = [float(schedule(step)) for step in range(101)], int(100 * warm_up)
    assert values[0] == 0
    assert values[top // 2] == pytest.approx(0.05)
    assert values[top] == max(values) == pytest.approx(0.1)
    assert values[100] == pytest.approx(0)


def test_cosine_of_few_steps_has_no_warm_up():
    values = rates("cosine", steps=3)
    assert values[0] == pytest.approx(0.1)
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("name", ["constant", "plateau", lambda epoch, rate: rate])
def test_what_does_not_follow_steps_has_no_schedule(name):
    assert build_schedule(name, 0.1, 10) is None


def test_keras_schedules_are_taken_as_they_are():
    schedule = keras.optimizers.schedules.PolynomialDecay(0.1, 10)
    assert build_schedule(schedule, 0.5, 10) is schedule
    assert schedule_callbacks(schedule) == []


def test_callbacks_of_schedules_that_follow_epochs():
    (plateau,) = schedule_callbacks("plateau")
    (function,) = schedule_callbacks(lambda epoch, rate: rate / 2)
    assert isinstance(plateau, keras.callbacks.ReduceLROnPlateau)
    assert isinstance(function, keras.callbacks.LearningRateScheduler)
    assert schedule_callbacks("constant") == schedule_callbacks("cosine") == []


@pytest.mark.parametrize("schedule", ["linear", 3, None])
def test_unknown_schedules_are_refused(schedule):
    with pytest.raises(ArgumentError, match=r"Expected schedule to be one of .*'cosine'.*received"):
        build_schedule(schedule, 0.1, 10)


class Recorder:
    """Stands for a model: what the callback touches of it."""

    def __init__(self):
        self.optimizer = keras.optimizers.SGD(0.5)


class Halving(keras.optimizers.schedules.LearningRateSchedule):
    """Calculates with plain numbers, which no graph can do."""

    def __call__(self, step):
        return 0.5 ** int(step)


@pytest.mark.parametrize("name", ["cosine", "exponential", "piecewise"])
@pytest.mark.parametrize("steps", [1, 7, 200])
def test_the_table_has_the_rate_that_the_schedule_of_keras_gives_each_step(name, steps):
    schedule = build_schedule(name, 0.3, steps)
    expected = [float(schedule(step)) for step in range(steps)]
    np.testing.assert_allclose(rate_table(name, 0.3, steps), expected, rtol=1e-5, atol=1e-8)


def test_tables_of_one_schedule_differ_by_the_share_that_warms_up():
    early, late = (rate_table("cosine", 0.1, 100, warm_up) for warm_up in (0.1, 0.3))
    assert (np.argmax(early), np.argmax(late)) == (10, 30)


def test_schedules_of_the_users_have_a_table_too():
    own = keras.optimizers.schedules.PolynomialDecay(0.1, 10)
    np.testing.assert_allclose(rate_table(own, 9.9, 3), [0.1, 0.09001, 0.08002], rtol=1e-5)
    assert rate_table(Halving(), 9.9, 4).tolist() == [1.0, 0.5, 0.25, 0.125]
    assert rate_table("constant", 0.1, 4) is rate_table(lambda epoch, rate: rate, 0.1, 4) is None


def test_the_rate_of_every_step_is_set_and_recorded():
    callback = StepRates(rate_table("cosine", 0.1, 20), first_step=5)
    callback.set_model(Recorder())
    for _ in range(15):
        callback.on_train_batch_begin(0)
    assert callback.rates == pytest.approx(rates("cosine", 20)[5:20], rel=1e-5)


def test_without_a_schedule_the_rate_is_only_recorded():
    callback = StepRates(None)
    model = Recorder()
    callback.set_model(model)
    for rate in (0.5, 0.25, 0.125):
        model.optimizer.learning_rate = rate
        callback.on_train_batch_begin(0)
    logs = {}
    callback.on_epoch_end(0, logs)
    assert np.allclose(callback.rates, [0.5, 0.25, 0.125])
    assert logs == {"learning_rate": 0.125}


def test_a_function_counts_epochs_from_the_beginning_of_the_phase():
    seen = []

    def schedule(epoch, rate):
        seen.append(epoch)
        return rate

    (function,) = schedule_callbacks(schedule, first_epoch=4)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    function.set_model(model)
    for epoch in (4, 5):
        function.on_epoch_begin(epoch)
    assert seen == [0, 1]
