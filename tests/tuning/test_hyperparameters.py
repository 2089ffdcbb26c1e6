"""What values, ranges, lists and KerasTuner hyperparameters mean."""

import keras_tuner
import pytest

from finetune.exceptions import ArgumentError
from finetune.tuning.hyperparameters import choose, is_space, spread


@pytest.fixture
def hp():
    return keras_tuner.HyperParameters()


def test_plain_values_are_fixed(hp):
    assert [choose(hp, "x", value) for value in (0.1, 3, "adam", None, True)] == [
        *(0.1, 3, "adam", None, True)
    ]
    assert hp.space == []


@pytest.mark.parametrize("name", ["learning_rate", "head_learning_rate", "weight_decay"])
def test_ranges_of_rates_are_logarithmic(hp, name):
    assert choose(hp, name, (1e-5, 1e-2)) == 1e-5
    (parameter,) = hp.space
    assert (parameter.min_value, parameter.max_value) == (1e-5, 1e-2)
    assert parameter.sampling == "log"


def test_other_ranges_are_linear_and_ranges_of_integers_whole(hp):
    choose(hp, "dropout", (0, 0.5))
    choose(hp, "freeze_depth", (3, 9))
    dropout, depth = hp.space
    assert isinstance(dropout, keras_tuner.engine.hyperparameters.Float)
    assert dropout.sampling == "linear"
    assert isinstance(depth, keras_tuner.engine.hyperparameters.Int)
    assert (depth.min_value, depth.max_value) == (3, 9)


@pytest.mark.parametrize(
    ("choices", "default"), [(["adam", "sgd"], "adam"), ([10, 20], 10), ([1, 0.5], 1.0)]
)
def test_lists_are_choices_whose_first_is_the_default(hp, choices, default):
    assert choose(hp, "x", choices) == default
    assert list(hp.space[0].values) == choices


def test_a_list_of_flags_stays_flags(hp):
    value = choose(hp, "mixed_precision", [True, False])
    assert value is True


def test_a_list_of_one_is_that_value(hp):
    assert choose(hp, "x", [7]) == 7
    assert hp.space == []


def test_choices_that_kerastuner_cannot_hold_are_chosen_by_number(hp):
    class_weights = [None, {0: 1.0, 1: 2.0}]
    assert choose(hp, "class_weight", class_weights) is None
    hp.values["class_weight_index"] = 1
    assert choose(hp, "class_weight", class_weights) == {0: 1.0, 1: 2.0}


@pytest.mark.parametrize(
    "given",
    [
        keras_tuner.engine.hyperparameters.Float("other", 0.1, 0.4, step=0.1),
        keras_tuner.engine.hyperparameters.Choice("other", [0.1, 0.3], default=0.3),
        keras_tuner.engine.hyperparameters.Fixed("other", 0.2),
    ],
)
def test_hyperparameters_are_declared_under_the_arguments_name(hp, given):
    assert choose(hp, "dropout", given) == given.default
    assert hp.space[0].name == "dropout"
    assert type(hp.space[0]) is type(given)


@pytest.mark.parametrize("value", [(1, 1), (2, 1), (1,), (1, 2, 3), ("a", "b"), (False, True)])
def test_a_range_is_two_ascending_numbers(hp, value):
    with pytest.raises(ArgumentError, match=r"dropout as a range \(low, high\) of two ascending"):
        choose(hp, "dropout", value)


def test_a_range_of_rates_starts_above_0(hp):
    with pytest.raises(ArgumentError, match="range of learning_rate to start above 0"):
        choose(hp, "learning_rate", (0.0, 0.1))


def test_a_list_is_not_empty(hp):
    with pytest.raises(ArgumentError, match="at least one choice for epochs"):
        choose(hp, "epochs", [])


def test_what_leaves_a_choice():
    assert is_space((1, 2))
    assert is_space([1])
    assert is_space(keras_tuner.engine.hyperparameters.Boolean("x"))
    assert not is_space("adam")
    assert not is_space(None)


@pytest.mark.parametrize(
    ("space", "few"),
    [
        ((80, 100), [80, 85, 90, 95, 100]),
        ((3, 5), [3, 4, 5]),
        ((0.0, 1.0), [0.0, 0.25, 0.5, 0.75, 1.0]),
        ([116, 50, 100], [50, 100, 116]),
        ([*range(0, 90, 10)], [0, 20, 40, 60, 80]),
        (["b", "a"], ["b", "a"]),
        ([7], [7]),
        (keras_tuner.engine.hyperparameters.Int("x", 0, 100, step=50), [0, 50, 100]),
        (
            keras_tuner.engine.hyperparameters.Float("x", 0.0, 0.8),
            [0.0, 0.2, 0.4, 0.6000000000000001, 0.8],
        ),
        (keras_tuner.engine.hyperparameters.Choice("x", [3, 1]), [1, 3]),
    ],
)
def test_of_a_space_a_few_values_stand_for_all(space, few):
    assert [*map(str, spread(space))] == [*map(str, few)]
