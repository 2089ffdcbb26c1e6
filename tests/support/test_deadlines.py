"""Limits of time, which hold for whatever is done within them."""

import time

import pytest

from finetune.exceptions import OutOfTimeError
from finetune.support import Deadline, current_deadline, time_limit


def test_without_a_limit_time_is_never_up():
    current_deadline().check("nothing was done")
    with time_limit(None) as deadline:
        assert not deadline.reached


@pytest.mark.parametrize(("outer", "inner"), [(60, 3600), (3600, 60), (60, None), (None, 60)])
def test_of_limits_within_each_other_the_first_to_end_counts(outer, inner):
    with time_limit(outer), time_limit(inner) as deadline:
        assert current_deadline() is deadline
        assert deadline.seconds == 60
    assert current_deadline().seconds is None


def test_how_much_of_the_time_has_passed_is_known():
    now = time.monotonic()
    assert Deadline(100, started=now - 20).within(0.25)
    assert not Deadline(100, started=now - 30).within(0.25)
    assert Deadline(None, started=now - 10**6).within(0.25)


def test_where_time_is_up_it_says_how_far_it_came_and_what_to_do():
    told = (
        r"^Expected a result within 0\.5 s, but time was up when 3 of 9 were done\. Give a longer "
        r"time_budget, fewer images, or a smaller image_size\.$"
    )
    with pytest.raises(OutOfTimeError, match=told):
        Deadline(0.5, started=0.0).check("3 of 9 were done")
