"""Values as typed, and as TOML has them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.cli.signatures import Option
from finetune.cli.values import check_value, read_text
from finetune.exceptions import ArgumentError
from finetune.support.config_file import _in_toml


def option(*kinds, name="rate", searchable=False):
    return Option(name, kinds, searchable, "", "", "")


DEPTH = option("int", "float", "str", "none", name="freeze_depth", searchable=True)


@pytest.mark.parametrize(
    ("text", "value"),
    [("100", 100), ("0.65", 0.65), ("1.0", 1.0), ("block_10", "block_10"), ("none", None)],
)
def test_a_depth_is_a_number_of_layers_a_fraction_or_a_name(text, value):
    assert read_text(DEPTH, text) == value
    assert type(read_text(DEPTH, text)) is type(value)


@pytest.mark.parametrize(
    ("kinds", "text", "space"),
    [
        (("int", "float", "str"), "50,100,116", [50, 100, 116]),
        (("float",), "1e-5:1e-3", (1e-05, 0.001)),
        (("int",), "0:154", (0, 154)),
        (("float",), "0.35", 0.35),
        (("str",), "adam, sgd", ["adam", "sgd"]),
        (("int", "float", "str"), "block_2,0.5", ["block_2", 0.5]),
        (("int", "size", "none"), "160,224", [160, 224]),
        (("int", "size", "none"), "160x120", (160, 120)),
        (
            ("mapping", "none"),
            "alpha=0.35,minimalistic=true",
            {"alpha": 0.35, "minimalistic": True},
        ),
        (("str", "mapping", "none"), "0=1.0,2=3", {0: 1.0, 2: 3}),
        (("str", "mapping", "none"), "balanced", "balanced"),
    ],
)
def test_spaces_as_typed(kinds, text, space):
    read = read_text(option(*kinds, searchable=True), text)
    assert read == space
    assert type(read) is type(space)


def test_what_cannot_be_searched_may_hold_commas_and_colons():
    assert read_text(option("str", "none"), "C:/photos, old") == "C:/photos, old"
    assert read_text(option("names", "none"), "nike, adidas") == ["nike", "adidas"]


@pytest.mark.parametrize(
    ("kinds", "text", "message"),
    [
        (("int",), "many", "Expected rate as a whole number; received 'many'."),
        (("float", "none"), "x", "Expected rate as a number, or none; received 'x'."),
        (("float",), "1e-5:1e-3", "Expected rate as a number; received '1e-5:1e-3'."),
        (("bool",), "yes", "Expected rate as true or false; received 'yes'."),
        (
            ("mapping",),
            "alpha",
            "Expected rate as NAME=VALUE, or several separated by commas; received 'alpha'.",
        ),
    ],
)
def test_a_text_of_no_kind_is_refused(kinds, text, message):
    with pytest.raises(ArgumentError) as refused:
        read_text(option(*kinds), text)
    assert str(refused.value) == message


@pytest.mark.parametrize("text", ["1e-5-1e-3", "1e-5,abc", "1e-5:", "1e-5:1e-3:1e-2", "abc"])
def test_neither_a_rate_nor_several_nor_a_range_is_refused_at_once(text):
    with pytest.raises(ArgumentError) as refused:
        read_text(option("float", name="learning_rate", searchable=True), text)
    assert str(refused.value) == (
        "Expected learning_rate as a number, or several of them as A,B,C or LOW:HIGH; received "
        f"{text!r}."
    )


@pytest.mark.parametrize(
    ("kinds", "value", "message"),
    [
        (("int",), 1.5, "a whole number; received 1.5 of type float"),
        (("int",), True, "a whole number; received True of type bool"),
        (("bool",), 1, "true or false; received 1 of type int"),
        (("float",), [1, 2], r"a number; received \[1, 2\] of type list"),
        (("str",), {"a": 1}, "a text; received {'a': 1} of type dict"),
    ],
)
def test_a_value_of_a_file_of_another_kind_is_refused(kinds, value, message):
    with pytest.raises(ArgumentError, match=message):
        check_value(option(*kinds), value)


def test_a_whole_number_may_stand_for_a_float():
    value = check_value(option("float"), 1)
    assert value == 1.0
    assert type(value) is float


NUMBERS = st.one_of(st.integers(0, 10**6), st.floats(0, 1e6))


@given(
    st.one_of(
        st.none(),
        NUMBERS,
        st.lists(NUMBERS, min_size=2, max_size=4),
        st.tuples(NUMBERS, NUMBERS),
        st.lists(st.sampled_from(["block_1", "block_2"]), min_size=1, max_size=3),
    )
)
def test_what_is_written_to_a_file_is_read_back_as_it_was(value):
    assert check_value(DEPTH, _in_toml("freeze_depth", value)) == value
