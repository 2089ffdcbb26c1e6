"""Every option that is a number, walked over as signatures have them: what cannot work is refused.

Nothing is trained here: an option that let such a value pass would begin to.
"""

import math

import pytest

from finetune import FineTuner, find_learning_rate
from finetune.api import compare, explain
from finetune.cli.signatures import read_options
from finetune.exceptions import FineTuneError
from tiny import SIZE

NUMBERS = {"int", "float", "size"}

# Any value of it is one: what is not 0 is shown.
SHOWS = {"verbose"}


def numbers_of(*places):
    found = {
        option.name
        for place in places
        for option in read_options(place, "")
        if NUMBERS & {*option.kinds}
    }
    return sorted(found - SHOWS)


ONE_CALL = numbers_of(
    "finetune.data.load:load_data",
    "finetune.api.fine_tuner:FineTuner",
    "finetune.api.one_call:fine_tune",
)
SEARCH = numbers_of("finetune.api.fine_tuner:FineTuner.search")
RANGE_TEST = numbers_of("finetune.api.learning_rates:find_learning_rate")
COMPARISON = numbers_of("finetune.api.backbone_choice:compare")

# What each of them refuses: "x" could be the name of a layer or a folder, but of none that is here.
NEVER = [math.nan, -math.inf, -1, True, "x", [], object()]

# How many times a model is trained once more may be said by True and False.
TRUTH = {"refit"}

# Without an end, or far from it, and yet a meaning.
UNLIMITED = {"max_slowdown", "time_budget", "cache_budget", "clip_norm", "weight_decay"}
UNLIMITED |= {"gpus_per_trial"}


def refused(name):
    values = [value for value in NEVER if not (value is True and name in TRUTH)]
    return values if name in UNLIMITED else [*values, math.inf, 1e30]


def check(call, name, value):
    with pytest.raises(FineTuneError) as caught:
        call(**{name: value})
    assert len(str(caught.value)) > 20, value


@pytest.mark.parametrize("name", ONE_CALL)
def test_one_call_refuses_what_is_no_number_for_an_option(arrays, backbone, name):
    def call(**given):
        explain(arrays, **{"backbone": backbone, "preprocess": "tf", "image_size": SIZE} | given)

    for value in refused(name):
        check(call, name, value)


@pytest.mark.parametrize("name", SEARCH)
def test_a_search_refuses_it_before_there_is_a_folder(data, backbone, name, tmp_path):
    tuner = FineTuner(backbone, preprocess="tf", freeze_depth=[7, 10], learning_rate=1e-3)
    folder = tmp_path / "study"
    for value in refused(name):
        check(lambda **given: tuner.search(data, out=folder, **given), name, value)
        assert not folder.exists()


@pytest.mark.parametrize("name", RANGE_TEST)
def test_a_range_test_refuses_it(data, backbone, name):
    tuner = FineTuner(backbone, preprocess="tf", freeze_depth=7, learning_rate=1e-3)
    for value in [value for value in refused(name) if not (name == "low" and value == 1e30)]:
        check(lambda **given: find_learning_rate(tuner, data, **given), name, value)


@pytest.mark.parametrize("name", COMPARISON)
def test_a_comparison_refuses_it(arrays, name):
    for value in refused(name):
        check(lambda **given: compare(arrays, ["MobileNetV2"], weights=None, **given), name, value)


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ({0: math.nan}, r"Expected class_weight\[0\] of 0 or more and at most 1,000,000, received"),
        ({0: -1.0}, r"Expected class_weight\[0\] of 0 or more .* received -1\.0"),
        ({"cat": 1.0}, "Expected class numbers in class_weight as a whole number .*'cat' of type"),
        ({3: 1.0}, "Expected class numbers below 3 in class_weight, .* received 3"),
    ],
)
def test_weights_of_classes_that_cannot_be_are_refused(arrays, backbone, weights, text):
    with pytest.raises(FineTuneError, match=text):
        explain(arrays, backbone=backbone, preprocess="tf", class_weight=weights)
