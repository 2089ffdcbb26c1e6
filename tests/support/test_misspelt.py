"""Which name may have been meant by one that does not exist."""

import pytest

from finetune.support.misspelt import did_you_mean

KNOWN = ["epochs", "learning_rate", "head_learning_rate", "batch_size", "shuffle_seed", "seed"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("lr", "learning_rate"),
        ("hlr", "head_learning_rate"),
        ("bs", "batch_size"),
        ("epoch", "epochs"),
        ("learnin_rate", "learning_rate"),
        ("x", None),
        ("zzz", None),
    ],
)
def test_a_slip_or_the_initials_of_a_name_are_understood(name, meant):
    assert did_you_mean(name, KNOWN) == ("" if meant is None else f" Did you mean {meant!r}?")
