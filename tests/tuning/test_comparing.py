"""What differs between two sets of arguments: key by key, in full, and nothing else."""

import pytest

from finetune.tuning.comparing import differences, digest_of

FILE = {"of": "w.h5", "content": "aa"}
LAYER = {"of": "RandomZoom", "config": {"factor": 0.1, "seed": 1}, "content": "bb"}


def group(value):
    return {"FineTuner": {"epochs": 2, "value": value}}


@pytest.mark.parametrize(
    ("known", "wanted", "line"),
    [
        (None, 0.1, "value: None in the study, 0.1 now"),
        ([1, 2], [1, 3], "value: [1, 2] in the study, [1, 3] now"),
        ([1, 2], {"pair": [1, 2]}, "value: [1, 2] in the study, (1, 2) now"),
        ({"pair": [1, 2]}, {"pair": [1, 3]}, "value: (1, 2) in the study, (1, 3) now"),
        ({"0": 1.0}, {"0": 2.0}, "value.0: 1.0 in the study, 2.0 now"),
        ({"0": 1.0}, {"0": 1.0, "1": 2.0}, "value.1: nothing in the study, 2.0 now"),
        (
            FILE,
            {**FILE, "content": "cc"},
            "value: w.h5 (content aa) in the study, w.h5 (content cc) now",
        ),
        ([FILE, None], [FILE, "imagenet"], "value[1]: None in the study, 'imagenet' now"),
        (
            LAYER,
            {**LAYER, "config": {"factor": 0.2, "seed": 1}, "content": "cc"},
            "value.factor: 0.1 in the study, 0.2 now",
        ),
        ("none", LAYER, "value: 'none' in the study, RandomZoom (content bb) now"),
    ],
)
def test_a_difference_is_shown_in_the_words_of_the_user(known, wanted, line):
    (told,) = differences(group(known), group(wanted), "in the study")
    assert told.startswith(line)


@pytest.mark.parametrize("inner", [lambda value: value, lambda value: [value, "imagenet"]])
def test_what_has_the_same_content_is_the_same_whatever_it_is_called(inner):
    moved = {**FILE, "of": "elsewhere/w.h5"}
    assert differences(group(inner(FILE)), group(inner(moved)), "in the study") == []


def test_an_argument_of_several_functions_is_told_with_its_own():
    known = {"search": {"seed": 0}, "load_data": {"seed": 0, "batch_size": 16}}
    wanted = {"search": {"seed": 0}, "load_data": {"seed": 1, "batch_size": 4}}
    assert differences(known, wanted, "in the study") == [
        "seed of load_data: 0 in the study, 1 now",
        "batch_size: 16 in the study, 4 now",
    ]


def test_equal_arguments_have_one_digest_in_any_order():
    assert digest_of({"a": 1, "b": [0.1]}) == digest_of({"b": [0.1], "a": 1})
    assert digest_of({"a": 1, "b": [0.1]}) != digest_of({"a": 1, "b": [0.2]})
