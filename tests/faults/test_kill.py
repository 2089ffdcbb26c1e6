"""What is killed with -9 goes on: nothing lost, nothing repeated, the same end.

A longer form is `python benchmarks/kills.py`.
"""

import random

import pytest

from faults.stages import Moment


@pytest.mark.slow
def test_search_killed_five_times_ends_as_if_it_had_never_been(make_victim, timed_search):
    whole, seconds = timed_search("halving")
    victim = make_victim("killed", strategy="halving")
    moments = random.Random(0)
    for _ in range(5):
        victim.kill_after(moments.uniform(0.1, 0.8) * seconds)
    victim.finish()
    victim.note()
    assert victim.board() == whole.board()
    assert victim.leftovers() == []


@pytest.mark.slow
def test_training_killed_in_each_stage_leaves_the_same_files_to_the_bit(make_victim):
    whole, victim = make_victim("whole", what="fit"), make_victim("killed", what="fit")
    whole.finish()
    for stage in ("loading", "extraction", "head", "epochs", "report"):
        seconds = max(took for name, took in whole.passed() if name == stage)
        assert victim.kill_at(Moment(stage, 0, seconds / 2))
    victim.finish()
    assert victim.ending() == whole.ending()
    assert victim.leftovers() == []
